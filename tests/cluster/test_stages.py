"""Nodes that end in the stages after the search: the run is that of a search nobody disturbed."""

from __future__ import annotations

from tests.cluster.machines import PORT, Machines
from tests.cluster.searching import LONG_S, MARKS, end, join, search, start_head
from tests.cluster.watching import caught, check

pytestmark = MARKS


def test_one_ends_in_the_race_and_one_in_the_refit(ready_machines: Machines) -> None:
    head = start_head(ready_machines)
    nodes = {name: join(ready_machines, name) for name in ("w1", "w2")}
    options = ("--space", "smoke", "--trials", "3", "--set", "searcher=random")
    options += ("--set", "scheduler=none", "--set", "max_epochs=150", "--set", "patience=150")
    process = head.start(search("ends", *options, "--address", f"{head.address}:{PORT}"))
    nodes.pop(caught(process, head, nodes, "ends", "race")).end()
    nodes["w3"] = join(ready_machines, "w3")
    nodes.pop(caught(process, head, nodes, "ends", "refit")).end()
    said = end(process)
    assert process.returncode == 0, said
    here = head.run(search("near", *options), {"RECSEARCH_CPUS": "1"}, timeout=LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    check(head, "ends", "near", trials=3)
