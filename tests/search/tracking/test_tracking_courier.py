"""The courier as a process: locked stores, two at once, dead drivers, its own death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from recsys.errors import ConfigError
from search.record.folder import RunFolder
from search.tracking.courier import TRIES_FOR_OTHERS, Control, Courier, Pauses, sweep
from search.tracking.delivery import EndedError, RunDelivery
from search.tracking.driver import Tracker, sync
from search.tracking.memory import Delivered, delivery_status
from search.tracking.store import import_mlflow, open_store
from search.tracking.verify import verify_delivery
from search.tracking.where import EXPERIMENT
from tests.factories import FakeRun
from tests.search.tracking.tracking_help import (
    LONG_S,
    active_runs,
    deliver,
    delivered_rows,
    ended,
    locked,
    sqlite_store,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_a_locked_store_delays_delivery_and_nothing_else(tmp_path: Path) -> None:
    """The lock is held until all trials are written: whoever waited for it would wait for ever."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    with Tracker(run.path, uri, interval_s=0.1) as tracker:
        assert tracker.flush(LONG_S).delivered
        with locked(uri):
            run.several(5)
            assert not tracker.flush(1).delivered
        run.finish()
        assert tracker.close(LONG_S).delivered
    run.close()
    assert verify_delivery(run.path, uri) == []


@pytest.mark.slow
def test_two_searches_make_one_store_and_do_not_mix(tmp_path: Path) -> None:
    """Both start on a store that does not exist yet."""
    uri = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    runs = [FakeRun(tmp_path / "runs", name, seed) for seed, name in enumerate("ab")]
    trackers = [Tracker(run.path, uri, interval_s=0.1) for run in runs]
    for tracker in trackers:
        tracker.start()
    for _ in range(4):
        for run in runs:
            run.several(2)
    for run in runs:
        run.finish()
    for run, tracker in zip(runs, trackers, strict=True):
        status = tracker.close(LONG_S)
        assert status.delivered, status
        run.close()
        assert verify_delivery(run.path, uri) == []
    trials = [f"t{n:04d}" for n in range(8)]
    assert active_runs(uri) == ["a", "b", *sorted(trials * 2)]


DRIVER = """
import os, signal, sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from search.tracking.driver import Tracker
from tests.factories import FakeRun
run = FakeRun(Path(sys.argv[1]), "a")
tracker = Tracker(run.path, sys.argv[2], interval_s=60, last_effort_s=250)
tracker.start()
print(tracker.pid, flush=True)
run.several(3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_dead_drivers_courier_delivers_and_ends(tmp_path: Path) -> None:
    uri = sqlite_store(tmp_path / "store")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path / "runs"), uri],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    wait_until(lambda: ended(pid))
    folder = RunFolder.open(tmp_path / "runs", "a", lock=True)
    assert delivery_status(folder.path, uri).delivered
    assert verify_delivery(folder.path, uri) == []
    folder.close()


SYNC = """
import sys, time
from search.tracking import driver as tracking
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
start = tracking._courier
def tell(*a):
    process = start(*a)
    print(process.pid, flush=True)
    return process
tracking._courier = tell
tracking.sync(Path(sys.argv[1]), sys.argv[2], patience_s=600)
"""


class _Overloaded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(503)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def overloaded() -> Iterator[str]:
    """The address of a server that never has time."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Overloaded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Scripted:
    """A courier whose progress after each failed attempt is given."""

    def __init__(self, progress: list[int]) -> None:
        self._progress = [0, *progress]

    def progress(self) -> tuple[int, int, bool]:
        return self._progress.pop(0), 0, False


def pauses_after(progress: list[int]) -> list[float]:
    """The pause after each failure, in seconds."""
    pauses = Pauses(cast("Courier", _Scripted(progress)))
    return [pauses.failed() for _ in progress]


def test_a_store_that_is_gone_is_asked_ever_less_often() -> None:
    assert pauses_after([0] * 7) == [0.5, 1, 2, 4, 8, 15, 15]


def test_an_attempt_that_got_further_is_soon_followed_by_another() -> None:
    """A proxy that resets every other request delays delivery, but does not bring it to a crawl."""
    assert pauses_after([1, 2, 3, 4]) == [0.5] * 4
    assert pauses_after([0, 0, 1, 1, 2]) == [0.5, 1, 0.5, 1, 0.5]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_the_courier_of_a_sync_ends_with_it(tmp_path: Path, overloaded: str, number: int) -> None:
    """The server has no time, and it would try for ten minutes."""
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    run.close()
    process = subprocess.Popen(
        [sys.executable, "-c", SYNC, str(run.path), overloaded],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert not ended(pid)
    process.send_signal(number)
    process.communicate(timeout=LONG_S)
    wait_until(lambda: ended(pid))


def finished(folder: Path) -> FakeRun:
    run = FakeRun(folder / "runs", "a")
    run.trial()
    run.finish()
    run.close()
    return run


def test_a_courier_that_cannot_be_started_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(tmp_path)
    gone = str(tmp_path / "gone" / "python")
    monkeypatch.setattr(sys, "executable", gone)
    uri = sqlite_store(tmp_path / "store")
    why = f"MLflow lacks all of this run (the process that delivers could not be started: {gone}: "
    said = sync(run.path, uri).sentence()
    assert f"{why}No such file or directory)" in said
    assert f"sync {run.path.name}" in said
    with Tracker(run.path, uri, last_effort_s=0.1) as tracker:
        assert why in tracker.status().sentence()
    assert why in tracker.close().sentence()


def test_ctrl_c_does_not_end_it(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    with Tracker(run.path, uri, interval_s=0.1) as tracker:
        assert tracker.flush(LONG_S).delivered
        assert tracker.pid is not None
        assert os.getpgid(tracker.pid) != os.getpgid(0)
        os.kill(tracker.pid, signal.SIGINT)
        run.trial()
        assert tracker.flush(LONG_S).delivered
    run.close()


def test_a_killed_courier_is_replaced_at_the_end(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    tracker = Tracker(run.path, uri, interval_s=0.1)
    tracker.start()
    wait_until(lambda: delivered_rows(run.path) > 0)
    assert tracker.pid is not None
    os.kill(tracker.pid, signal.SIGKILL)
    run.several(4)
    run.finish()
    assert tracker.close(LONG_S).delivered
    run.close()
    assert verify_delivery(run.path, uri) == []


def test_a_store_that_cannot_be_opened_is_known_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would try for a minute and a half, so it is not asked."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    run.close()
    deliver(run, uri)
    (tmp_path / "store" / "mlflow.db").write_bytes(b"no database at all" * 100)
    monkeypatch.setattr(import_mlflow(uri), "MlflowClient", lambda **_: pytest.fail("asked"))
    with pytest.raises(ConfigError, match="is not a SQLite database"):
        deliver(run, uri)


def test_only_one_courier_works_on_a_run(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(3)
    with Tracker(run.path, uri, interval_s=0.1) as tracker:
        assert tracker.flush(LONG_S).delivered
        run.several(3)
        status = sync(run.path, uri, patience_s=1.0)  # finds the other at work, and leaves it to it
        assert status.uri == uri
        assert tracker.flush(LONG_S).delivered
    run.close()
    assert "another courier" in (run.path / "courier.log").read_text()
    assert len(active_runs(uri)) == 7
    assert verify_delivery(run.path, uri) == []


def kill_at_random(tmp_path: Path, moments: int, seed: int) -> None:
    """Write a run while its courier is killed again and again; then compare everything.

    At most a dozen trials for each courier: on a busy machine none would ever have sent them all.
    """
    rng = np.random.default_rng(seed)
    run, uri = FakeRun(tmp_path / "runs", "a", seed), sqlite_store(tmp_path / "store")
    stop = threading.Event()
    enough = 0

    def write() -> None:
        while not stop.is_set():
            if run.number < enough:
                run.several(1)
            time.sleep(0.05)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(moments):
            enough = run.number + 12
            before = delivered_rows(run.path)
            tracker = Tracker(run.path, uri, interval_s=0.0)
            tracker.start()
            assert tracker.pid is not None
            wait_until(lambda n=before: delivered_rows(run.path) > n)
            time.sleep(rng.uniform(0, 0.5))
            os.kill(tracker.pid, signal.SIGKILL)
            if rng.random() < 0.3:  # and what it remembered is lost as well
                (run.path / "delivery.json").unlink(missing_ok=True)
            tracker._process.wait()  # type: ignore[union-attr]
            tracker._process.stdin.close()  # type: ignore[union-attr]
    finally:
        stop.set()
        writer.join()
    run.finish()
    run.close()
    assert sync(run.path, uri, patience_s=LONG_S).delivered
    assert verify_delivery(run.path, uri) == []
    assert len(active_runs(uri)) == run.number + 1


@pytest.mark.slow
def test_killed_twice_it_still_delivers_everything_once(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 2, seed=1)


@pytest.mark.faults
def test_killed_thirty_times_it_still_delivers_everything_once(tmp_path: Path) -> None:
    kill_at_random(tmp_path, 30, seed=2)


def test_another_run_s_delivery_ends_between_two_steps(tmp_path: Path) -> None:
    """The courier's own run comes first; the next pass goes on from there."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(5)
    run.finish()
    run.close()
    left = [3]

    def ends() -> bool:
        left[0] -= 1
        return left[0] < 0

    with pytest.raises(EndedError):
        RunDelivery(run.path, open_store(uri, EXPERIMENT), EXPERIMENT, ends).run_pass()
    sent = [child.ended for child in Delivered.load(run.path, uri, EXPERIMENT).children.values()]
    assert sent == [True] * 3
    assert RunDelivery(run.path, open_store(uri, EXPERIMENT), EXPERIMENT).run_pass()
    assert verify_delivery(run.path, uri) == []


@pytest.mark.parametrize("failures", [0, 2, TRIES_FOR_OTHERS])
def test_what_an_earlier_run_lacks_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """A request that a server refuses by chance left the rest of it for yet another search."""
    earlier, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    earlier.several(3)
    earlier.finish()
    earlier.close()
    Delivered(uri, EXPERIMENT).save(earlier.path)
    run_pass, left = RunDelivery.run_pass, [failures]

    def refused(self: RunDelivery) -> bool:
        left[0] -= 1
        if left[0] >= 0:
            raise RuntimeError("by chance")
        return run_pass(self)

    monkeypatch.setattr(RunDelivery, "run_pass", refused)
    own = FakeRun(tmp_path / "runs", "b")
    own.close()
    courier, control = Courier(own.path, uri, EXPERIMENT), SimpleNamespace(closing=False)
    asked = [courier.deliver_others(cast(Control, control)) for _ in range(TRIES_FOR_OTHERS + 1)]
    lost = failures == TRIES_FOR_OTHERS
    again = TRIES_FOR_OTHERS - 1 if lost else failures
    assert asked == [True] * again + [False] * (TRIES_FOR_OTHERS + 1 - again)
    assert delivery_status(earlier.path, uri).delivered is not lost


def test_what_a_killed_courier_has_left_is_swept(tmp_path: Path) -> None:
    copy = tmp_path / ".mlflow-ab" / "model"
    copy.mkdir(parents=True)
    (tmp_path / "journal.jsonl").touch()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]
