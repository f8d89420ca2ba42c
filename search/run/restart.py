"""Resuming a run: the command for a person, and a new driver where Ray itself died.

A process can't start Ray again once its servers are dead (calls into it may never return), so the
driver replaces itself with a fresh one that resumes the run, as after any other crash: the journal
has everything that was finished.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from search.paste import PROG, command
from search.record.folder import RunFolder
from search.run.signals import Interruption, show_cursor

COUNT = "RECSEARCH_RESTARTS"  # in the environment, since it has to outlive the process image
DEADLINE = "RECSEARCH_DEADLINE"  # there too, in seconds of the machine's monotonic clock
RESTARTS = 2
SIGNAL_LAG_S = 0.5
PREPARED = 0.5  # the most of a time budget that is gone when the stages begin


def resume_command(folder: RunFolder) -> str:
    """The command that resumes a run."""
    return command("--resume", "--run", folder.path)


def deadline_of(time_budget: float | None, began: float) -> float | None:
    """When a run has to end whose command began at `began`, by `time.monotonic`; None without a
    budget.

    time_budget: in seconds. What came before the stages (reading data, asking nodes, starting Ray)
    has taken of it, but at most `PREPARED`. A driver that has started itself again keeps the end
    that it had.
    """
    if time_budget is None:
        return None
    end = max(began + time_budget, time.monotonic() + (1 - PREPARED) * time_budget)
    if os.environ.get(COUNT, "0") != "0" and DEADLINE in os.environ:
        end = min(end, float(os.environ[DEADLINE]))
    os.environ[DEADLINE] = repr(end)
    return end


def restart(interruption: Interruption, what: str, folder: RunFolder) -> None:
    """Restart this run's driver; after `RESTARTS` times give up with one line and exit code 1."""
    time.sleep(SIGNAL_LAG_S)  # it may have died of a signal to the whole group, not by accident
    if interruption.signalled:
        return
    done = int(os.environ.get(COUNT, "0"))
    script = Path(sys.argv[0]).resolve()
    if done >= RESTARTS or script.name != PROG:
        _say(2, f"{PROG}: Ray's {what} died {done + 1} times: nothing finished is lost")
        interruption.leave(1)
    show_cursor()
    interruption.before_leaving()
    _say(1, f"Ray's {what} died: starting again from the journal ({done + 1} of {RESTARTS})")
    os.environ[COUNT] = str(done + 1)
    os.execv(
        sys.executable,
        [sys.executable, str(script), "--resume", "--run", str(folder.path)],
    )


def _say(stream: int, line: str) -> None:
    os.write(stream, f"{line}\n".encode(errors="replace"))
