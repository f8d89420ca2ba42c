"""Nodes that were told to end: known, said once, and not forgotten."""

from __future__ import annotations

import pytest

from search.machine.leaving import LOOK_EVERY_S, Leaving, Warned, own_node_leaves


class Told:
    """What Ray would answer, and a clock."""

    def __init__(self) -> None:
        self.now, self.asked = 0.0, 0
        self.nodes: list[Warned] = []
        self.said: list[str] = []
        self.leaving = Leaving(self.said.append, self.ask, lambda: self.now)

    def ask(self) -> list[Warned]:
        self.asked += 1
        return self.nodes

    def look(self) -> frozenset[str]:
        self.now += LOOK_EVERY_S
        return self.leaving.look()


def test_each_node_is_said_once_and_stays_known() -> None:
    told = Told()
    assert told.look() == frozenset()
    told.nodes = [Warned("a", "w1 (10.0.0.1)", 119.6)]
    assert told.look() == told.look() == {"a"}
    told.nodes = [Warned("b", "w2 (10.0.0.2)", None)]  # the first one is gone
    assert told.look() == {"a", "b"}
    then = "nothing new starts there, and what it does not finish continues elsewhere"
    assert told.said == [
        f"note: w1 (10.0.0.1) will end within 120 s: {then}",
        f"note: w2 (10.0.0.2) will end soon: {then}",
    ]


def test_ray_is_asked_once_a_second() -> None:
    told = Told()
    told.look()
    for _ in range(5):
        told.leaving.look()
    assert told.asked == 1


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "within 0 s"), (-3.0, "within 0 s")])
def test_a_time_that_is_over_is_no_negative_one(seconds: float, words: str) -> None:
    assert words in Warned("a", "w1", seconds).line


def test_outside_of_a_worker_no_node_ends() -> None:
    assert not own_node_leaves()
