"""Workers that start for a trial which another one has taken: none of them is in vain."""

from __future__ import annotations

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


class Controller(SturdyController):
    """The books of a controller, without a cluster: what Ray would do is noted down."""

    keeps_starting = True

    def __init__(self) -> None:
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
        )

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
