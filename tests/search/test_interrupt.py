"""Signals are counted and timed by a thread of its own; nothing here waits for a clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from search import interrupt
from search.interrupt import EXIT_CODE, GRACE_S, Interruption

LEFT = "left"


class Alarms:
    """Stands in for `threading.Timer`: keeps what would happen, and when."""

    def __init__(self) -> None:
        self.set: list[tuple[float, Callable[[], None]]] = []

    def __call__(self, seconds: float, function: Callable[[], None]) -> Alarms:
        self.set.append((seconds, function))
        return self

    def start(self) -> None:
        pass


@pytest.fixture
def alarms(monkeypatch: pytest.MonkeyPatch) -> Alarms:
    alarms = Alarms()
    monkeypatch.setattr(interrupt.threading, "Timer", alarms)
    return alarms


def watched(interruption: Interruption, *numbers: int) -> list[str]:
    """What became of it after these signals, as the thread sees them."""
    happened: list[str] = []
    interruption.leave = lambda code=EXIT_CODE: happened.append(LEFT)  # type: ignore[method-assign]
    reader, writer = os.pipe()
    os.write(writer, bytes(numbers))
    os.close(writer)
    interruption.watch(reader)
    os.close(reader)
    return happened


def test_a_first_signal_leaves_at_the_latest_after_five_seconds(alarms: Alarms) -> None:
    interruption = Interruption()
    assert watched(interruption, signal.SIGINT) == []
    assert interruption.signalled
    ((seconds, function),) = alarms.set
    assert 0 < seconds == GRACE_S < 5
    assert function == interruption.leave


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_at_once(alarms: Alarms, second: int) -> None:
    assert watched(Interruption(), signal.SIGTERM, second) == [LEFT]


def test_other_signals_are_none_of_its_business(alarms: Alarms) -> None:
    interruption = Interruption()
    assert watched(interruption, signal.SIGCHLD, signal.SIGWINCH) == []
    assert not interruption.signalled
    assert alarms.set == []


def test_only_the_first_signal_is_an_exception() -> None:
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt):
        interruption(signal.SIGINT, None)
    interruption(signal.SIGINT, None)
    assert interruption.pressed


def test_leaving_says_how_to_go_on_and_how_it_ended(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    interruption = Interruption()
    interruption.last_words = "to go on: ..."
    interruption.before_leaving = lambda: codes.append(-1)
    interruption.leave()
    assert codes == [-1, EXIT_CODE]
    assert capfd.readouterr().out == "to go on: ...\n"
    interruption.farewell()  # once
    assert capfd.readouterr().out == ""
