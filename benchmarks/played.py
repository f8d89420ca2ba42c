"""Trials that sleep instead of training, and workers that are played, many by one process.

A worker of Ray with Tune's imports is a process of 120 MB, and a thousand of them would take more
of a small machine than the driver that is measured. An actor that serves many calls at once stands
in for hundreds: it answers each call as a worker would, with what Tune's own `Trainable` makes of
it, after the same sleep. For the driver all is as with real workers (placement groups, calls, the
order and contents of results), except that it talks to fewer processes, and that none has to start.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import ray
from ray.air.execution.resources.placement_group import PlacementGroupAcquiredResources
from ray.tune import Trainable
from ray.tune.result import RESULT_DUPLICATE, SHOULD_CHECKPOINT

from recsys.models.progress import Stop
from search.record.events import EpochRow
from search.space.trial import TrialConfig
from search.tune.outcome import Brief, Report

CALLS_AT_ONCE = 100_000

# What a trial does: the seconds before each of its reports, and the report as Ray carries it.
Script = Callable[[TrialConfig], Iterator[tuple[float, dict[str, Any]]]]


@dataclass(frozen=True)
class Sleep:
    """The script of a trial that lasts `seconds`, or up to the part `spread` more or less, by its
    seed. An epoch takes `epoch_s` seconds; a report is due every `report_s`. metrics: how many.
    """

    seconds: float
    spread: float
    epoch_s: float
    report_s: float
    metrics: int

    def __call__(self, trial: TrialConfig) -> Iterator[tuple[float, dict[str, Any]]]:
        rng = np.random.default_rng(trial.seed)
        length, level = self.seconds * (1 + rng.uniform(-self.spread, self.spread)), rng.random()
        epochs = max(1, round(length / self.epoch_s))
        each, rows = length / epochs, []
        most = max(1, round(self.report_s / each))  # epochs in a report
        for epoch in range(1, epochs + 1):
            value = float(level * (1 - math.exp(-epoch / 9)))
            rows.append(EpochRow(epoch, 1 / epoch, (value,) * self.metrics, each, 0.0))
            if epoch == epochs or len(rows) == most:
                stop: Stop | None = "epochs" if epoch == epochs else None
                yield len(rows) * each, Report(epoch, value, epoch, stop, rows).flat()
                rows = []


class Played(Brief, Trainable):
    """What Tune has in a worker. Its steps take no time."""

    def setup(self, config: dict[str, Any]) -> None:
        """Nothing is prepared."""

    def play(self, script: Script) -> None:
        """Begin the trial that was handed over."""
        self._reports = script(self.config["trial"])
        self._next: dict[str, Any] = {}

    def pause(self) -> float:
        """Seconds until the next report."""
        over = (0.0, {RESULT_DUPLICATE: True, SHOULD_CHECKPOINT: False})
        seconds, self._next = next(self._reports, over)
        return seconds

    def step(self) -> dict[str, Any]:
        """The next report, or Tune's word for a function that has returned."""
        return self._next

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Another trial can be handed over."""
        self.config = new_config
        return True


class Host:
    """Plays workers, which have numbers."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._workers: dict[int, Played] = {}

    async def begin(self, number: int, given: dict[str, Any]) -> None:
        self._workers[number] = worker = Played(**given)
        worker.play(self._script)

    async def ready(self, number: int) -> bool:
        return number in self._workers

    async def metrics(self, number: int, **given: Any) -> dict[str, Any]:
        return self._workers[number].get_auto_filled_metrics(**given)

    async def train(self, number: int) -> dict[str, Any]:
        worker = self._workers[number]
        await asyncio.sleep(worker.pause())
        return dict(worker.train())

    async def reset(self, number: int, config: dict[str, Any], storage: Any) -> bool:
        worker = self._workers[number]
        done = worker.reset(config, storage=storage)
        worker.play(self._script)
        return bool(done)

    async def stop(self, number: int) -> None:
        del self._workers[number]


@dataclass(frozen=True)
class Call:
    """A method of a played worker, called as Ray's are: `worker.train.remote()`."""

    method: Any
    number: int

    def remote(self, *args: Any, **given: Any) -> Any:
        return self.method.remote(self.number, *args, **given)


class Handle:
    """In place of Ray's handle of a worker."""

    def __init__(self, host: Any, number: int) -> None:
        self.__ray_ready__ = Call(host.ready, number)
        self.get_auto_filled_metrics = Call(host.metrics, number)
        self.train, self.reset = Call(host.train, number), Call(host.reset, number)
        self.stop = Call(host.stop, number)


class Cast:
    """In place of the class of workers: each new one goes to the next host."""

    def __init__(self, hosts: list[Any]) -> None:
        self._hosts, self._begun = hosts, 0

    def remote(self, **given: Any) -> Handle:
        host, number = self._hosts[self._begun % len(self._hosts)], self._begun
        self._begun += 1
        host.begin.remote(number, given)
        return Handle(host, number)


@contextmanager
def played(script: Script, hosts: int) -> Iterator[None]:
    """Within the block Tune's workers are played by so many processes, each trial by the script."""
    actor = ray.remote(Host).options(num_cpus=0, max_concurrency=CALLS_AT_ONCE)
    cast = Cast([actor.remote(script) for _ in range(hosts)])
    kill = ray.kill

    def end(worker: Any, **given: Any) -> None:
        if not isinstance(worker, Handle):
            kill(worker, **given)

    name = "annotate_remote_entities"  # where Tune turns the class of workers into one of Ray's
    with (
        patch.object(PlacementGroupAcquiredResources, name, lambda *_: [cast]),
        patch.object(ray, "kill", end),
    ):
        yield


def sleeper(script: Script) -> Callable[..., None]:
    """In place of `run_trial`, in workers that are not played: the same trials."""

    def run(config: dict[str, TrialConfig], data: Any) -> None:  # noqa: ARG001
        import time

        from ray import tune

        for seconds, report in script(config["trial"]):
            time.sleep(seconds)
            tune.report(report)

    return run
