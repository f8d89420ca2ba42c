"""A project that was moved, or copied, with its runs and its store."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from search.record.events import SessionBegan
from search.tracking import where
from search.tracking.driver import sync
from search.tracking.memory import Delivered, delivery_status, known_uri
from search.tracking.moved import bring_along
from search.tracking.store import artifact_root
from search.tracking.verify import verify_delivery
from search.tracking.where import default_tracking_uri
from tests.factories import SETTINGS, FakeRun, journal_of
from tests.search.tracking.tracking_help import deliver, query, sqlite_store


def project(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the project be at `path`; its local store."""
    monkeypatch.setattr(where, "home", lambda: path)
    return default_tracking_uri()


def run_in(path: Path, uri: str | None, delivered: str | None = None) -> Path:
    folder = path / "runs" / "r"
    settings = asdict(replace(SETTINGS, tracking_uri=uri))
    journal_of(folder, SessionBegan(name="r", settings=settings))
    if delivered is not None:
        (folder / "delivery.json").write_text(json.dumps({"uri": delivered, "run_id": "x"}))
    return folder


def make_store(uri: str) -> None:
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True)
    file.touch()


def test_the_local_store_is_that_of_the_project_where_the_run_is(tmp_path, monkeypatch):
    old, new = project(tmp_path / "old", monkeypatch), project(tmp_path / "new", monkeypatch)
    assert known_uri(run_in(tmp_path / "a", None)) == new
    assert known_uri(run_in(tmp_path / "b", old)) == new  # of an earlier version, and gone
    assert known_uri(run_in(tmp_path / "c", None, old)) == new
    assert known_uri(run_in(tmp_path / "d", old, old)) == new
    make_store(old)  # the project was copied: the old one is still there
    assert known_uri(run_in(tmp_path / "e", None, old)) == new
    assert known_uri(run_in(tmp_path / "f", old, old)) == old  # may have been asked for


def test_a_store_that_was_asked_for_stays(tmp_path, monkeypatch):
    project(tmp_path, monkeypatch)
    for uri in ("http://host:5000", "sqlite:////data/mine.db"):
        assert known_uri(run_in(tmp_path / uri[-6:], uri)) == uri
        assert known_uri(run_in(tmp_path / uri[-5:], None, uri)) == uri


def test_a_store_in_which_nothing_arrived_is_not_where_a_run_is(tmp_path, monkeypatch):
    here, dead = project(tmp_path, monkeypatch), "http://127.0.0.1:1"
    folder = run_in(tmp_path / "a", None)
    Delivered(dead, "recsearch", error="nobody").save(folder)
    assert known_uri(folder) == here
    assert delivery_status(folder, dead).reason == "nobody"
    Delivered("http://host:5000", "recsearch", run_id="x", complete=True).save(folder)
    Delivered(dead, "recsearch", error="nobody").save(folder)
    assert known_uri(folder) == "http://host:5000"
    assert delivery_status(folder, known_uri(folder)).run_id == "x"
    assert delivery_status(folder, dead).reason == "nobody"
    Delivered(dead, "recsearch", run_id="y").save(folder)
    assert known_uri(folder) == dead


@pytest.mark.parametrize("copied", [False, True])
def test_a_moved_store_keeps_its_artifacts_beside_it(tmp_path, copied):
    old = tmp_path / "old"
    uri = sqlite_store(old / "store")
    run = FakeRun(old / "runs", "r")
    run.several(2)
    run.finish()
    run.close()
    assert deliver(run, uri)
    (shutil.copytree if copied else shutil.move)(old, tmp_path / "new")
    if copied:
        before = sorted(old.rglob("*"))
    moved = tmp_path / "new" / "runs" / "r"
    (moved / "report.html").write_text("<html>another</html>")
    at_new = f"sqlite:///{tmp_path}/new/store/mlflow.db"
    assert sync(moved, at_new).delivered
    assert verify_delivery(moved, at_new) == []
    assert sorted(old.rglob("*")) == (before if copied else [])
    assert query(at_new, "select count(*) from runs where artifact_uri like ?", "%/old/%") == [(0,)]


def test_a_database_that_was_moved_alone_keeps_its_place(tmp_path):
    uri = sqlite_store(tmp_path / "old")
    run = FakeRun(tmp_path / "runs", "r")
    run.several(1)
    run.finish()
    run.close()
    assert deliver(run, uri)
    file = shutil.move(tmp_path / "old" / "mlflow.db", tmp_path / "mlflow.db")
    assert not bring_along(Path(file), artifact_root(Path(file)), "recsearch")
