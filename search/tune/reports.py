"""The reports of all workers, taken from Ray in one look.

Ray 2.60 looks for one report, handles it, and looks again. Each look checks the running call of
every worker, so that with a thousand workers it takes longer than handling the report.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import ray
from ray.air.execution._internal import RayActorManager
from ray.air.execution.resources import ResourceManager
from ray.exceptions import RayActorError, RayError, RayTaskError


class ManyAtOnce(RayActorManager):
    """Ray's manager of workers, except that a look finds all reports that have come in.

    They are handled one by one, as in Ray. Workers that start or end, which Ray handles first, wait
    until the reports of a look are handled. A worker that is ready for its next trial does not: it
    would do nothing meanwhile, and where many trials end at once a report can take long, since the
    trial that follows has to be proposed. Workers that had ended together would then begin together
    again, and so on.
    """

    def __init__(self, resource_manager: ResourceManager) -> None:
        super().__init__(resource_manager)
        self._found: deque[Any] = deque()  # calls that have returned and are not yet handled
        self._resets: list[Any] = []  # calls that make a worker ready for its next trial
        self._left: tuple[Any, str | None] = (None, None)  # the worker that left last, its node

    def node_of(self, actor: Any) -> str | None:
        """The id of the node of a worker that is there, or was the last to leave; None where it has
        none yet, and for a Ray that was started here.
        """
        if (there := self._live_actors_to_ray_actors_resources.get(actor)) is not None:
            return getattr(there[1], "node", None)
        return self._left[1] if actor is self._left[0] else None

    def _cleanup_actor(self, tracked_actor: Any) -> None:
        self._left = (tracked_actor, self.node_of(tracked_actor))
        super()._cleanup_actor(tracked_actor)

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        """A worker whose call ends with an error of Ray's has died. Ray does not know that of one
        that its memory monitor ended (OutOfMemoryError), and would end the search.
        """
        known = isinstance(exception, RayTaskError | RayActorError)
        if isinstance(exception, RayError) and not known:
            exception = RayActorError(error_msg=str(exception))
        super()._actor_task_failed(tracked_actor_task, exception)

    def _schedule_tracked_actor_task(
        self,
        tracked_actor_task: Any,
        method_name: str,
        *,
        args: tuple[Any, ...] | None = None,
        kwargs: dict[str, Any] | None = None,
        _return_future: bool = False,
    ) -> Any:
        task, call = super()._schedule_tracked_actor_task(
            tracked_actor_task, method_name, args=args, kwargs=kwargs, _return_future=True
        )
        if method_name == "reset":
            self._resets.append(call)
        return (task, call) if _return_future else task

    def _ready(self) -> Any:
        """A call that has made a worker ready for its next trial; None where there is none."""
        known = self._actor_task_events._tracked_futures
        self._resets = [call for call in self._resets if call in known]
        if not self._resets:
            return None
        ready = ray.wait(self._resets, num_returns=1, timeout=0)[0]
        return ready[0] if ready else None

    def next(self, timeout: float | None = None) -> bool:
        """Handle one event, of this look or a new one; False if none came in `timeout` seconds."""
        while self._found:
            if (call := self._ready()) is None:
                call = self._found.popleft()
            if call in self._actor_task_events._tracked_futures:  # else its trial was stopped
                self._try_start_actors()
                self._actor_task_events.resolve_future(call)
                self._try_start_actors()
                return True
        began = time.monotonic()
        if not super().next(timeout):
            if timeout is not None:  # Ray does not wait where there is nothing to wait for
                time.sleep(max(0.0, timeout - (time.monotonic() - began)))
            return False
        if calls := list(self._actor_task_events._tracked_futures):
            self._found.extend(ray.wait(calls, num_returns=len(calls), timeout=0)[0])
        return True
