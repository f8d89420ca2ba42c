"""Compiling the kernels of the simple models once, before workers would all do it at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module

import numpy as np

from recsys.errors import ConfigError
from recsys.interactions import CSR
from recsys.models import config_of, fit_model

RANKING = ("recsys.kernels.bounds", "recsys.kernels.topk")


def warm_up_defaults(names: Iterable[str]) -> float:
    """Train each of these models on three items, with its default config, and load what ranks
    items; returns the seconds it took.

    A model without defaults for all it needs is left out: the factorization has a warm-up of its
    own.
    """
    started = time.perf_counter()
    for kernels in RANKING:
        import_module(kernels)  # whose signatures are known: they are compiled there
    few = CSR.from_pairs(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2, 3)
    for name in names:
        with suppress(ConfigError):
            fit_model(config_of(name).from_flat({}), few, rng=np.random.default_rng(0))
    return time.perf_counter() - started
