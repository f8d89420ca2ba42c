"""Ray Tune's control loop, mended where a worker dies while it is handed from trial to trial.

Ray 2.60 hears of such a death twice, as of the worker's and as of the call's. The first puts the
trial back in line; the second, which finds it waiting, fails it for good and leaves its place
taken, so that a search with one worker waits forever. Here the second is not counted, and the
trial is tried again like one whose worker died in training.

It heeds nodes that were told to end, too. A worker that has ended a trial gets the next one, so
that such a node would work on, trial after trial, until it is cut off; and where it ends before its
time is up, Ray counts that as a failure of the trial.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import ray.tune.tune
from ray.exceptions import RayActorError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from search.machine.node_watch import NodeWatch
from search.machine.seats import Seats
from search.tune.reports import ManyAtOnce


class Told(Protocol):
    """Whoever is told what happens to workers. Nodes are named by their titles; they are None where
    Ray was started here.
    """

    def placed(self, trial: Trial, node: str | None) -> None:
        """A worker on this node is about to begin the trial."""

    def died(self, trial: Trial, exception: Exception, node: str | None) -> None:
        """An attempt of a trial failed, even one that is followed by a new attempt; not where its
        node was told to end.
        """

    def died_early(self, exception: Exception, node: str | None) -> None:
        """A worker died that no trial had."""


class SturdyController(TuneController):
    """Ray's controller, but for the death of a worker and for a worker that is still starting.

    A trial that waits for a worker to start is given one that has become free meanwhile. Ray then
    cancels the one that was starting, so that on a busy cluster a node that joined late never got
    its first trial. With `keeps_starting` it starts all the same, and the next trial gets it.

    With `nodes` workers are started on those that can work, and attempts that failed on a node that
    is left out, then or later, do not count. Trials that end with a node that was told to end run
    again, however often that happens.
    """

    keeps_starting = False
    nodes: NodeWatch | None = None  # None where Ray was started for this run
    _heeded: frozenset[str] = frozenset()  # those told to end when idle workers last went
    told: Told
    _view: Any = None  # what a scheduler sees of the controller

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._put_back: set[Trial] = set()
        self._failed_on: defaultdict[Trial, list[str]] = defaultdict(list)
        self._lost_on: dict[Trial, str | None] = {}  # the node of a worker whose trial is not told
        self._starting: dict[Any, Any] = {}  # workers for no trial yet, with what they hold
        self._idle: dict[Any, Any] = {}  # those of them that have started
        super().__init__(*args, **kwargs)
        asked: Any = self._actor_manager
        room = asked._resource_manager if self.nodes is None else Seats(self.nodes)
        self._actor_manager: Any = ManyAtOnce(room)

    def on_step_begin(self) -> None:
        """Hand out workers that are idle, before each turn of Ray's loop."""
        super().on_step_begin()
        self._let_idle_go()
        self._offer_idle()

    def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
        request, actor = trial.placement_group_factory, self._trial_to_actor.get(trial)
        if (
            self.keeps_starting
            and actor is not None
            and actor not in self._started_actors
            and trial not in self._resetting_trials
            and self._actor_cache.has_cached_object(request)
        ):
            del self._trial_to_actor[trial], self._actor_to_trial[actor]
            self._starting[actor] = request
        return bool(super()._maybe_reuse_cached_actor(trial))

    def _schedule_trial_actor(self, trial: Trial) -> None:
        free = self._actor_cache.has_cached_object(trial.placement_group_factory)
        if not free and len(self._without_actor()) <= len(self._starting) + len(self._idle):
            trial.init_local_path()  # it waits for the worker that is starting, or a free one
            return
        super()._schedule_trial_actor(trial)

    def _without_actor(self) -> list[Trial]:
        """Trials that are to run and have no worker, not even one that is starting for them."""
        return [trial for trial in self._staged_trials if trial not in self._trial_to_actor]

    def _actor_started(self, tracked_actor: Any, log: str = "STARTED") -> None:
        if (request := self._starting.pop(tracked_actor, None)) is None:
            trial = self._actor_to_trial[tracked_actor]
            self.told.placed(trial, self._title(self._actor_manager.node_of(tracked_actor)))
            super()._actor_started(tracked_actor, log)
            return
        self._started_actors.add(tracked_actor)
        self._idle[tracked_actor] = request

    def _offer_idle(self) -> None:
        """Give started workers to waiting trials, as if they had become free; end them once no
        trial will come.
        """
        over = self._search_alg.is_finished() and not self._staged_trials
        for actor, request in list(self._idle.items()):
            if over:
                self._let_go(actor)
            elif self._may_not_work(actor):
                self._without(actor)
            elif self._without_actor() and self._actor_cache.cache_object(request, actor):
                del self._idle[actor]
        for actor in list(self._starting) if over else ():
            self._let_go(actor)

    def _may_not_work(self, actor: Any) -> bool:
        """Whether a worker is on a node that is left out, or was told to end."""
        node = self._actor_manager.node_of(actor)
        return self.nodes is not None and node is not None and self.nodes.is_left_out(node)

    def _let_idle_go(self) -> None:
        """Where a node was told to end, keep no idle workers."""
        told = frozenset[str]() if self.nodes is None else self.nodes.told_to_end
        if told != self._heeded:
            self._heeded = told
            for actor in list(self._idle):
                self._without(actor)
            self._cleanup_cached_actors(force_all=True)

    def _ends(self, node: str | None) -> bool:
        """Whether a node was told to end."""
        return self.nodes is not None and node is not None and self.nodes.leaves(node)

    def _let_go(self, actor: Any) -> None:
        self._starting.pop(actor, None)
        self._idle.pop(actor, None)
        actor.set_on_stop(None)
        actor.set_on_error(None)
        self._remove_actor(tracked_actor=actor)

    def _cleanup_trials(self) -> None:
        for actor in [*self._starting, *self._idle]:
            self._let_go(actor)
        super()._cleanup_trials()

    def _title(self, node: str | None) -> str | None:
        return None if node is None or self.nodes is None else self.nodes.title(node)

    def _maybe_cache_trial_actor(self, trial: Trial) -> bool:
        node = self._actor_manager.node_of(self._trial_to_actor[trial])
        if self.nodes is not None and node is not None:
            self.nodes.worked(node)  # its trial has ended
            if self.nodes.is_left_out(node):
                return False  # it gets no other trial
        return bool(super()._maybe_cache_trial_actor(trial))

    def _unassigned_failed(self, actor: Any, exception: Exception) -> None:
        """A worker died that no trial had."""
        node = self._actor_manager.node_of(actor)
        if self.nodes is not None and node is not None:
            self.nodes.failed(node, exception, str(actor))
        if not self._ends(node):  # else the line on its node says it all
            self.told.died_early(exception, self._title(node))
        self._without(actor)

    def _without(self, actor: Any) -> None:
        """Forget a worker that no trial had, and ask for another one where trials wait for it."""
        self._starting.pop(actor, None)
        self._idle.pop(actor, None)
        self._actor_manager.clear_actor_task_futures(actor)
        actor.set_on_stop(None)
        actor.set_on_error(None)
        self._actor_manager.remove_actor(actor, kill=False)
        self._actor_stopped(actor)
        for trial in self._without_actor()[len(self._starting) + len(self._idle) :]:
            self._unstage_trial_with_resources(trial)
            self._pending_trials_list.append(trial)

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        if tracked_actor in self._starting or tracked_actor in self._idle:
            self._unassigned_failed(tracked_actor, exception)
            return
        trial = self._actor_to_trial[tracked_actor]
        self._lost_on[trial] = node = self._actor_manager.node_of(tracked_actor)
        if isinstance(exception, RayActorError) and self._ends(node):
            exception._preempted = True  # such a death is not counted: `Trial.handle_error`
        handed_over = trial in self._resetting_trials
        # A trial that counts as being handed over is never given a worker.
        self._resetting_trials.discard(trial)
        super()._actor_failed(tracked_actor, exception)
        if handed_over:
            self._put_back.add(trial)

    def _trial_task_failure(self, trial: Trial, exception: Exception) -> None:
        if trial in self._put_back:
            self._put_back.discard(trial)
            return
        super()._trial_task_failure(trial, exception)

    def _process_trial_failure(self, trial: Trial, exception: Exception) -> None:
        actor = self._trial_to_actor.get(trial)
        node = self._lost_on.pop(trial, None) or self._actor_manager.node_of(actor)
        if not getattr(exception, "preempted", False):  # else the line on its node says it all
            if node is not None:
                self._blame(trial, node, exception)
            self.told.died(trial, exception, self._title(node))
        super()._process_trial_failure(trial, exception)

    def _blame(self, trial: Trial, node: str, exception: Exception) -> None:
        """Count the attempts of a trial that failed on nodes which are not left out; Ray adds one
        for the last of them.
        """
        if self.nodes is None:
            return
        self.nodes.failed(node, exception, trial.trial_id)
        self._failed_on[trial].append(node)
        counted = [one for one in self._failed_on[trial] if not self.nodes.is_left_out(one)]
        trial.run_metadata.num_failures = len(counted) - 1

    def _wrapped(self) -> Any:
        if self._view is None:  # Ray would make it anew for each report
            self._view = super()._wrapped()
        return self._view

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Save only at the end, where Ray reads the file. It would look after each event whether a
        save is due.
        """
        if force:
            super().checkpoint(force=force, wait=wait)

    def save_to_dir(self) -> None:
        """Save nothing, since an experiment is never restored here.

        Ray would write the state of every trial, many MB, again and again.
        """
        path = Path(self.experiment_state_path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"trial_data": []}), encoding="utf-8")


@contextmanager
def sturdy(
    told: Told, *, keeps_starting: bool = False, nodes: NodeWatch | None = None
) -> Iterator[None]:
    """Within the block Tune uses `SturdyController`, which no argument of Tune can ask for.

    told: hears of every failed attempt; Ray keeps only some of them. keeps_starting, nodes: as in
    `SturdyController`.
    """
    module = ray.tune.tune
    ours = {
        "told": told,
        "keeps_starting": keeps_starting,
        "nodes": nodes,
    }
    controller = type("SturdyController", (SturdyController,), ours)
    original, module.TuneController = module.TuneController, controller
    try:
        yield
    finally:
        module.TuneController = original
