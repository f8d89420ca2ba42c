import numpy as np
import pytest
from numpy.testing import assert_allclose

from recsys.errors import ConfigError
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import ease, fit_model
from recsys.models.ease import EASE, EaseConfig
from recsys.models.popularity import Popularity
from recsys.rivals import Rival, choose

Planted = tuple[CSR, CSR]


def tiny() -> tuple[CSR, np.ndarray]:
    dense = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]], float)
    users, items = np.nonzero(dense)
    return CSR.from_pairs(users, items, 3, 4), dense


def test_popularity_counts_users() -> None:
    csr, dense = tiny()
    scores = Popularity(csr).score_users(np.array([2, 0]))
    assert scores.dtype == np.float32
    assert_allclose(scores, [dense.sum(0), dense.sum(0)])


@pytest.mark.parametrize("single_from", [10**9, 0])
def test_ease_solves_its_ridge_problems(single_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Column j: ridge regression of item j on all other items, one at a time."""
    monkeypatch.setattr(ease, "SINGLE_FROM", single_from)
    rng = np.random.default_rng(0)
    dense = (rng.random((40, 9)) < 0.3).astype(float)
    users, items = np.nonzero(dense)
    l2 = 3.0
    weights = np.zeros((9, 9))
    for j in range(9):
        others = [i for i in range(9) if i != j]
        x = dense[:, others]
        weights[others, j] = np.linalg.solve(x.T @ x + l2 * np.eye(8), x.T @ dense[:, j])
    model = EASE(CSR.from_pairs(users, items, 40, 9), l2)
    got = model.score_users(np.arange(40))
    assert got.dtype == np.float32
    assert_allclose(got, dense @ weights, rtol=1e-4, atol=1e-5)


def ease_of(*lambdas: float, max_items: int | None = None) -> Rival:
    return Rival("ease", tuple(EaseConfig(ease_l2=l2) for l2 in lambdas), max_items)


def test_the_grid_is_decided_on_validation(planted: Planted) -> None:
    items, valid = planted
    rng = np.random.default_rng(0)
    choice = choose(ease_of(1.0, 30.0, 1e5), items, valid, ["map@20", "ndcg@5"], rng=rng)
    assert choice.reason is None
    assert [config.ease_l2 for config, _ in choice.tried] == [1.0, 30.0, 1e5]
    for config, value in choice.tried:
        alone = EASE(items, config.ease_l2)
        assert evaluate(alone, items, valid, ["map@20"]).values["map@20"] == value
    assert choice.value == choice.metrics["map@20"] == max(v for _, v in choice.tried)
    assert choice.metrics.keys() == {"map@20", "ndcg@5"}
    assert choice.config is not None
    model = fit_model(choice.config, items.union(valid), rng=rng)
    popular = evaluate(Popularity(items), items, valid, ["map@20"]).values["map@20"]
    assert choice.value > 2 * popular
    assert model.score_users(np.array([0])).shape == (1, items.n_items)


def test_too_many_items_are_refused_with_a_reason(planted: Planted) -> None:
    rng = np.random.default_rng(0)
    choice = choose(ease_of(1.0, max_items=100), *planted, ["map@20"], rng=rng)
    assert choice.config is None
    assert choice.reason == ("EASE needs a dense 120 x 120 solve; not done above 100 items")
    with pytest.raises(ConfigError, match="unknown"):
        choose(ease_of(1.0), *planted, ["mrr@3"], rng=rng)
