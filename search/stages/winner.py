"""Training the winner without validation, for the test and for the model that is handed over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.interactions import CSR
from recsys.models import Model, ModelConfig, fit_model
from search.machine.cluster import Answer, Failure
from search.record.result import Decided, decided
from search.space.trial import trial_seed
from search.stages.context import RunFailedError, Stages
from search.tune.worker import limit_threads


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
        return fit_model(self.config, items, rng=rng, threads=self.threads, device=self.device)


def _decided(run: Stages) -> Decided:
    found = decided(run.state)
    assert found is not None, "the race comes first"
    return found


def learned_epochs(run: Stages) -> int:
    """How long the winner is trained where no validation can stop it."""
    return _decided(run).epochs


def winner_training(run: Stages, what: str) -> FinalTraining:
    """What a worker needs to train the winner; `what` makes the seed another one."""
    winner = run.state.trials[_decided(run).winner]
    return FinalTraining.of(
        winner.training,
        learned_epochs(run),
        seed=trial_seed(run.settings.seed, f"{what}:{winner.id}"),
        threads=run.resources.cpus_per_trial,
        device=run.settings.device,
    )


def alone(run: Stages, function: Callable[..., Answer], *task: Any) -> Answer:
    """One task in a worker. Raises `RunFailedError` where it failed, or its worker kept dying."""
    ((_, answer),) = run.cluster.map(function, [task], run.resources)
    if isinstance(answer, Failure):
        name = function.__name__.removesuffix("_task")
        raise RunFailedError(f"{name}: {' '.join(answer.cause.split())}; --resume tries again")
    return answer
