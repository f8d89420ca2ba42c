"""A driver whose Ray died begins anew under the name by which it was called."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from search.run import restart as module
from search.run.restart import COUNT, RESTARTS, restart


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
