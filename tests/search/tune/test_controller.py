"""Workers that start for a trial which another one has taken: none of them is in vain."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from search.tune.controller import SturdyController

REQUEST = "one core"


class Actor:
    def __init__(self, name: str) -> None:
        self.name = name

    def set_on_stop(self, _call: Any) -> None: ...

    set_on_error = set_on_stop


class Trial:
    placement_group_factory = REQUEST
    started_with: Actor | None = None

    def init_local_path(self) -> None: ...

    def set_ray_actor(self, _actor: Any) -> None: ...


@dataclass
class Heard:
    """What is told of workers."""

    said: list[tuple[Any, ...]] = field(default_factory=list)

    def placed(self, trial: Any, node: str | None) -> None:
        self.said.append(("placed", node))

    def died(self, trial: Any, exception: Exception, node: str | None) -> None:
        self.said.append(("died", str(exception), node))

    def died_early(self, exception: Exception, node: str | None) -> None:
        self.said.append(("died early", str(exception), node))


class Controller(SturdyController):
    """The books of a controller, without a cluster: what Ray would do is noted down."""

    keeps_starting = True

    def __init__(self) -> None:
        self._put_back, self._lost_on, self._failed_on = set(), {}, defaultdict(list)
        self.requested: list[Actor] = []
        self.removed: list[Actor] = []
        self._starting, self._idle = {}, {}
        self._trial_to_actor: dict[Any, Any] = {}
        self._actor_to_trial: dict[Any, Any] = {}
        self._started_actors: set[Any] = set()
        self._resetting_trials: set[Any] = set()
        self._staged_trials: set[Any] = set()
        self._pending_trials_list: list[Any] = []
        self._stopping_actors: dict[Any, Any] = {}
        self._actor_cache = _ObjectCache(may_keep_one=True)
        self._search_alg = SimpleNamespace(is_finished=lambda: False)
        live: Any = _Live()
        self._actor_manager = SimpleNamespace(
            _live_actors_to_ray_actors_resources=live,
            clear_actor_task_futures=lambda _actor: None,
            remove_actor=lambda actor, kill: self.removed.append(actor),
            node_of=lambda actor: self.places.get(actor),
        )
        self.places: dict[Any, str] = {}
        self.told = self.heard = Heard()

    def _schedule_trial_reset(self, trial: Any, *_: Any) -> None:  # type: ignore[override]
        trial.started_with = self._trial_to_actor[trial]
        self._unstage_trial_with_resources(trial)

    def _remove_actor(self, tracked_actor: Any) -> None:
        self.removed.append(tracked_actor)

    def make(self) -> Trial:
        """A new trial that is to run."""
        trial: Any = Trial()
        trial.config, trial.experiment_tag = {}, ""
        self._staged_trials.add(trial)
        self._actor_cache.increase_max(REQUEST)
        self._schedule_trial_actor(trial)
        return trial

    def free(self) -> Actor:
        """A worker whose trial has ended."""
        actor = Actor("free")
        self._started_actors.add(actor)
        assert self._actor_cache.cache_object(REQUEST, actor)
        return actor


class _Live(dict[Any, Any]):
    def __missing__(self, actor: Any) -> Any:
        return (actor, None)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Controller:
    def schedule(self: Any, trial: Any) -> None:
        if self._maybe_reuse_cached_actor(trial):
            return
        actor = Actor("new")
        self.requested.append(actor)
        self._trial_to_actor[trial], self._actor_to_trial[actor] = actor, trial

    monkeypatch.setattr(TuneController, "_schedule_trial_actor", schedule)
    return Controller()


def taken(control: Controller) -> tuple[Trial, Actor]:
    """A trial that took a free worker, and the one that was starting for it."""
    trial = control.make()
    (starting,) = control.requested
    free = control.free()
    assert control._maybe_reuse_cached_actor(trial)  # type: ignore[arg-type]
    assert trial.started_with is free
    return trial, starting


def test_the_next_trial_gets_the_worker_that_was_starting(control: Controller) -> None:
    _, starting = taken(control)
    assert control.removed == []
    following = control.make()
    assert control.requested == [starting]  # no other one is asked for
    control._actor_started(starting)
    control._offer_idle()
    assert control._maybe_reuse_cached_actor(following)  # type: ignore[arg-type]
    assert following.started_with is starting
    assert (control._starting, control._idle) == ({}, {})


def test_one_that_has_started_waits_until_a_trial_needs_it(control: Controller) -> None:
    _, starting = taken(control)
    control._actor_started(starting)
    control._offer_idle()
    assert list(control._idle) == [starting]
    following = control.make()
    control._offer_idle()
    assert control._maybe_reuse_cached_actor(following)  # type: ignore[arg-type]
    assert following.started_with is starting


def test_a_second_trial_that_waits_asks_for_a_worker_of_its_own(control: Controller) -> None:
    taken(control)
    control.make()
    control.make()
    assert len(control.requested) == 2


def test_where_it_dies_the_trial_that_waits_asks_for_another(control: Controller) -> None:
    _, starting = taken(control)
    following = control.make()
    control._actor_failed(starting, RuntimeError("the node is gone"))
    assert control._starting == {}
    assert control._pending_trials_list == [following]
    assert following not in control._staged_trials
    assert control._actor_cache.total_max_objects == 0


def test_at_the_end_nothing_is_left(control: Controller) -> None:
    _, starting = taken(control)
    control._search_alg.is_finished = lambda: True
    control._offer_idle()
    assert control.removed == [starting]
    assert control._starting == {}


def test_a_ray_of_our_own_does_as_ray_does(control: Controller) -> None:
    control.keeps_starting = False
    _, starting = taken(control)
    assert control.removed == [starting]


# --- nodes of a cluster ---------------------------------------------------------------------------


class Nodes:
    """Stands for the watch over the nodes; those that lack something are left out at once."""

    def __init__(self, *lacking: str) -> None:
        self.lacking, self.out, self.done = lacking, list[str](), list[str]()

    def title(self, node: str) -> str:
        return f"the node {node}"

    def is_left_out(self, node: str) -> bool:
        return node in self.out

    def leaves(self, _node: str) -> bool:
        return False

    def worked(self, node: str) -> None:
        self.done.append(node)

    def failed(self, node: str, _error: Exception, _what: str) -> None:
        if node in self.lacking:
            self.out.append(node)


@pytest.fixture
def processed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What Ray's controller is called with for a failed trial: its failures so far."""
    failures: list[int] = []

    def process(_self: Any, trial: Any, _exception: Exception) -> None:
        trial.run_metadata.num_failures += 1
        failures.append(trial.run_metadata.num_failures)

    monkeypatch.setattr(TuneController, "_process_trial_failure", process)
    return failures


def fail(control: Controller, trial: Any, node: str) -> None:
    """An attempt of a trial fails on a node whose worker lives on."""
    actor = Actor(node)
    control.places[actor] = node
    control._trial_to_actor[trial] = actor
    control._process_trial_failure(trial, RuntimeError(node))


def running() -> Any:
    trial: Any = Trial()
    trial.trial_id = "t0000"
    trial.run_metadata = SimpleNamespace(num_failures=0)
    return trial


def test_failures_on_nodes_that_are_left_out_do_not_count(
    control: Controller, processed: list[int]
) -> None:
    nodes: Any = Nodes("bad", "worse")
    control.nodes, trial = nodes, running()
    for node in ("bad", "worse", "good", "good"):
        fail(control, trial, node)
    assert processed == [0, 0, 1, 2]
    nodes.out.append("good")  # it has answered meanwhile
    fail(control, trial, "other")
    assert processed[-1] == 1
    assert control.heard.said[0] == ("died", "bad", "the node bad")


def test_a_ray_of_our_own_counts_as_ray_does(control: Controller, processed: list[int]) -> None:
    trial = running()
    for _ in range(2):
        control._trial_to_actor[trial] = Actor("here")
        control._process_trial_failure(trial, RuntimeError("x"))
    assert processed == [1, 2]
    assert control.heard.said[0] == ("died", "x", None)


def test_a_worker_that_died_is_told_with_its_node(
    control: Controller, processed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray forgets which worker a trial had before it says that the trial failed."""
    nodes: Any = Nodes()
    control.nodes, trial, actor = nodes, running(), Actor("w")
    control.places[actor], control._actor_to_trial[actor] = "good", trial

    def failed(self: Any, tracked_actor: Any, _exception: Exception) -> None:
        del self._actor_to_trial[tracked_actor]

    monkeypatch.setattr(TuneController, "_actor_failed", failed)
    control._actor_failed(actor, RuntimeError("gone"))
    del control.places[actor]
    control._process_trial_failure(trial, RuntimeError("gone"))
    assert control.heard.said == [("died", "gone", "the node good")]


def test_a_worker_that_dies_before_a_trial_is_told_and_blamed(control: Controller) -> None:
    _, starting = taken(control)
    nodes: Any = Nodes("bad")
    control.nodes, control.places[starting] = nodes, "bad"
    control._actor_failed(starting, RuntimeError("x"))
    assert control.heard.said == [("died early", "x", "the node bad")]
    assert nodes.out == ["bad"]


def test_a_worker_on_a_node_that_is_left_out_gets_no_other_trial(
    control: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TuneController, "_maybe_cache_trial_actor", lambda *_: True)
    nodes: Any = Nodes()
    control.nodes, trial, actor = nodes, running(), Actor("w")
    control._trial_to_actor[trial], control.places[actor] = actor, "b"
    assert control._maybe_cache_trial_actor(trial)
    nodes.out.append("b")
    assert not control._maybe_cache_trial_actor(trial)
    assert nodes.done == ["b", "b"]  # both trials have ended


def test_who_listens_hears_where_a_trial_begins(
    control: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TuneController, "_actor_started", lambda *_: None)
    nodes: Any = Nodes()
    for control.nodes, title in ((nodes, "the node a"), (None, None)):
        actor = Actor("w")
        control._actor_to_trial[actor], control.places[actor] = running(), "a"
        control._actor_started(actor)
        assert control.heard.said[-1] == ("placed", title)


def test_ray_looks_for_nothing_to_save_after_each_event(
    control: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[bool] = []
    monkeypatch.setattr(
        TuneController, "checkpoint", lambda _self, force, wait: saved.append(force and wait)
    )
    control.checkpoint()
    assert saved == []
    control.checkpoint(force=True, wait=True)
    assert saved == [True]


def test_what_a_scheduler_sees_is_made_once(
    control: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TuneController, "_wrapped", lambda _self: object())
    assert control._wrapped() is control._wrapped()
