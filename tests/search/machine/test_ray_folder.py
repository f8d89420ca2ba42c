"""Where Ray's files lie: short enough, writable, with room; else one line that names the place."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import ConfigError
from search.machine import ray_folder
from search.machine.ray_folder import check, choose, remove_session, sessions_of, usable

LONG = "/scratch/" + "of_a_batch_job/" * 6
CWD = Path("/home/me")

# environment, Ray's folder, whether a line says so
CHOICES = [
    ({}, "/tmp/ray", False),
    ({"TMPDIR": ""}, "/tmp/ray", False),
    ({"TMPDIR": "/scratch"}, "/scratch/ray", False),
    ({"TMPDIR": "/my scratch"}, "/my scratch/ray", False),
    ({"TMPDIR": "/scratch", "RAY_TMPDIR": "/fast"}, "/fast/ray", False),
    ({"TMPDIR": "here"}, "/home/me/here/ray", False),
    ({"TMPDIR": LONG}, "/tmp/ray", True),
    ({"RAY_TMPDIR": LONG}, "/tmp/ray", True),
    ({"TMPDIR": LONG, "RAY_TMPDIR": "/tmp"}, "/tmp/ray", False),
    ({"TMPDIR": "/ä" * 20}, "/tmp/ray", True),  # bytes count, not letters
]


@pytest.mark.parametrize(("env", "path", "said"), CHOICES)
def test_choice(env: dict[str, str], path: str, said: bool) -> None:
    found = choose(env, CWD)
    assert str(found.path) == path
    assert (found.note is not None) is said
    if found.note is not None:
        assert any(name in found.note for name in env)


def test_every_choice_leaves_room_for_the_sockets() -> None:
    for length in range(1, 100):
        found = choose({"TMPDIR": "/" + "a" * length}, CWD)
        socket = f"{found.path}/session_2026-11-25_20-59-58_344304_4194304/sockets/plasma_store"
        assert len(socket) <= 103


def test_nothing_short_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"TMPDIR.*RAY_TMPDIR=/tmp"):
        choose({"TMPDIR": LONG}, CWD, fallback=LONG)


def test_a_folder_that_does_not_exist_is_made(tmp_path: Path) -> None:
    check(tmp_path / "a" / "ray")
    assert list((tmp_path / "a" / "ray").iterdir()) == []


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "ray").write_text("")
    with pytest.raises(ConfigError, match=f"^{tmp_path}/ray: .*RAY_TMPDIR"):
        check(tmp_path / "ray")


def test_a_full_place_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def little(_path: Any) -> Any:
        return shutil._ntuple_diskusage(100 << 20, 99 << 20, 1 << 20)

    monkeypatch.setattr(ray_folder.shutil, "disk_usage", little)
    with pytest.raises(ConfigError, match=f"^{tmp_path}: 1.0 MB free"):
        check(tmp_path)


def test_somebody_elses_folder_gives_way_to_one_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        if path.name == "ray":
            raise ray_folder.ForeignError("not yours")

    monkeypatch.setattr(ray_folder, "check", refuse)
    found = usable(ray_folder.RayFolder(Path("/tmp/ray")))
    assert found.path == Path(f"/tmp/ray-{os.getuid()}")
    assert found.note is not None


def test_only_our_own_session_is_removed(tmp_path: Path) -> None:
    ours, other = tmp_path / "session_1_11", tmp_path / "session_2_12"
    for folder in (ours, other):
        (folder / "logs").mkdir(parents=True)
    (tmp_path / "session_latest").symlink_to(other)
    assert sessions_of(tmp_path, 11) == [ours]
    remove_session(ours)
    assert not ours.exists()
    assert (tmp_path / "session_latest").resolve() == other
    remove_session(other)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
@pytest.mark.parametrize("options", ["size=4k", "size=40k", "size=150k", "ro"])
def test_a_real_file_system(tmp_path: Path, options: str) -> None:
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(tmp_path)])
    if made.returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        with pytest.raises(ConfigError, match=f"^{tmp_path}: ") as caught:
            check(tmp_path)
        assert "\n" not in str(caught.value)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
