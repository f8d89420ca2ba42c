"""`fit`: a new model, trained to the end, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from recsys.interactions import CSR
from recsys.models.base import EpochReport
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.engine import EngineName
from recsys.models.mf.model import LFM
from recsys.models.mf.training import train


class Fit(NamedTuple):
    """A trained model with its best weights, and the reports of all epochs (no `evaluation`)."""

    model: LFM
    history: list[EpochReport]

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, whose weights `model` has; the last one without held-out items."""
        return self.history[-1].best_epoch


def fit(
    split_train: CSR,
    held_out: CSR | None,
    config: TrainConfig,
    *,
    rng: np.random.Generator,
    metric: str = "map@50",
    metrics: Sequence[str] = (),
    exclude: CSR | None = None,
    threads: int = 1,
    device: str = "cpu",
    engine: EngineName = "auto",
    time_limit: float | None = None,
) -> Fit:
    """Create a model and train it to the end.

    split_train, held_out: CSR of U x I; without held-out items (None) the last weights are
    returned, otherwise the best. config: the loss, the negatives, the number of epochs, the
    patience and so on. rng: draws the initial weights and seeds the training. metric: decides which
    epoch is best; metrics: evaluated as well. exclude: CSR of U x I, what `negatives_exclude: all`
    keeps out of the negatives besides the training items. threads: of the CPU. device: torch's
    name, "cpu" or "cuda". engine: "numba" (CPU only), "torch", or "auto" for the one that fits the
    device. time_limit: seconds of training and evaluation; the first epoch trained past it is the
    last. Raises the same errors as `train`.
    """
    model = LFM(
        split_train.n_users,
        split_train.n_items,
        config.latent_factors,
        rng=rng,
        init_std=config.init_std,
    )
    reports = train(
        model,
        split_train,
        held_out,
        config,
        rng=rng,
        metric=metric,
        metrics=metrics,
        exclude=exclude,
        threads=threads,
        device=device,
        engine=engine,
        time_limit=time_limit,
    )
    return Fit(model, [report.without_evaluation() for report in reports])
