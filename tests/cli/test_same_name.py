"""A run name that is taken: refused in one line, and the run that has it is not touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search.cli.main import main
from tests.factories import FakeRun

NEW = ("--space", "smoke", "--data", "demo", "--run", "one")


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call the command line in this process; returns the one line it leaves on stderr."""
    where = ("--runs-dir", str(tmp_path), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")

    def call(*args: str) -> str:
        try:
            code = main([*args, *where])
        except SystemExit as stop:
            code = int(stop.code or 0)
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 2
        return line

    return call


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_while_it_runs(tmp_path: Path, refused: Callable[..., str]) -> None:
    run = FakeRun(tmp_path, "one")  # holds the lock as a search does
    run.trial()
    before = contents(run.path)
    for args in (NEW, ("--resume", "--run", "one"), ("--run", "one", "--extend", "5")):
        line = refused(*args)
        for words in ("--run one", "is running", "choose another"):
            assert words in line
    assert contents(run.path) == before
    run.close()


def test_when_it_is_finished(tmp_path: Path, refused: Callable[..., str]) -> None:
    run = FakeRun(tmp_path, "one")
    run.trial()
    run.finish()
    run.close()
    before = contents(run.path)
    line = refused(*NEW)
    for words in ("this run exists", "--resume", "--extend", "choose another"):
        assert words in line
    assert contents(run.path).keys() == before.keys()
    assert contents(run.path)["journal.jsonl"] == before["journal.jsonl"]
