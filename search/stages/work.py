"""Tasks of the stages after the search, sent to workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from recsys.models import ModelConfig
from recsys.models.base import Size
from search.machine.cluster import Answer, Cluster, Failure, Resources
from search.stages.context import Stages, TaskFailedError
from search.tune.need import task_bytes

PATIENCE_S = 15.0  # that a rival gets beyond what is left of the time
LATE = 3.0  # times the seconds that rivals are estimated to take

Done = TypeVar("Done", covariant=True)  # the answer of a task
Other = TypeVar("Other")


@dataclass(frozen=True, eq=False)
class Work(Generic[Done]):
    """A task: a call of `function` with `arguments`. trains: the configs it trains, one by one.
    holds: bytes of trained models that it has in memory beside.
    """

    function: Callable[..., Done]
    arguments: tuple[Any, ...]
    trains: tuple[ModelConfig, ...] = ()
    holds: int = 0


def on_workers(
    cluster: Cluster,
    resources: Resources,
    works: Sequence[Work[Answer]],
    size: Size,
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Answer | Failure]]:
    """The index in `works` and the answer of each task, as they finish; see `Cluster.map`.

    resources: of a task. size: of the data that tasks train on, or nearly; it decides the memory
    that they ask for. enough: as in `Cluster.map`. A task whose worker kept dying gives a Failure.
    Raises NoWorkersError where no worker starts.
    """
    tasks = [(work.function, *work.arguments) for work in works]
    memory = [task_bytes(resources, work.trains, size, work.holds) for work in works]
    return cluster.map(call, tasks, resources, memory, enough)


def call(function: Callable[..., Answer], *task: Any) -> Answer:
    """What a worker does with any task."""
    return function(*task)


@overload
def side_by_side(
    run: Stages, one: Work[Answer], other: Work[Other], /, *, what: str
) -> tuple[Answer, Other]: ...
@overload
def side_by_side(run: Stages, *works: Work[Answer], what: str) -> tuple[Answer, ...]: ...
def side_by_side(run: Stages, *works: Work[Any], what: str) -> tuple[Any, ...]:
    """The answers of different tasks, in order; they run at once as far as there are cores. what:
    names them on the screen, in the plural.

    Raises TaskFailedError where a task failed, or its worker kept dying.
    """
    return needed_and_more(run, works, (), what)[0]


def needed_and_more(
    run: Stages, needed: Sequence[Work[Answer]], more: Sequence[Work[Other]], what: str
) -> tuple[tuple[Answer, ...], tuple[Other | Failure, ...]]:
    """The answers of tasks that a stage needs, then of `more` that it can do without; they run at
    once as far as there are cores. what: names them all on the screen, in the plural.

    Raises TaskFailedError where a needed one failed; one of `more` gives its Failure. Those of
    `more` that have not ended when the time budget has, and not much later than the needed ones,
    are not waited for.
    """
    works: list[Work[Any]] = [*needed, *more]
    found: dict[int, Any] = {}
    began = time.monotonic()
    limit = math.inf

    def enough() -> bool:
        return time.monotonic() > limit

    size = Size.of(run.split.train)
    for index, answer in on_workers(run.cluster, run.resources, works, size, enough):
        if isinstance(answer, Failure) and index < len(needed):
            raise failed(works[index].function.__name__.removesuffix("_task"), answer)
        found[index] = answer
        if len(works) > 1:
            run.display.progress(len(found), len(works), what)
        if more and run.deadline is not None and all(i in found for i in range(len(needed))):
            took = time.monotonic() - began  # the winner is trained once more after these
            need = run.reserve.rivals_need().training
            least = began + 2 * took + LATE * need + PATIENCE_S
            limit = min(limit, max(run.deadline - took, least))
    late = Failure("there was no time left for it", "")
    answers = [found.get(index, late) for index in range(len(works))]
    return tuple(answers[: len(needed)]), tuple(answers[len(needed) :])


def alone(run: Stages, work: Work[Answer]) -> Answer:
    """The answer of one task. Raises as `side_by_side` does."""
    return side_by_side(run, work, what="trainings")[0]


def failed(what: str, answer: Failure) -> TaskFailedError:
    """The error, in one line, for a failed task. what: the task's name, for the message."""
    return TaskFailedError(f"{what}: {' '.join(answer.cause.split())}")
