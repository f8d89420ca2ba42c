"""Tasks that wait for a node of a cluster: what is said of them, and when they are given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from search.machine import seats, tasks, workers
from search.machine.cluster import Cluster, Resources
from search.machine.nodes import ClusterNode
from search.machine.room import Room, demand, lacking, without_node
from search.machine.workers import NoWorkersError, Patience

GB = 10**9
SMALL, LARGE = Room(1, 0, 0.27 * GB), Room(4, 2, 2 * GB)
SMALL_AND_MORE = Room(1, 0, GB)


@pytest.mark.parametrize(
    ("ask", "nodes", "words"),
    [
        (SMALL_AND_MORE, [SMALL], "the node with the most memory offers 0.3 GB"),
        (Room(8), [SMALL, LARGE], "the largest node has 4 cores"),
        (Room(2), [SMALL], "the largest node has 1 core"),
        (Room(1, 0.5), [SMALL], "no node has a GPU"),
        (Room(2, 0.5), [Room(4), Room(1, 1)], "of those with 2 cores none has a GPU"),
        (Room(1, 4), [LARGE], "the node with the most GPUs has 2 GPUs"),
        # a head that gives no core away is large for nobody
        (
            Room(1, 0, GB),
            [SMALL, Room(0, 0, 9 * GB)],
            "the node with the most memory offers 0.3 GB",
        ),
        (
            *(Room(4, 0, GB), [Room(8, 0, 0), Room(1, 0, 2 * GB)]),
            "of those with 4 cores the node with the most memory offers 0.0 GB",
        ),
        (
            *(Room(1, 1, GB), [Room(1, 1, 0), Room(1, 0, 2 * GB)]),
            "of those with 1 core and 1 GPU the node with the most memory offers 0.0 GB",
        ),
        (Room(1), [Room(0, 0, GB)], "no node gives a core away"),
        (Room(1), [], "no node gives a core away"),
    ],
)
def test_what_fits_nowhere_is_named(ask: Room, nodes: list[Room], words: str) -> None:
    assert without_node([ask, Room(1)], nodes)[:1] == [ask]
    assert lacking([ask], nodes) == words


def test_what_fits_is_no_matter() -> None:
    assert without_node([Room(1), Room(4, 0.5, GB), SMALL], [SMALL, LARGE]) == []


def test_what_waits_is_counted_by_kind() -> None:
    assert Room(1, 0.5, 1.1 * GB).words() == "1 core, 0.5 GPUs and 1.1 GB of memory"
    assert Room(2, 1).words() == "2 cores and 1 GPU"
    assert demand([Room(1)], "task") == "1 task asks for 1 core"
    assert demand([Room(1), Room(2, 0, GB), Room(1)], "trial") == (
        "2 trials ask for 1 core each, 1 trial asks for 2 cores and 1.0 GB of memory"
    )
    assert Room.of({"CPU": 2.0, "memory": 5.0, "node:x": 1.0}) == Room(2, 0, 5)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(
    nodes: list[Room], asks: list[Room], running: Callable[[float], bool], until: float, **more: Any
) -> tuple[list[tuple[float, str]], str | None, float]:
    """Lines with their seconds, why it was given up, and when: one look every five seconds."""
    clock, lines = Clock(), list[tuple[float, str]]()
    patience = Patience(
        *(lambda line: lines.append((clock.now, line)), lambda: None, True, clock),
        nodes=lambda: nodes,
        **more,
    )
    end = None
    while end is None and clock.now < until:
        end = patience.look(running(clock.now), asks)
        clock.now += 5
    return lines, end, clock.now - 5


def gaps(lines: list[tuple[float, str]], end: float) -> list[float]:
    times = [0.0, *(time for time, _ in lines), end]
    return [later - earlier for earlier, later in pairwise(times)]


@pytest.mark.parametrize("endless", [False, True])
def test_what_fits_on_no_node_is_said_and_given_up(endless: bool) -> None:
    lines, end, at = watched(
        [SMALL], [Room(1, 0, GB)] * 3, lambda _: False, 9999, endless=endless, what="trial"
    )
    why = (
        "3 trials ask for 1 core and 1.0 GB of memory each, and the node with the most memory "
        "offers 0.3 GB"
    )
    assert lines[0] == (20.0, f"no worker has started for 20 s: {why}")
    assert max(gaps(lines, at)) <= 30
    assert at == workers.GIVE_UP_CLUSTER_S
    assert end == f"no worker could be started in 1800 s: {why}"


def test_a_busy_cluster_is_waited_for_and_said() -> None:
    lines, end, at = watched([SMALL, LARGE], [Room(1)], lambda _: False, 9000, endless=True)
    assert end is None
    assert max(gaps(lines, at)) <= 30
    assert lines[0][1] == (
        "no worker has started for 20 s: 1 task asks for 1 core; the nodes that have as much are "
        "busy, or slow to start a worker"
    )


def test_where_others_run_what_fits_nowhere_is_said_and_not_given_up() -> None:
    asks = [Room(1, 0, GB), Room(1)]
    lines, end, at = watched([SMALL], asks, lambda _: True, 9000)
    assert end is None
    assert max(gaps(lines, at)) <= 30
    assert lines[0][1] == (
        "waiting for a node for 20 s: 1 task asks for 1 core and 1.0 GB of memory, and the node "
        "with the most memory offers 0.3 GB"
    )
    assert watched([LARGE], asks, lambda _: True, 9000)[0] == []


def test_after_a_busy_wait_a_lost_node_has_its_whole_time_to_come_back() -> None:
    nodes = [LARGE]

    def lost(now: float) -> bool:
        if now >= 7000:
            nodes[:] = [SMALL]
        return False

    _, end, at = watched(nodes, [Room(1, 0, GB)], lost, 99_999, endless=True)
    assert end is not None
    assert at == 7000 + workers.GIVE_UP_CLUSTER_S


# --- tasks of a cluster ---------------------------------------------------------------------------


def joined(
    monkeypatch: pytest.MonkeyPatch, turns: Callable[[float], tuple[bool, list[int]] | None]
) -> tuple[Cluster, list[str]]:
    """A cluster of one small node; another would be large enough, but was left out.

    turns: what runs and waits at a time in seconds; None: all tasks are done. Five seconds pass
    from one look to the next.
    """
    clock, lines = Clock(), list[str]()
    there = Cluster("head:6379", note=lines.append)
    node = ClusterNode("a", "a", "a", 1.0, 0.0, memory=int(0.27 * GB))
    watch: Any = SimpleNamespace(usable=lambda: [node], trouble=lambda: None)
    monkeypatch.setattr(there, "watch", watch)

    class Waiting:
        def __init__(self, function: Any, calls: list[Any], *_: Any) -> None:
            self.function, self.calls = function, calls

        def answers(
            self, look: Callable[[bool, list[int]], None], enough: Callable[[], bool]
        ) -> Iterator[tuple[int, Any]]:
            while (turn := turns(clock.now)) is not None:
                if enough():
                    return
                look(*turn)
                clock.now += 5
            for number, call in enumerate(self.calls):
                yield number, self.function(*call)

    before = Cluster.patience

    def patience(self: Cluster, *words: Any, **more: Any) -> Patience:
        found = before(self, *words, **more)
        found.clock = clock
        return found

    monkeypatch.setattr(Cluster, "patience", patience)
    monkeypatch.setattr(tasks, "Tasks", Waiting)
    monkeypatch.setattr(seats, "Seats", lambda _: None)
    return there, lines


ONE = Resources(1, 0.0, 1, 1, largest=GB)


def test_a_task_that_no_node_can_hold_is_said_and_ends_the_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there, lines = joined(monkeypatch, lambda _: (False, [0]))
    with pytest.raises(NoWorkersError, match=r"1 task asks for 1 core and 1\.0 GB of memory"):
        list(there.map(abs, [(-1,)], ONE, [GB]))
    assert "the node with the most memory offers 0.3 GB" in lines[0]
    assert len(lines) > 60


def test_tasks_that_run_are_waited_for_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    there, lines = joined(monkeypatch, lambda now: (True, [1]) if now < 5000 else None)
    assert list(there.map(abs, [(-1,), (-2,)], ONE, [0, 0])) == [(0, 1), (1, 2)]
    assert lines == []


def test_what_fits_nowhere_is_said_while_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    there, lines = joined(monkeypatch, lambda now: (True, [1]) if now < 5000 else None)
    assert list(there.map(abs, [(-1,), (-2,)], ONE, [0, GB])) == [(0, 1), (1, 2)]
    assert "waiting for a node for" in lines[0]


def test_a_busy_cluster_ends_no_map(monkeypatch: pytest.MonkeyPatch) -> None:
    there, lines = joined(monkeypatch, lambda now: (False, [0]) if now < 5000 else None)
    assert list(there.map(abs, [(-1,)], ONE, [0])) == [(0, 1)]
    assert "1 task asks for 1 core; the nodes that have as much are busy" in lines[0]
    assert len(lines) > 5000 / 35


def test_who_has_enough_waits_no_longer_for_what_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    there, lines = joined(monkeypatch, lambda _: (True, []))
    asked: list[int] = []

    def enough() -> bool:
        asked.append(1)
        return len(asked) == 3

    assert list(there.map(abs, [(-1,), (-2,)], ONE, [0, 0], enough)) == []
    assert (len(asked), lines) == (3, [])


def test_who_has_enough_of_ray_here_waits_no_longer_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks, of which one ends; the other is cancelled after the third look."""
    looks, cancelled = [["a"], [], [], []], []

    class Remote:
        def __init__(self, **_: Any) -> None:
            self.names = iter("ab")

        def __call__(self, _: Any) -> Any:
            return self

        def options(self, **_: Any) -> Any:
            return SimpleNamespace(remote=lambda *_: next(self.names))

    def wait(pending: list[str], **_: Any) -> tuple[list[str], list[str]]:
        done = looks.pop(0)
        return done, [one for one in pending if one not in done]

    def cancel(one: str, *, force: bool) -> None:
        cancelled.append((one, force))

    there = Cluster()
    ray = SimpleNamespace(remote=Remote, wait=wait, get=str.upper, cancel=cancel)
    ray.exceptions = SimpleNamespace(RayError=ValueError)
    monkeypatch.setattr(there, "_ray", ray, raising=False)
    found = list(there.map(abs, [(-1,), (-2,)], ONE, [], lambda: len(looks) == 1))
    assert (found, cancelled, looks) == ([(0, "A")], [("b", True)], [[]])
