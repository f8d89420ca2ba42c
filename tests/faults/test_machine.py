"""Odd machines with a real Ray: paths, places, users, workers that cannot start."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.faults.live import ROOT, Home, Live

pytestmark = pytest.mark.faults

DRY = ("--space", "smoke", "--data", "demo", "--dry-run")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def one_line(search: Live, code: int) -> str:
    assert search.wait() == code, search.said()
    (line,) = search.errors().splitlines()
    return line


def mounted(*mounts: str) -> list[str]:
    """A command before another one that has these file systems; skips where nobody may mount."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("file systems can't be mounted here")
    script = " && ".join([f"mount -t tmpfs -o {m}" for m in mounts] + ['exec "$@"'])
    return ["unshare", "-m", "sh", "-c", script, "sh"]


def test_a_project_in_any_folder_and_data_beside_modules_names(home: Home) -> None:
    """Workers start from a path that a shell would read otherwise, and import what is ours."""
    project = home.path / "it's my $HOME & co? 100%"
    for name in ("recsys", "search", "spaces", "config", "mlflow"):
        shutil.copytree(
            ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "store")
        )
    shutil.copy(ROOT / "run_search.py", project)
    (project / ".venv").symlink_to(Path(sys.executable).parent.parent)
    for name in ("recsys", "search", "numba", "torch"):
        (home.path / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    done = subprocess.run(
        [str(project / ".venv/bin/python"), str(project / "run_search.py"), *DRY],
        cwd=home.path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "at a time on" in done.stdout.splitlines()[-1]


def test_workers_that_are_ended_before_they_begin(home: Home) -> None:
    """Ray's memory monitor, told to be strict, ends each of them: five failures, and the cause."""
    strict = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    search = home.search("one", env=strict)
    line = one_line(search, 1)
    assert line.startswith("run_search.py: the first 5 trials all failed, 5 of them with: ")
    assert home.state("one").status == "failed"
    search.gone(15)


@pytest.mark.parametrize("options", ["size=150k", "ro"])
def test_rays_folder_cannot_be_used(home: Home, options: str) -> None:
    """The place is named, not the run folder, which is not made."""
    # a short path: beside one too long for its sockets Ray's files would go elsewhere
    with TemporaryDirectory(prefix="ray-") as scratch:
        (Path(scratch) / "ray").mkdir()
        prefix = mounted(f"{options} tmpfs '{scratch}/ray'")
        env = {"RAY_TMPDIR": scratch}
        line = one_line(home.search("one", env=env, prefix=prefix), 2)
    assert line.startswith(f"run_search.py: {scratch}/ray: ")
    assert not (home.runs / "one").exists()


def test_a_home_that_cannot_be_written(home: Home) -> None:
    """Nothing is written there, and nothing is needed of it."""
    place = home.path / "home"
    place.mkdir()
    prefix = mounted(f"ro tmpfs '{place}'")
    search = home.start(*DRY, env={"HOME": str(place)}, prefix=prefix)
    assert search.wait() == 0, search.said()
    assert search.errors() == ""


def test_a_user_who_is_only_a_number(home: Home) -> None:
    user = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    if subprocess.run([*user, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    nameless = ["env", *(part for n in ("HOME", "LOGNAME", "USER") for part in ("-u", n))]
    search = home.search("one", prefix=[*user, *nameless])
    assert search.wait() == 0, search.said()
    assert search.errors() == ""
