"""Where things lie in a checkout, and where in an installation."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search import paths
from search.machine import nodes
from search.run import start
from search.run.start import Options, store_of
from search.tracking import where
from search.tracking.where import default_tracking_uri, require_mlflow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation called in an empty folder, which is returned."""
    monkeypatch.setattr(paths, "INSTALLED", True)
    for module in (start, nodes, where):
        monkeypatch.setattr(module, "INSTALLED", True)
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


def test_this_python_has_its_whole_path_though_path_is_relative():
    """What we and Ray start begins in other folders."""
    home = Path(sys.executable).parent
    shown = "import sys; print(sys.executable); import search; print(sys.executable)"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"bin{os.pathsep}{os.environ['PATH']}"}
    words = ["env", "python", "-c", shown]
    done = subprocess.run(
        words, cwd=home.parent, env=env, capture_output=True, text=True, check=True
    )
    before, after = done.stdout.splitlines()
    assert not Path(before).is_absolute()
    assert Path(after) == home / "python"


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


def advice(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said where packages are missing: of MLflow here, and of any on a node."""
    monkeypatch.setattr(where, "find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        require_mlflow()
    node = nodes.ClusterNode("ab", "w1", "w1", 4.0, 0.0, versions={"numpy": None})
    lacking = nodes.trouble(node, {"numpy": "2.4.6"}, cuda=False)
    return [str(caught.value), lacking or "", nodes.cannot_run("ModuleNotFoundError: x")]


def test_an_installation_is_not_sent_to_files_of_a_checkout(
    installed: Path, monkeypatch: pytest.MonkeyPatch
):
    for words in advice(monkeypatch):
        assert "install this recsearch" in words
        assert "requirements.txt" not in words
        assert "make search" not in words


def test_a_checkout_is_told_its_own_files(monkeypatch: pytest.MonkeyPatch):
    for words in advice(monkeypatch):
        assert "`pip install -r requirements.txt" in words
