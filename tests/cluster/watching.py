"""What a search on machines made here has written so far, and whether it is whole at its end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster.machines import HERE, PYTHON, Machine
from tests.cluster.searching import LONG_S, end, wait

TRAINING = "ray::ImplicitFunc.train"  # the title of a worker of Ray Tune while a trial runs in it

# Run on the driver's machine, where run folders and stores are.
CHECK = """
import sys
from pathlib import Path
from search.record.handed import disagreement
from search.tracking.verify import verify_delivery
from tests.faults.live import Home, check_whole, outcome
run, trials, near = sys.argv[1:]
home = Home(Path("/tmp"), f"sqlite:////tmp/{run}.db")
assert disagreement(home.runs / run, home.state(run)) is None
assert verify_delivery(home.runs / run, home.uri) == []
if trials != "0":
    check_whole(home, run, int(trials))
mine, theirs = outcome(home, run), outcome(home, near)
for what in mine:
    assert mine[what] == theirs[what], (what, mine[what], theirs[what])
"""


def check(driver: Machine, run: str, near: str, trials: int = 0) -> None:
    """Assert that MLflow has all of a run, and that the run found what `near` did, in every epoch,
    race and list.

    trials: their number where the run had a race; then its tables, its Optuna study and its result
    are compared with its journal too.
    """
    words = [str(PYTHON), "-c", CHECK, run, str(trials), near]
    done = driver.run(f"cd {HERE} && {shlex.join(words)}", timeout=LONG_S)
    assert done.returncode == 0, done.stdout + done.stderr


def journal(driver: Machine, run: str) -> list[dict[str, Any]]:
    """The whole lines of a run's journal, so far."""
    path = driver.path(f"/tmp/runs/{run}/journal.jsonl")
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def handed(driver: Machine, run: str) -> dict[str, Any]:
    """The digests that the result of a run has of the files that it handed over."""
    text = driver.path(f"/tmp/runs/{run}/result.json").read_text()
    found: dict[str, Any] = json.loads(text)["handed"]
    return found


def count(driver: Machine, run: str, kind: str, **fields: Any) -> int:
    """How many lines of a kind, with these fields, the journal has so far."""
    lines = (line for line in journal(driver, run) if line["t"] == kind)
    return sum(all(line.get(name) == value for name, value in fields.items()) for line in lines)


def within(driver: Machine, run: str, stage: str) -> bool:
    """Whether this stage of a run has begun and has not ended."""
    began = count(driver, run, "stage", name=stage, state="start")
    return began > count(driver, run, "stage", name=stage, state="done")


def reached(search: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait until something is so in a search; where it ends before, fail with what it said."""
    wait(lambda: search.poll() is not None or condition(), "the search does not get so far")
    if search.poll() is not None and not condition():
        raise AssertionError(end(search))


@contextmanager
def frozen(search: subprocess.Popen[str]) -> Iterator[None]:
    """Within the block the driver does nothing; what it started runs on."""
    (driver,) = Path(f"/proc/{search.pid}/task/{search.pid}/children").read_text().split()
    os.kill(int(driver), signal.SIGSTOP)
    entered = Path(f"/proc/{search.pid}/stat")  # of nsenter, which stops as its child does
    wait(lambda: entered.read_text().split()[2] == "T", "the driver does not stop")
    try:
        yield
    finally:
        search.send_signal(signal.SIGCONT)  # it passes that on


def held(node: Machine, seconds: float, enough: Callable[[], bool] = lambda: True) -> bool:
    """Stop the worker of a trial, the first that trains there when enough has come about, so that
    the trial cannot end; False where there is none within `seconds`.
    """
    limit = time.monotonic() + seconds
    while not node.halt(TRAINING, enough):
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def caught(
    search: subprocess.Popen[str],
    driver: Machine,
    nodes: Mapping[str, Machine],
    run: str,
    stage: str,
) -> str:
    """The name of a node that has begun a task of this stage and cannot end it: its worker is
    stopped.

    A task may take less than a second, so processes are looked at from outside, a hundred times a
    second.
    """
    began = time.monotonic()
    while search.poll() is None:
        assert time.monotonic() - began < LONG_S, f"no task of {stage} is caught"
        for name, node in nodes.items() if within(driver, run, stage) else ():
            if node.halt("ray::call", lambda: within(driver, run, stage)):
                return name
        time.sleep(0.01)
    raise AssertionError(end(search))
