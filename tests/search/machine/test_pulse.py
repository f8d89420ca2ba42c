"""A head that does not answer is said while the driver waits for it, in a thread of its own."""

from __future__ import annotations

import threading

from search.machine.pulse import pulse

WAIT_S = 60.0  # at most, of a test that fails


class Lines:
    """What was said, and a way to wait for so many lines."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._changed = threading.Condition()

    def note(self, line: str) -> None:
        with self._changed:
            self.said.append(line)
            self._changed.notify_all()

    def wait(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.said) >= count, WAIT_S), self.said
            return self.said[:count]


class Head:
    """Answers at once, until it is away: then whoever asks waits."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.there = threading.Event()
        self.there.set()

    def ask(self) -> None:
        self.asked.release()
        assert self.there.wait(WAIT_S)


def test_silence_is_said_while_the_question_waits_and_so_is_its_end() -> None:
    lines, head = Lines(), Head()
    head.there.clear()
    with pulse(head.ask, lines.note, every=0.001, first=0.01):
        assert lines.wait(1) == ["the cluster's head has not answered for 0 s"]
        head.there.set()
        assert lines.wait(2)[1] == "the cluster's head answers again"


def test_a_head_that_answers_is_asked_on_without_a_word() -> None:
    lines, head = Lines(), Head()
    with pulse(head.ask, lines.note, every=0.001, first=30.0):
        for _ in range(5):
            assert head.asked.acquire(timeout=WAIT_S)
    assert lines.said == []


def test_an_error_is_no_answer() -> None:
    lines, there = Lines(), threading.Event()

    def ask() -> None:
        if not there.is_set():
            raise RuntimeError("no connection")

    with pulse(ask, lines.note, every=0.001, first=0.01):
        lines.wait(1)
        there.set()
        assert lines.wait(2)[1] == "the cluster's head answers again"


def test_nobody_waits_for_a_dead_head() -> None:
    lines, head = Lines(), Head()
    head.there.clear()
    with pulse(head.ask, lines.note, every=0.001, first=0.01):
        lines.wait(1)
    head.there.set()  # only now
    assert lines.said == ["the cluster's head has not answered for 0 s"]
