"""The end of a session: the first error there was is the one that is said."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.machine.beat import beat
from search.record.events import Status
from search.record.journal import StorageError
from search.run import session as session_module
from search.run.session import Session, flush_s
from tests.factories import FakeRun

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session without stages; whoever writes its tables at the end finds a full disk."""
    run = FakeRun(tmp_path / "runs", "r")
    run.journal.close()
    tracker = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(session_module, "Tracker", lambda *_: tracker)
    for step in ("_begin", "_stages", "_go"):
        monkeypatch.setattr(Session, step, lambda *_: None)
    monkeypatch.setattr(Session, "_cluster", lambda _: contextlib.nullcontext())
    nothing: Any = SimpleNamespace(
        live=contextlib.nullcontext, tracking_uri="nowhere", system_metrics=False
    )

    def full(*_: object) -> None:
        raise StorageError.at(run.path / "trials.csv", FULL)

    monkeypatch.setattr(run.folder, "write_tables", full)
    return Session(nothing, nothing, nothing, nothing, run.folder, nothing)


def test_a_disk_that_fills_at_the_end_is_said(session: Session) -> None:
    with pytest.raises(StorageError, match=r"trials\.csv: cannot be written \(No space left"):
        session.drive()


def test_a_full_disk_does_not_hide_what_stopped_the_run(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Session, "_go", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        session.drive()


def test_a_disk_that_fills_in_a_stage_is_said_as_itself(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(FULL.errno, FULL.strerror, "/tmp/ray/x")

    monkeypatch.setattr(Session, "_go", fail)
    with pytest.raises(StorageError, match=r"/tmp/ray/x: cannot be written"):
        session.drive()


# --- MLflow, which may be away --------------------------------------------------------------------


class Screen:
    """What is shown, in its order; `said` is set by a note."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.said = threading.Event()

    def note(self, line: str) -> None:
        self.lines.append(line)
        self.said.set()

    def summary(self, rows: list[Any]) -> None:
        self.lines.append(f"summary of {rows}")


class Away:
    """A tracker whose store never answers: it waits until somebody has said so."""

    registered, delivered = None, False

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    def close(self, seconds: float) -> Away:
        assert self.screen.said.wait(60), "nothing was said"
        self.screen.lines.append(f"closed after {seconds:.0f} s at most")
        return self

    def sentence(self) -> str:
        return "MLflow lacks this run"


@pytest.mark.parametrize("status", [Status.DONE, Status.FAILED])
def test_the_summary_does_not_wait_for_mlflow_and_the_wait_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: Status
) -> None:
    run = FakeRun(tmp_path / "runs", "r")
    screen: Any = Screen()
    away: Any = Away(screen)
    for step in ("_checked", "_write_files"):
        monkeypatch.setattr(Session, step, lambda _, *given: given[-1])
    for name in ("read_result", "read_run"):
        monkeypatch.setattr(session_module, name, lambda _: {})
    monkeypatch.setattr(session_module, "leak_lines", lambda _: ["leak"])
    monkeypatch.setattr(session_module, "result_rows", lambda *_: ["rows"])
    monkeypatch.setattr(session_module, "SAY_AFTER_S", 0.0)
    nothing: Any = None
    session = Session(nothing, nothing, nothing, nothing, run.folder, screen)
    assert session._end(run.journal, None, away, status) == status
    seconds = 60 if status == Status.DONE else 20
    assert screen.lines == [
        *(["summary of ['leak', 'rows']"] if status == Status.DONE else []),
        f"waiting for MLflow, at most {seconds} s more",
        f"closed after {seconds} s at most",
        "MLflow lacks this run",
    ]


def test_the_wait_for_mlflow_is_bounded_by_the_time_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module.time, "monotonic", lambda: 1000.0)

    def run(deadline: float | None, budget: float | None = 120.0) -> Any:
        return SimpleNamespace(deadline=deadline, settings=SimpleNamespace(time_budget=budget))

    assert flush_s(run(None, None), Status.DONE) == flush_s(None, Status.DONE) == 60
    assert flush_s(run(1300.0), Status.DONE) == 60
    assert flush_s(run(1001.0), Status.DONE) == pytest.approx(13)  # a tenth of the budget more
    assert flush_s(run(900.0), Status.DONE) == 5
    assert flush_s(run(900.0), Status.FAILED) == 5
    assert flush_s(run(900.0), Status.INTERRUPTED) == 1


def test_a_session_has_the_end_that_its_command_had(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(session_module, "Stages", lambda **given: made.update(given))
    monkeypatch.setattr(session_module, "resources_on", lambda *_: None)
    monkeypatch.setattr(session_module, "Size", SimpleNamespace(of=lambda _: None))
    known: Any = SimpleNamespace
    display = known(ends_in=lambda seconds: made.update(left=seconds))
    settings, split = known(time_budget=600.0), known(train=None)
    session = Session(known(split=None), settings, known(), split, known(), display)
    session.interruption.began -= 90
    session._stages(known(), known())
    assert made["deadline"] == pytest.approx(session.interruption.began + 600)
    assert made["left"] == pytest.approx(510, abs=20)


def test_a_beat_is_heard_until_its_block_ends() -> None:
    heard: list[float] = []
    third = threading.Event()

    def say(passed: float) -> None:
        heard.append(passed)
        if len(heard) == 3:
            third.set()

    with beat(say, 0.0, 0.01):
        assert third.wait(60)
    count = len(heard)
    assert heard[:3] == [0.0, 0.01, 0.02]
    third.clear()
    with beat(say, 3600.0):
        pass
    assert len(heard) == count
