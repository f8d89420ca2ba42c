"""Tasks of the stages after the search, sent to workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from recsys.models import ModelConfig
from recsys.models.base import Size
from search.machine.cluster import Answer, Cluster, Failure, Resources
from search.stages.context import RunFailedError, Stages
from search.tune.need import task_bytes
from search.tune.pace import size_of

Done = TypeVar("Done", covariant=True)  # the answer of a task
Other = TypeVar("Other")


@dataclass(frozen=True, eq=False)
class Work(Generic[Done]):
    """A task: `function` of `arguments`. trains: the configs that it trains, one at a time."""

    function: Callable[..., Done]
    arguments: tuple[Any, ...]
    trains: tuple[ModelConfig, ...] = ()


def on_workers(
    cluster: Cluster, resources: Resources, works: Sequence[Work[Answer]], size: Size
) -> Iterator[tuple[int, Answer | Failure]]:
    """The index and the answer of each task, as they finish; see `Cluster.map`.

    size: of the data that they train on, or nearly.
    """
    tasks = [(work.function, *work.arguments) for work in works]
    memory = [task_bytes(resources, work.trains, size) for work in works]
    return cluster.map(call, tasks, resources, memory)


def call(function: Callable[..., Answer], *task: Any) -> Answer:
    """What a worker does of any task."""
    return function(*task)


@overload
def side_by_side(run: Stages, one: Work[Answer], other: Work[Other], /) -> tuple[Answer, Other]: ...
@overload
def side_by_side(run: Stages, *works: Work[Answer]) -> tuple[Answer, ...]: ...
def side_by_side(run: Stages, *works: Work[Any]) -> tuple[Any, ...]:
    """The answers of different tasks, at once as far as cores go.

    Raises `RunFailedError` where one failed, or its worker kept dying.
    """
    found: dict[int, Any] = {}
    for index, answer in on_workers(run.cluster, run.resources, works, size_of(run.split.train)):
        if isinstance(answer, Failure):
            raise failed(works[index].function.__name__.removesuffix("_task"), answer)
        found[index] = answer
        if len(works) > 1:
            run.display.progress(len(found), len(works))
    return tuple(found[index] for index in range(len(works)))


def alone(run: Stages, work: Work[Answer]) -> Answer:
    """The answer of one task. Raises as `side_by_side` does."""
    return side_by_side(run, work)[0]


def failed(what: str, answer: Failure) -> RunFailedError:
    """The error, in one line, for a task of `what` that failed."""
    return RunFailedError(f"{what}: {' '.join(answer.cause.split())}; --resume tries again")
