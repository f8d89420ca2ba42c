"""Weights of pairs: their formula, and each model with them against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from recsys.errors import ConfigError
from recsys.interactions import CSR
from recsys.models import MODELS, config_from_flat, config_of, fit_model, model_of, slim
from recsys.models.ease import EaseConfig
from recsys.models.ials import IALS, IalsConfig
from recsys.models.item_knn import ItemKnnConfig
from recsys.models.rp3beta import Rp3betaConfig
from recsys.models.slim import SLIM, SlimConfig
from recsys.models.weighted import WeightedConfig, weighs, weights_of_pairs
from tests.recsys.ials_twin import half

RNG = np.random.default_rng
WEIGHTED = [name for name in MODELS if issubclass(config_of(name), WeightedConfig)]


def some(seed: int, users: int = 30, items: int = 20, share: float = 0.3) -> tuple[CSR, np.ndarray]:
    """Pairs with values, and the dense matrix of their linear weights."""
    dense = (RNG(seed).random((users, items)) < share).astype(float)
    csr = CSR.from_pairs(*np.nonzero(dense), users, items)
    csr = csr.with_values(RNG(seed).choice([0.5, 1, 2, 3, 5], csr.nnz))
    assert csr.values is not None
    dense[csr.users(), csr.indices] = csr.values * (
        csr.nnz / max(csr.values.sum(dtype=float), 1e-9)
    )
    return csr, dense


def test_these_models_have_a_weight() -> None:
    assert WEIGHTED == ["ease", "item_knn", "ials", "rp3beta", "slim"]


def test_weights_by_hand() -> None:
    csr = CSR.from_pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2).with_values([1, 3, 8])
    assert weights_of_pairs(csr, "none") is None
    linear, log = weights_of_pairs(csr, "linear"), weights_of_pairs(csr, "log")
    assert linear is not None
    assert log is not None
    assert_allclose(linear, [0.25, 0.75, 2.0])
    # log 2, log 4 and log 9 over their mean
    assert_allclose(log, 3 * np.log([2, 4, 9]) / np.log(72), rtol=1e-6)
    assert linear.dtype == log.dtype == np.float32


@pytest.mark.parametrize("name", WEIGHTED)
def test_configs_without_a_weight_are_those_of_before(name: str) -> None:
    plain = config_from_flat({"model": name})
    assert "weight" not in plain.to_flat()
    assert "weight" not in plain.label()
    assert config_from_flat({"model": name, "weight": "none"}).key() == plain.key()
    weighted = config_from_flat({"model": name, "weight": "log"})
    assert config_from_flat(weighted.to_flat()) == weighted
    assert weighted.label().endswith(" weight=log")
    assert (weighs(plain), weighs(weighted)) == (False, True)
    assert plain.compiled != weighted.compiled


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_weight_without_values_is_refused_in_one_line(name: str) -> None:
    csr, _ = some(0)
    with pytest.raises(ConfigError, match=r"^weight is log: these pairs have no values: expected"):
        fit_model(
            config_from_flat({"model": name, "weight": "log"}), csr.with_values(None), rng=RNG(0)
        )


def test_a_factorization_has_none() -> None:
    with pytest.raises(ConfigError, match="weight has no meaning"):
        config_from_flat({"neg_mode": "even", "weight": "log"})


@pytest.mark.parametrize("name", WEIGHTED)
def test_values_that_are_all_alike_are_no_weights(name: str) -> None:
    csr, _ = some(1)
    plain = fit_model(config_from_flat({"model": name}), csr, rng=RNG(0))
    same = csr.with_values(np.full(csr.nnz, 7.0))
    for weight in ("log", "linear"):
        config = config_from_flat({"model": name, "weight": weight})
        weighted = fit_model(config, same, rng=RNG(0))
        every = np.arange(csr.n_users)
        assert_allclose(weighted.score_users(every), plain.score_users(every), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", WEIGHTED)
def test_threads_saving_and_warm_up(name: str) -> None:
    csr, _ = some(2)
    config = config_from_flat({"model": name, "weight": "log"})
    model_of(config).warm_up(config)
    one, three = (fit_model(config, csr, rng=RNG(0), threads=n) for n in (1, 3))
    every = np.arange(csr.n_users)
    assert_array_equal(one.score_users(every), three.score_users(every))
    read = type(one).from_bytes(one.to_bytes())
    assert_array_equal(read.score_users(every), one.score_users(every))
    # a list of somebody new, who has no values
    assert np.isfinite(one.list_scorer(config, csr)(csr.with_values(None))).all()


def test_a_list_of_somebody_new_weighs_1() -> None:
    csr, dense = some(3)
    config = EaseConfig(ease_l2=5.0, weight="linear")
    model = fit_model(config, csr, rng=RNG(0))
    square = model.arrays()["weights"]
    assert_allclose(model.list_scorer(config, csr)(csr), (dense > 0) @ square, rtol=1e-4, atol=1e-5)
    assert_allclose(model.score_users(np.arange(30)), dense @ square, rtol=1e-4, atol=1e-5)


def test_ease_is_the_ridge_regression_of_the_weighted_matrix() -> None:
    csr, dense = some(4)
    model = fit_model(EaseConfig(ease_l2=3.0, weight="linear"), csr, rng=RNG(0))
    inverse = np.linalg.inv(dense.T @ dense + 3.0 * np.eye(20))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert_allclose(model.arrays()["weights"], expected, rtol=1e-4, atol=1e-6)


@given(
    seed=st.integers(0, 10**6),
    users=st.integers(1, 25),
    items=st.integers(1, 25),
    d=st.integers(1, 9),
    nu=st.sampled_from([0.0, 1.0]),
)
def test_an_epoch_of_ials_is_two_weighted_ridge_regressions(
    seed: int, users: int, items: int, d: int, nu: float
) -> None:
    csr, dense = some(seed, users, items)
    config = IalsConfig(
        ials_factors=d, ials_l2=0.1, ials_nu=nu, epochs=1, patience=0, weight="linear"
    )
    model = IALS.create(config, users, items, rng=RNG(seed))
    fixed = model.item_factors.astype(float)
    list(model.train(config, csr, None, rng=RNG(0)))

    p = half(dense, fixed, 0.1, nu)
    q = half(dense.T, p, 0.1, nu)
    assert_allclose(model.user_factors, p, rtol=2e-3, atol=2e-5)
    assert_allclose(model.item_factors, q, rtol=5e-3, atol=5e-4 * max(1.0, np.abs(q).max()))


def nearest(similar: np.ndarray, k: int) -> np.ndarray:
    """Of each row the k largest; never the diagonal or a zero."""
    similar = similar.copy()
    np.fill_diagonal(similar, 0)
    out = np.zeros_like(similar)
    for i, row in enumerate(similar):
        top = [j for j in np.argsort(-row, kind="stable") if row[j] > 0][:k]
        out[i, top] = row[top]
    return out


def cosines(dense: np.ndarray, shrink: float) -> np.ndarray:
    norm = np.sqrt((dense**2).sum(0))
    together = dense.T @ dense
    return np.divide(
        together, np.outer(norm, norm) + shrink, out=np.zeros_like(together), where=together > 0
    )


@pytest.mark.parametrize("seed", range(4))
def test_item_knn_takes_cosines_of_weighted_columns(seed: int) -> None:
    csr, dense = some(seed)
    config = ItemKnnConfig(knn_neighbours=6, knn_shrink=2.0, weight="linear")
    model = fit_model(config, csr, rng=RNG(0))
    expected = dense @ nearest(cosines(dense, 2.0), 6).T
    assert_allclose(model.score_users(np.arange(30)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_rp3beta_walks_in_proportion_to_weights(seed: int) -> None:
    csr, dense = some(seed)
    config = Rp3betaConfig(rp3_neighbours=6, rp3_alpha=0.7, rp3_beta=0.4, weight="linear")
    model = fit_model(config, csr, rng=RNG(0))
    users, items = dense.sum(1), dense.sum(0)
    step = dense / np.where(items > 0, items, 1)  # from an item to its users
    back = dense / np.where(users > 0, users, 1)[:, None]  # from a user to their items
    walks = (step**0.7).T @ back**0.7 / np.where(items > 0, items, 1) ** 0.4
    expected = dense**0.7 @ nearest(walks, 6)
    assert_allclose(model.score_users(np.arange(30)), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("head", [0, 7, 100])
def test_slim_is_a_ridge_regression_on_weighted_near_items(
    head: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slim, "HEAD", head)
    csr, dense = some(5)
    config = SlimConfig(slim_neighbours=6, slim_l2=2.0, slim_shrink=1.0, weight="linear")
    model = fit_model(config, csr, rng=RNG(0))
    near = nearest(cosines(dense, 1.0), 6)
    weights = np.zeros((20, 20))
    for item in range(20):
        own = np.flatnonzero(near[item])
        part = dense[:, own]
        weights[own, item] = np.linalg.solve(
            part.T @ part + 2.0 * np.eye(len(own)), part.T @ dense[:, item]
        )
    assert_allclose(model.score_users(np.arange(30)), dense @ weights, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("kind", [SlimConfig, EaseConfig])
def test_solving_again_with_another_weight_keeps_nothing(kind: type[SlimConfig]) -> None:
    csr, _ = some(6)
    model = model_of(kind()).create(kind(), 30, 20, rng=RNG(0))
    assert isinstance(model, SLIM | type(model))
    for weight in ("none", "linear", "log", "none"):
        config = config_from_flat({"model": kind.model, "weight": weight})
        list(model.train(config, csr, None, rng=RNG(0)))
        fresh = fit_model(config, csr, rng=RNG(0))
        assert_array_equal(model.score_users(np.arange(30)), fresh.score_users(np.arange(30)))


def test_values_of_any_size_give_finite_scores() -> None:
    csr, _ = some(7)
    wild = csr.with_values(10.0 ** RNG(0).integers(-30, 30, csr.nnz))
    for name in WEIGHTED:
        for weight in ("log", "linear"):
            config = config_from_flat({"model": name, "weight": weight})
            scores = fit_model(config, wild, rng=RNG(0)).score_users(np.arange(30))
            assert np.isfinite(scores).all(), (name, weight)
