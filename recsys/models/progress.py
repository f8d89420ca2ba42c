"""How far a training has come: what each epoch did, and what it takes to continue from there.

It continues as if it had never stopped, bit for bit, where the training itself is repeatable: the
compiled engine with one thread, iALS, and the torch engine on a CPU.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation import Evaluation


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    epoch counts from 1. loss: mean per sample, without l2 terms; NaN for a model without one.
    metrics: on the held-out items, empty where the epoch was not evaluated. best_epoch and
    best_value: so far; without held-out items the latest epoch and NaN. Seconds are wall-clock.
    stop: why this epoch was the last, "patience", "time" or "epochs", otherwise None.
    evaluation: what `metrics` are the means of, None where there was none. It is large: whoever
    keeps reports keeps them `without_evaluation`, as checkpoints do.
    """

    epoch: int
    loss: float
    metrics: dict[str, float]
    best_epoch: int
    best_value: float
    train_seconds: float
    eval_seconds: float
    stop: str | None
    evaluation: Evaluation | None = field(default=None, repr=False, compare=False)

    def without_evaluation(self) -> EpochReport:
        """This report, fit to be kept: a few numbers."""
        return replace(self, evaluation=None)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training after one of its epochs.

    reports: of every epoch so far. state: all that the next epoch depends on, as its engine has it.
    best: the best weights so far, empty without validation. waited: evaluations since then. spent:
    seconds of training and evaluation.
    """

    reports: tuple[EpochReport, ...]
    state: tuple[NDArray, ...]
    best: tuple[NDArray, ...]
    waited: int
    spent: float

    def to_bytes(self) -> bytes:
        """As a file; reading it back runs no pickled code."""
        said = {
            "reports": [asdict(report) for report in self.reports],
            "state": len(self.state),
            "waited": self.waited,
            "spent": self.spent,
        }
        buffer = io.BytesIO()
        np.savez(
            buffer, np.frombuffer(json.dumps(said).encode(), np.uint8), *self.state, *self.best
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The checkpoint whose `to_bytes` this is; ValueError for anything else."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                first, *arrays = (file[f"arr_{number}"] for number in range(len(file.files)))
            said = json.loads(first.tobytes())
            return cls(
                tuple(EpochReport(**report) for report in said["reports"]),
                tuple(arrays[: said["state"]]),
                tuple(arrays[said["state"] :]),
                said["waited"],
                said["spent"],
            )
        except (OSError, EOFError, LookupError, TypeError, zipfile.BadZipFile) as error:
            raise ValueError(f"no checkpoint: {error}") from error


class Resumable(Protocol):
    """What trains, if it can continue from a checkpoint."""

    @property
    def state_bytes(self) -> int:
        """How large `state` is."""

    def state(self) -> list[NDArray]:
        """A copy of all that the next epoch depends on."""

    def restore(self, state: Sequence[NDArray]) -> None:
        """Take a copy of a `state` of the same config, data and seed."""


class Checkpoints(Protocol):
    """Whoever keeps checkpoints of one training."""

    @property
    def resume(self) -> Checkpoint | None:
        """From which the training continues, None to begin."""

    def offer(self, size: int, make: Callable[[], Checkpoint]) -> None:
        """After an epoch: `make` gives a checkpoint of about `size` bytes, now or never."""
