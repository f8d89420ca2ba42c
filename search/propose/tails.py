"""A patch of Optuna's TPE: the tails of normal distributions, compiled."""

from __future__ import annotations

from functools import cache

import numpy as np

from recsys.kernels.normal import log_tails


@cache
def compile_tails() -> None:
    """Give Optuna's TPE a compiled function for the tails of normal distributions, which it would
    compute one at a time in Python, for most of the time of a proposal. It is used only if its
    results equal Optuna's own to the last bit, so no proposal differs (ADR 164).
    """
    from optuna.samplers._tpe import _truncnorm

    plain = _truncnorm._log_ndtr

    def log_ndtr(values: np.ndarray) -> np.ndarray:
        found = np.empty(values.shape)
        log_tails(np.ascontiguousarray(values, np.float64).ravel(), found.reshape(-1), 2.0)
        return found

    sample = np.concatenate([np.linspace(-200, 10, 800), -np.geomspace(1e-300, 1, 100), [0.0]])
    if np.array_equal(log_ndtr(sample), plain(sample)):
        _truncnorm._log_ndtr = log_ndtr
