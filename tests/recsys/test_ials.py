"""iALS against its definition: each half step is the exact minimum of the loss in one side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from recsys.errors import DivergedError
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import fit_model
from recsys.models.ials import IALS, IalsConfig
from recsys.models.popularity import PopularityConfig
from tests.recsys.ials_twin import half

RNG = np.random.default_rng


def loss(dense: np.ndarray, model: IALS, config: IalsConfig) -> float:
    """As the config's docstring says it, over all pairs one by one."""
    p, q = model.user_factors.astype(float), model.item_factors.astype(float)
    alpha, l2, nu = config.ials_alpha, config.ials_l2, config.ials_nu
    users, items = dense.shape
    scores = p @ q.T
    total = (dense * (1 - scores) ** 2).sum() + alpha * (scores**2).sum()
    total += l2 * ((dense.sum(1) + alpha * items) ** nu * (p**2).sum(1)).sum()
    total += l2 * ((dense.sum(0) + alpha * users) ** nu * (q**2).sum(1)).sum()
    return float(total)


@given(
    seed=st.integers(0, 10**6),
    users=st.integers(1, 25),
    items=st.integers(1, 25),
    d=st.integers(1, 9),
    alpha=st.sampled_from([0.01, 0.3, 2.0]),
    nu=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_an_epoch_is_two_ridge_regressions(
    seed: int, users: int, items: int, d: int, alpha: float, nu: float
) -> None:
    dense = (RNG(seed).random((users, items)) < 0.3).astype(float)
    csr = CSR.from_pairs(*np.nonzero(dense), users, items)
    config = IalsConfig(
        ials_factors=d, ials_alpha=alpha, ials_l2=0.1, ials_nu=nu, epochs=1, patience=0
    )
    model = IALS.create(config, users, items, rng=RNG(seed))
    fixed = model.item_factors.astype(float)
    list(model.train(config, csr, None, rng=RNG(0)))

    p = half(dense, fixed, alpha, nu)
    q = half(dense.T, p, alpha, nu)
    assert_allclose(model.user_factors, p, rtol=2e-3, atol=2e-5)
    assert_allclose(model.item_factors, q, rtol=5e-3, atol=5e-4 * max(1.0, np.abs(q).max()))


def test_the_loss_falls_and_nothing_near_is_lower() -> None:
    dense = (RNG(1).random((40, 30)) < 0.2).astype(float)
    csr = CSR.from_pairs(*np.nonzero(dense), 40, 30)
    config = IalsConfig(ials_factors=4, ials_l2=0.05, epochs=60, patience=0)
    model = IALS.create(config, 40, 30, rng=RNG(0))
    losses = []
    for report in model.train(config, csr, None, rng=RNG(0)):
        losses.append(loss(dense, model, config))
        scores = model.user_factors @ model.item_factors.T
        assert_allclose(report.loss, ((1 - scores) ** 2)[dense > 0].mean(), rtol=1e-4)
    assert (np.diff(losses) <= 1e-4 * losses[0]).all()
    for seed in range(20):
        moved = IALS(model.user_factors.copy(), model.item_factors.copy())
        moved.user_factors += 0.05 * RNG(seed).standard_normal((40, 4), np.float32)
        assert loss(dense, moved, config) > losses[-1]


def test_threads_change_nothing(planted: tuple[CSR, CSR]) -> None:
    train, _ = planted
    config = IalsConfig(ials_factors=16, epochs=2)
    one, three = (fit_model(config, train, rng=RNG(0), threads=n) for n in (1, 3))
    users = np.arange(train.n_users)
    assert_array_equal(one.score_users(users), three.score_users(users))


def test_planted_taste_is_found(planted: tuple[CSR, CSR]) -> None:
    train, valid = planted
    model = fit_model(IalsConfig(ials_factors=16, ials_l2=0.05, epochs=8), train, rng=RNG(0))
    popular = fit_model(PopularityConfig(), train, rng=RNG(0))
    value = evaluate(model, train, valid, ["map@20"]).values["map@20"]
    assert value > 2 * evaluate(popular, train, valid, ["map@20"]).values["map@20"]


def test_patience_ends_and_the_best_factors_stay(planted: tuple[CSR, CSR]) -> None:
    train, valid = planted
    config = IalsConfig(ials_factors=64, ials_alpha=0.05, ials_l2=1e-3, epochs=50, patience=2)
    model = IALS.create(config, train.n_users, train.n_items, rng=RNG(0))
    *_, last = model.train(config, train, valid, rng=RNG(0), metric="map@20")
    assert last.stop == "patience"
    assert last.epoch == last.best_epoch + 2
    assert evaluate(model, train, valid, ["map@20"]).values["map@20"] == last.best_value


def test_factors_that_are_not_finite_are_a_divergence() -> None:
    csr = CSR.from_pairs(np.array([0, 1]), np.array([0, 1]), 2, 2)
    config = IalsConfig(ials_factors=2, epochs=3)
    model = IALS.create(config, 2, 2, rng=RNG(0))
    model.item_factors[:] = np.nan
    with pytest.raises(DivergedError, match="epoch 1"):
        list(model.train(config, csr, None, rng=RNG(0)))
