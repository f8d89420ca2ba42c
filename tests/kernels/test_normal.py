"""The compiled tails of a normal distribution against Optuna's own."""

from __future__ import annotations

import numpy as np
from optuna.samplers._tpe import _truncnorm

from recsys.kernels.normal import log_tails
from search.propose.tails import compile_tails


def optunas(values: np.ndarray) -> np.ndarray:
    """By Optuna's function of one number."""
    return np.array([_truncnorm._log_ndtr_single.__wrapped__(float(v)) for v in values])


def test_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            rng.uniform(-25, 9, 20_000),
            rng.uniform(-400, -20, 10_000),
            -rng.exponential(1e-3, 2_000),
            [-20.0, 6.0, 0.0, -0.0, 1.0, -1.0, np.nextafter(-20, 0), np.nextafter(6, 7), -1e100],
            [-np.inf, np.inf],
        ]
    )
    found = np.empty_like(values)
    log_tails(values, found, 2.0)
    assert np.array_equal(found.view(np.int64), optunas(values).view(np.int64))


def test_optuna_uses_them() -> None:
    compile_tails()
    assert _truncnorm._log_ndtr.__module__ == "search.propose.tails"
    values = np.array([[-30.0, -3.0], [0.5, 8.0]])
    assert np.array_equal(_truncnorm._log_ndtr(values), optunas(values.ravel()).reshape(2, 2))
    assert np.array_equal(_truncnorm._log_ndtr(values.T), optunas(values.T.ravel()).reshape(2, 2))
