"""Nodes that are told to end, as spot instances are: their work moves on, and nothing fails."""

from __future__ import annotations

import shlex
from typing import Any

from tests.cluster.machines import PORT, PY, Machine, Machines
from tests.cluster.searching import (
    LONG_S,
    MARKS,
    end,
    join,
    search,
    start_head,
    table,
    trials_on,
    until,
    wait,
)
from tests.cluster.watching import check, count, frozen, journal, reached

pytestmark = MARKS
OWN_ID = (
    'import ray; ray.init("auto", logging_level="ERROR"); '
    "print(ray.get_runtime_context().get_node_id())"
)


def drain(node: Machine, seconds: int) -> None:
    """Tell a node, on itself, that it will end (docs/cluster.md has the same words)."""
    own = f"$({PY} -c {shlex.quote(OWN_ID)})"
    why = "--reason=DRAIN_NODE_REASON_PREEMPTION --reason-message=spot"
    done = node.run(f"ray drain-node --node-id={own} {why} --deadline-remaining-seconds={seconds}")
    assert done.returncode == 0, done.stdout + done.stderr


def has_raylet(node: Machine) -> bool:
    """Whether a raylet is alive there; nobody buries those that died."""
    return node.run("pgrep --runstates D,R,S raylet").returncode == 0


def epochs(driver: Machine, run: str, attempt: int) -> list[Any]:
    """The rows of all epochs that an attempt of a run's trials reported."""
    lines = [line for line in journal(driver, run) if line["t"] == "epochs"]
    return [row for line in lines if line["attempt"] == attempt for row in line["rows"]]


def test_no_new_trial_begins_there_and_it_ends_once_it_is_idle(ready_machines: Machines) -> None:
    head = start_head(ready_machines)
    first, second = (join(ready_machines, name) for name in ("w1", "w2"))
    options = ("--space", "smoke", "--trials", "60", "--set", "searcher=random")
    options += ("--set", "scheduler=none", "--set", "race=none")
    process = head.start(search("told", *options, "--address", f"{head.address}:{PORT}"))
    reached(process, lambda: trials_on(first) >= 1)
    with frozen(process):  # so that it does not end meanwhile
        drain(first, 3600)
        assert count(head, "told", "end") < 60
    until(process, f"note: w1 ({first.address}) will end within 3")
    wait(lambda: not has_raylet(first), "its worker is kept")
    had = trials_on(first)
    said = end(process)
    assert process.returncode == 0, said
    assert had + trials_on(second) == 60
    assert {row.get("attempt", "1") for row in table(head, "told")} == {"1"}  # none was cut off
    here = head.run(search("near", *options), {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    check(head, "told", "near")


def test_a_long_trial_continues_on_another_node_from_where_it_was(ready_machines: Machines) -> None:
    """SIGTERM to `ray start --block`, as a pod gets it, and then the end: bit for bit the same."""
    head = start_head(ready_machines)
    first = ready_machines.add("w1")
    at = f"{head.address}:{PORT}"
    words = f"--address={at} --node-ip-address={first.address} --object-store-memory=90000000"
    grace = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "3600"}
    first.start(f"exec {PY} -m ray.scripts.scripts start {words} --num-cpus=1 --block", grace)
    wait(lambda: has_raylet(first), "its Ray does not start")
    options = ("--space", "smoke", "--trials", "1", "--set", "max_epochs=3000")
    options += ("--set", "patience=0", "--set", "race=none")
    process = head.start(search("long", *options, "--address", at))
    reached(process, lambda: count(head, "long", "epochs") > 0)
    assert first.run("pkill -TERM -f '[r]ay.scripts.scripts start'").returncode == 0
    until(process, f"note: w1 ({first.address}) will end within 3")
    kept = "ls /tmp/runs/long/checkpoints/t0000.npz"
    reached(process, lambda: head.run(kept).returncode == 0)
    first.end()
    before = epochs(head, "long", 1)
    join(ready_machines, "w2")
    said = end(process)
    assert process.returncode == 0, said
    assert "the worker died" not in said
    again = epochs(head, "long", 2)
    same = sum(one == other for one, other in zip(before, again, strict=False))
    assert 0 < same < len(again) == 3000  # times and all: the first epochs were not trained again
    here = head.run(search("near", *options), {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    check(head, "long", "near")
