"""Training as a generator of epochs: it knows no search, no display and no file.

Shapes: U users, I items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from recsys.errors import DivergedError, InputError
from recsys.evaluation import evaluate, torch_threads
from recsys.interactions import CSR
from recsys.metrics import check_metric
from recsys.models.base import EpochReport
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.engine import EngineName, make_engine
from recsys.models.mf.model import LFM


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
) -> Iterator[EpochReport]:
    """Train `model` in place, one report an epoch; at its end the model holds the best weights.

    split_train, held_out: CSR of U x I. With held-out items every `eval_every`-th epoch (and the
    last) is evaluated on `metric`, which decides what is best, and on `metrics`;
    `config.patience` evaluations without a better one end the training. Best weights are a copy,
    loaded back however the generator ends: exhausted, closed early or by an error. Without
    held-out items exactly `config.epochs` epochs run and the last weights stay.

    exclude: what `negatives_exclude: all` keeps out of the negatives beside the training items.
    time_limit: seconds of training and evaluation; the epoch that passes it is the last.

    Raises ConfigError for a metric that is unknown or too deep, InputError where nobody has a
    held-out item, DivergedError (epoch, config) when the loss, a weight or a score is not finite.
    """
    names = list(dict.fromkeys([metric, *metrics]))
    if held_out is not None:
        for name in names:
            check_metric(name, split_train.n_items)
        if not held_out.nnz:
            raise InputError("nobody to validate on: no user has a held-out item")
    assert eval_every > 0
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
    best = _Best(model)
    waited, spent = 0, 0.0
    try:
        for epoch in range(1, config.epochs + 1):
            start = time.perf_counter()
            with torch_threads(threads):
                loss = runner.epoch()
            if not math.isfinite(loss):
                raise DivergedError(epoch, config.key())
            trained = time.perf_counter()
            late = time_limit is not None and spent + trained - start >= time_limit
            last = late or epoch == config.epochs
            values: dict[str, float] = {}
            if held_out is not None and (last or epoch % eval_every == 0):
                try:
                    values = evaluate(model, split_train, held_out, names, threads=threads).values
                except FloatingPointError:  # finite weights whose product is not
                    raise DivergedError(epoch, config.key()) from None
                waited = 0 if best.offer(epoch, values[metric]) else waited + 1
            done = time.perf_counter()
            spent += done - start
            stop = None
            if held_out is not None and 0 < config.patience <= waited:
                stop = "patience"
            elif epoch == config.epochs:
                stop = "epochs"
            elif late:
                stop = "time"
            best_epoch = best.epoch if held_out is not None else epoch
            yield EpochReport(
                epoch, loss, values, best_epoch, best.value, trained - start, done - trained, stop
            )
            if stop:
                return
    finally:
        best.restore()
        model.to(home)


class _Best:
    """A copy of the best weights so far. A reference would follow the training to its end."""

    def __init__(self, model: LFM) -> None:
        self._model = model
        self._copy: dict[str, Tensor] | None = None
        self.epoch = 0
        self.value = math.nan

    def offer(self, epoch: int, value: float) -> bool:
        """Keep the current weights if their value is better; whether it is."""
        if self._copy is not None and value <= self.value:
            return False
        state = self._model.state_dict()
        if self._copy is None:
            self._copy = {name: weights.clone() for name, weights in state.items()}
        else:
            for name, weights in state.items():
                self._copy[name].copy_(weights)
        self.epoch, self.value = epoch, value
        return True

    def restore(self) -> None:
        if self._copy is not None:
            self._model.load_state_dict(self._copy)
