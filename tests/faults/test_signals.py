"""Ctrl-C and SIGTERM in every stage: it ends in order, and the printed command works.

That the shell is back in 5 s is held against no clock here, where a busy machine would decide:
`tests/search/run/test_interrupt.py` shows that the time is limited, whatever still has to end.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.live import Home, Live, check_whole, lines, outcome, seen

TRIALS = 14
LIMIT_S = 5.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("signals"))


def stage(name: str, state: str = "start") -> Callable[[Path], Callable[[], bool]]:
    return lambda folder: seen(folder, "stage", name=name, state=state)


MOMENTS: dict[str, Callable[[Path], Callable[[], bool]]] = {
    "starting": lambda folder: seen(folder, "run"),
    "search": lambda folder: seen(folder, "end", 3),
    "race": lambda folder: seen(folder, "race"),
    "test": stage("test"),
    "refit": stage("refit"),
    "end": stage("refit", "done"),
}


def resume_line(search: Live) -> list[str]:
    (line,) = set(re.findall(r"(?:^|; .*)[tT]o resume: (.*)$", search.said(), re.M))
    _, script, *words = shlex.split(line)
    assert script.endswith("run_search.py")
    return words


def listens(search: Live) -> bool:
    """Whether a search has got so far that it hears signals. What it is to be signalled after may
    have come about before it began, where an earlier session ended late.
    """
    return "reading demo" in search.said()


def interrupt(search: Live, number: int) -> None:
    """Signal the group; it ends with 130, and nothing stays behind."""
    assert search.until(lambda: listens(search)), search.said()
    search.press(number)
    assert search.wait() == 130, search.said()
    assert "Traceback" not in search.said()
    search.gone()


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_every_stage_of_one_run(home: Home, number: signal.Signals) -> None:
    """One run, interrupted in each stage in turn, each time resumed as it said itself."""
    run = f"stages{number}"
    folder = home.runs / run
    search = home.search(run)
    for name, moment in MOMENTS.items():
        assert search.until(moment(folder)), f"{name}: {search.said()}"
        interrupt(search, number)
        assert lines(folder)[0]["t"] == "run"
        search = home.start(*resume_line(search))
    assert search.wait() == 0, search.said()
    ends = [e["status"] for e in lines(folder) if e["t"] == "finish"]
    assert ends.count("done") == 1
    assert set(ends) <= {"interrupted", "done"}
    check_whole(home, run, TRIALS)


@pytest.mark.slow
def test_in_the_search(home: Home) -> None:
    """Ctrl-C of a terminal and SIGTERM of `timeout`, both to the group; `kill` to the driver."""

    def ended() -> dict[str, float | None]:
        return {t.id: t.value for t in home.state("twice").trials.values() if t.finished}

    search = home.search("twice")
    before: dict[str, float | None] = {}
    for count, send, number in (
        (3, Live.press, signal.SIGINT),
        (6, Live.press, signal.SIGTERM),
        (9, Live.kill, signal.SIGTERM),
    ):
        enough = seen(home.runs / "twice", "end", count)
        assert search.until(lambda: listens(search) and enough()), search.said()  # noqa: B023
        send(search, number)
        assert search.wait() == 130, search.said()
        search.gone()
        assert before.items() <= ended().items()
        before = ended()
        assert len(before) >= count
        search = home.start(*resume_line(search))
    assert search.wait() == 0, search.said()
    check_whole(home, "twice", TRIALS)
    assert before.items() <= ended().items()


@pytest.mark.faults
def test_before_the_run_begins(home: Home) -> None:
    search = home.search("early")
    interrupt(search, signal.SIGTERM)
    assert not (home.runs / "early" / "journal.jsonl").exists() or resume_line(search)


@pytest.mark.faults
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_twice_is_at_once(home: Home, second: signal.Signals) -> None:
    """Whatever Ray, which ends meanwhile, does to the handlers of signals."""
    run = f"at-once{second}"
    search = home.search(run)
    assert search.until(seen(home.runs / run, "end", 3))
    search.press()
    search.until(lambda: "interrupted" in search.said())  # or the two might come as one
    search.press(second)
    assert search.wait() == 130
    search.gone()
    again = home.start(*resume_line(search))
    assert again.wait() == 0, again.said()
    check_whole(home, run, TRIALS)


@pytest.mark.faults
@pytest.mark.parametrize("times", [1, 2])
def test_the_terminal_gets_its_cursor_back(home: Home, times: int) -> None:
    """On a real terminal the live display hides the cursor; it is shown again, however it ends."""
    run = f"terminal{times}"
    ours, theirs = pty.openpty()
    search = home.search(run, stdout=theirs, env={"TERM": "xterm-256color"})
    os.close(theirs)
    os.set_blocking(ours, False)
    screen = b""

    def shown(word: bytes) -> bool:
        nonlocal screen
        with suppress(OSError):  # nothing there just now, or nobody at the other end any more
            screen += os.read(ours, 1 << 16)
        return word in screen

    assert search.until(lambda: shown(b"\x1b[?25l") and seen(home.runs / run, "end", 3)())
    for _ in range(times):
        search.press()
        search.until(lambda: shown(b"interrupted"))
    search.until(lambda: shown(b"never"))  # to its end
    for _ in range(5):
        shown(b"the rest")
    os.close(ours)
    assert search.process.returncode == 130
    assert screen.rindex(b"\x1b[?25h") > screen.rindex(b"\x1b[?25l")
    assert b"--resume --run " + run.encode() in screen
    search.gone()


@pytest.mark.faults
def test_an_interrupted_run_comes_to_the_same_end(home: Home) -> None:
    calm = home.search("calm")
    assert calm.wait() == 0, calm.said()
    search = home.search("pressed")
    for count in (2, 6, 10):
        assert search.until(seen(home.runs / "pressed", "end", count))
        interrupt(search, signal.SIGINT)
        search = home.start(*resume_line(search))
    assert search.wait() == 0, search.said()
    assert outcome(home, "pressed") == outcome(home, "calm")
