"""What a training engine is, and which engine trains on a device."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from recsys.errors import ConfigError
from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.model import LFM
from recsys.models.progress import Resumable

EngineName = Literal["auto", "numba", "torch"]


class Engine(Resumable, Protocol):
    """Trains a model in place."""

    def epoch(self) -> float:
        """One pass over the training data; returns the mean loss per sample, without l2 terms.

        Raises DivergedError when the loss or a weight is NaN or infinite.
        """
        ...


def make_engine(
    model: LFM,
    train: CSR,
    config: TrainConfig,
    *,
    rng: np.random.Generator,
    exclude: CSR | None = None,
    threads: int = 1,
    device: str = "cpu",
    engine: EngineName = "auto",
) -> Engine:
    """The engine called `engine`; "auto" is numba on the CPU and torch on any other device.

    model: trained in place. train: CSR of U x I. rng: seeds all draws of the engine. exclude: CSR
    of U x I, the held-out items, kept out of the negatives if the config's `negatives_exclude` is
    "all". threads: used by the numba engine only. device: torch's name, "cpu" or "cuda". Raises
    ConfigError for an unknown engine, and for numba on a device other than the CPU.
    """
    if engine not in ("auto", "numba", "torch"):
        raise ConfigError(f"engine is {engine!r}: expected auto, numba or torch")
    on_cpu = device == "cpu"
    if engine == "numba" and not on_cpu:
        raise ConfigError(f"engine numba runs on cpu, got device {device!r}: use engine torch")
    if engine == "numba" or (engine == "auto" and on_cpu):
        # imported late: compiled kernels are loaded only where they are used
        from recsys.models.mf.numba_engine import NumbaEngine

        return NumbaEngine(model, train, config, rng=rng, exclude=exclude, threads=threads)
    from recsys.models.mf.torch_engine import TorchEngine

    return TorchEngine(model, train, config, rng=rng, exclude=exclude, device=device)
