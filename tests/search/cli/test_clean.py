"""`clean`: frees what nothing reads, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.safe_files import locked
from search.cli.main import main
from search.record.folder import RunFolder
from search.stages.lists import lists_file
from search.tracking.where import COURIER_LOCK
from tests.factories import FakeRun

HALF = "race/.t0-1.npz.77-ab12.tmp"  # as a process that died while it wrote leaves it


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def run(home: Path, name: str, *, blend: bool) -> Path:
    made = FakeRun(home, name)
    made.trial()
    if blend:
        made.stage("blend")
    made.finish(model=True)
    made.close()
    for file in ("ray/trial/params.pkl", "race/t0-0.npz", "race/t0-0-lists.npz", HALF):
        path = made.path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
    return made.path


def test_what_nothing_reads_goes_and_all_else_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    decided, open_ = run(tmp_path, "a", blend=True), run(tmp_path, "b", blend=False)
    before = files(decided), files(open_)
    assert main(["clean", "--runs-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["a: 3.0 kB freed", "b: 2.0 kB freed", "5.0 kB freed in all"]
    gone = {"ray/trial/params.pkl", HALF}
    assert files(decided) == before[0] - gone - {"race/t0-0-lists.npz"}
    assert files(open_) == before[1] - gone  # a resume weighs the blend with these
    assert not (decided / "ray").exists()
    assert main(["clean", "a", "--runs-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing to remove\n"


def test_lists_go_under_both_names_that_they_have_had(tmp_path: Path) -> None:
    folder = run(tmp_path, "a", blend=True)
    now = lists_file(folder, "t0", 0)
    now.write_bytes(bytes(9))
    assert now.name != "t0-0-lists.npz"  # that of earlier versions, which `run` writes
    assert main(["clean", "--runs-dir", str(tmp_path)]) == 0
    assert sorted(path.name for path in now.parent.iterdir()) == ["t0-0.npz"]


def test_copies_of_couriers_that_were_killed_go_once_none_is_at_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(tmp_path, "a", blend=False)
    assert main(["clean", "--runs-dir", str(tmp_path)]) == 0
    copy = folder / ".mlflow-x1" / "model" / "weights.npz"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(bytes(500))
    with locked(folder / COURIER_LOCK) as sole:
        assert sole
        assert main(["clean", "--runs-dir", str(tmp_path)]) == 0
        assert copy.exists()
    assert main(["clean", "--runs-dir", str(tmp_path)]) == 0
    assert not (folder / ".mlflow-x1").exists()


def test_a_run_that_is_running_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run(tmp_path, "a", blend=True)
    with RunFolder(path) as held:
        held.lock()
        before = files(path)
        assert main(["clean", "a", "--runs-dir", str(tmp_path)]) == 0
        assert files(path) == before
    assert "a: is running, and is left as it is" in capsys.readouterr().out


def test_a_damaged_run_does_not_keep_the_others_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = [run(tmp_path, name, blend=True) for name in ("a", "c")]
    whole = run(tmp_path, "d", blend=True)
    for path in damaged:
        with (path / "journal.jsonl").open("a") as journal:
            journal.write("junk\n")
    before = [files(path) for path in damaged]
    assert main(["clean", "--runs-dir", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out.splitlines() == ["d: 3.0 kB freed", "3.0 kB freed in all"]
    lines = said.err.splitlines()
    assert len(lines) == 2
    assert all(f"{p}/journal.jsonl, line" in x for p, x in zip(damaged, lines, strict=True))
    assert [files(path) for path in damaged] == before
    assert not (whole / "ray").exists()


def test_only_the_runs_that_are_named(tmp_path: Path) -> None:
    first, second = run(tmp_path, "a", blend=True), run(tmp_path, "b", blend=True)
    assert main(["clean", "b", "--runs-dir", str(tmp_path)]) == 0
    assert (first / "ray").exists() and not (second / "ray").exists()


def test_no_folder_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["clean", "--runs-dir", str(tmp_path / "nowhere")]) == 2
    assert "no such folder" in capsys.readouterr().err
