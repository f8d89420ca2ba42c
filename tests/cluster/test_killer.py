"""Nodes that end at random, again and again, as Ray's own tests kill them."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tests.cluster.machines import PORT, Machines
from tests.cluster.searching import LONG_S, MARKS, end, join, search, start_head, trials_on
from tests.cluster.watching import check, held, journal, reached

pytestmark = MARKS
TRIALS = 200


def test_nothing_is_lost_and_nothing_twice(
    ready_machines: Machines, record_property: Callable[[str, object], None]
) -> None:
    """Every ten seconds each node ends with p = .03 (the second one once in any case), and another
    one comes: trials, epochs, Optuna study, MLflow, race and lists are those of a search that
    nobody disturbed.
    """
    head = start_head(ready_machines)
    alive = {name: join(ready_machines, name) for name in ("w1", "w2", "w3")}
    options = ("--space", "smoke", "--trials", str(TRIALS), "--set", "searcher=random")
    options += ("--set", "scheduler=none", "--set", "max_epochs=8")
    process = head.start(search("killed", *options, "--address", f"{head.address}:{PORT}"))
    rng, killed, last = np.random.default_rng(5), 0, time.monotonic()
    reached(process, lambda: trials_on(alive["w2"]) >= 2)
    doomed = {"w2"}
    while process.poll() is None:
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            doomed |= {name for name in alive if rng.random() < 0.03}
        for name in doomed:
            held(alive[name], 5.0)  # in the middle of a trial; without one it ends all the same
            alive.pop(name).end()
            killed += 1
            fresh = f"w{3 + killed}"
            alive[fresh] = join(ready_machines, fresh)
        doomed = set()
        time.sleep(0.5)
    said = end(process)
    assert process.returncode == 0, said
    again = {e["id"] for e in journal(head, "killed") if e["t"] == "start" and e["attempt"] > 1}
    assert again, "no node ended in the middle of a trial"
    record_property("node killer", f"{killed} nodes killed, {len(again)} trials begun again")
    here = head.run(search("whole", *options), {"RECSEARCH_CPUS": "2"}, timeout=2 * LONG_S)
    assert here.returncode == 0, here.stdout + here.stderr
    check(head, "killed", "whole", trials=TRIALS)
