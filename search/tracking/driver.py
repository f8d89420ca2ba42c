"""The driver's side of MLflow: start the courier, ask how far it is, say goodbye.

The driver never imports mlflow, never waits for a store and never fails because of one: it writes
the journal, and the courier (a process of its own) delivers it. What has not arrived by the end
stays in the run folder for `run_search.py sync RUN`, or for the next run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from search.tracking.address import sqlite_file
from search.tracking.database import check_room
from search.tracking.memory import DeliveryStatus, delivery_status, is_delivered, known_uri
from search.tracking.reach import unreachable
from search.tracking.where import (
    COURIER_LOG,
    EXPERIMENT,
    check_tracking_uri,
    courier_environment,
    kept_uri,
)


class Tracker:
    """A running courier for the run in `run_dir`; use as a context manager, or start and close.

    Nothing here raises because of MLflow, and nothing blocks beyond the seconds asked for.
    """

    def __init__(
        self,
        run_dir: Path | str,
        uri: str,
        *,
        last_effort_s: float = 10.0,
        interval_s: float = 2.0,
    ) -> None:
        self.run_dir = Path(run_dir).resolve()
        self.uri = kept_uri(uri)
        self.last_effort_s, self.interval_s = last_effort_s, interval_s
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble: str | None = None  # why the courier could not be started

    def start(self) -> None:
        """Start the courier; it ends on its own when this process does."""
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        follow = ["--follow", "--last-effort", str(self.last_effort_s)]
        follow += ["--interval", str(self.interval_s)]
        try:
            self._process, self._trouble = _courier(self.run_dir, self.uri, follow), None
        except OSError as error:
            self._process, self._trouble = None, _no_start(error)

    @property
    def pid(self) -> int | None:
        """Process id of the courier."""
        return self._process.pid if self._process else None

    def status(self) -> DeliveryStatus:
        """How far delivery is."""
        return _told(delivery_status(self.run_dir, self.uri), self._trouble)

    def flush(self, deadline_s: float) -> DeliveryStatus:
        """Ask for delivery now and wait until it is done, at most `deadline_s` seconds."""
        end = time.monotonic() + deadline_s
        self._say("flush")
        while not self._delivered() and time.monotonic() < end and self._alive():
            time.sleep(0.05)
        return self.status()

    def _delivered(self) -> bool:
        return is_delivered(self.run_dir, self.uri)

    def close(self, deadline_s: float | None = None) -> DeliveryStatus:
        """Let the courier deliver what is left, at most `deadline_s` seconds, and end it."""
        seconds = self.last_effort_s if deadline_s is None else deadline_s
        end = time.monotonic() + seconds
        if not self._alive() and not self._delivered():
            self.start()  # it was killed by someone
        if self._finish(seconds) and not self._delivered():
            self.start()  # it was killed just now, and did not look dead before
            self._finish(max(0.0, end - time.monotonic()))
        return self.status()

    def _finish(self, seconds: float) -> bool:
        """Let the courier end within `seconds`; returns whether a signal of others ended it."""
        process, self._process = self._process, None
        if process is None:
            return False
        with suppress(OSError, ValueError):
            assert process.stdin is not None
            process.stdin.write(f"close {seconds}\n".encode())
            process.stdin.close()
        try:
            return process.wait(seconds + 3.0) < 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _say(self, word: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError, ValueError):  # it is dead: `close` will deal with that
                self._process.stdin.write(word.encode() + b"\n")
                self._process.stdin.flush()

    def __enter__(self) -> Tracker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sync(
    run_dir: Path | str,
    uri: str | None = None,
    *,
    patience_s: float = 20.0,
) -> DeliveryStatus:
    """Deliver what MLflow lacks of a run; gives up after `patience_s` seconds without progress.

    uri: the store; None: the one that the run's records went to so far. A store that has nothing of
    the run yet gets all of it.
    """
    run_dir = Path(run_dir).resolve()
    uri = check_tracking_uri(uri or known_uri(run_dir))
    if (why := unreachable(uri)) is not None:
        status = delivery_status(run_dir, uri)
        return replace(status, delivered=False, pending=max(1, status.pending), reason=why)
    if (file := sqlite_file(uri)) is not None:
        check_room(file)
    more = ["--patience", str(patience_s), "--end-with-stdin"]
    try:
        process = _courier(run_dir, uri, more)
    except OSError as error:
        return _told(delivery_status(run_dir, uri), _no_start(error))
    assert process.stdin is not None
    with process.stdin:  # closing it ends the courier, as the end of this process does
        process.wait()
    return delivery_status(run_dir, uri)


def _no_start(error: OSError) -> str:
    """Why no courier could be started, in words."""
    why = error.strerror or type(error).__name__
    what = f"{error.filename}: {why}" if error.filename else why
    return f"the process that delivers could not be started: {what}"


def _told(status: DeliveryStatus, trouble: str | None) -> DeliveryStatus:
    """`status` with the reason why nothing more arrives."""
    return status if trouble is None or status.delivered else replace(status, reason=trouble)


def _courier(run_dir: Path, uri: str, more: list[str]) -> subprocess.Popen[bytes]:
    """A courier process, out of reach of the terminal's Ctrl-C, with its output in courier.log.
    Raises OSError where it cannot start.
    """
    # -P: modules are not looked up in the current folder, which may be any.
    courier = [sys.executable, "-P", "-m", "search.tracking.courier", str(run_dir)]
    courier += ["--experiment", EXPERIMENT, *more]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    try:
        log = os.open(run_dir / COURIER_LOG, flags, 0o644)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        return subprocess.Popen(
            courier,
            env=courier_environment(uri),
            cwd=run_dir,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
