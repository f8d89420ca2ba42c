"""Where the driver may be: on a node that is not the head, and beyond the cluster, as a job."""

from __future__ import annotations

import shlex

import pytest

from tests.cluster.machines import (
    DASHBOARD,
    EMPTY,
    HEAD_ENVIRONMENT,
    HERE,
    PORT,
    PY,
    Machine,
    Machines,
)
from tests.cluster.searching import (
    LONG_S,
    MARKS,
    end,
    join,
    search,
    start_head,
    table,
    taken_places,
    trials_on,
    until,
)
from tests.cluster.watching import count, held

pytestmark = MARKS
FILES = "find . -type f | sort | xargs sha256sum"
SHOP = """
import numpy
rng = numpy.random.default_rng(3)
pairs = {(u, int(40 * rng.random() ** 2)) for u in range(90) for _ in range(25)}
rows = [f"u{u},i{i}" for u, i in sorted(pairs)]
open("purchases.csv", "w").write("\\n".join(["user_id,item_id", *rows]) + "\\n")
"""


def test_on_a_node_that_is_not_the_head(machines: Machines) -> None:
    head = start_head(machines, project=False)
    node = join(machines, "w1", project=True)
    other = join(machines, "w2")
    at = f"{head.address}:{PORT}"
    options = ("--space", "smoke", "--trials", "8", "--set", "searcher=random")
    options += ("--set", "scheduler=none")
    done = node.run(search("far", *options, "--address", at), timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert trials_on(node) + trials_on(other) == 8
    assert trials_on(other)
    assert head.run(f"ls -A {HERE} /tmp/runs").stdout.splitlines() == EMPTY
    auto = node.run(search("dry", *options, "--dry-run", "--address", "auto"), timeout=LONG_S)
    assert auto.returncode == 0, auto.stdout + auto.stderr
    assert "2 at a time on 2 cores" in auto.stdout
    here = node.run(search("near", *options), {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    far = table(node, "far")
    there = {(f"w1 ({node.address})", "cpu"), (f"w2 ({other.address})", "cpu")}
    assert (f"w2 ({other.address})", "cpu") in (places := taken_places(far))
    assert places <= there
    assert far == table(node, "near")
    assert (
        node.run("cmp /tmp/runs/far/submission.csv /tmp/runs/near/submission.csv").returncode == 0
    )


@pytest.mark.skipif(
    not (HEAD_ENVIRONMENT / ".done").exists(), reason="`make test-cluster` makes .head-venv first"
)
def test_as_a_job_from_a_machine_that_reaches_the_dashboard_alone(machines: Machines) -> None:
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    head = machines.add("h", more=HEAD_ENVIRONMENT)
    python = HEAD_ENVIRONMENT / "bin" / "python"
    patience = {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    path = {"PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin"}  # of what `python` is, in jobs
    options = ("--head", f"--port={PORT}", "--num-cpus=0", "--dashboard-host=0.0.0.0")
    head.ray(*options, env=token | path | patience, python=python)
    first = join(machines, "w1", **token)
    laptop = machines.add("l", project=True)
    machines.only("l", head, DASHBOARD)
    mine = token | {"RAY_API_SERVER_ADDRESS": f"http://{head.address}:{DASHBOARD}"}
    parts = f"{HERE}/{{run_search.py,recsys,search,spaces,.gitignore}}"
    made = laptop.run(
        f"mkdir checkout && cp -r {parts} checkout && cd checkout && {PY} -c {shlex.quote(SHOP)}"
    )
    assert made.returncode == 0, made.stderr

    def fetched(env: dict[str, str]) -> tuple[int, str, str]:
        done = laptop.run(f"{PY} checkout/run_search.py fetch /tmp/runs/first", env)
        return done.returncode, done.stdout, done.stderr

    def job(name: str, words: str) -> str:
        submit = f"cd checkout && ray job submit --working-dir . --submission-id {name}"
        return f"{submit} -- python run_search.py {words} --address auto"

    code, _, said = fetched({name: mine[name] for name in mine if name not in token})
    assert (code, said.count("\n")) == (2, 1)
    assert "the cluster asks for a token: set RAY_AUTH_MODE=token" in said
    what = "--space smoke --data purchases.csv --trials 60 --set searcher=random"
    what += " --set scheduler=none"
    lost = laptop.run(job("lost", what), mine, timeout=LONG_S)
    assert lost.returncode == 1, lost.stdout + lost.stderr
    assert "--runs-dir runs: lies in the folder that Ray made for this job" in lost.stdout
    where = "--run first --runs-dir /tmp/runs"
    watching = laptop.start(job("first", f"{what} {where}"), mine | {"PYTHONUNBUFFERED": "1"})
    assert held(first, LONG_S, lambda: count(head, "first", "end") >= 1)
    until(watching, "[1/60] t0000")
    first.end()
    laptop.run("pkill -INT -f '[r]ay job submit'")
    end(watching)
    assert "RUNNING" in laptop.run("ray job status first", mine).stdout
    stopped = laptop.run("ray job stop first", mine, timeout=LONG_S)
    assert "was stopped" in stopped.stdout + stopped.stderr
    assert (
        "to resume: python run_search.py --resume" in laptop.run("ray job logs first", mine).stdout
    )
    code, shown, said = fetched(mine)
    assert code == 0, said
    # before it there may be that it takes long
    assert "/tmp/runs/first\nnote: the run has not finished there" in shown
    ends = laptop.run('grep -c \'"t":"end"\' /tmp/runs/first/journal.jsonl').stdout
    before = int(ends)
    assert 1 <= before < 60
    again = join(machines, "w2", **token)
    resumed = laptop.run(
        job("second", "--resume --run /tmp/runs/first --data purchases.csv"), mine, timeout=LONG_S
    )
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "[60/60]" in resumed.stdout
    assert trials_on(again) >= 60 - before
    code, shown, said = fetched(mine)
    assert code == 0, said
    assert "has not finished" not in shown
    for_both = f"cd /tmp/runs/first && {FILES}"
    assert laptop.run(for_both).stdout == head.run(for_both).stdout
    assert "submission.csv" in laptop.run(for_both).stdout
    check_at_home(laptop, what)
    secret = shlex.quote(token["RAY_AUTH_TOKEN"])
    for machine in (laptop, head):
        found = machine.run(f"grep -rl {secret} /tmp/runs /tmp/ray/session_latest/logs")
        assert found.stdout == ""
    folders = "/tmp/ray/session_latest/runtime_resources/working_dir_files"
    assert "_ray_pkg_" in head.run(f"ls -A {folders}").stdout
    assert again.run(f"ls -A {folders}").stdout == ""  # of the driver alone


def check_at_home(laptop: Machine, what: str) -> None:
    """The run that was fetched is one like others there, and what a search there finds."""
    run = f"cd /tmp/checkout && {PY} run_search.py"
    for words in ("sync first", "export first -o /tmp/lists.csv --k 3", "report first"):
        done = laptop.run(f"{run} {words} --runs-dir /tmp/runs", timeout=LONG_S)
        assert done.returncode == 0, done.stdout + done.stderr
    near = f"{what} --run near --runs-dir /tmp/runs --tracking-uri sqlite:////tmp/near.db"
    here = laptop.run(f"{run} {near}", {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    rows = [[row.pop("attempt", None), row][1] for row in table(laptop, "first")]
    assert {device for _, device in taken_places(rows)} == {"cpu"}
    assert rows == [[row.pop("attempt", None), row][1] for row in table(laptop, "near")]
    for name in ("submission.csv", "model/weights.pt"):
        assert laptop.run(f"cmp /tmp/runs/first/{name} /tmp/runs/near/{name}").returncode == 0
