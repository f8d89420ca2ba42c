"""Workers on nodes that are told to end get no other trial, and trials there do not fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.tune.execution.tune_controller import TuneController

from search.machine import leaving
from search.machine.leaving import Leaving, Warned
from tests.search.tune.test_controller import REQUEST, Actor, Controller, Trial


class Told(Controller):
    """The books of a controller on a cluster with the nodes n1 and n2; n1 is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.leaving = Leaving(self.lines.append, lambda: [Warned("n1", "n1 (10.0.0.1)", 60.0)])


def on(told: Told, node: str | None) -> Any:
    """A trial whose worker is on a node; None: it has no worker."""
    trial: Any = Trial()
    trial.temporary_state = SimpleNamespace(ray_actor=node)
    told._trial_to_actor[trial] = Actor("w")
    return trial


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(leaving, "node_of", lambda actor: actor)
    monkeypatch.setattr(TuneController, "_maybe_cache_trial_actor", lambda _self, _trial: True)
    monkeypatch.setattr(TuneController, "on_step_begin", lambda _self: None)
    return Told()


def test_a_worker_there_is_not_kept_for_another_trial(told: Told) -> None:
    assert not told._maybe_cache_trial_actor(on(told, "n1"))
    assert told._maybe_cache_trial_actor(on(told, "n2"))
    assert told._maybe_cache_trial_actor(on(told, None))


def test_idle_workers_are_dropped_once(told: Told) -> None:
    idle = Actor("started for no trial yet")
    told._idle[idle] = REQUEST
    told._started_actors.add(idle)
    free = told.free()
    told.on_step_begin()
    assert told.removed == [idle, free]
    assert told._idle == {}
    assert len(told.lines) == 1
    kept = told.free()
    told.on_step_begin()
    assert kept not in told.removed


def test_where_ray_was_started_for_the_run_nothing_changes(told: Told) -> None:
    told.leaving = None
    free = told.free()
    told.on_step_begin()
    assert told._maybe_cache_trial_actor(on(told, "n1"))
    assert free not in told.removed


@pytest.mark.parametrize(("node", "counts"), [("n1", False), ("n2", True)])
def test_a_death_with_such_a_node_is_no_failure(
    told: Told, monkeypatch: pytest.MonkeyPatch, node: str, counts: bool
) -> None:
    """Ray says so itself only where the node had all of its time, or its plug was pulled. It hears
    of the death as of the worker's, and then, once the worker is forgotten, as of the call's.
    """
    counted: list[bool] = []

    def failed(self: Any, actor: Any, _exception: Any) -> None:
        self._actor_to_trial.pop(actor).temporary_state.ray_actor = None

    def process(_self: Any, _trial: Any, exception: Any) -> None:
        counted.append(not exception.preempted)

    monkeypatch.setattr(TuneController, "_actor_failed", failed)
    monkeypatch.setattr(TuneController, "_process_trial_failure", process)
    died, actor, trial = ActorDiedError(), Actor("busy"), on(told, node)
    assert not died.preempted
    told._actor_to_trial[actor] = trial
    told._actor_failed(actor, died)
    told._process_trial_failure(trial, died)
    assert counted == [counts]
    assert len(told.heard.said) == counts  # the line on the node says it all
