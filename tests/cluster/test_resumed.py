"""Killed drivers, a cluster whose head ends, a run finished elsewhere: each goes on here."""

from __future__ import annotations

from tests.cluster.machines import HERE, PORT, PY, Machines
from tests.cluster.searching import LONG_S, MARKS, end, join, search, start_head
from tests.cluster.watching import check, count, handed, reached

pytestmark = MARKS


POOR = """
searcher: random
scheduler: none
metric: map@10
trials: 1
max_epochs: 8
k: 10
race: {finalists: 2, replicates: 2}
params:
  loss: bpr
  neg_mode: even
  optimizer: adagrad
  batch_size: 1
  latent_factors: 8
  lr: {low: 0.0001, high: 0.3, log: true}
enqueue:
  - {lr: 0.0001}
"""


def resume(run: str, *options: str) -> str:
    how = "" if "--extend" in options else "--resume "
    words = f"{how}--run {run} --runs-dir /tmp/runs --tracking-uri sqlite:////tmp/{run}.db"
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


def test_a_run_that_was_finished_alone_hands_over_the_new_winner_of_a_cluster(
    ready_machines: Machines,
) -> None:
    """The old model was handed over once, with exit 0: the new one lay on the worker."""
    head = start_head(ready_machines)
    head.run(f"cat >/tmp/poor.yaml <<'E'\n{POOR}E")
    options = ("--space", "/tmp/poor.yaml")
    for run in ("one", "near"):
        first = head.run(search(run, *options), {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
        assert first.returncode == 0, first.stdout + first.stderr
    old = handed(head, "one")
    node = join(ready_machines, "w1")
    node.run("mkdir -p /tmp/runs/one/model")
    there = ("--address", f"{head.address}:{PORT}")
    done = head.run(resume("one", "--extend", "4", *there), timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    more = resume("near", "--extend", "4")
    here = head.run(more, {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    check(head, "one", "near")
    new = handed(head, "one")
    assert new["trial"] != old["trial"]
    assert new["weights"] != old["weights"]
    assert new["submission"] == handed(head, "near")["submission"] != old["submission"]
    assert node.run("ls -A /tmp/runs/one/model").stdout == ""
