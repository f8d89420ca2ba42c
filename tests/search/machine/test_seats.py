"""Room on nodes that can work, and tasks that are sent there: Ray stands still, and nodes answer
when a test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from ray.air.execution.resources import ResourceRequest
from ray.exceptions import RayTaskError, WorkerCrashedError

from search.machine import seats as seats_module
from search.machine import tasks as tasks_module
from search.machine.seats import Seat, Seats
from search.machine.tasks import TRIES, Tasks

CORE, LARGE = ResourceRequest([{"CPU": 1.0}]), ResourceRequest([{"CPU": 4.0}])


class Nodes:
    """Stands for the watch: what it says of nodes, by hand."""

    def __init__(self) -> None:
        self.works: dict[str, bool | None] = {"a": True}
        self.blamed: list[str] = []
        self.done: list[str] = []

    @property
    def selector(self) -> dict[str, str] | None:
        out = [node for node, works in self.works.items() if works is False]
        return {"node": f"!in({', '.join(out)})"} if out else None

    def look(self) -> None: ...

    def may_work(self, node: str) -> bool | None:
        return self.works.get(node, False)

    def is_left_out(self, node: str) -> bool:
        return self.works.get(node) is False

    def failed(self, node: str, _error: Exception, _what: str) -> None:
        self.blamed.append(node)

    def worked(self, node: str) -> None:
        self.done.append(node)


class Group:
    """A placement group, by the number it was made under."""

    def __init__(self, number: int, where: list[dict[str, str]] | None) -> None:
        self.number, self.where = number, where

    def ready(self) -> int:
        return self.number


class Ray:
    """Stands for Ray: room by hand, and calls that run once a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: dict[int, Group] = {}
        self.made = 0
        self.at: dict[int, str] = {}  # where a group has room
        self.cancelled: list[Any] = []
        self.calls: dict[str, tuple[Any, ...]] = {}
        self.results: dict[str, Any] = {}
        self.exceptions = SimpleNamespace()
        for name, value in {
            "ray": self,
            "placement_group": self.placement_group,
            "placement_group_table": self.table,
            "remove_placement_group": lambda group: self.groups.pop(group.number),
        }.items():
            monkeypatch.setattr(seats_module, name, value)
        monkeypatch.setattr(seats_module, "UPDATE_EVERY_S", 0.0)
        monkeypatch.setattr(tasks_module, "ray", self)
        monkeypatch.setattr(tasks_module, "LOOK_EVERY_S", 0.0)

    def placement_group(
        self, _bundles: Any, _strategy: Any, bundle_label_selector: list[dict[str, str]] | None
    ) -> Group:
        self.made += 1
        self.groups[self.made] = Group(self.made, bundle_label_selector)
        return self.groups[self.made]

    def table(self, group: Group) -> dict[str, Any]:
        return {"bundles_to_node_id": {0: self.at.get(group.number, "")}}

    def give(self, node: str) -> None:
        """Room on this node for all that waits."""
        for number in self.groups:
            self.at.setdefault(number, node)

    def wait(
        self, what: list[Any], num_returns: int, timeout: float
    ) -> tuple[list[Any], list[Any]]:
        done = [one for one in what if one in self.at or one in self.results][:num_returns]
        return done, [one for one in what if one not in done]

    def cancel(self, what: Any, force: bool = False) -> None:
        self.cancelled.append(what)

    def is_initialized(self) -> bool:
        return True

    def remote(self, max_retries: int) -> Callable[[Any], Any]:
        assert max_retries == 0
        return lambda function: SimpleNamespace(options=lambda **_: self.caller(function))

    def caller(self, function: Any) -> Any:
        def call(*task: Any) -> str:
            name = f"call {len(self.calls)}"
            self.calls[name] = (function, *task)
            return name

        return SimpleNamespace(remote=call)

    def get(self, call: str) -> Any:
        found = self.results.pop(call)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    return Ray(monkeypatch)


@pytest.fixture
def nodes() -> Nodes:
    return Nodes()


@pytest.fixture
def seats(ray: Ray, nodes: Nodes) -> Seats:
    return Seats(nodes)  # type: ignore[arg-type]


def test_room_on_a_good_node_is_taken_and_given_back(ray: Ray, seats: Seats) -> None:
    seats.request_resources(CORE)
    assert seats.acquire_resources(CORE) is None
    assert seats.get_resource_futures() == [1]
    ray.give("a")
    assert not seats.has_resources_ready(LARGE)
    seat = seats.acquire_resources(CORE)
    assert seat is not None
    assert seat.node == "a"
    assert seats.acquire_resources(CORE) is None
    seats.free_resources(seat)
    assert ray.groups == {}


def test_room_on_a_node_that_has_not_answered_is_held_back(
    ray: Ray, nodes: Nodes, seats: Seats
) -> None:
    nodes.works["late"] = None
    seats.request_resources(CORE)
    ray.give("late")
    assert not seats.has_resources_ready(CORE)
    assert seats.get_resource_futures() == []  # waiting for it would not wait at all
    nodes.works["late"] = True
    seat = seats.acquire_resources(CORE)
    assert seat is not None
    assert seat.node == "late"
    assert ray.made == 1


def test_room_on_a_bad_node_is_given_back_and_asked_for_elsewhere(
    ray: Ray, nodes: Nodes, seats: Seats
) -> None:
    nodes.works["late"] = None
    for _ in range(2):
        seats.request_resources(CORE)
    ray.give("late")
    assert not seats.has_resources_ready(CORE)
    nodes.works["late"] = False
    seats.update_state()
    assert [group.where for group in ray.groups.values()] == [[{"node": "!in(late)"}]] * 2
    assert len(seats.get_resource_futures()) == 2
    ray.give("a")
    assert seats.has_resources_ready(CORE)


def room_on_b(ray: Ray, nodes: Nodes, seats: Seats) -> None:
    """Room on a node that works, which nobody has taken yet."""
    nodes.works["b"] = True
    seats.request_resources(CORE)
    ray.give("b")
    assert seats.has_resources_ready(CORE)


def test_where_a_node_is_left_out_nothing_waits_for_it(
    ray: Ray, nodes: Nodes, seats: Seats
) -> None:
    """Room that Ray gives there but that never gets ready, and room that nobody has taken."""
    room_on_b(ray, nodes, seats)
    seats.request_resources(LARGE)  # Ray tries to start a worker, in vain
    nodes.works["b"] = False
    assert not seats.has_resources_ready(CORE)
    assert [group.where for group in ray.groups.values()] == [[{"node": "!in(b)"}]] * 2
    assert seats.acquire_resources(CORE) is None


def test_a_node_that_is_gone_before_its_room_is_taken(ray: Ray, seats: Seats) -> None:
    seats.request_resources(CORE)
    ray.give("gone")
    assert not seats.has_resources_ready(CORE)
    ray.give("a")
    assert seats.has_resources_ready(CORE)


def test_free_room_on_a_node_that_can_no_longer_work_is_given_back(
    ray: Ray, nodes: Nodes, seats: Seats
) -> None:
    room_on_b(ray, nodes, seats)
    nodes.works.pop("b")
    seats.update_state()
    assert not seats._free[CORE]
    ray.give("a")
    seats.update_state()
    assert [seat.node for seat in seats._free[CORE]] == ["a"]


def test_a_request_is_taken_back_whatever_became_of_it(
    ray: Ray, nodes: Nodes, seats: Seats
) -> None:
    seats.request_resources(CORE)
    seats.cancel_resource_request(CORE)
    assert (ray.groups, ray.cancelled) == ({}, [1])
    for node in ("a", "late"):
        nodes.works["late"] = None
        seats.request_resources(CORE)
        ray.give(node)
        seats.update_state()
        seats.cancel_resource_request(CORE)
        assert ray.groups == {}


def test_at_the_end_nothing_is_kept(ray: Ray, nodes: Nodes, seats: Seats) -> None:
    nodes.works["late"] = None
    for node in ("a", "a", "late"):
        seats.request_resources(CORE)
        ray.give(node)
        seats.update_state()
    seats.request_resources(CORE)
    assert seats.acquire_resources(CORE) is not None
    seats.clear()
    assert ray.groups == {}


# --- tasks ----------------------------------------------------------------------------------------


def double(number: int) -> int:
    return 2 * number


class EnoughError(Exception):
    """A test has seen enough."""


class Run:
    """Tasks of one core each; `turns` says what happens between looks, in order."""

    def __init__(self, ray: Ray, nodes: Nodes, seats: Seats, count: int) -> None:
        self.ray = ray
        requests = [CORE] * count
        given = [(number,) for number in range(count)]
        self.tasks = Tasks(double, given, requests, nodes, seats)  # type: ignore[arg-type]

    def answers(self, *turns: Callable[[], None]) -> list[tuple[int, Any]]:
        found, left = list[tuple[int, Any]](), list(turns)

        def look(_running: bool, _waiting: Sequence[int]) -> None:
            if not left:
                raise EnoughError
            left.pop(0)()

        with suppress(EnoughError):
            found.extend(self.tasks.answers(look))
        return found

    def done(self, call: int, result: Any) -> Callable[[], None]:
        return lambda: self.ray.results.__setitem__(f"call {call}", result)

    def on(self) -> list[str]:
        return [seat.node for _, seat in self.tasks.running.values()]


def raising(error: Exception) -> RayTaskError:
    return RayTaskError("double", "Traceback", error, pid=1, ip="10.0.0.2")


def test_calls_run_where_there_is_room_and_pass_it_on(ray: Ray, nodes: Nodes, seats: Seats) -> None:
    run = Run(ray, nodes, seats, 3)
    found = run.answers(
        lambda: ray.at.update({1: "a"}),  # room for a single one
        *(run.done(number, 2 * number) for number in range(3)),
    )
    assert found == [(0, 0), (1, 2), (2, 4)]
    assert [call[1] for call in ray.calls.values()] == [0, 1, 2]
    assert ray.groups == {}


def test_no_call_waits_for_a_node_that_has_not_answered(
    ray: Ray, nodes: Nodes, seats: Seats
) -> None:
    nodes.works["late"] = None
    run = Run(ray, nodes, seats, 2)
    found = run.answers(
        lambda: ray.at.update({1: "a", 2: "late"}),
        lambda: None,
        run.done(0, "one"),
        run.done(1, "other"),
    )
    assert found == [(0, "one"), (1, "other")]


def test_what_a_node_lacks_costs_no_call(ray: Ray, nodes: Nodes, seats: Seats) -> None:
    """However often: a node that fails at once is free at once, and would get them all."""
    run = Run(ray, nodes, seats, 1)
    turns: list[Callable[[], None]] = []
    for number in range(2 * TRIES):
        bad = f"bad{number}"
        turns += [
            lambda bad=bad: (nodes.works.__setitem__(bad, True), ray.give(bad)),  # type: ignore[misc]
            lambda bad=bad, n=number: (  # type: ignore[misc]
                nodes.works.__setitem__(bad, False),
                run.done(n, raising(ImportError("libx.so")))(),
            ),
        ]
    found = run.answers(*turns, lambda: ray.give("a"), run.done(2 * TRIES, "done"))
    assert found == [(0, "done")]
    assert nodes.blamed == [f"bad{number}" for number in range(2 * TRIES)]


def test_a_call_whose_worker_dies_is_tried_twice_more(ray: Ray, nodes: Nodes, seats: Seats) -> None:
    run = Run(ray, nodes, seats, 1)
    death = WorkerCrashedError()
    turns = [[lambda: ray.give("a"), run.done(number, death)] for number in range(TRIES)]
    found = run.answers(*(turn for some in turns for turn in some))
    assert found == [(0, death)]
    assert nodes.blamed == ["a"] * TRIES


def test_a_call_that_raises_is_not_tried_again(ray: Ray, nodes: Nodes, seats: Seats) -> None:
    run = Run(ray, nodes, seats, 2)
    error = raising(ValueError("x"))
    found = run.answers(lambda: ray.give("a"), run.done(0, error), run.done(1, 2))
    assert found == [(0, error), (1, 2)]
    assert (nodes.blamed, nodes.done) == ([], ["a"])


def test_where_enough_has_come_the_others_are_cancelled(
    ray: Ray, nodes: Nodes, seats: Seats
) -> None:
    run = Run(ray, nodes, seats, 3)
    found: list[Any] = []
    ray.results["call 0"] = 0
    for answer in run.tasks.answers(lambda *_: ray.give("a"), lambda: bool(found)):
        found.append(answer)  # noqa: PERF402  # it is asked in between
    assert found == [(0, 0)]
    assert ray.groups == {}
    assert set(ray.cancelled) >= set(run.tasks.running)


def test_who_stops_listening_ends_all_calls(ray: Ray, nodes: Nodes, seats: Seats) -> None:
    run = Run(ray, nodes, seats, 3)
    answers = run.tasks.answers(lambda _running, _waiting: ray.give("a"))
    ray.results["call 0"] = 0
    assert next(answers) == (0, 0)
    answers.close()
    assert ray.groups == {}
    assert set(ray.cancelled) >= set(run.tasks.running)
    assert all(isinstance(seat, Seat) for _, seat in run.tasks.running.values())
