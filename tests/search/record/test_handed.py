"""What is handed over is what the refit made, or the run has failed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.cli.main import main
from search.record.events import StageMarked, StageState, Status
from search.record.handed import disagreement, file_digest
from search.record.result import Decided, Handed, Refitted
from search.run.session import EXIT, Session
from search.space.load import load_spec
from tests.factories import FakeRun

WINNER = "t0000"
CATALOGUE = {"ids": "model/ids.json", "seen": "model/seen.npz"}


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """A run whose stages are done, but without a last line. Param "early": of a version that kept
    no digests of the catalogue.
    """
    monkeypatch.chdir(tmp_path)
    made = FakeRun(tmp_path / "runs", "r")
    made.folder.write("spec.yaml", load_spec("smoke").to_yaml())
    made.trial()
    made.finish(model=True)
    made.stage("search")
    made.stage("race", Decided(winner=WINNER, epochs=3))
    files = {"weights": "model/weights.pt", "config": "model/config.json"}
    files["submission"] = "submission.csv"
    if getattr(request, "param", None) != "early":
        files |= CATALOGUE
    digests = {name: file_digest(made.path / file) for name, file in files.items()}
    made.stage("refit", Refitted(rows=1, k=10, handed=Handed(trial=WINNER, **digests)))
    return made


def overwrite(name: str) -> Callable[[FakeRun], None]:
    return lambda run: (run.path / name).write_bytes(b"old")  # type: ignore[func-returns-value]


def remove(name: str) -> Callable[[FakeRun], None]:
    return lambda run: (run.path / name).unlink()


def reverse_ids(run: FakeRun) -> None:
    path = run.path / "model" / "ids.json"
    path.write_text(json.dumps({k: v[::-1] for k, v in json.loads(path.read_text()).items()}))


def empty_model(run: FakeRun) -> None:
    for path in (run.path / "model").iterdir():
        path.unlink()


def another_winner(run: FakeRun) -> None:
    run.stage("race", Decided(winner="t0007", epochs=3))


WRONG = pytest.mark.parametrize(
    ("change", "words"),
    [
        (overwrite("model/weights.pt"), "model/weights.pt is not the file that"),
        (overwrite("model/config.json"), "model/config.json is not the file that"),
        (overwrite("submission.csv"), "submission.csv is not the file that"),
        (remove("submission.csv"), "submission.csv cannot be read (No such file or directory)"),
        (remove("model/weights.pt"), "model does not hold the weights of one model"),
        (empty_model, "model does not hold the weights of one model"),
        (reverse_ids, "model/ids.json is not the file that"),
        (remove("model/ids.json"), "model/ids.json cannot be read (No such file or directory)"),
        (overwrite("model/seen.npz"), "model/seen.npz is not the file that"),
        (remove("model/seen.npz"), "model/seen.npz cannot be read (No such file or directory)"),
        (another_winner, "model is the model of t0000, but the winner is t0007"),
    ],
)


def put(name: str, content: bytes) -> Callable[[FakeRun], None]:
    return lambda run: (run.path / name).write_bytes(content)  # type: ignore[func-returns-value]


NO_CATALOGUE = pytest.mark.parametrize(
    ("change", "file"),
    [
        (remove("model/ids.json"), "ids.json"),
        (put("model/ids.json", b""), "ids.json"),
        (put("model/ids.json", b"[1, 2]"), "ids.json"),
        (put("model/ids.json", b'{"users": [1, 2], "items": [3]}'), "seen.npz"),
        (put("model/ids.json", b'{"users": [1], "items": [[1], {}]}'), "ids.json"),
        (put("model/ids.json", b'{"users": [1, 2, 3], "items": [7]}'), "seen.npz"),
        (put("model/ids.json", b"\xff\xfe"), "ids.json"),
        (put("model/seen.npz", b"PK\x03\x04 torn"), "seen.npz"),
        (put("model/seen.npz", b""), "seen.npz"),
        (remove("model/seen.npz"), "seen.npz"),
    ],
)


def end(run: FakeRun, status: Status) -> Status:
    """The end of a session of this run, with nobody to deliver to."""
    delivered: Any = SimpleNamespace(delivered=True, sentence=str, registered=None)
    tracker: Any = SimpleNamespace(close=lambda _s: delivered)
    nothing: Any = SimpleNamespace(summary=lambda _rows: None, live=contextlib.nullcontext)
    session = Session(nothing, nothing, nothing, nothing, run.folder, nothing)
    return session._end(run.journal, None, tracker, status)


def test_files_that_agree(run: FakeRun) -> None:
    assert disagreement(run.path, run.folder.state()) is None


def test_a_run_of_an_earlier_version_has_no_digests(run: FakeRun) -> None:
    run.stage("refit", Refitted(rows=1))
    (run.path / "submission.csv").unlink()
    assert disagreement(run.path, run.folder.state()) is None


@WRONG
def test_a_run_whose_files_are_others_has_failed(
    run: FakeRun,
    change: Callable[[FakeRun], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(run)
    assert end(run, Status.DONE) == Status.FAILED
    assert EXIT[Status.FAILED] == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    last = json.loads((run.path / "journal.jsonl").read_text().splitlines()[-1])
    assert (last["t"], last["status"]) == ("finish", "failed")


def test_a_run_whose_files_agree_is_done(run: FakeRun) -> None:
    assert end(run, Status.DONE) == Status.DONE


@WRONG
def test_export_refuses_files_of_another_model(
    run: FakeRun,
    change: Callable[[FakeRun], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(run)
    run.close()
    for options in ((), ("--k", "2")):
        assert main(["export", "r", "-o", "out.csv", *options]) == 2
        said = capsys.readouterr().err
        assert words in said or "has no" in said
        assert said.count("\n") == 1
    assert not Path("out.csv").exists()


@NO_CATALOGUE
@pytest.mark.parametrize("run", ["early"], indirect=True)
def test_a_catalogue_without_digests_must_be_one(
    run: FakeRun,
    change: Callable[[FakeRun], None],
    file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run of before has no digests of it; a resume makes it anew all the same."""
    run.close()
    assert main(["export", "r", "-o", "out.parquet"]) == 0
    Path("out.parquet").unlink()
    assert disagreement(run.path, run.folder.state()) is None
    change(run)
    capsys.readouterr()
    assert main(["export", "r", "-o", "out.parquet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"model/{file}" in line
    assert "makes it again" in line
    assert not Path("out.parquet").exists()
    assert disagreement(run.path, run.folder.state()) is not None


def test_a_journal_that_lost_its_end_does_not_vouch_for_the_files(
    run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run.close()
    journal = run.path / "journal.jsonl"
    first, second, *_ = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + second[:9])
    for options in (("-o", "out.csv"), ("-o", "out.csv", "--k", "2"), ("--vectors", "v")):
        assert main(["export", "r", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "journal.jsonl knows of no refit" in line
        assert "--resume --run" in line
    assert not Path("out.csv").exists()


def test_what_was_there_before_an_extension_is_exported_with_a_note(
    run: FakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run.journal.append(StageMarked(name="refit", state=StageState.START))
    run.close()
    assert main(["export", "r", "-o", "out.csv"]) == 0
    assert "before it was extended" in capsys.readouterr().out
