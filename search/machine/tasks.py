"""Tasks on the nodes of a joined cluster that can work, each with room of its own (`seats`)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.air.execution.resources import ResourceRequest
from ray.exceptions import RayError, RayTaskError

from search.machine.node_watch import NodeWatch
from search.machine.seats import Seat, Seats
from search.machine.workers import unfit

TRIES = 3  # on nodes that are not left out
LOOK_EVERY_S = 0.25


@dataclass(eq=False)
class Tasks:
    """Calls of one function, sent to nodes as these have room.

    tasks: the arguments of each call. requests: what each asks of a node. A call that fails because
    of its node (the worker died, something is lacking there) is tried again; failures on a node
    that is left out, then or later, do not count.
    """

    function: Callable[..., Any]
    tasks: Sequence[tuple[Any, ...]]
    requests: Sequence[ResourceRequest]
    nodes: NodeWatch
    seats: Seats
    running: dict[Any, tuple[int, Seat]] = field(default_factory=dict)
    failed_on: defaultdict[int, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._remote = ray.remote(max_retries=0)(self.function)
        self._waiting = list(range(len(self.tasks)))

    def answers(
        self,
        look: Callable[[bool, Sequence[int]], None],
        enough: Callable[[], bool] = lambda: False,
    ) -> Generator[tuple[int, Any | RayError]]:
        """The index of each call and what it returned or, in the end, failed with, as they finish.
        Closing the iterator cancels what has not finished.

        look: called again and again, with whether anything runs and the indices of the calls that
        wait for room; what it raises ends all calls. enough: asked as often; where it says so, what
        has not finished is cancelled.
        """
        for request in self.requests:
            self.seats.request_resources(request)
        try:
            while (self._waiting or self.running) and not enough():
                self._start()
                look(bool(self.running), self._waiting)
                if (done := self._next()) is not None:
                    yield from self._finish(done)
        finally:
            for one in self.running:
                ray.cancel(one, force=True)
            self.seats.clear()

    def _start(self) -> None:
        for index in list(self._waiting):
            if (seat := self.seats.acquire_resources(self.requests[index])) is not None:
                self._begin(index, seat)

    def _begin(self, index: int, seat: Seat) -> None:
        self._waiting.remove(index)
        [there] = seat.annotate_remote_entities([self._remote])
        self.running[there.remote(*self.tasks[index])] = (index, seat)

    def _next(self) -> Any | None:
        """A call that has ended; None where none has soon."""
        if not (known := [*self.running, *self.seats.get_resource_futures()]):
            time.sleep(LOOK_EVERY_S)  # all room is on nodes that have not answered
            return None
        done, _ = ray.wait(known, num_returns=1, timeout=LOOK_EVERY_S)
        return next((one for one in done if one in self.running), None)

    def _finish(self, done: Any) -> Iterator[tuple[int, Any | RayError]]:
        index, seat = self.running.pop(done)
        try:
            answer = ray.get(done)
        except RayError as error:
            self.seats.free_resources(seat)
            if self._again(index, seat.node, error):
                self._waiting.append(index)
                self.seats.request_resources(self.requests[index])
            else:
                yield index, error
            return
        self.nodes.worked(seat.node)
        self._pass_on(seat)
        yield index, answer

    def _again(self, index: int, node: str, error: RayError) -> bool:
        """Whether a call that failed on this node is tried again."""
        if isinstance(error, RayTaskError) and unfit(error) is None:
            return False  # it would do so anywhere
        self.nodes.failed(node, error, str(index))
        self.failed_on[index].append(node)
        return sum(not self.nodes.is_left_out(one) for one in self.failed_on[index]) < TRIES

    def _pass_on(self, seat: Seat) -> None:
        """Give the room of a call to one that waits for the like of it, so that it need not wait
        for a node that has not answered yet.
        """
        alike = (i for i in self._waiting if self.requests[i] == seat.resource_request)
        if self.nodes.may_work(seat.node) and (index := next(alike, None)) is not None:
            self.seats.cancel_resource_request(self.requests[index])
            self._begin(index, seat)
        else:
            self.seats.free_resources(seat)
