"""Training the winner without validation, for the test and for the model that is handed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.interactions import CSR
from recsys.models import Model, ModelConfig, fit_model
from search.machine.cluster import Answer, Failure, Resources
from search.record.result import Decided, decided
from search.space.trial import trial_seed
from search.stages.context import RunFailedError, Stages
from search.tune.need import with_memory
from search.tune.pace import size_of
from search.tune.worker import limit_threads, own_device


@dataclass(frozen=True)
class FinalTraining:
    """A training for exactly the epochs of its config, with nothing held out."""

    config: ModelConfig
    seed: int
    threads: int
    device: str

    @staticmethod
    def of(
        config: ModelConfig, epochs: int, *, seed: int, threads: int, device: str
    ) -> FinalTraining:
        """That of a trial's config, for the `epochs` that were learned."""
        return FinalTraining(config.for_epochs(epochs).honest(), seed, threads, device)

    def train(self, items: CSR) -> Model:
        limit_threads(self.threads)
        rng = np.random.default_rng(self.seed)
        device = own_device(self.device)
        return fit_model(self.config, items, rng=rng, threads=self.threads, device=device)


@dataclass(frozen=True, eq=False)
class Refitted:
    """A trained model as bytes (of `Model.to_bytes`), for the driver to use."""

    weights: bytes
    seconds: float


def refit_task(training: FinalTraining, items: CSR) -> Refitted:
    """A config trained without validation, in a worker."""
    started = time.monotonic()
    return Refitted(training.train(items).to_bytes(), time.monotonic() - started)


def race_decided(run: Stages) -> Decided:
    """What the race decided, which every later stage builds on."""
    found = decided(run.state)
    assert found is not None, "the race comes first"
    return found


def final_training(run: Stages, trial_id: str, epochs: int, what: str) -> FinalTraining:
    """What a worker needs to train a trial for good; `what` makes the seed another one."""
    return FinalTraining.of(
        run.state.trials[trial_id].training,
        epochs,
        seed=trial_seed(run.settings.seed, f"{what}:{trial_id}"),
        threads=run.resources.cpus_per_trial,
        device=run.settings.device,
    )


def winner_training(run: Stages, what: str) -> FinalTraining:
    """The same of the winner, for its learned number of epochs."""
    found = race_decided(run)
    return final_training(run, found.winner, found.epochs, what)


def failed(what: str, answer: Failure) -> RunFailedError:
    """The error, in one line, for a task of `what` that failed."""
    return RunFailedError(f"{what}: {' '.join(answer.cause.split())}; --resume tries again")


def side_by_side(run: Stages, *works: tuple[Callable[..., Any], tuple[Any, ...]]) -> list[Any]:
    """The answers of different tasks, (function, its arguments) each, at once as far as cores go.

    Raises `RunFailedError` where one failed, or its worker kept dying.
    """
    found: dict[int, Any] = {}
    resources = needed(run, *(task for _, task in works))
    for index, answer in run.cluster.map(call, [(f, *task) for f, task in works], resources):
        if isinstance(answer, Failure):
            raise failed(works[index][0].__name__.removesuffix("_task"), answer)
        found[index] = answer
        run.display.progress(len(found), len(works))
    return [found[index] for index in range(len(works))]


def needed(run: Stages, *tasks: Sequence[Any]) -> Resources:
    """What tasks that train on everything ask of a cluster, by the trainings among their arguments.

    Their data is all but as large as that of the trials.
    """
    configs = [one.config for task in tasks for one in task if isinstance(one, FinalTraining)]
    return with_memory(run.resources, configs, size_of(run.split.train))


def call(function: Callable[..., Answer], *task: Any) -> Answer:
    """What a worker does of `side_by_side`."""
    return function(*task)


def alone(run: Stages, function: Callable[..., Answer], *task: Any) -> Answer:
    """One task in a worker. Raises `RunFailedError` where it failed, or its worker kept dying."""
    ((_, answer),) = run.cluster.map(function, [task], needed(run, task))
    if isinstance(answer, Failure):
        raise failed(function.__name__.removesuffix("_task"), answer)
    return answer
