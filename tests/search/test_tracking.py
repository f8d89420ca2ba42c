"""A run in a real local MLflow store: all of it arrives, once, and says what the journal says."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.tracked import PARENT_TAG, clean
from search.tracking import (
    DeliveryStatus,
    Tracker,
    check_tracking_uri,
    courier_environment,
    default_tracking_uri,
    delivery_status,
    sync,
    verify_delivery,
)
from tests.search.tracking_help import FakeRun, active_runs, deliver, query, sqlite_store

ROOT = Path(__file__).resolve().parents[2]
STATUS = "select name, status from runs where lifecycle_stage = 'active'"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> tuple[FakeRun, str]:
    """A finished run of 9 trials and the store that has it, the environment full of traps."""
    folder = tmp_path_factory.mktemp("arrived")
    uri = sqlite_store(folder / "store")
    traps = {
        "MLFLOW_RUN_ID": "0" * 32,
        "MLFLOW_EXPERIMENT_ID": "77",
        "MLFLOW_EXPERIMENT_NAME": "elsewhere",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in traps.items():
            patch.setenv(name, value)
        run = FakeRun(folder / "runs", "search-1")
        with Tracker(run.path, uri, interval_s=0.1) as tracker:
            run.several(9)
            tracker.flush(30)
            run.finish()
            status = tracker.close(30)
    run.close()
    assert status.delivered, status
    return run, uri


def test_everything_arrives(arrived: tuple[FakeRun, str]) -> None:
    run, uri = arrived
    assert verify_delivery(run.path, uri) == []


def test_the_store_holds_every_value_of_epochs_csv(arrived: tuple[FakeRun, str]) -> None:
    """The same, without the functions that delivery and verification share."""
    run, uri = arrived
    rows = read_csv(run.path / "epochs.csv")
    expected = {
        (row["id"], int(row["epoch"]), column.replace("@", "_at_"), float(value))
        for row in rows
        for column, value in row.items()
        if column not in ("id", "epoch")
    }
    found = query(
        uri,
        "select r.name, m.step, m.key, m.value "
        "from metrics m join runs r on r.run_uuid = m.run_uuid where r.name like 't0%' "
        "and m.key not in ('best_value', 'best_epoch', 'epochs', 'busy_seconds')",
    )
    assert len(found) == len(expected) == 5 * len(rows)
    assert set(found) == expected


def test_states_are_told_apart(arrived: tuple[FakeRun, str]) -> None:
    run, uri = arrived
    names = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAILED": "FAILED"}
    expected = {row["id"]: names[row["state"]] for row in read_csv(run.path / "trials.csv")}
    assert dict(query(uri, STATUS)) == expected | {"search-1": "FINISHED"}
    tags = query(
        uri,
        "select r.name, t.value from tags t join runs r on r.run_uuid = t.run_uuid "
        "where t.key = 'traceback'",
    )
    assert sorted(name for name, _ in tags) == ["t0002", "t0005", "t0008"]
    assert all("DivergedError: NaN in epoch 2" in text for _, text in tags)


def test_children_hang_on_their_parent(arrived: tuple[FakeRun, str]) -> None:
    _, uri = arrived
    ((parent,),) = query(uri, "select run_uuid from runs where name = 'search-1'")
    parents = query(uri, "select value from tags where key = ?", PARENT_TAG)
    assert parents == [(parent,)] * 9


def test_artifacts_lie_beside_the_store_and_nowhere_else(arrived: tuple[FakeRun, str]) -> None:
    run, uri = arrived
    ((location,),) = query(
        uri, "select artifact_location from experiments where name = 'recsearch'"
    )
    root = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    assert location == root.as_uri()
    kept = {path.name: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for name in ("spec.yaml", "trials.csv", "race.csv", "result.json", "submission.csv"):
        assert kept[name] == (run.path / name).read_bytes()
    assert not list(run.path.rglob("mlruns"))
    assert not (ROOT / "mlruns").exists()


def test_numbers_of_the_result_are_metrics_of_the_search(arrived: tuple[FakeRun, str]) -> None:
    _, uri = arrived
    ((parent,),) = query(uri, "select run_uuid from runs where name = 'search-1'")
    found = dict(query(uri, "select key, value from latest_metrics where run_uuid = ?", parent))
    assert found["test.map_at_50"] == 0.17
    assert (found["test_ci.low"], found["test_ci.high"]) == (0.16, 0.18)
    assert found["trials.failed"] == 3
    tags = dict(query(uri, "select key, value from tags where run_uuid = ?", parent))
    assert tags["negatives_exclude"] == "train"
    assert tags["split"] == "random ratio 0.1"
    assert tags["dataset"] == "ml-100k"


def test_verification_sees_a_missing_and_a_wrong_value(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(3)
    run.finish()
    run.close()
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []
    one = (
        "(select m.rowid from metrics m join runs r on r.run_uuid = m.run_uuid "
        "where r.name = 't0000' and m.key = 'loss' limit 1)"
    )
    query(uri, f"delete from metrics where rowid = {one}")
    assert [line.split(",")[0] for line in verify_delivery(run.path, uri)] == [
        "t0000: metric loss: 1 of 2 steps missing"
    ]
    query(uri, f"update metrics set value = 9 where rowid = {one}")
    query(uri, "update params set value = '8' where key = 'trial_seed' and value = '9'")
    query(uri, "update runs set status = 'RUNNING' where name = 't0001'")
    (tmp_path / "store" / "artifacts").joinpath("x").mkdir()
    for path in (tmp_path / "store" / "artifacts").rglob("trials.csv"):
        path.write_text("gone")
    found = "\n".join(verify_delivery(run.path, uri))
    for part in ("t0000: metric loss", "t0001: status", "t0002: params", "search: trials.csv"):
        assert part in found


def test_a_second_sync_adds_nothing(arrived: tuple[FakeRun, str]) -> None:
    run, uri = arrived
    counts = "select (select count(*) from runs), (select count(*) from metrics)"
    before = query(uri, counts)
    (run.path / "delivery.json").unlink()
    assert sync(run.path, uri).delivered
    assert query(uri, counts) == before
    assert verify_delivery(run.path, uri) == []


def test_a_trial_that_runs_again_replaces_its_values(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    done, cut = run.trial(), run.begin()
    run.epochs(cut, 1, 4)
    assert deliver(run, uri)
    assert dict(query(uri, STATUS)) == {"a": "RUNNING", done: "FINISHED", cut: "RUNNING"}
    run.session()  # resumed after a crash
    run.start(cut)
    run.epochs(cut, 1, 2)
    run.end(cut, "PRUNED", 2)
    run.finish("interrupted")
    run.close()
    assert deliver(run, uri)
    assert active_runs(uri) == ["a", done, cut]
    assert dict(query(uri, STATUS)) == {"a": "KILLED", done: "FINISHED", cut: "KILLED"}
    assert verify_delivery(run.path, uri) == []


def test_a_finished_run_can_go_on(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(2)
    run.finish()
    assert deliver(run, uri)
    run.session()
    cut = run.begin()
    run.epochs(cut, 1, 1)
    assert deliver(run, uri)
    assert dict(query(uri, STATUS))["a"] == "RUNNING"
    assert verify_delivery(run.path, uri) == []
    run.end(cut, "COMPLETE", 1)
    run.finish()
    run.close()
    assert deliver(run, uri)
    assert dict(query(uri, STATUS))["a"] == "FINISHED"
    assert verify_delivery(run.path, uri) == []


def test_what_mlflow_refuses_holds_up_nothing_else(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    first = run.begin()
    assert deliver(run, uri)
    query(uri, "update params set value = 'another' where key = 'loss'")
    run.epochs(first, 1, 2)
    run.end(first, "COMPLETE", 2)
    second = run.trial()
    run.finish()
    run.close()
    assert not deliver(run, uri)
    status = delivery_status(run.path, uri)
    assert (status.delivered, status.pending) == (False, 2)
    assert status.reason is not None
    assert first in status.reason
    assert dict(query(uri, STATUS))[second] == "FINISHED"
    query(uri, "update params set value = 'bpr' where key = 'loss'")
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []


def test_a_store_that_never_answers_costs_no_more_than_the_last_effort(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    run.several(2)
    tracker = Tracker(run.path, "http://ann:secret@127.0.0.1:9", interval_s=0.1)
    tracker.start()
    run.finish()
    status = tracker.close(3.0)
    run.close()
    assert not status.delivered
    assert status.pending > 0
    sentence = status.sentence()
    assert "run_search.py sync a" in sentence
    assert "secret" not in sentence + (run.path / "courier.log").read_text()
    assert "\n" not in sentence
    uri = sqlite_store(tmp_path / "store")  # another store may take it all
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []


def test_the_driver_does_not_import_mlflow() -> None:
    code = "import sys, search.tracking, search.folder; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_the_empty_folder_is_not_taken_for_the_package() -> None:
    # -S: no installed packages; `import mlflow` would succeed on the project's folder
    code = (
        "import mlflow, recsys.errors\n"
        "from search.tracking import check_tracking_uri, default_tracking_uri\n"
        "try: check_tracking_uri(default_tracking_uri())\n"
        "except recsys.errors.ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.startswith("the package mlflow is not installed in"), done.stderr
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "runs",
        "file:///tmp/x",
        "./mlruns",
        "sqlite://",
        "http://",
        "ftp://x",
        "sqlite:////proc/a/b",
    ],
)
def test_addresses_no_store_can_have(uri: str) -> None:
    with pytest.raises(ConfigError, match="--tracking-uri") as caught:
        check_tracking_uri(uri)
    assert "\n" not in str(caught.value)


def test_addresses_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check_tracking_uri("sqlite:///x/m.db") == f"sqlite:///{tmp_path}/x/m.db"
    assert check_tracking_uri("http://localhost:5000") == "http://localhost:5000"
    assert default_tracking_uri() == f"sqlite:///{ROOT}/mlflow/store/mlflow.db"


def test_the_environment_names_no_run_but_keeps_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", "x")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "x")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "mine")
    found = courier_environment("http://h")
    names = {name for name in found if name.startswith("MLFLOW_")}
    assert not names & {"MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME"}
    assert found["MLFLOW_TRACKING_TOKEN"] == "mine"
    assert found["MLFLOW_TRACKING_URI"] == "http://h"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("map@50", "map_at_50"), ("a b=c", "a_b_c"), ("test.x/y-1", "test.x/y-1")],
)
def test_names_fit_mlflow(name: str, expected: str) -> None:
    assert clean(name) == expected


def test_status_without_any_delivery(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    run.close()
    status = Tracker(run.path, f"sqlite:///{tmp_path}/m.db").status()
    assert status == DeliveryStatus(
        False, 1, "not all of it was sent yet", f"sqlite:///{tmp_path}/m.db", run.path
    )


def test_a_damaged_memory_is_no_obstacle(arrived: tuple[FakeRun, str]) -> None:
    run, uri = arrived
    for damage in (b"", b"{", b"[]", json.dumps({"uri": uri, "children": 3}).encode()):
        (run.path / "delivery.json").write_bytes(damage)
        assert not Tracker(run.path, uri).status().delivered
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []
