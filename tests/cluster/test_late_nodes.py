"""Nodes that join a search that runs, and cannot work: none costs a trial or a task."""

from __future__ import annotations

import json
import shlex
from typing import Any

from tests.cluster.machines import PORT, Machine, Machines
from tests.cluster.searching import (
    MARKS,
    end,
    join,
    search,
    start_head,
    table,
    taken_places,
    trials_on,
    until,
    wait,
)

pytestmark = MARKS
# A numba that cannot be imported, as where a library of the system is missing.
BROKEN = "raise ImportError('libx.so: no such file')"
# A torch that counts a GPU, although there is none to train on.
COUNTS_ONE = """
import importlib.abc, importlib.util, sys

class Counting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torch.cuda":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def patched(module):
            run(module)
            module.device_count = lambda: 1
        spec.loader.exec_module = patched
        return spec

sys.meta_path.insert(0, Counting())
"""


def with_file(machine: Machine, name: str, text: str) -> dict[str, str]:
    """The environment in which Python finds this file before any other of its name."""
    file = f"/tmp/other/{name}"
    made = machine.run(f"mkdir -p $(dirname {file}) && printf %s {shlex.quote(text)} >{file}")
    assert made.returncode == 0, made.stderr
    return {"PYTHONPATH": "/tmp/other"}


def join_with(machines: Machines, name: str, file: str, text: str, *options: str) -> Machine:
    """A worker with two cores that has this file."""
    node = machines.add(name)
    at = f"--address={machines.all['h'].address}:{PORT}"
    node.ray(at, "--num-cpus=2", *options, env=with_file(node, file, text))
    return node


def journal(machine: Machine, run: str, kind: str) -> list[dict[str, Any]]:
    """The lines of this kind in a run's journal."""
    text = machine.run(f"cat /tmp/runs/{run}/journal.jsonl").stdout
    return [line for line in map(json.loads, text.splitlines()) if line["t"] == kind]


def test_late_nodes_that_cannot_work_cost_no_trial_and_no_task(machines: Machines) -> None:
    """Two join in the search, one that fails at once and one with another numpy, and one in the
    race, when the only good one is gone: each is a line, nothing has failed, and the result is that
    of a search without them."""
    head = start_head(machines)
    good = join(machines, "w1")
    options = ("--space", "smoke", "--trials", "200", "--set", "searcher=random")
    options += ("--set", "scheduler=none", "--set", "race.replicates=20")
    at = f"{head.address}:{PORT}"
    process = head.start(search("late", *options, "--address", at), {"PYTHONUNBUFFERED": "1"})
    wait(lambda: trials_on(good) >= 2, "the first node does not work")
    broken = join_with(machines, "w2", "numba/__init__.py", BROKEN)
    dist = "numpy-1.0.dist-info/METADATA"
    other = join_with(machines, "w3", dist, "Name: numpy\nVersion: 1.0\n")
    said = until(process, "stage: race")
    begun = trials_on(good)
    good.end()
    last = join_with(machines, "w4", "numba/__init__.py", BROKEN)
    said += until(process, f"note: w4 ({last.address})")
    join(machines, "w5")
    said += end(process)
    assert process.returncode == 0, said
    lines = [
        f"{node.name} ({node.address}) cannot run a task (ImportError: libx.so: no such file)"
        for node in (broken, last)
    ]
    lines.append(f"w3 ({other.address}) has numpy 1.0, the driver has ")
    for line in lines:
        assert said.count(f"note: {line}") == 1, said
        assert said.count(f"left out    {line}") == 1, said
    assert (trials_on(broken), trials_on(other), trials_on(last), begun) == (0, 0, 0, 200)
    assert {row["state"] for row in journal(head, "late", "end")} == {"COMPLETE"}
    assert {row["attempt"] for row in journal(head, "late", "start")} == {1}
    assert {row["node"] for row in journal(head, "late", "start")} == {f"w1 ({good.address})"}
    assert not [row for row in journal(head, "late", "race") if "cause" in row]
    rows = table(head, "late")
    assert taken_places(rows) == {(f"w1 ({good.address})", "cpu")}
    here = head.run(search("near", *options), {"RECSEARCH_CPUS": "1"}, timeout=1200)
    assert here.returncode == 0, here.stdout + here.stderr
    assert rows == table(head, "near")
    assert (
        head.run("cmp /tmp/runs/late/submission.csv /tmp/runs/near/submission.csv").returncode == 0
    )


def test_gpus_that_torch_does_not_see(machines: Machines) -> None:
    """A node says that it has a GPU and joins late: it is left out. Where torch counts one and has
    none to train on, that is said, and the journal has what was trained on."""
    head = start_head(machines)
    first = join_with(machines, "w1", "sitecustomize.py", COUNTS_ONE, "--num-gpus=1")
    options = ("--space", "smoke", "--trials", "200", "--gpus-per-trial", "1")
    options += ("--set", "race=none")
    at = f"{head.address}:{PORT}"
    process = head.start(search("gpus", *options, "--address", at), {"PYTHONUNBUFFERED": "1"})
    wait(lambda: trials_on(first) >= 2, "the first node does not work")
    late = join(machines, "w2", "--num-gpus=1")
    said = end(process)
    assert process.returncode == 0, said
    line = f"w2 ({late.address}) has 1 GPUs for Ray, but torch sees none there"
    assert said.count(f"note: {line}") == 1, said
    assert said.count(f"left out    {line}") == 1, said
    on = f"w1 ({first.address})"
    assert said.count(f"note: torch sees no GPU in a worker on {on}") == 1, said
    assert trials_on(late) == 0
    assert {row["node"] for row in journal(head, "gpus", "start")} == {on}
    assert {row["device"] for row in journal(head, "gpus", "end")} == {"cpu"}
