"""Models of near items against their definitions, written down densely."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import fit_model, slim
from recsys.models.ease import EASE
from recsys.models.item_knn import ItemKnnConfig
from recsys.models.neighbours import nearest_items, transposed
from recsys.models.popularity import PopularityConfig
from recsys.models.rp3beta import Rp3betaConfig
from recsys.models.slim import SLIM, SlimConfig

RNG = np.random.default_rng


def some(seed: int, users: int, items: int, share: float) -> tuple[CSR, np.ndarray]:
    dense = (RNG(seed).random((users, items)) < share).astype(float)
    return CSR.from_pairs(*np.nonzero(dense), users, items), dense


def kept(similar: np.ndarray, k: int) -> np.ndarray:
    """Of each row the k largest, ties to the lower column; never the diagonal or a zero."""
    out = np.zeros_like(similar)
    for i, row in enumerate(similar):
        order = [j for j in np.argsort(-row, kind="stable") if j != i and row[j] > 0]
        out[i, order[:k]] = row[order[:k]]
    return out


@given(
    seed=st.integers(0, 10**6),
    users=st.integers(1, 30),
    items=st.integers(1, 40),
    share=st.sampled_from([0.02, 0.2, 0.7, 1.0]),
    k=st.integers(1, 50),
    threads=st.sampled_from([1, 3]),
    shrink=st.sampled_from([0.0, 2.5]),
)
def test_the_nearest_are_those_of_the_dense_matrix(
    seed: int, users: int, items: int, share: float, k: int, threads: int, shrink: float
) -> None:
    csr, dense = some(seed, users, items, share)
    # powers of two: sums and quotients are exact, so that ties are ties in both
    rng = RNG(seed + 1)
    weight, left, right = (
        2.0 ** rng.integers(-2, 3, size).astype(np.float32) for size in (users, items, items)
    )
    got = nearest_items(
        csr, k, weight=weight, left=left, right=right, shrink=shrink, threads=threads
    )
    together = dense.T @ (dense * weight[:, None].astype(float))
    similar = together.astype(np.float32) / (np.outer(left, right) + np.float32(shrink))
    want = kept(similar, k)
    assert_array_equal(got.toarray() != 0, want != 0)
    assert_allclose(got.toarray(), want, rtol=1e-6)
    assert got.has_sorted_indices


def test_item_neighbours_by_their_formula() -> None:
    csr, dense = some(3, 40, 12, 0.3)
    config = ItemKnnConfig(knn_neighbours=4, knn_shrink=2.0)
    norm = np.sqrt(dense.sum(0))
    cosine = dense.T @ dense / (np.outer(norm, norm) + 2.0)
    got = fit_model(config, csr, rng=RNG(0)).score_users(np.arange(40))
    assert got.dtype == np.float32
    # the score of an item: its own nearest items that the user has
    assert_allclose(got, dense @ kept(cosine, 4).T, rtol=1e-5)


def test_rp3beta_by_its_walks() -> None:
    csr, dense = some(4, 40, 12, 0.3)
    alpha, beta = 0.7, 0.4
    to_items = (dense / dense.sum(1, keepdims=True)) ** alpha * (dense > 0)
    to_users = (dense / dense.sum(0)).T ** alpha * (dense.T > 0)
    walks = to_users @ to_items / dense.sum(0) ** beta
    config = Rp3betaConfig(rp3_neighbours=5, rp3_alpha=alpha, rp3_beta=beta)
    got = fit_model(config, csr, rng=RNG(0)).score_users(np.arange(40))
    assert_allclose(got, dense @ kept(walks, 5), rtol=1e-4)


@pytest.mark.parametrize("head", [0, 5, 1000])
@pytest.mark.parametrize("threads", [1, 2])
def test_slim_with_all_items_near_is_ease(
    head: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of the items are counted densely."""
    monkeypatch.setattr(slim, "HEAD", head)
    csr, dense = some(5, 60, 14, 0.5)
    assert (dense.T @ dense > 0).all()  # all items meet
    model = SLIM()
    model.solve(SlimConfig(slim_neighbours=14, slim_l2=7.0), csr, threads)
    users = np.arange(60)
    assert_allclose(model.score_users(users), EASE(csr, 7.0).score_users(users), atol=2e-5)


def test_slim_rebuilds_an_item_from_its_nearest_alone() -> None:
    csr, dense = some(6, 50, 10, 0.4)
    norm = np.sqrt(dense.sum(0))
    near = kept(dense.T @ dense / (np.outer(norm, norm) + 3.0), 3)
    weights = np.zeros((10, 10))
    for j in range(10):
        n = np.flatnonzero(near[j])
        x = dense[:, n]
        weights[n, j] = np.linalg.solve(x.T @ x + 2.0 * np.eye(len(n)), x.T @ dense[:, j])
    config = SlimConfig(slim_neighbours=3, slim_l2=2.0, slim_shrink=3.0)
    got = fit_model(config, csr, rng=RNG(0)).score_users(np.arange(50))
    assert_allclose(got, dense @ weights, rtol=1e-4, atol=1e-5)


def test_items_that_are_alike_are_no_trouble_with_hardly_any_ridge() -> None:
    """Singular in single precision."""
    dense = np.repeat((RNG(2).random((300, 6)) < 0.5).astype(float), 2, axis=1)
    csr = CSR.from_pairs(*np.nonzero(dense), *dense.shape)
    config = SlimConfig(slim_neighbours=12, slim_l2=1e-6)
    scores = fit_model(config, csr, rng=RNG(0)).score_users(np.arange(300))
    assert np.abs(scores - dense).max() < 0.01  # each is its twin


def test_solving_again_keeps_nothing_of_before() -> None:
    """The near items are reused only where data and choice are the same."""
    first, _ = some(7, 40, 9, 0.4)
    second, _ = some(8, 40, 9, 0.4)
    users, model = np.arange(40), SLIM()
    for csr, k in ((first, 3), (first, 5), (second, 5), (second, 3)):
        config = SlimConfig(slim_neighbours=k)
        model.solve(config, csr)
        alone = fit_model(config, csr, rng=RNG(0))
        assert_array_equal(model.score_users(users), alone.score_users(users))


@pytest.mark.parametrize("config", [ItemKnnConfig(), Rp3betaConfig(), SlimConfig()])
def test_items_and_users_without_anything_are_no_trouble(config: object) -> None:
    csr = CSR.from_pairs(np.array([0, 0, 2]), np.array([1, 3, 3]), 4, 5)
    scores = fit_model(config, csr, rng=RNG(0)).score_users(np.arange(4))  # type: ignore[arg-type]
    assert np.isfinite(scores).all()
    assert not scores[1].any()


@pytest.mark.parametrize("config", [ItemKnnConfig(), Rp3betaConfig(), SlimConfig()])
def test_planted_taste_is_found(config: object, planted: tuple[CSR, CSR]) -> None:
    train, valid = planted
    model = fit_model(config, train, rng=RNG(0))  # type: ignore[arg-type]
    popular = fit_model(PopularityConfig(), train, rng=RNG(0))
    value = evaluate(model, train, valid, ["map@20"]).values["map@20"]
    assert value > 2 * evaluate(popular, train, valid, ["map@20"]).values["map@20"]


@pytest.mark.parametrize(("users", "items"), [(30, 20), (5, 40), (3, 1), (1, 1)])
def test_transposed_is_what_sorting_the_pairs_gives(users: int, items: int) -> None:
    rng = np.random.default_rng(users)
    for share in (0.0, 0.2, 1.0):
        pairs = np.nonzero(rng.random((users, items)) < share)
        csr = CSR.from_pairs(*pairs, users, items)
        found = transposed(csr)
        assert found.digest() == CSR.from_pairs(pairs[1], pairs[0], items, users).digest()
        assert (found.indptr.dtype, found.indices.dtype) == (np.int64, np.int32)


def test_transposed_twice_is_the_same() -> None:
    csr, _ = some(9, 20, 30, 0.1)
    assert transposed(transposed(csr)).digest() == csr.digest()
