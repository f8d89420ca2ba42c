"""A disk that is full, or must not be written: one line, exit 2, and --resume goes on after."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.record.events import TrialEnded
from search.record.journal import read_events
from tests.faults.live import Home, Live, check_whole, seen
from tests.search.fake_search import open_study

TRIALS = 14


def mount(*args: str) -> bool:
    """Whether mounting worked (it takes root, and a machine that allows it)."""
    try:
        return subprocess.run(["mount", *args], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """The folder of runs is a small file system of its own; the store lies elsewhere."""
    home = Home(tmp_path)
    home.runs.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=20m", "tmpfs", str(home.runs)):
        pytest.skip("file systems can't be mounted here")
    yield home
    subprocess.run(["umount", "-l", str(home.runs)], check=True)


def remount(home: Home, options: str) -> None:
    assert mount("-o", f"remount,{options}", str(home.runs))


def fill(path: Path) -> None:
    """Take all the room there is, to the last byte: nothing waits in a buffer of this process."""
    size = 1 << 16
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while size:
            try:
                os.write(fd, bytes(size))
            except OSError:
                size //= 2
    finally:
        os.close(fd)


def stopped_in_one_line(search: Live, run: Path) -> None:
    assert search.wait() == 2, search.said()
    (line,) = search.errors().splitlines()
    assert line.startswith(f"run_search.py: {run}")
    assert "cannot be written" in line
    assert "--resume" in line
    search.gone()


def whole_so_far(run: Path) -> int:
    """What was written before is readable to its last line; returns how many trials ended."""
    return sum(isinstance(event, TrialEnded) for event, _ in read_events(run / "journal.jsonl"))


# sizes at which, on this folder's layout, different files are the ones that don't fit any more
@pytest.mark.faults
@pytest.mark.parametrize("kilobytes", [48, 60, 80, 96, 110, 128])
def test_full(home: Home, kilobytes: int) -> None:
    remount(home, f"size={kilobytes}k")
    run = home.runs / "one"
    search = home.search("one")
    stopped_in_one_line(search, run)
    ended = whole_so_far(run)
    remount(home, "size=20m")
    again = home.resume("one")
    assert again.wait() == 0, again.said()
    check_whole(home, "one", TRIALS)
    assert whole_so_far(run) == TRIALS >= ended  # nothing that had ended ran again


@pytest.mark.faults
def test_full_in_the_middle(home: Home) -> None:
    run = home.runs / "one"
    search = home.search("one")
    assert search.until(seen(run, "end", 4)), search.said()
    with search.frozen():  # or it might be done by the time that the disk is full
        fill(home.runs / "ballast")
        ended = whole_so_far(run)
    stopped_in_one_line(search, run)
    assert 4 <= ended <= whole_so_far(run) < TRIALS
    (home.runs / "ballast").unlink()
    again = home.resume("one")
    assert again.wait() == 0, again.said()
    check_whole(home, "one", TRIALS)
    assert len(open_study(run / "study.journal").trials) == TRIALS


@pytest.mark.faults
def test_a_read_only_folder_of_runs(home: Home) -> None:
    """Before anything starts: one line, nothing written, and the finished run stays readable."""
    first = home.search("one")
    assert first.wait() == 0, first.said()
    first.gone(but="nothing")
    before = {p: p.stat().st_mtime_ns for p in (home.runs / "one").rglob("*")}
    remount(home, "ro")
    for search in (
        home.search("two"),
        home.start("--run", "one", "--extend", "2"),
        home.resume("one"),
    ):
        assert search.wait() == 2, search.said()
        (line,) = search.errors().splitlines()
        assert str(home.runs) in line
        assert "Read-only file system" in line
    assert [path.name for path in home.runs.iterdir()] == ["one"]
    assert before == {p: p.stat().st_mtime_ns for p in (home.runs / "one").rglob("*")}
