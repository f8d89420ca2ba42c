"""Files replaced whole or not at all, and locks that end with their process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from recsys import safe_files
from recsys.safe_files import (
    check_replaceable,
    is_leftover,
    is_locked,
    locked,
    replace_content,
    replacing,
    try_lock,
)


def run_until_ready(code: str, path: Path) -> None:
    """Run `code` on `path` in a process of its own; kill it once it has said a line."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"ready\n"
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()


HALF = """
import sys
from pathlib import Path
from recsys.safe_files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of the n")
    print("ready", flush=True)
    sys.stdin.read()
"""

HOLD = """
import sys
from pathlib import Path
from recsys.safe_files import try_lock
assert try_lock(Path(sys.argv[1])) is not None
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("old")
    run_until_ready(HALF, path)
    assert path.read_text() == "old"
    (left,) = (p for p in tmp_path.iterdir() if p != path)
    assert left.read_text() == "half of the n"
    assert is_leftover(left.name)


@pytest.mark.parametrize("error", [OSError(28, "No space left"), KeyboardInterrupt(), ValueError()])
def test_a_failed_block_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("new")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("durable", [True, False])
def test_content_is_synced_before_the_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    path, seen = tmp_path / "f", []

    def sync(fd: int) -> None:
        synced = Path(f"/proc/self/fd/{fd}").readlink()
        seen.append("folder" if synced == tmp_path else synced.read_text())
        seen.append(path.exists())

    monkeypatch.setattr(safe_files.os, "fsync", sync)
    replace_content(path, b"new", durable=durable)
    assert seen == (["new", False, "folder", True] if durable else [])
    assert path.read_text() == "new"


def test_the_mode_is_the_umasks_or_the_one_given(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_content(tmp_path / "a", b"")
        replace_content(tmp_path / "b", b"", mode=0o600)
        replace_content(tmp_path / "c", b"", mode=0o644)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "abc"]
    assert modes == [0o640, 0o600, 0o644]


@pytest.mark.parametrize("name", ["f" * 255, "€" * 85])
def test_any_name_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    replace_content(tmp_path / name, b"new")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_what_cannot_be_replaced_is_known_beforehand(tmp_path: Path) -> None:
    check_replaceable(tmp_path / "f")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        check_replaceable(tmp_path / "missing" / "f")


def test_leftovers_are_told_from_files_of_a_user() -> None:
    assert is_leftover(".best.json.99.tmp")  # as runs before had them
    assert not any(map(is_leftover, ("best.json", ".best.json.tmp", "best.json.99.tmp", ".99.tmp")))


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    assert not path.exists()
    fd = try_lock(path)
    assert fd is not None
    assert is_locked(path)
    assert try_lock(path) is None
    with locked(path, lambda: False) as got:
        assert not got
    os.close(fd)
    assert not is_locked(path)
    with locked(path) as got:
        assert got
        assert is_locked(path)
    assert not is_locked(path)


def test_a_lock_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_files, "_POLL_S", 0.0)
    holder = try_lock(tmp_path / "lock")
    assert holder is not None
    asked = []

    def keep_waiting() -> bool:
        asked.append(1)
        if len(asked) == 3:
            os.close(holder)
        return True

    with locked(tmp_path / "lock", keep_waiting) as got:
        assert got
    assert len(asked) == 3


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    run_until_ready(HOLD, tmp_path / "lock")
    assert not is_locked(tmp_path / "lock")


def test_a_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(tmp_path / "lock")
    assert not (tmp_path / "elsewhere").exists()
