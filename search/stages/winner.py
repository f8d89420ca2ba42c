"""Training the winner without validation, for the test and for the model that is handed over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.interactions import CSR
from recsys.models import Model, ModelConfig, fit_model
from search.record.result import Decided, decided
from search.record.settings import Settings
from search.record.state import RunState, TrialRecord
from search.space.trial import trial_seed
from search.stages.context import Stages
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
        """The training of a trial's config, for the `epochs` that were learned."""
        return FinalTraining(config.for_epochs(epochs).honest(), seed, threads, device)

    @property
    def epochs(self) -> int:
        """How many epochs are trained; 1 for a model without epochs."""
        return self.config.most_epochs or 1

    def train(self, items: CSR, on_epoch: Callable[[], None] | None = None) -> Model:
        """The model trained on `items` (U x I) in this process: the same one each time.

        on_epoch: called after each epoch.
        """
        limit_threads(self.threads)
        rng = np.random.default_rng(self.seed)
        device = own_device(self.device)
        threads = self.threads
        return fit_model(
            self.config, items, rng=rng, threads=threads, device=device, on_epoch=on_epoch
        )


@dataclass(frozen=True, eq=False)
class TrainedAgain:
    """A trained model as bytes (`Model.to_bytes`), for the driver. seconds: of the training.
    device: that it was trained on.
    """

    weights: bytes
    seconds: float
    device: str


def refit_task(training: FinalTraining, items: CSR) -> TrainedAgain:
    """A config trained without validation, in a worker."""
    started = time.monotonic()
    weights = training.train(items).to_bytes()
    return TrainedAgain(weights, time.monotonic() - started, own_device(training.device))


def learned(best_epochs: Sequence[int]) -> int:
    """How many epochs a training without validation gets: the median of the best epochs."""
    return max(1, round(float(np.median(best_epochs))))


def training_alone(
    state: RunState, settings: Settings, trial: TrialRecord, device: str
) -> FinalTraining:
    """The training of one trial on all data, for lists of its own: of the winner, and of any that
    raced with it, the one by which the run would hand it over, alone; of any other trial that of
    the search, until its best epoch and with its own seed.

    device: to train on. The trial has a best epoch.
    """
    assert trial.best_epoch is not None
    epochs, seed = trial.best_epoch, trial.seed
    if (race := decided(state)) is not None:
        raced = {one.id: learned(one.best_epochs) for one in race.finalists if one.best_epochs}
        raced[race.winner] = race.epochs
        if trial.id in raced:
            epochs, seed = raced[trial.id], trial_seed(settings.seed, f"refit:{trial.id}")
    return FinalTraining.of(
        trial.training, epochs, seed=seed, threads=settings.cpus_per_trial, device=device
    )


def race_decided(run: Stages) -> Decided:
    """What the race decided, which every later stage builds on."""
    found = decided(run.state)
    assert found is not None, "the race comes first"
    return found


def final_training(run: Stages, trial_id: str, epochs: int, what: str) -> FinalTraining:
    """What a worker needs to train a trial's config with nothing held out.

    what: a word on which the seed depends, so that test and refit have seeds of their own.
    """
    return FinalTraining.of(
        run.state.trials[trial_id].training,
        epochs,
        seed=trial_seed(run.settings.seed, f"{what}:{trial_id}"),
        threads=run.resources.cpus_per_trial,
        device=run.settings.device,
    )


def winner_training(run: Stages, what: str) -> FinalTraining:
    """The same for the winner, with its learned number of epochs."""
    found = race_decided(run)
    return final_training(run, found.winner, found.epochs, what)
