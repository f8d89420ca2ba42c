"""The run folder: names that stay inside, one live driver, files that are never half-written."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError, UserError
from search.record.events import (
    EpochsReported,
    Reason,
    ReplicateRaced,
    SessionBegan,
    State,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.folder import RunFolder, check_name, default_names, save_arrays, write_atomic
from search.record.journal import StorageError
from search.record.tables import trials_table
from tests.factories import FakeRun

BAD = [
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "../up",
    "/etc",
    "a\\b",
    "a b",
    "-run",
    "a\n",
    "é",
    "a" * 101,
]


@pytest.mark.parametrize("name", BAD)
def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunFolder.create(tmp_path / "runs", name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@given(name=st.text(max_size=120))
def test_any_accepted_name_is_one_folder_deep(name: str) -> None:
    try:
        check_name(name)
    except ConfigError:
        return
    assert os.path.normpath(f"/runs/{name}") == f"/runs/{name}"
    assert os.path.dirname(f"/runs/{name}") == "/runs"  # noqa: PTH120


def test_default_names_are_valid_and_never_taken(tmp_path: Path) -> None:
    names = default_names("spaces/my space.yaml", "/data/a b.csv.gz")
    first = next(names)
    check_name(first)
    assert first.startswith("my_space-a_b-2")
    assert next(names) == f"{first}-2"
    assert next(default_names("../../..", "..")).startswith("run-run-2")
    assert next(default_names("été", "\udcff.csv")).startswith("t-run-2")


def test_searches_begun_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    made = [RunFolder.create_named(tmp_path / "runs", iter(["a", "a-2", "a-3"])) for _ in range(3)]
    assert [folder.name for folder in made] == ["a", "a-2", "a-3"]
    with pytest.raises(ConfigError, match="no name is free"):
        RunFolder.create_named(tmp_path / "runs", iter(["a", "a-2", "a-3"]))
    for folder in made:
        folder.close()


def test_a_run_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path / "runs", "a") as folder:
        folder.write("spec.yaml", "name: a")
        folder.journal().close()
        folder.discard()
    assert list((tmp_path / "runs").iterdir()) == []
    with RunFolder.create(tmp_path / "runs", "a") as folder, folder.journal() as journal:
        journal.append(SessionBegan())
        folder.discard()  # it has begun: kept
    assert (folder.path / "journal.jsonl").is_file()


def test_a_taken_or_impossible_place_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "runs" / "notes").mkdir(parents=True)
    (tmp_path / "runs" / "notes" / "a.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for runs_dir, name, words in (
        ("file", "a", "is a file"),
        ("file/deeper", "a", "is a file"),
        (".", "file", "in the way"),
        (".", "circle", "in the way"),
        ("circle", "a", "circle"),
        ("runs", "notes", "holds a.txt and is not a run"),
        ("runs", "x/y", "can't name a run"),
        ("n" * 300, "a", "--runs-dir"),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            RunFolder.check_free(tmp_path / runs_dir, name)
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_no_run_is_made_below_a_name_that_is_no_text(tmp_path: Path, monkeypatch) -> None:
    """Tune's writing of files would fail, with a traceback, after the folder was made."""
    place = tmp_path / os.fsdecode(b"a\xff")
    place.mkdir()
    monkeypatch.chdir(place)
    for runs_dir in ("runs", str(place), str(tmp_path / os.fsdecode(b"b\xfe"))):
        with pytest.raises(ConfigError, match="not UTF-8") as caught:
            RunFolder.check_free(runs_dir, "a")
        assert str(caught.value).isprintable()
    assert list(place.iterdir()) == []
    RunFolder.check_free(tmp_path, "a")  # where one is does not matter


def test_no_run_is_made_in_the_folder_of_a_job(tmp_path: Path, monkeypatch) -> None:
    job = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    job.mkdir(parents=True)
    monkeypatch.chdir(job)
    for runs_dir in ("runs", "deeper/runs", str(job)):
        with pytest.raises(ConfigError, match="folder that Ray made for this job") as caught:
            RunFolder.check_free(runs_dir, "a")
        assert "\n" not in str(caught.value)
    RunFolder.check_free(tmp_path / "runs", "a")
    assert list(job.iterdir()) == []


def test_an_existing_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "a") as folder, folder.journal() as journal:
        journal.append(SessionBegan())
    with pytest.raises(
        ConfigError, match=r"--resume --run a --runs-dir.*--run a --runs-dir .* --extend 20"
    ):
        RunFolder.create(tmp_path, "a")
    RunFolder.open(tmp_path, "a", lock=True).close()
    RunFolder.open(tmp_path / "elsewhere", str(tmp_path / "a")).close()


def test_a_run_that_died_before_its_first_line_can_be_created_again(tmp_path: Path) -> None:
    with RunFolder.create(tmp_path, "a") as folder:
        folder.journal().close()
    RunFolder.create(tmp_path, "a").close()


def test_a_missing_run_names_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run here: expected a folder with"):
        RunFolder.open(tmp_path, "a")
    with RunFolder.create(tmp_path, "b") as folder, folder.journal() as journal:
        journal.append(SessionBegan())
    with pytest.raises(ConfigError, match="expected one of b"):
        RunFolder.open(tmp_path, "a")
    with pytest.raises(ConfigError):
        RunFolder.open(tmp_path, "..")


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    outside, runs = tmp_path / "outside", tmp_path / "runs"
    outside.mkdir()
    runs.mkdir()
    (runs / "a").symlink_to(outside)
    with pytest.raises(ConfigError, match="a link to"):
        RunFolder.create(runs, "a")
    assert list(outside.iterdir()) == []
    with RunFolder.create(runs, "b") as folder:
        (folder.path / "model").symlink_to(outside)
        with pytest.raises(ConfigError, match="outside the run folder"):
            folder.file("model", "weights.pt")
        with pytest.raises(ConfigError, match="outside the run folder"):
            folder.file("..", "x")
        (folder.path / "best.json").symlink_to(outside / "victim")
        folder.write("best.json", "{}")  # replaces the link itself
    assert list(outside.iterdir()) == []
    assert not (runs / "b" / "best.json").is_symlink()


HOLD = """
import sys, time
from search.record.events import SessionBegan
from search.record.folder import RunFolder
folder = RunFolder.create(sys.argv[1], "a")
with folder.journal() as journal:
    journal.append(SessionBegan())
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_driver_is_refused_and_a_dead_one_is_no_obstacle(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "held\n"
        folder = RunFolder.open(tmp_path, "a")
        assert folder.alive()
        for attempt in (
            lambda: RunFolder.create(tmp_path, "a"),
            lambda: RunFolder.open(tmp_path, "a", lock=True),
        ):
            with pytest.raises(ConfigError, match=rf"is running \(process {child.pid}\)"):
                attempt()
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert not folder.alive()
    (folder.path / ".best.json.99.tmp").write_text("half")
    folder.lock()
    assert folder.alive()
    assert not (folder.path / ".best.json.99.tmp").exists()
    folder.close()


def test_the_lock_ends_with_the_folder_object(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "a")
    with folder.journal() as journal:
        journal.append(SessionBegan())
    with pytest.raises(ConfigError, match="is running"):
        RunFolder.open(tmp_path, "a", lock=True)
    folder.close()
    RunFolder.open(tmp_path, "a", lock=True).close()


def test_what_cannot_be_written_is_one_line_and_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written") as caught:
        write_atomic(tmp_path / "missing" / "f", "x")
    assert "\n" not in str(caught.value)
    with pytest.raises(StorageError):
        write_atomic("/proc/f", "x")
    (tmp_path / "f").mkdir()  # a directory cannot be replaced by a file
    with pytest.raises(StorageError):
        write_atomic(tmp_path / "f", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_an_unwritable_runs_dir_is_one_line() -> None:
    with pytest.raises(UserError, match=r"can't be created"):
        RunFolder.create("/proc/runs", "a")


def test_arrays_come_back(tmp_path: Path) -> None:
    save_arrays(tmp_path / "race" / "x.npz", users=np.arange(3, dtype=np.int32), values=np.ones(3))
    with np.load(tmp_path / "race" / "x.npz", allow_pickle=False) as stored:
        assert stored["users"].tolist() == [0, 1, 2]
        assert stored["values"].dtype == np.float64


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_say_what_the_journal_says(tmp_path: Path) -> None:
    columns = ["epoch", "loss", "map@50", "train_seconds", "eval_seconds"]
    with RunFolder.create(tmp_path, "a") as folder, folder.journal() as journal:
        journal.append(SessionBegan())
        for number, params in enumerate([{"lr": 0.1, "loss": "bpr"}, {"loss": "=1+1", "n": 3}]):
            name = f"t{number}"
            journal.append(
                TrialMade(id=name, number=number, params=params, config=params, seed=5, time=1e9)
            )
            journal.append(TrialBegan(id=name, attempt=1, time=1e9 + 0.5))
            row = [1, 0.1 + 0.2, 1 / 3, 0.5, 0.125]
            journal.append(
                EpochsReported(id=name, attempt=1, columns=columns, rows=[row], time=1e9 + 2)
            )
        journal.append(
            TrialEnded(id="t0", state=State.COMPLETE, value=1 / 3, best_epoch=1, epochs=1)
        )
        journal.append(
            TrialEnded(
                id="t1",
                state=State.FAILED,
                reason=Reason.ERROR,
                error='Trace,\n  "x"\nBoom: no',
                epochs=1,
            )
        )
        journal.append(
            ReplicateRaced(config_id="t0", replicate=1, split_seed=9, value=0.5, best_epoch=2)
        )
        journal.append(
            ReplicateRaced(config_id="t0", replicate=0, split_seed=8, value=0.25, best_epoch=1)
        )
        folder.write_tables()
        rows = read_csv(folder.path / "trials.csv")
        epochs = read_csv(folder.path / "epochs.csv")
        race = read_csv(folder.path / "race.csv")
        best = json.loads((folder.path / "best.json").read_text())
    assert [r["id"] for r in rows] == ["t0", "t1"]
    assert rows[0]["started"] == "2001-09-09T01:46:40.500Z"
    assert float(rows[0]["value"]) == 1 / 3
    assert (rows[0]["param.lr"], rows[1]["param.lr"], rows[1]["param.n"]) == ("0.1", "", "3")
    assert rows[1]["error"] == "Boom: no"
    assert float(rows[0]["busy_s"]) == 0.625
    assert float(epochs[0]["loss"]) == 0.1 + 0.2
    assert list(epochs[0]) == ["id", *columns]
    assert [r["value"] for r in race] == ["0.25", "0.5"]
    assert best["id"] == "t0"


def test_tables_say_where_trials_ran_if_that_is_known(tmp_path: Path) -> None:
    with closing(FakeRun(tmp_path, "here")) as here:
        here.trial()
        columns = list(trials_table(here.folder.state()).columns)
    assert not {"node", "device"} & set(columns)
    with closing(FakeRun(tmp_path, "there")) as there:
        for node, device in (("w1 (10.0.0.2)", "cuda"), (None, None)):
            name = there.begin()
            there.journal.append(TrialBegan(id=name, attempt=1, node=node))
            there.over(name, State.COMPLETE, value=0.5, device=device)
        table = trials_table(there.folder.state())
    at = [table.columns.index(name) for name in ("attempt", "node", "device", "param.lr")]
    assert at == list(range(at[0], at[0] + 4))
    assert [[row[i] for i in at[1:3]] for row in table.rows] == [
        ["w1 (10.0.0.2)", "cuda"],
        [None, None],
    ]
