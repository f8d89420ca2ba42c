"""`fetch`: what it makes of a run here, and what it leaves alone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from search.cli import fetch as module
from search.cli.main import main
from search.machine.pack_run import pack
from search.record.folder import RunFolder
from tests.factories import FakeRun

HEAD = "http://head:8265"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """A run on the head of a cluster, with one trial so far."""
    run = FakeRun(tmp_path / "head", "first")
    run.trial()

    def archive_of(address: str, folder: str, _note: Any) -> bytes:
        assert (address, folder) == (HEAD, str(run.path))
        archive = io.BytesIO()
        pack(run.path, archive)
        return archive.getvalue()

    monkeypatch.setattr(module, "archive_of", archive_of)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", HEAD)
    monkeypatch.chdir(tmp_path)
    return run


def content(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def fetch(there: FakeRun, *more: str) -> int:
    return main(["fetch", str(there.path), *more])


def test_a_run_is_fetched_while_it_works_and_again_at_its_end(
    there: FakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "runs" / "first"
    assert fetch(there) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(here)
    assert "has not finished there" in lines[1]
    assert "sync first" in lines[2]
    assert content(here) == content(there.path)
    (here / "report.html").write_text("made here")
    there.trial()
    there.finish(model=True)
    assert fetch(there, "--from", HEAD) == 0
    assert "has not come" not in capsys.readouterr().out
    assert content(here) == content(there.path)
    assert [path.name for path in here.parent.iterdir()] == ["first"]
    assert main(["report", "first"]) == 0


def test_another_run_or_one_that_has_done_more_stays(
    there: FakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(there) == 0
    here = tmp_path / "runs" / "first"
    with (here / "journal.jsonl").open("ab") as file:
        file.write(b'{"event": "mine"}\n')
    before = content(here)
    capsys.readouterr()
    assert fetch(there) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "is another run, or has more than the one there: fetch into another --runs-dir" in said
    assert content(here) == before
    assert [path.name for path in here.parent.iterdir()] == ["first"]
    assert fetch(there, "--runs-dir", "elsewhere") == 0
    assert content(tmp_path / "elsewhere" / "first") == content(there.path)


def test_a_run_that_works_here_stays(
    there: FakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(there) == 0
    with RunFolder(tmp_path / "runs" / "first") as held:
        held.lock()
        assert fetch(there) == 2
    assert "a search with this name is running" in capsys.readouterr().err


def test_what_is_in_the_way_stays(
    there: FakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "notes.txt").write_text("mine")
    assert fetch(there) == 2
    assert "no run here" in capsys.readouterr().err
    assert (tmp_path / "runs" / "first" / "notes.txt").read_text() == "mine"
    assert main(["fetch", "/data/.."]) == 2
    assert "can't name a run" in capsys.readouterr().err


def test_if_the_new_one_cannot_take_its_place_the_old_one_stays(
    there: FakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(there) == 0
    here, rename = tmp_path / "runs" / "first", Path.rename
    before = content(here)
    there.trial()

    def fails(self: Path, target: Path) -> Path:
        if ".new-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    assert fetch(there) == 2
    assert content(here) == before
    assert [path.name for path in here.parent.iterdir()] == ["first"]
