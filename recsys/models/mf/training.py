"""The training of the factorization: an engine, run by the loop that all models share.

Shapes: U users, I items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.evaluation import torch_threads
from recsys.interactions import CSR
from recsys.models.base import EpochReport
from recsys.models.epochs import run_epochs
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.engine import EngineName, make_engine
from recsys.models.mf.model import LFM
from recsys.models.progress import Checkpoints


def train(
    model: LFM,
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
    eval_every: int = 1,
    checkpoints: Checkpoints | None = None,
) -> Iterator[EpochReport]:
    """Train `model` in place, yielding one report per epoch; at the end it has the best weights.

    split_train, held_out: CSR of U x I; without held-out items (None) the last weights stay.
    config: the loss, the negatives, the number of epochs, the patience and so on. rng: seeds the
    engine. metric: decides which epoch is best; metrics: evaluated as well. exclude: CSR of U x I,
    what `negatives_exclude: all` keeps out of the negatives besides the training items. threads: of
    the CPU. device: torch's name, "cpu" or "cuda"; the model returns to its own device at the end.
    engine: "numba" (CPU only), "torch", or "auto" for the one that fits the device. time_limit:
    seconds of training and evaluation; the first epoch trained past it is the last. eval_every: the
    number of epochs from one evaluation to the next. checkpoints: where checkpoints are kept, and
    the one to continue from.

    Raises ConfigError for a metric that is unknown or looks at more places than there are items,
    and for an engine that does not fit the device; InputError where no user can be evaluated; and
    DivergedError when the loss or a weight is not finite or a score is NaN.
    """
    home = model.item_factors.device
    runner = make_engine(
        model,
        split_train,
        config,
        rng=rng,
        exclude=exclude,
        threads=threads,
        device=device,
        engine=engine,
    )

    def step() -> float:
        with torch_threads(threads):
            return runner.epoch()

    try:
        yield from run_epochs(
            step,
            model,
            _State(model),
            split_train,
            held_out,
            key=config.key(),
            epochs=config.epochs,
            patience=config.patience,
            metric=metric,
            metrics=metrics,
            threads=threads,
            time_limit=time_limit,
            eval_every=eval_every,
            engine=runner,
            checkpoints=checkpoints,
        )
    finally:
        model.to(home)


class _State:
    """How `run_epochs` copies the weights of a torch module; see `epochs.Weights`."""

    def __init__(self, model: LFM) -> None:
        self._model = model

    def copy(self, into: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        state = self._model.state_dict()
        if into is None:
            return {name: weights.clone() for name, weights in state.items()}
        for name, weights in state.items():
            into[name].copy_(weights)
        return into

    def load(self, copied: dict[str, Tensor]) -> None:
        self._model.load_state_dict(copied)

    def arrays(self, copied: dict[str, Tensor]) -> list[NDArray]:
        return [weights.cpu().numpy().copy() for weights in copied.values()]

    def from_arrays(self, arrays: Sequence[NDArray]) -> dict[str, Tensor]:
        names = self._model.state_dict().keys()
        return {n: torch.from_numpy(a.copy()) for n, a in zip(names, arrays, strict=True)}
