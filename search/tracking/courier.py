"""The courier: a process that follows one run's journal and brings it to MLflow.

`python -m search.tracking.courier RUN_DIR --follow`, started by the driver (`driver.py`), which it
outlives by a last, limited effort; without `--follow` it delivers what is there and ends. Its stdin
is a pipe from the process that started it, so that it notices the end of that process, however it
ends. The address of the store is in MLFLOW_TRACKING_URI, since a list of processes would show a
password in an argument. It runs at low priority, ignores Ctrl-C, and may be killed at any moment.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from recsys.errors import InputError
from recsys.safe_files import locked
from search.guard import end_with_parent
from search.record.folder import RunFolder
from search.tracking.delivery import RunDelivery
from search.tracking.memory import Delivered
from search.tracking.store import open_store, short
from search.tracking.where import COURIER_LOCK, DELIVERY, left_behind
from search.words import hide_password

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
TRIES_FOR_OTHERS = 5  # of each earlier run whose records did not all arrive
BUSY_SHARE = 0.2  # of one core at most: the machine belongs to the trials


class Control:
    """What the driver says on stdin: `flush`, `close SECONDS`, or end of file (it died)."""

    def __init__(self, last_effort_s: float) -> None:
        self.wake = threading.Event()
        self.deadline: float | None = None
        self._last_effort_s = last_effort_s
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def closing(self) -> bool:
        """Whether the driver has asked for the end or is gone: then a last effort is made."""
        return self.deadline is not None

    def late(self) -> bool:
        """Whether the last effort is over."""
        return self.deadline is not None and time.monotonic() > self.deadline

    def _listen(self) -> None:
        with suppress(OSError, ValueError):
            for line in sys.stdin:
                word, _, seconds = line.strip().partition(" ")
                if word == "close":
                    self._close(float(seconds))
                self.wake.set()
        if not self.closing:
            self._close(self._last_effort_s)
        self.wake.set()

    def _close(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        # A request that hangs must not delay the end; every step of a delivery can be repeated.
        watchdog = threading.Timer(seconds + 1.0, os._exit, [3])
        watchdog.daemon = True
        watchdog.start()


class Courier:
    """One run's deliveries, with patience for the store."""

    def __init__(self, run_dir: Path, uri: str, experiment: str) -> None:
        self.run_dir, self.uri, self.experiment = run_dir, uri, experiment
        self._delivery: RunDelivery | None = None
        self._said = ""
        self._failures: Counter[Path] = Counter()  # by the folder of an earlier run

    def attempt(self) -> bool:
        """Make one pass; False if it failed, for a reason in delivery.json and in the log."""
        try:
            # It is opened again after every failure: another store may be at the address by now.
            store = (
                self._delivery.store if self._delivery else open_store(self.uri, self.experiment)
            )
            if self._delivery is None:
                self._delivery = RunDelivery(self.run_dir, store, self.experiment)
            self._delivery.run_pass()
        except InputError:
            raise
        except Exception as error:
            if self._delivery is None:
                self._note(error)
            self._say(short(error))
            self._delivery = None
            return False
        self._say("; ".join(self._delivery.done.problems.values()))
        return True

    def progress(self) -> tuple[int, int, bool]:
        """A value that changes as long as delivery makes progress."""
        record = Delivered.load(self.run_dir, self.uri, self.experiment)
        sent = sum(child.rows + child.ended for child in record.children.values())
        return record.offset, sent + len(record.artifacts), record.complete

    def deliver_others(self, control: Control) -> bool:
        """Deliver what earlier runs in the same folder of runs could not; returns whether one of
        them is to be tried again. What a run still lacks then is in its delivery.json, with why.
        """
        again = False
        for other in sorted(self.run_dir.parent.glob(f"*/{DELIVERY}")):
            folder = other.parent
            if control.closing or folder == self.run_dir or RunFolder(folder).alive():
                continue
            if self._failures[folder] == TRIES_FOR_OTHERS:
                continue
            try:
                self._deliver_other(folder, control)
            except Exception:
                self._failures[folder] += 1
                again |= self._failures[folder] < TRIES_FOR_OTHERS
        return again

    def _deliver_other(self, folder: Path, control: Control) -> None:
        with locked(folder / COURIER_LOCK, lambda: False) as sole:
            record = json.loads((folder / DELIVERY).read_bytes())
            if sole and not record["complete"] and record["uri"] == self.uri:
                sweep(folder)
                store = open_store(self.uri, record["experiment"])
                delivery = RunDelivery(folder, store, record["experiment"], lambda: control.closing)
                delivery.run_pass()  # until this courier's own run needs it

    def _note(self, error: Exception) -> None:
        """Keep in delivery.json why there is no store."""
        record = Delivered.load(self.run_dir, self.uri, self.experiment)
        record.error, record.complete = short(error), False
        with suppress(OSError):
            record.save(self.run_dir)

    def _say(self, message: str) -> None:
        """Log a message once, not at every attempt."""
        if message and message != self._said:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            sys.stderr.write(f"{stamp} {hide_password(message)}\n")
            sys.stderr.flush()
        self._said = message


class Pauses:
    """How long to wait before another attempt: ever longer, but not where the last one got further.

    A proxy or server that now and then resets a connection then costs half a second each time; one
    that is gone is asked every quarter of a minute.
    """

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._known = courier.progress()
        self.begin()

    def begin(self) -> None:
        """Start from the shortest pause again: the store answered."""
        self._next, self._since = FIRST_PAUSE_S, time.monotonic()

    def failed(self) -> float:
        """Seconds until the attempt after one that failed."""
        now = self._courier.progress()
        if now != self._known:
            self._known = now
            self.begin()
        pause = self._next
        self._next = min(2 * pause, LONGEST_PAUSE_S)
        return pause

    @property
    def without_progress(self) -> float:
        """Seconds since an attempt last got further."""
        return time.monotonic() - self._since


def follow(courier: Courier, control: Control, interval_s: float) -> None:
    """Deliver until the driver is done and all has arrived, or the last effort is over."""
    pauses, others = Pauses(courier), True
    while True:
        closing, started = control.closing, time.monotonic()
        control.wake.clear()
        good = courier.attempt()
        if good and others and not control.closing:
            others = courier.deliver_others(control)
        if (good and closing) or control.late():
            return
        spent = time.monotonic() - started
        if good:
            pauses.begin()
            seconds = min(max(interval_s, spent / BUSY_SHARE), LONGEST_PAUSE_S)
        else:
            pause = pauses.failed()
            seconds = min(pause, 1.0) if control.closing else pause
        if not (closing and good):
            control.wake.wait(seconds)


def sweep(run_dir: Path) -> None:
    """Remove what a courier that was killed has left in a run folder."""
    for folder in left_behind(run_dir):
        shutil.rmtree(folder, ignore_errors=True)


def deliver_once(courier: Courier, patience_s: float) -> None:
    """Deliver what is there; give up after `patience_s` seconds without progress."""
    pauses = Pauses(courier)
    while not courier.attempt():
        pause = pauses.failed()
        if pauses.without_progress > patience_s:
            return
        time.sleep(pause)


def main(argv: Sequence[str]) -> int:
    """Entry point of the process; also 0 where the store did not answer, which is no failure."""
    parser = argparse.ArgumentParser(prog="search.tracking.courier")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--tracking-uri", default=os.environ.get("MLFLOW_TRACKING_URI"))
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--last-effort", type=float, default=10.0)
    parser.add_argument("--interval", type=float, default=2.0)
    parser.add_argument("--patience", type=float, default=20.0)
    parser.add_argument("--end-with-stdin", action="store_true")
    options = parser.parse_args(argv)
    if not options.tracking_uri:
        parser.error("--tracking-uri is missing")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(5)  # more, and a machine full of trials would starve it
    if options.end_with_stdin:
        end_with_parent()
    courier = Courier(options.run_dir, options.tracking_uri, options.experiment)
    end = time.monotonic() + options.patience
    control = Control(options.last_effort) if options.follow else None

    def wait() -> bool:
        return not control.late() if control else time.monotonic() < end

    with locked(options.run_dir / COURIER_LOCK, wait) as sole:
        if not sole:
            sys.stderr.write("another courier is at work on this run\n")
            return 0
        sweep(options.run_dir)
        if control:
            follow(courier, control, options.interval)
        else:
            deliver_once(courier, options.patience)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
