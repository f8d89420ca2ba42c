"""A driver whose Ray died begins anew under the name by which it was called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.run import restart as module
from search.run.restart import COUNT, DEADLINE, RESTARTS, deadline_of, restart


class LeftError(Exception):
    """The process would have ended or become another here."""


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Call `restart` as a program `name`; the words of the new process, or the exit code."""
    monkeypatch.setattr(module, "SIGNAL_LAG_S", 0.0)
    folder = SimpleNamespace(path=tmp_path / "runs" / "r")

    def call(name: str, signalled: bool = False):
        calls: list[object] = []

        def execv(_program: str, words: list[str]) -> None:
            calls.append(words)
            raise LeftError

        def leave(code: int) -> None:
            calls.append(code)
            raise LeftError

        interruption = SimpleNamespace(
            signalled=signalled, leave=leave, before_leaving=lambda: None
        )
        monkeypatch.setattr(os, "execv", execv)
        monkeypatch.setattr(sys, "argv", [str(tmp_path / name), "--space", "smoke"])
        monkeypatch.setattr(module, "PROG", "recsearch" if name == "recsearch" else "run_search.py")
        try:
            restart(interruption, "raylet", folder)  # type: ignore[arg-type]
        except LeftError:
            return calls
        return calls

    return call


@pytest.mark.parametrize("name", ["run_search.py", "recsearch"])
def test_it_is_called_as_before_and_resumes(begun, tmp_path, monkeypatch, capfd, name):
    monkeypatch.delenv(COUNT, raising=False)
    monkeypatch.setenv(COUNT, "0")
    run = str(tmp_path / "runs" / "r")
    assert begun(name) == [[sys.executable, str(tmp_path / name), "--resume", "--run", run]]
    assert os.environ[COUNT] == "1"
    assert "starting again from the journal (1 of 2)" in capfd.readouterr().out


def test_not_for_ever_not_as_another_program_and_not_on_a_signal(begun, monkeypatch, capfd):
    monkeypatch.setenv(COUNT, str(RESTARTS))
    assert begun("recsearch") == [1]
    assert (
        capfd.readouterr().err == "recsearch: Ray's raylet died 3 times: nothing finished is lost\n"
    )
    monkeypatch.setenv(COUNT, "0")
    assert begun("pytest") == [1]
    assert begun("recsearch", signalled=True) == []


def test_a_driver_that_starts_itself_again_keeps_the_end_of_its_budget(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    for name in (COUNT, DEADLINE):
        monkeypatch.delenv(name, raising=False)
    assert deadline_of(None, 1000.0) is None
    assert deadline_of(600.0, 1000.0) == 1600.0
    now[0] = 1400.0
    monkeypatch.setenv(COUNT, "1")
    assert deadline_of(600.0, 1400.0) == 1600.0
    assert deadline_of(100.0, 1400.0) == 1500.0
    monkeypatch.setenv(COUNT, "0")  # another run of the same process
    assert deadline_of(600.0, 1400.0) == 2000.0


def test_a_budget_is_counted_from_the_start_of_the_command(monkeypatch):
    """Reading data and starting Ray take of it, but at most a half: a search needs some of it."""
    monkeypatch.setattr(module.time, "monotonic", lambda: 1020.0)
    for name in (COUNT, DEADLINE):
        monkeypatch.delenv(name, raising=False)
    assert deadline_of(120.0, 1000.0) == 1120.0
    assert deadline_of(10.0, 1000.0) == 1025.0
