"""Where things lie in a checkout, and where in an installation."""

from __future__ import annotations

import sqlite3
import sysconfig
from pathlib import Path

import pytest

from search import paths
from search.run import start
from search.run.start import Options, store_of
from search.tracking.where import default_tracking_uri

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation called in an empty folder, which is returned."""
    monkeypatch.setattr(paths, "INSTALLED", True)
    monkeypatch.setattr(start, "INSTALLED", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_checkout_keeps_all_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert (paths.CODE, paths.INSTALLED, paths.NAME) == (ROOT, False, "run_search.py")
    assert ROOT / "spaces" == paths.SPACES
    assert default_tracking_uri() == f"sqlite:///{ROOT}/mlflow/store/mlflow.db"
    assert paths.import_path() == [str(ROOT)]


def test_an_installation_keeps_its_store_in_the_working_directory(installed: Path):
    assert default_tracking_uri() == f"sqlite:///{installed}/mlflow/store/mlflow.db"


def test_a_run_of_an_installation_keeps_its_store_wherever_it_is_resumed(
    installed: Path, monkeypatch: pytest.MonkeyPatch
):
    (installed / "a").mkdir()
    (installed / "b").mkdir()
    monkeypatch.chdir(installed / "a")
    uri = store_of(Options(), None)
    assert uri == default_tracking_uri()
    file = Path(uri.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True)
    sqlite3.connect(file).close()
    file.touch()
    monkeypatch.chdir(installed / "b")
    assert store_of(Options(), uri) == uri
    (installed / "a").rename(installed / "c")  # moved, and the command called there
    monkeypatch.chdir(installed / "c")
    assert store_of(Options(), uri) == f"sqlite:///{installed}/c/mlflow/store/mlflow.db"


def test_code_among_the_interpreters_packages_needs_no_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(paths, "CODE", Path(sysconfig.get_path("purelib")).resolve())
    assert paths.import_path() == []


def test_a_working_directory_that_was_removed_is_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert paths.working_directory() == Path("/")
    monkeypatch.chdir(tmp_path)
