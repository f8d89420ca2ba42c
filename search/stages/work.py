"""Tasks of the stages after the search, sent to workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.models import ModelConfig
from recsys.models.base import Size
from search.machine.cluster import Answer, Cluster, Failure, Resources
from search.stages.context import RunFailedError, Stages
from search.tune.need import task_bytes
from search.tune.pace import size_of


@dataclass(frozen=True, eq=False)
class Work:
    """A task: `function` of `arguments`. trains: the configs that it trains, one at a time."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    trains: tuple[ModelConfig, ...] = ()


def on_workers(
    cluster: Cluster, resources: Resources, works: Sequence[Work], size: Size
) -> Iterator[tuple[int, Any | Failure]]:
    """The index and the answer of each task, as they finish; see `Cluster.map`.

    size: of the data that they train on, or nearly.
    """
    tasks = [(work.function, *work.arguments) for work in works]
    memory = [task_bytes(resources, work.trains, size) for work in works]
    return cluster.map(call, tasks, resources, memory)


def call(function: Callable[..., Answer], *task: Any) -> Answer:
    """What a worker does of any task."""
    return function(*task)


def side_by_side(run: Stages, *works: Work) -> list[Any]:
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
    return [found[index] for index in range(len(works))]


def alone(run: Stages, work: Work) -> Any:
    """The answer of one task. Raises as `side_by_side` does."""
    return side_by_side(run, work)[0]


def failed(what: str, answer: Failure) -> RunFailedError:
    """The error, in one line, for a task of `what` that failed."""
    return RunFailedError(f"{what}: {' '.join(answer.cause.split())}; --resume tries again")
