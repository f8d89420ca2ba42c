"""The loop of epochs, shared by all models that have epochs. It knows no search, display or file.

A model provides one epoch and a way to copy its weights; this module decides when to evaluate,
which epoch is best, when to stop, and which weights remain at the end. Shapes: U users, I items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from recsys.errors import DivergedError, InputError
from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR
from recsys.metrics import check_metric
from recsys.models.base import EpochReport
from recsys.models.progress import Checkpoint, Checkpoints, Resumable, Stop
from recsys.scoring import Scorer


class Weights(Protocol):
    """How `run_epochs` keeps the best weights of a model. A copy is of any type."""

    def copy(self, into: Any = None) -> Any:
        """A copy of the current weights, in the memory of an earlier copy if one is given."""

    def load(self, copied: Any) -> None:
        """Set the model's weights to those of a copy."""

    def arrays(self, copied: Any) -> list[NDArray]:
        """A copy as arrays in host memory."""

    def from_arrays(self, arrays: Sequence[NDArray]) -> Any:
        """The copy from which `arrays` made these arrays."""


def run_epochs(
    step: Callable[[], float],
    scorer: Scorer,
    weights: Weights,
    positives: CSR,
    held_out: CSR | None,
    *,
    key: str,
    epochs: int,
    patience: int,
    metric: str,
    metrics: Sequence[str] = (),
    threads: int = 1,
    time_limit: float | None = None,
    eval_every: int = 1,
    engine: Resumable | None = None,
    checkpoints: Checkpoints | None = None,
) -> Iterator[EpochReport]:
    """Run up to `epochs` epochs, yielding one report each; at the end the best weights are loaded.

    step: trains one epoch and returns its mean loss. scorer, weights: the model being trained.
    positives: CSR of U x I. held_out: CSR of U x I, or None. With held-out items, every
    `eval_every`-th epoch and the last one are evaluated on `metric`, which decides which epoch is
    best, and on `metrics`; `patience` evaluations in a row without a new best end the training (0:
    never). The best weights are a copy, which is loaded however the generator ends: when it is
    exhausted, closed early or stopped by an error. Without held-out items all `epochs` epochs run,
    unless time runs out, and the last weights stay.

    key: the config as text, for error messages. threads: of the CPU, for evaluation. time_limit:
    seconds of training and evaluation; the first epoch trained past it is the last. checkpoints:
    where checkpoints are kept, and the one to continue from, whose epochs are reported again first.
    engine: what `step` trains with, required for checkpoints.

    Raises ConfigError for a metric that is unknown or looks at more places than there are items,
    InputError where no user can be evaluated, DivergedError (epoch, config) when the loss is not
    finite or a score is NaN. Errors of `step` pass through.
    """
    names = list(dict.fromkeys([metric, *metrics]))
    if held_out is not None:
        for name in names:
            check_metric(name, positives.n_items)
        if not held_out.nnz:
            raise InputError("nobody to validate on: no user has a held-out item")
    assert eval_every > 0
    best = _Best(weights)
    waited, spent = 0, 0.0
    reports: list[EpochReport] = []
    try:
        if checkpoints is not None and (found := checkpoints.resume) is not None:
            assert engine is not None
            engine.restore(found.state)
            waited, spent = found.waited, found.spent
            if found.best:
                best.take(found)
            reports += found.reports
            yield from found.reports
        for epoch in range(len(reports) + 1, epochs + 1):
            start = time.perf_counter()
            loss = step()
            if not math.isfinite(loss):
                raise DivergedError(epoch, key)
            trained = time.perf_counter()
            late = time_limit is not None and spent + trained - start >= time_limit
            last = late or epoch == epochs
            measured: Evaluation | None = None
            if held_out is not None and (last or epoch % eval_every == 0):
                try:
                    measured = evaluate(scorer, positives, held_out, names, threads=threads)
                except FloatingPointError:  # finite weights whose product is not
                    raise DivergedError(epoch, key) from None
                waited = 0 if best.offer(epoch, measured.values[metric]) else waited + 1
            done = time.perf_counter()
            spent += done - start
            stop: Stop | None = None
            if held_out is not None and 0 < patience <= waited:
                stop = "patience"
            elif epoch == epochs:
                stop = "epochs"
            elif late:
                stop = "time"
            best_epoch = best.epoch if held_out is not None else epoch
            report = EpochReport(
                epoch,
                loss,
                {} if measured is None else measured.values,
                best_epoch,
                best.value,
                trained - start,
                done - trained,
                stop,
                measured,
            )
            if engine is not None and checkpoints is not None and not stop:
                reports.append(report.without_evaluation())
                offer(checkpoints, engine, best, reports, waited, spent)
            yield report
            if stop:
                return
    finally:
        best.restore()


def offer(
    checkpoints: Checkpoints,
    engine: Resumable,
    best: _Best,
    reports: Sequence[EpochReport],
    waited: int,
    spent: float,
) -> None:
    """Offer a checkpoint of the training so far; arrays are copied only if it is taken.

    Parameters are the fields of `Checkpoint`; `best` has the best weights so far.
    """

    def make() -> Checkpoint:
        state = tuple(engine.state())
        return Checkpoint(tuple(reports), state, best.arrays(), waited, spent)

    # the best weights are a copy of a part of the state, so at most of the same size
    checkpoints.offer(2 * engine.state_bytes, make)


class _Best:
    """A copy of the best weights so far (a reference would change with further training)."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._copy: Any = None
        self.epoch = 0
        self.value = math.nan

    def offer(self, epoch: int, value: float) -> bool:
        """Keep the current weights if their value is better; returns whether it is."""
        if self._copy is not None and value <= self.value:
            return False
        self._copy = self._weights.copy(self._copy)
        self.epoch, self.value = epoch, value
        return True

    def arrays(self) -> tuple[NDArray, ...]:
        return () if self._copy is None else tuple(self._weights.arrays(self._copy))

    def take(self, found: Checkpoint) -> None:
        """What was the best when a checkpoint was made."""
        last = found.reports[-1]
        self._copy = self._weights.from_arrays(found.best)
        self.epoch, self.value = last.best_epoch, last.best_value

    def restore(self) -> None:
        if self._copy is not None:
            self._weights.load(self._copy)
