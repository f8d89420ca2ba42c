"""One uniform negative: the short kernel against the general one; exp and sums of logarithms."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import pytest

from recsys.interactions import CSR
from recsys.models.mf import numba_engine as engine_numba
from recsys.models.mf.kernels.online import train_pairs
from recsys.models.mf.kernels.scalar import add_log, exp_of_negative
from tests.kernels.helpers import make_config, make_engine, make_model, random_csr, weights_of

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "lr": 0.1},
    "element": {"optimizer": "adagrad", "lr": 0.1},
    "row": {"optimizer": "adagrad", "adagrad_per": "row", "lr": 0.1},
}


def through_pairs(weights: Any, state: Any, pool: Any, rows: Any, *rest: Any) -> Any:
    """`train_singles` by the general kernel, which the torch twin is held against."""
    none = np.zeros((0, 0), np.int32)
    low, high, plan, hyper, scratch = rest
    return train_pairs(weights, state, pool, rows, none, low, high, plan, hyper, scratch)


@pytest.mark.parametrize("factors", [1, 5, 64, 77])
@pytest.mark.parametrize("terms", [{}, {"margin": 1.5, "l2": 0.05, "l2_bias": 0.02}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_does_what_the_general_kernel_does(
    optimizer: str, terms: dict[str, float], factors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    csr = random_csr(30, 50, 6)
    full = np.arange(50)  # one more user, who has everything: no negative is left
    users = np.concatenate([csr.users(), np.full(50, 30)])
    csr = CSR.from_pairs(users, np.concatenate([csr.indices, full]), 31, 50)
    config = make_config(**OPTIMIZERS[optimizer], **terms, latent_factors=factors)
    results = []
    for general in (False, True):
        model = make_model(csr, factors, std=0.5 / math.sqrt(factors))
        before = weights_of(model)
        if general:
            monkeypatch.setattr(engine_numba, "train_singles", through_pairs)
        engine = make_engine(csr, model, config)
        losses = [engine.epoch() for _ in range(3)]
        results.append((losses, weights_of(model)))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    for name, weights in results[0][1].items():
        np.testing.assert_allclose(weights, results[1][1][name], rtol=2e-4, atol=2e-5)
    assert not np.allclose(results[0][1]["item_factors"], before["item_factors"], atol=0.01)


@numba.njit(fastmath={"reassoc", "contract", "nsz"})
def _exp(values: Any) -> Any:
    return np.array([exp_of_negative(x) for x in values])


def test_exp_of_negative() -> None:
    values = -np.concatenate([[0.0], np.logspace(-8, math.log10(87), 20001)]).astype(np.float32)
    right = np.exp(values.astype(np.float64))
    np.testing.assert_allclose(_exp(values), right, rtol=5e-6)
    near = values > -16
    np.testing.assert_allclose(_exp(values)[near], right[near], rtol=1e-6)
    assert _exp(np.zeros(1, np.float32))[0] == 1
    far = _exp(np.array([-88, -1e6, -3e38, -np.inf], np.float32))
    assert ((far > 0) & (far < 2e-38)).all()
    assert math.isnan(_exp(np.full(1, np.nan, np.float32))[0])


@numba.njit
def _sum_of_logs(factors: Any) -> float:
    total, product = 0.0, 1.0
    for factor in factors:
        total, product = add_log(total, product, factor)
    return total + math.log(product)


def test_a_sum_of_logarithms() -> None:
    factors = np.random.default_rng(0).uniform(1, 2, 5000).astype(np.float32)
    assert _sum_of_logs(factors) == pytest.approx(np.log(factors.astype(float)).sum(), rel=1e-12)
    huge = np.full(100, 1e38, np.float32)
    assert _sum_of_logs(huge) == pytest.approx(100 * math.log(float(huge[0])), rel=1e-12)
    assert math.isnan(_sum_of_logs(np.array([1, np.nan, 2], np.float32)))
    assert _sum_of_logs(np.array([1, np.inf, 2], np.float32)) == math.inf
