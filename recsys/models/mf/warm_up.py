"""Compiles every kernel of the factorization before the first trial."""

from __future__ import annotations

import time

import numpy as np

from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine


def warm_up(config: TrainConfig | None = None, threads: int = 2) -> float:
    """Compile, or load from disk, every kernel that the compiled engine calls; returns the seconds
    it took.

    config: only the kernels of this config; None: those of all configs. threads: also compile what
    an engine with so many threads calls. Call it before workers start: they then load from disk
    what was compiled, and no trial's time includes compilation.
    """
    start = time.perf_counter()
    train = CSR(np.array([0, 1, 2]), np.array([0, 1]), 4)
    rng = np.random.default_rng(0)
    every = (
        {"loss": "bpr", "optimizer": "sgd", "batch_size": 1},
        {"loss": "softmax_at_k", "top_k": 1, "optimizer": "sgd", "batch_size": 1},
        {"loss": "bce", "optimizer": "sgd", "batch_size": 1},
        {"loss": "bpr", "optimizer": "adam", "batch_size": 2, "redraw": "once"},
    )
    configs = [config] if config else [TrainConfig.from_flat({"lr": 0.1, **f}) for f in every]
    for each in configs:
        for count in {1, threads}:
            NumbaEngine(LFM(2, 4, 2, rng=rng), train, each, rng=rng, threads=count).epoch()
    return time.perf_counter() - start
