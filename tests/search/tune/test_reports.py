"""Reports of many workers, taken from Ray in one look: without Ray running."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, ObjectLostError, OutOfMemoryError, RayActorError

from search.machine.workers import cause_of
from search.tune import reports
from search.tune.reports import ManyAtOnce


class Calls:
    """Stands for Ray: calls of workers that are over or still run, and how often it was asked."""

    def __init__(self) -> None:
        self.over: list[Any] = []
        self.asked: list[int | None] = []

    def wait(
        self, calls: list[Any], num_returns: int, timeout: float | None
    ) -> tuple[list[Any], list[Any]]:
        assert len(calls) >= num_returns or not calls
        self.asked.append(num_returns)
        ready = [call for call in calls if call in self.over][:num_returns]
        return ready, [call for call in calls if call not in ready]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(ray, "wait", calls.wait)
    monkeypatch.setattr(ray, "get", lambda call: f"result of {call}")
    return calls


@pytest.fixture
def manager() -> Any:
    resources: Any = SimpleNamespace(get_resource_futures=list)
    return ManyAtOnce(resources)


def track(manager: Any, *names: str) -> list[str]:
    """Follow some calls; returns where their results will stand."""
    handled: list[str] = []
    for name in names:
        manager._actor_task_events.track_future(name, on_result=handled.append)
    return handled


def test_all_that_is_over_is_found_in_one_look(manager: Any, calls: Calls) -> None:
    names = [f"c{n}" for n in range(10)]
    handled = track(manager, *names)
    calls.over = names[:6]
    assert manager.next(timeout=0.1)
    assert len(handled) == 1  # one event at a time
    looks = len(calls.asked)
    assert all(manager.next(timeout=0.1) for _ in range(5))
    assert len(calls.asked) == looks
    assert sorted(handled) == sorted(f"result of {name}" for name in names[:6])
    assert not manager.next(timeout=0.1)
    calls.over = names
    while manager.next(timeout=0.1):
        pass
    assert len(handled) == len(set(handled)) == 10


def test_a_call_whose_trial_was_stopped_meanwhile_is_not_handled(
    manager: Any, calls: Calls
) -> None:
    handled = track(manager, "a", "b", "c")
    calls.over = ["a", "b", "c"]
    manager.next()
    left = [name for name in "abc" if f"result of {name}" not in handled]
    manager._actor_task_events.discard_future(left[0])
    manager.next()
    assert not manager.next(timeout=0)
    assert f"result of {left[0]}" not in handled and len(handled) == 2


def test_what_a_report_leads_to_is_found_by_the_next_look(manager: Any, calls: Calls) -> None:
    later: list[str] = []

    def again(_: str) -> None:
        manager._actor_task_events.track_future("next", on_result=later.append)
        calls.over.append("next")

    manager._actor_task_events.track_future("first", on_result=again)
    calls.over = ["first"]
    assert manager.next() and not later
    assert manager.next() and later == ["result of next"]


class Worker:
    """An actor's handle: its calls return later."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda: f"{method} of {self.name}")


def test_a_worker_that_is_ready_for_its_next_trial_waits_for_no_report(
    manager: Any, calls: Calls
) -> None:
    """Sixteen trials that ended at once would otherwise be followed by sixteen that begin at once,
    after as many proposals.
    """
    handled: list[str] = []

    def call(method: str, name: str) -> Any:
        manager._live_actors_to_ray_actors_resources[name] = (Worker(name), None)
        said = handled.append
        task: Any = SimpleNamespace(
            _tracked_actor=name, _on_result=lambda _, result: said(result), _on_error=None
        )
        return manager._schedule_tracked_actor_task(task, method, args=(), kwargs={})

    for name in "abcd":
        assert call("train", name)._tracked_actor == name
    calls.over = [f"train of {name}" for name in "abcd"]
    manager.next()
    call("reset", "e")
    manager.next()  # it has not answered yet
    assert len(handled) == 2
    calls.over.append("reset of e")
    manager.next()
    assert handled[2:] == ["result of reset of e"]
    while manager.next(timeout=0):
        pass
    assert sorted(handled) == [
        "result of reset of e",
        *(f"result of train of {name}" for name in "abcd"),
    ]
    assert manager._ready() is None


def test_workers_that_start_are_still_heard_of(manager: Any, calls: Calls) -> None:
    handled = track(manager, "a", "b")
    started: list[str] = []
    manager._actor_state_events.track_future("worker", on_result=started.append)
    calls.over = ["a", "b", "worker"]
    assert manager.next() and started == ["result of worker"]  # first, as in Ray
    while manager.next(timeout=0):
        pass
    assert len(handled) == 2


def test_where_nothing_is_to_come_the_loop_rests(
    manager: Any, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All room is held back: Ray, asked for nothing, would answer at once, again and again."""
    rests: list[float] = []
    monkeypatch.setattr(reports.time, "sleep", rests.append)
    assert not manager.next(timeout=0.25)
    assert 0.2 < sum(rests) <= 0.25
    assert not manager.next(timeout=0)
    assert not manager.next()
    assert sum(rests) <= 0.25


def test_the_node_of_a_worker_is_known_until_its_death_is_told(manager: Any) -> None:
    manager._resource_manager.free_resources = lambda acquired_resource: None
    manager._live_actors_to_ray_actors_resources.update(
        a=("handle", SimpleNamespace(node="n1")), b=("handle", SimpleNamespace())
    )
    assert (manager.node_of("a"), manager.node_of("b"), manager.node_of("new")) == (
        "n1",
        None,
        None,
    )
    manager._cleanup_actor("a")
    assert manager.node_of("a") == "n1"
    manager._cleanup_actor("b")
    assert (manager.node_of("a"), manager.node_of("b")) == (None, None)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            OutOfMemoryError("Task was killed due to the node running low on memory."),
            "the worker was ended by Ray: this machine's memory use is too high",
        ),
        (ObjectLostError("aa" * 28, None, ""), "the worker died"),
        (ActorDiedError(), "the worker died"),
    ],
)
def test_a_worker_whose_call_ray_ended_has_died(
    manager: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    """Ray's memory monitor ends a call with an error that Ray's own manager does not know."""
    heard: list[tuple[str, BaseException]] = []
    gone: list[Any] = []
    monkeypatch.setattr(manager, "_cleanup_actor", lambda tracked_actor: gone.append(tracked_actor))
    worker = SimpleNamespace(actor_id=1, _on_error=lambda _, e: heard.append(("worker", e)))
    call: Any = SimpleNamespace(
        _tracked_actor=worker, _on_error=lambda _, e: heard.append(("call", e))
    )
    manager._actor_task_failed(call, error)
    assert gone == [worker]
    assert [who for who, _ in heard] == ["worker", "call"]
    assert all(isinstance(said, RayActorError) for _, said in heard)
    assert {cause_of(said) for _, said in heard} == {words}
