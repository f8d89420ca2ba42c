"""The end of a session: the first error there was is the one that is said."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.record.journal import StorageError
from search.run import session as session_module
from search.run.session import Session
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
