"""Workers on nodes that are told to end get no other trial, and trials there do not fail."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.tune.execution.tune_controller import TuneController

from search.machine.leaving import Leaving, Warned
from search.machine.node_watch import NodeWatch
from search.machine.nodes import Place
from tests.search.machine.test_node_watch import Cluster
from tests.search.tune.test_controller import REQUEST, Actor, Controller, Trial


class Told(Controller):
    """The books of a controller on a cluster with the nodes n1 and n2; n1 is told to end."""

    def __init__(self) -> None:
        super().__init__()
        cluster, self.lines = Cluster(), list[str]()
        for node in ("n1", "n2"):
            cluster.join(node)
        leaving = Leaving(self.lines.append, lambda: [Warned("n1", "n1 (10.0.0.1)", 60.0)])
        place = Place(good=("n1", "n2"))
        self.nodes = NodeWatch(place, cluster, self.lines.append, leaving=leaving)

    def on(self, node: str) -> tuple[Any, Actor]:
        """A trial, and its worker on a node."""
        trial, actor = Trial(), Actor("w")
        self._trial_to_actor[trial], self._actor_to_trial[actor] = actor, trial
        self.places[actor] = node
        return trial, actor


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    monkeypatch.setattr(TuneController, "_maybe_cache_trial_actor", lambda _self, _trial: True)
    monkeypatch.setattr(TuneController, "on_step_begin", lambda _self: None)
    return Told()


def test_a_worker_there_is_not_kept_for_another_trial(told: Told) -> None:
    assert not told._maybe_cache_trial_actor(told.on("n1")[0])
    assert told._maybe_cache_trial_actor(told.on("n2")[0])


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


def test_a_worker_that_starts_there_later_gets_no_trial(told: Told) -> None:
    told.on_step_begin()
    late, elsewhere = Actor("late"), Actor("elsewhere")
    for actor, node in ((late, "n1"), (elsewhere, "n2")):
        told.places[actor], told._idle[actor] = node, REQUEST
        told._started_actors.add(actor)
    told._offer_idle()
    assert late in told.removed
    assert late not in told._idle
    assert elsewhere not in told.removed


def test_where_ray_was_started_for_the_run_nothing_changes(told: Told) -> None:
    told.nodes = None
    free = told.free()
    told.on_step_begin()
    assert told._maybe_cache_trial_actor(told.on("n1")[0])
    assert free not in told.removed


@pytest.mark.parametrize(("node", "counts"), [("n1", False), ("n2", True)])
def test_a_death_with_such_a_node_is_no_failure(
    told: Told, monkeypatch: pytest.MonkeyPatch, node: str, counts: bool
) -> None:
    """Ray says so itself only where the node had all of its time, or its plug was pulled."""
    counted: list[bool] = []
    monkeypatch.setattr(TuneController, "_actor_failed", lambda *_: None)
    monkeypatch.setattr(
        TuneController,
        "_process_trial_failure",
        lambda _self, _trial, exception: counted.append(not exception.preempted),
    )
    died, (trial, actor) = ActorDiedError(), told.on(node)
    trial.trial_id, trial.run_metadata = "t0000", SimpleNamespace(num_failures=0)
    assert not died.preempted
    told._actor_failed(actor, died)
    del told.places[actor]
    told._process_trial_failure(trial, died)
    assert counted == [counts]
    assert len(told.heard.said) == counts  # the line on the node says it all


def test_nothing_is_said_of_an_idle_worker_that_died_there(told: Told) -> None:
    for node in ("n1", "n2"):
        idle = Actor(node)
        told.places[idle], told._idle[idle] = node, REQUEST
        told._started_actors.add(idle)
        told._actor_failed(idle, ActorDiedError())
    assert [said[-1] for said in told.heard.said] == ["n2 (10.0.0.2)"]
