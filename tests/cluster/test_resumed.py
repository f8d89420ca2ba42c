"""A driver that is killed, and a cluster whose head ends: each time the run is resumed there."""

from __future__ import annotations

from tests.cluster.machines import HERE, PORT, PY, Machines
from tests.cluster.searching import LONG_S, MARKS, end, join, search, start_head
from tests.cluster.watching import check, count, reached

pytestmark = MARKS


def resume(run: str, *options: str) -> str:
    words = f"--resume --run {run} --runs-dir /tmp/runs --tracking-uri sqlite:////tmp/{run}.db"
    return f"cd {HERE} && {PY} run_search.py {words} {' '.join(options)}"


def test_after_the_driver_and_then_after_the_head(ready_machines: Machines) -> None:
    head = start_head(ready_machines)
    node = join(ready_machines, "w1")
    options = ("--space", "smoke", "--trials", "8", "--set", "searcher=random")
    options += ("--set", "scheduler=none", "--set", "max_epochs=20", "--set", "patience=0")
    at = ("--address", f"{head.address}:{PORT}")
    first = head.start(search("one", *options, *at))
    reached(first, lambda: count(head, "one", "end") >= 2)
    head.run("pkill -KILL -f '[r]un_search.py --data demo'")
    end(first)
    before = count(head, "one", "end")
    assert 2 <= before < 8
    second = head.start(resume("one", *at), {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"})
    reached(second, lambda: count(head, "one", "end") > before)
    head.run("kill -KILL $(pgrep gcs_server)")
    said = end(second)
    assert second.returncode != 0
    assert "nothing finished is lost. To resume: " in said
    assert count(head, "one", "end") < 8
    node.end()
    head.run("ray stop --force")
    head.ray("--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")
    join(ready_machines, "w2")
    done = head.run(resume("one", *at), timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    here = head.run(search("near", *options), {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    check(head, "one", "near", trials=8)
