"""Ray Tune's control loop, made to heed nodes that were told to end.

A worker that has ended a trial gets the next one, so that such a node would work on, trial after
trial, until it is cut off; and where it ends before its time is up, Ray counts that as a failure of
the trial.
"""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from search.machine.leaving import Leaving


class HeedingController(TuneController):
    """Ray's controller, whose workers on nodes that are told to end get no other trial.

    Trials that end with such a node run again, however often that happens.
    """

    leaving: Leaving | None = None  # None where Ray was started for this run
    _heeded: frozenset[str] = frozenset()

    def on_step_begin(self) -> None:
        """Before each turn of Ray's loop: where a node was told to end, keep no idle workers."""
        super().on_step_begin()
        if self.leaving is not None and (told := self.leaving.look()) != self._heeded:
            self._heeded = told
            self._let_idle_go()
            self._cleanup_cached_actors(force_all=True)

    def _let_idle_go(self) -> None:
        """End workers that have started and have had no trial yet; Ray itself has none."""

    def _on_leaving_node(self, trial: Trial | None) -> bool:
        """Whether the trial's worker is, or was when it died, on a node that was told to end."""
        if self.leaving is None or trial is None:
            return False
        actor = trial.temporary_state.ray_actor
        return actor is not None and self.leaving.had(actor)

    def _maybe_cache_trial_actor(self, trial: Trial) -> bool:
        return not self._on_leaving_node(trial) and bool(super()._maybe_cache_trial_actor(trial))

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        trial = self._actor_to_trial.get(tracked_actor)
        if isinstance(exception, RayActorError) and self._on_leaving_node(trial):
            exception._preempted = True  # such a death is not counted: `Trial.handle_error`
        super()._actor_failed(tracked_actor, exception)
