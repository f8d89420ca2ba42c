"""Ray Tune's control loop, made to heed nodes that were told to end.

A worker that has ended a trial gets the next one, so that such a node would work on, trial after
trial, until it is cut off; and where it ends before its time is up, Ray counts that as a failure of
the trial.
"""

from __future__ import annotations

from typing import Any

from ray.exceptions import RayActorError
from ray.tune.execution.tune_controller import TuneController

from search.machine.node_watch import NodeWatch


class HeedingController(TuneController):
    """Ray's controller, whose workers on nodes that are told to end get no other trial.

    Trials that end with such a node run again, however often that happens.
    """

    nodes: NodeWatch | None = None  # None where Ray was started for this run
    _heeded: frozenset[str] = frozenset()

    def on_step_begin(self) -> None:
        """Before each turn of Ray's loop: where a node was told to end, keep no idle workers."""
        super().on_step_begin()
        told = frozenset[str]() if self.nodes is None else self.nodes.told_to_end
        if told != self._heeded:
            self._heeded = told
            self._let_idle_go()
            self._cleanup_cached_actors(force_all=True)

    def _let_idle_go(self) -> None:
        """End workers that have started and have had no trial yet; Ray itself has none."""

    def _on_leaving_node(self, actor: Any) -> bool:
        """Whether a worker is, or was when it died, on a node that was told to end."""
        node = self._actor_manager.node_of(actor)
        return self.nodes is not None and node is not None and self.nodes.leaves(node)

    def _actor_failed(self, tracked_actor: Any, exception: Exception) -> None:
        if isinstance(exception, RayActorError) and self._on_leaving_node(tracked_actor):
            exception._preempted = True  # such a death is not counted: `Trial.handle_error`
        super()._actor_failed(tracked_actor, exception)
