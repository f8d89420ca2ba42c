"""A run in a real local MLflow store: all of it arrives, once, and says what the journal says."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import ConfigError
from search.record.events import SessionBegan
from search.record.journal import read_state
from search.record.result import Baseline, Finalist, Race, read_result, write_result
from search.tracking import wanted
from search.tracking.address import PASSWORD
from search.tracking.driver import Tracker, sync
from search.tracking.memory import DeliveryStatus, delivery_status
from search.tracking.store import Store, open_store
from search.tracking.verify import verify_delivery
from search.tracking.wanted import PARENT_TAG, clean
from search.tracking.where import (
    EXPERIMENT,
    check_tracking_uri,
    courier_environment,
    default_tracking_uri,
)
from tests.factories import BLENDED, SETTINGS, FakeRun, fake_run
from tests.search.tracking.tracking_help import (
    SHORT,
    active_runs,
    deliver,
    query,
    sqlite_store,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[3]
STATUS = f"select {SHORT}, status from runs where lifecycle_stage = 'active'"


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
        f"select {SHORT}, m.step, m.key, m.value "
        "from metrics m join runs r on r.run_uuid = m.run_uuid where r.name like 't0%' "
        "and m.key not in ('best_value', 'best_epoch', 'epochs', 'busy_seconds')",
    )
    assert len(found) == len(expected) == 5 * len(rows)
    assert set(found) == expected


def test_states_are_told_apart(arrived: tuple[FakeRun, str]) -> None:
    run, uri = arrived
    # no red cross where nothing failed: a pruned trial is told by its tag `state`
    names = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAILED": "FAILED"}
    expected = {row["id"]: names[row["state"]] for row in read_csv(run.path / "trials.csv")}
    assert dict(query(uri, STATUS)) == expected | {"search-1": "FINISHED"}
    tags = query(
        uri,
        f"select {SHORT}, t.value from tags t join runs r on r.run_uuid = t.run_uuid "
        "where t.key = 'traceback'",
    )
    assert sorted(name for name, _ in tags) == ["t0002", "t0005", "t0008"]
    assert all("DivergedError: NaN in epoch 2" in text for _, text in tags)


def test_children_hang_on_their_parent(arrived: tuple[FakeRun, str]) -> None:
    _, uri = arrived
    ((parent,),) = query(uri, "select run_uuid from runs where name like 'search-1 %'")
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


def test_numbers_that_people_compare_are_metrics(arrived: tuple[FakeRun, str]) -> None:
    _, uri = arrived
    ((parent,),) = query(uri, "select run_uuid from runs where name like 'search-1 %'")
    found = dict(query(uri, "select key, value from latest_metrics where run_uuid = ?", parent))
    assert (found["test"], found["test_metrics.map_at_50"]) == (0.17, 0.17)
    assert "version" not in found
    assert (found["test_ci.low"], found["test_ci.high"]) == (0.16, 0.18)
    assert found.keys() == {
        *("test", "valid", "test_ci.low", "test_ci.high", "best_so_far", "handed.test"),
        *("test_metrics.map_at_50", "test_metrics.ndcg_at_20"),
    }
    tags = dict(query(uri, "select key, value from tags where run_uuid = ?", parent))
    assert tags["negatives_exclude"] == "train"
    assert tags["split"] == "random ratio 0.1"
    assert tags["dataset"] == "ml-100k"


def leaves(value: Any) -> list[float]:
    """All numbers in a piece of JSON."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for inner in value for number in leaves(inner)]
    return [float(value)] if isinstance(value, int | float) and type(value) is not bool else []


def test_every_number_of_result_json_is_in_a_table_under_a_name_of_its_own(tmp_path: Path) -> None:
    compared = {"gain": 0.011, "ci": [0.001, 0.021], "p": 0.03, "users": 77, "proven": True}
    more = {
        "importance": {"method": 0.7, "lr": 0.3},
        "importance_ci": {"method": [0.61, 0.79], "lr": [0.21, 0.39]},
        "split_orders": {"random": [0.17, 0.07], "latest": [0.05, None]},
        "test_comparisons": [
            {"against": "ease", **compared},
            {"against": "popularity", **compared},
            {"against": "ease", **compared},  # what no run writes loses nothing either
        ],
        "blend": {
            "members": [{"id": "t0001", "weight": 0.6}, {"id": "t0002", "weight": 0.4}],
            "comparison": {"against": "these", **compared},
        },
        "refit_of": {"run": "a", "valid": 0.123, "before": 0.1201, "comparison": compared},
    }
    path = fake_run(tmp_path, result_changes=more)
    result = wanted.known_result(path)
    assert result is not None
    table = json.loads(wanted.tables(read_state(path / "journal.jsonl"), result)[wanted.NUMBERS])
    assert table["columns"] == ["name", "value"]
    found = dict(table["data"])
    assert len(found) == len(table["data"])
    written = json.loads((path / "result.json").read_text())
    for name in ("version", "best_config", "best_params"):
        del written[name]
    assert sorted(found.values()) == sorted(leaves(written))
    assert len(found) > 80
    winner = written["race"]["finalists"][0]
    for key, value in {
        "importance_ci.method.low": 0.61,
        "importance_ci.lr.high": 0.39,
        "split_orders.random.winner": 0.17,
        "split_orders.random.popularity": 0.07,
        "split_orders.latest.winner": 0.05,
        "test_comparisons.popularity.gain": 0.011,
        "test_comparisons.popularity.ci.low": 0.001,
        "test_comparisons.ease.2.p": 0.03,
        "blend.members.t0002.weight": 0.4,
        "blend.comparison.ci.high": 0.021,
        "refit_of.comparison.users": 77,
        f"race.finalists.{winner['id']}.mean": winner["mean"],
        f"race.finalists.{winner['id']}.values.1": winner["values"][1],
        "baselines.ease.l2": 200.0,
        "test_metrics.map@50": 0.1702,
    }.items():
        assert found[key] == value, key


def test_a_list_of_searches_says_what_was_handed_over_and_its_test(tmp_path: Path) -> None:
    blend = BLENDED["blend"]
    for name, handed in (("blended", True), ("alone", False)):
        changes = {"blend": blend | {"handed_over": handed}}
        path = fake_run(tmp_path, name, trials=8, result_changes=changes)
        state, result = read_state(path / "journal.jsonl"), wanted.known_result(path)
        assert result is not None
        tag = wanted.run_tags(state, result)["winner"]
        found = {point.key: point.value for point in wanted.run_results(state, result)}
        assert tag == ("blend of 3" if handed else wanted.winner_name(state, result))
        assert found["handed.test"] == (blend["test"] if handed else result.test)
        assert (found["test"], found["blend.test"]) == (result.test, blend["test"])  # as they are
        untested = result.model_copy(update={"test": None, "blend": None})
        (lost,) = [
            point
            for point in wanted.withdrawn({"handed.test": 0.1763}, state, untested)
            if point.key == "handed.test"
        ]
        assert math.isnan(lost.value)
        assert wanted.withdrawn(found, state, result) == []


def test_verification_sees_a_missing_and_a_wrong_value(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(3)
    run.finish()
    run.close()
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []
    one = (
        "(select m.rowid from metrics m join runs r on r.run_uuid = m.run_uuid "
        "where r.name like 't0000 %' and m.key = 'loss' limit 1)"
    )
    query(uri, f"delete from metrics where rowid = {one}")
    assert [line.split(",")[0] for line in verify_delivery(run.path, uri)] == [
        "t0000: metric loss: 1 of 2 steps missing"
    ]
    query(uri, f"update metrics set value = 9 where rowid = {one}")
    query(uri, "update params set value = '8' where key = 'trial_seed' and value = '9'")
    query(uri, "update runs set status = 'RUNNING' where name like 't0001 %'")
    (tmp_path / "store" / "artifacts").joinpath("x").mkdir()
    for path in (tmp_path / "store" / "artifacts").rglob("trials.csv"):
        path.write_text("gone")
    found = "\n".join(verify_delivery(run.path, uri))
    for part in ("t0000: metric loss", "t0001: status", "t0002: params", "search: trials.csv"):
        assert part in found


def test_trials_are_compared_several_at_once_and_told_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four threads, whose first requests wait for each other; the first trial is ready last."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(4)
    run.finish()
    run.close()
    assert deliver(run, uri)
    query(uri, "delete from metrics where key = 'loss'")
    one_by_one = verify_delivery(run.path, uri)
    assert [line.split(":")[0] for line in one_by_one] == ["t0000", "t0001", "t0002", "t0003"]
    client = type(open_store(uri, EXPERIMENT).client)
    ((first,),) = query(uri, "select run_uuid from runs where name like 't0000 %'")
    together, ask, asked = threading.Barrier(4), client.get_metric_history, set[str]()

    def history(self: Any, run_id: str, key: str) -> Any:
        if threading.current_thread() is not threading.main_thread() and run_id not in asked:
            asked.add(run_id)
            together.wait(60)
            time.sleep(0.5 * (run_id == first))
        return ask(self, run_id, key)

    monkeypatch.setattr(client, "get_metric_history", history)
    monkeypatch.setattr(Store, "threads", 4)
    told: list[tuple[int, int]] = []
    assert verify_delivery(run.path, uri, lambda *counts: told.append(counts)) == one_by_one
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_data_sets_are_there_before_trials_are_sent_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server to which several bring the same new ones refuses all but the first."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.begin()  # has nothing to say yet
    run.several(6)
    client, calls = type(open_store(uri, EXPERIMENT).client), list[str]()
    log_inputs = client.log_inputs

    def slowly(self: Any, *args: Any, **more: Any) -> None:
        calls.append("begins")
        time.sleep(0.1)
        log_inputs(self, *args, **more)
        calls.append("ends")

    monkeypatch.setattr(client, "log_inputs", slowly)
    monkeypatch.setattr(Store, "threads", 4)
    assert deliver(run, uri)
    assert calls[:2] == ["begins", "ends"]
    assert calls.count("ends") >= 6
    run.finish()
    run.close()
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []


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
    assert dict(query(uri, STATUS)) == {"a": "KILLED", done: "FINISHED", cut: "FINISHED"}
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


def test_numbers_of_an_earlier_result_are_taken_back(tmp_path: Path) -> None:
    """After --extend the best rival may be of another kind: the number of before holds no longer.

    What an earlier version of the code has sent stays as long as it is true.
    """
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(2)
    run.finish()
    found = read_result(run.path)
    assert found is not None
    race = Race(finalists=(Finalist(id="t0000", mean=0.1, values=(0.1, 0.1)),))
    rivals = {"ease": Baseline(test=0.1), "slim": Baseline(test=0.12)}
    write_result(run.folder, found.model_copy(update={"race": race, "baselines": rivals}))
    assert deliver(run, uri)
    ((parent,),) = query(uri, "select run_uuid from runs where name like 'a %'")
    latest = "select key, value from latest_metrics where run_uuid = ? and not is_nan"
    insert = "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid)"
    sent = {"race.finalists.t0000.mean": 0.1, "race.finalists.t0001.mean": 0.1, "race.t0001": 0.2}
    for key, value in {"mine": 3.0, "race.t0000": 0.5, **sent}.items():
        query(uri, f"{insert} values (?, ?, 1, 0, 0, ?)", key, value, parent)
    before = dict(query(uri, latest, parent))
    run.session()
    assert deliver(run, uri)  # on its way, it has no other result yet
    assert dict(query(uri, latest, parent)) == before
    run.raced("t0000", 9, 0.5)
    run.finish()
    del rivals["slim"]
    write_result(run.folder, found.model_copy(update={"race": race, "baselines": rivals}))
    run.close()
    assert deliver(run, uri)
    after = dict(query(uri, latest, parent))
    gone = {"baselines.slim.test", "race.finalists.t0001.mean", "race.t0001"}
    assert before.keys() - after.keys() == gone
    assert after.keys() >= {"mine", "race.t0000", "race.finalists.t0000.mean"}
    assert verify_delivery(run.path, uri) == []
    # A version before this one has left them: they are seen, and the next delivery mends it.
    query(uri, "delete from metrics where is_nan")
    query(uri, "update latest_metrics set value = 0.7, is_nan = 0, timestamp = 1 where is_nan")
    assert len(verify_delivery(run.path, uri)) == len(gone)
    assert sync(run.path, uri).delivered
    assert verify_delivery(run.path, uri) == []
    assert dict(query(uri, latest, parent)) == after


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
    code = (
        "import sys, search.tracking.driver, search.record.folder; print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_the_empty_folder_is_not_taken_for_the_package() -> None:
    # -S: no installed packages; `import mlflow` would succeed on the project's folder
    code = (
        "import mlflow, recsys.errors\n"
        "from search.tracking.where import check_tracking_uri, default_tracking_uri\n"
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
        "sqlite:////proc/b",
        "sqlite:////dev/null",
        "sqlite:////dev/null/m.db",
        "sqlite:///..",
        f"sqlite:////tmp/{'n' * 300}.db",
        f"sqlite:////tmp/{'n' * 250}.db",
        "sqlite:////tmp/a\nb.db",
        "sqlite:////tmp/a%00b.db",
        "http://ann:secret@",
        "postgres://ann:secret@h/x",
    ],
)
def test_addresses_no_store_can_have(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"--tracking-uri|MLflow's store") as caught:
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


def test_what_is_missing_is_counted_in_trials(tmp_path: Path) -> None:
    """Also what was journaled after the last pass of a courier, and what it never came to."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    nothing = "MLflow lacks all of this run (not all of it was sent yet); "
    run.several(2)
    assert delivery_status(run.path, uri).sentence().startswith(nothing)
    assert delivery_status(run.path, uri).pending == 3
    assert deliver(run, uri)
    assert delivery_status(run.path, uri).sentence() == f"MLflow has everything ({uri})"
    run.several(3)
    begun = run.begin()
    status = delivery_status(run.path, uri)
    assert (status.pending, status.trials) == (5, 6)
    assert "MLflow lacks 4 of this run's 6 trials (not all" in status.sentence()
    run.epochs(begun, 1, 2)
    assert deliver(run, uri)
    run.epochs(begun, 3, 4)
    assert "MLflow lacks 1 of this run's 6 trials (" in delivery_status(run.path, uri).sentence()
    run.end(begun, "COMPLETE", 4)
    assert deliver(run, uri)
    run.finish()
    run.close()
    status = delivery_status(run.path, uri)
    assert status.pending == 1
    assert "MLflow lacks the end of this run (" in status.sentence()


def test_a_password_is_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "")
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    uri = check_tracking_uri("http://ann:hunter2@127.0.0.1:9")
    assert uri == "http://ann:***@127.0.0.1:9"
    run.journal.append(SessionBegan(settings=asdict(replace(SETTINGS, tracking_uri=uri))))
    with Tracker(run.path, uri, interval_s=0.1, last_effort_s=1.0) as tracker:
        wait_until((run.path / "delivery.json").exists)
        assert tracker.pid is not None
        told = Path(f"/proc/{tracker.pid}/environ").read_bytes()
        assert b"hunter2" in told  # in the courier's environment, which is ours alone
        assert b"hunter2" not in Path(f"/proc/{tracker.pid}/cmdline").read_bytes()
    run.close()
    assert "hunter2" not in tracker.status().sentence()
    for path in run.path.rglob("*"):
        assert b"hunter2" not in path.read_bytes(), path
    monkeypatch.delenv(PASSWORD)
    with pytest.raises(ConfigError, match="its password is not kept"):
        sync(run.path)


def test_a_driver_that_is_missing_is_told_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.tracking.address.missing_driver", lambda _: "psycopg[binary]")
    with pytest.raises(ConfigError) as caught:
        check_tracking_uri("postgresql://ann:hunter2@db/x")
    assert str(caught.value) == (
        "--tracking-uri postgresql://***@db/x: MLflow needs a driver for it: "
        "pip install 'psycopg[binary]'"
    )


def test_a_damaged_memory_is_no_obstacle(arrived: tuple[FakeRun, str]) -> None:
    run, uri = arrived
    for damage in (b"", b"{", b"[]", json.dumps({"uri": uri, "children": 3}).encode()):
        (run.path / "delivery.json").write_bytes(damage)
        assert not Tracker(run.path, uri).status().delivered
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []


# --- what people delete in the UI ---------------------------------------------------------------


def client_of(uri: str) -> Any:
    from search.tracking.store import import_mlflow

    return import_mlflow(uri).MlflowClient(tracking_uri=uri, registry_uri=uri)


def runs_of(client: Any, only: str = "") -> list[Any]:
    experiment = client.get_experiment_by_name("recsearch")
    found = client.search_runs([experiment.experiment_id])
    return [run for run in found if only in ("", run.info.run_name.split()[0])]


def delete_parent(uri: str) -> None:
    client = client_of(uri)
    client.delete_run(runs_of(client, "a")[0].info.run_id)


def delete_parent_and_children(uri: str) -> None:
    client = client_of(uri)
    for run in runs_of(client):
        client.delete_run(run.info.run_id)


def delete_some_children(uri: str) -> None:
    client = client_of(uri)
    for name in ("t0001", "t0003"):
        client.delete_run(runs_of(client, name)[0].info.run_id)


def delete_experiment(uri: str) -> None:
    client = client_of(uri)
    client.delete_experiment(client.get_experiment_by_name("recsearch").experiment_id)


def delete_experiment_for_good(uri: str) -> None:
    """As `mlflow gc` does."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    delete_experiment(uri)
    ((number,),) = query(uri, "select experiment_id from experiments where name = 'recsearch'")
    store = SqlAlchemyStore(uri, "unused")
    for (run_id,) in query(uri, "select run_uuid from runs where experiment_id = ?", number):
        store._hard_delete_run(run_id)
    store._hard_delete_experiment(number)


def delete_artifacts(uri: str) -> None:
    shutil.rmtree(Path(uri.removeprefix("sqlite:///")).parent / "artifacts")


def delete_registered_model(uri: str) -> None:
    client_of(uri).delete_registered_model("recsearch-ml-100k")


def delete_alias(uri: str) -> None:
    client_of(uri).delete_registered_model_alias("recsearch-ml-100k", "champion")


def put_back_an_older_copy(uri: str) -> None:
    """The values of later epochs and the ends of trials are missing, the runs are there."""
    query(uri, "delete from metrics where step > 1")
    query(uri, "delete from latest_metrics where step > 1")
    query(uri, "update runs set status = 'RUNNING', end_time = null where name like 't0002 %'")
    query(uri, "update runs set status = 'RUNNING', end_time = null where name like 'a %'")


DELETIONS = [
    delete_parent,
    delete_parent_and_children,
    delete_some_children,
    delete_experiment,
    delete_experiment_for_good,
    delete_artifacts,
    delete_registered_model,
    delete_alias,
    put_back_an_older_copy,
]


@pytest.mark.parametrize("delete", DELETIONS, ids=lambda f: f.__name__)
def test_what_was_deleted_is_whole_again_after_the_next_delivery(
    tmp_path: Path, delete: Callable[[str], None]
) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(5)
    run.finish(model=True)
    run.close()
    assert deliver(run, uri)
    delete(uri)
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []
    assert active_runs(uri) == ["a", *(f"t{n:04d}" for n in range(5))]


@pytest.mark.parametrize(
    "delete", [delete_parent, delete_some_children, delete_experiment], ids=lambda f: f.__name__
)
def test_what_is_deleted_while_a_search_runs_is_made_anew(
    tmp_path: Path, delete: Callable[[str], None]
) -> None:
    """The courier that holds the store open meets runs that it may write to no more."""
    from search.tracking.courier import Courier

    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.several(4)
    open_trial = run.begin()
    run.epochs(open_trial, 1, 2)
    courier = Courier(run.path, uri, EXPERIMENT)
    assert courier.attempt()
    delete(uri)
    run.epochs(open_trial, 3, 4)
    run.end(open_trial, "COMPLETE", 4)
    run.finish()
    run.close()
    tries = 1
    while not courier.attempt():
        tries += 1
        assert tries < 4
    assert verify_delivery(run.path, uri) == []
