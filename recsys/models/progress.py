"""How far training has got: what each epoch did, and what it takes to continue from there.

Training continues as if it had never stopped, bit for bit, wherever training itself can be
repeated: with the compiled engine on one thread, with iALS, and with the torch engine on a CPU.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation import Evaluation

Stop = Literal["patience", "time", "epochs"]  # why a training ended by itself


@dataclass(frozen=True)
class EpochReport:
    """What one epoch did.

    epoch: from 1. loss: the mean per sample, without l2 terms; NaN for a model without a loss.
    metrics: the values on the held-out items, empty if the epoch was not evaluated. best_epoch,
    best_value: the best so far; without held-out items, the latest epoch and NaN. train_seconds,
    eval_seconds: wall-clock time. stop: why this epoch was the last; otherwise None. evaluation:
    the values per user whose means are `metrics`; None if the epoch was not evaluated. It is large,
    so keep reports `without_evaluation`, as checkpoints do.
    """

    epoch: int
    loss: float
    metrics: dict[str, float]
    best_epoch: int
    best_value: float
    train_seconds: float
    eval_seconds: float
    stop: Stop | None
    evaluation: Evaluation | None = field(default=None, repr=False, compare=False)

    def without_evaluation(self) -> EpochReport:
        """This report as a few numbers, small enough to keep."""
        return replace(self, evaluation=None)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state of a training after one of its epochs.

    reports: one for every epoch so far. state: everything that the next epoch depends on, as
    `Resumable.state` returns it. best: the best weights so far, empty without held-out items.
    waited: the number of evaluations since the best one. spent: seconds of training and evaluation.
    """

    reports: tuple[EpochReport, ...]
    state: tuple[NDArray, ...]
    best: tuple[NDArray, ...]
    waited: int
    spent: float

    def to_bytes(self) -> bytes:
        """The content of a file; reading it back runs no pickled code."""
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
        """The checkpoint whose `to_bytes` returned `content`; ValueError for anything else."""
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
            raise ValueError(f"not a checkpoint: {error}") from error


class Resumable(Protocol):
    """An engine that can continue from a checkpoint."""

    @property
    def state_bytes(self) -> int:
        """The size of `state`, in bytes."""

    def state(self) -> list[NDArray]:
        """A copy of everything that the next epoch depends on."""

    def restore(self, state: Sequence[NDArray]) -> None:
        """Copy back a `state` that came from the same config, data and seed."""


class Checkpoints(Protocol):
    """Where the checkpoints of one training are kept."""

    @property
    def resume(self) -> Checkpoint | None:
        """The checkpoint that training continues from; None to start from the beginning."""

    def offer(self, size: int, make: Callable[[], Checkpoint]) -> None:
        """Called after an epoch. `make` returns a checkpoint of at most about `size` bytes; it may
        only be called before `offer` returns, as training then goes on changing the arrays.
        """
