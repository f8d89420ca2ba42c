import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from recsys.errors import ConfigError, DivergedError
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import Size, ease, fit_model, linear, model_of, slim
from recsys.models.ease import EASE, MAX_ITEMS, EaseConfig
from recsys.models.linear import matrix
from recsys.models.neighbours import nearest_by_cosine, nearest_cost
from recsys.models.popularity import Popularity
from recsys.models.slim import SLIM as SLIM_MODEL
from recsys.models.slim import SlimConfig
from recsys.rivals import EASE as EASE_RIVAL
from recsys.rivals import (
    NARROW,
    POPULARITY,
    RATE,
    SLIM,
    Allowed,
    Rival,
    _climb,
    choose,
    rivals_for,
    seconds_for,
    why_no_linear,
)

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


def ease_of(*lambdas: float) -> Rival:
    return Rival("ease", tuple(EaseConfig(ease_l2=l2) for l2 in lambdas))


def test_the_list_is_decided_on_validation(planted: Planted) -> None:
    items, valid = planted
    rng = np.random.default_rng(0)
    choice = choose(ease_of(1.0, 30.0, 1e5), items, valid, ["map@20", "ndcg@5"], rng=rng)
    assert [config.to_flat()["ease_l2"] for config, _ in choice.tried] == [1.0, 30.0, 1e5]
    for config, value in choice.tried:
        alone = EASE(items, config.to_flat()["ease_l2"])
        assert evaluate(alone, items, valid, ["map@20"]).values["map@20"] == value
    assert choice.value == choice.metrics["map@20"] == max(v for _, v in choice.tried)
    assert choice.metrics.keys() == {"map@20", "ndcg@5"}
    model = fit_model(choice.config, items.union(valid), rng=rng)
    popular = evaluate(Popularity(items), items, valid, ["map@20"]).values["map@20"]
    assert choice.value > 2 * popular
    assert model.score_users(np.array([0])).shape == (1, items.n_items)
    with pytest.raises(ConfigError, match="unknown"):
        choose(ease_of(1.0), *planted, ["mrr@3"], rng=rng)


@pytest.mark.parametrize(
    "values", [(1, 2, 3, 4, 5), (5, 4, 3, 2, 1), (1, 3, 9, 2, 1), (9,), (2, 1)]
)
def test_a_climb_asks_for_no_more_than_it_needs(values: tuple[int, ...]) -> None:
    asked: list[int] = []

    def value(at: int) -> float:
        if not 0 <= at < len(values):
            return -np.inf
        asked.append(at)
        return float(values[at])

    _climb(value, len(values) // 2)
    peak = values.index(max(values))
    assert peak in asked
    assert set(asked) <= set(
        range(min(peak, len(values) // 2) - 1, max(peak, len(values) // 2) + 2)
    )


def test_a_long_list_is_climbed(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ease_of(1.0, 1e3, 1e6, 1e8, 1e9)
    whole = choose(grid, *planted, ["map@20"], rng=np.random.default_rng(0))
    monkeypatch.setattr("recsys.rivals.CHEAP", 0)
    climbed = choose(grid, *planted, ["map@20"], rng=np.random.default_rng(0))
    assert set(climbed.tried) < set(whole.tried)
    assert climbed.value == max(value for _, value in climbed.tried)


def test_a_config_that_diverges_loses(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    solve = EASE.solve

    def fails(self: EASE, config: EaseConfig, *rest: Any) -> None:
        if config.ease_l2 < 20:
            raise DivergedError(1, config.key())
        solve(self, config, *rest)

    monkeypatch.setattr(EASE, "solve", fails)
    rng = np.random.default_rng(0)
    choice = choose(ease_of(1.0, 30.0), *planted, ["map@20"], rng=rng)
    assert choice.config.to_flat()["ease_l2"] == 30.0
    with pytest.raises(DivergedError):
        choose(ease_of(1.0), *planted, ["map@20"], rng=rng)


def twins() -> CSR:
    """Users who like both or neither of the items of a pair; no l2 above 0 makes it regular in
    single precision.
    """
    rng = np.random.default_rng(0)
    dense = np.repeat(rng.random((300, 40)) < 0.3, 2, axis=1)
    return CSR.from_pairs(*np.nonzero(dense), *dense.shape)


def test_items_alike_are_solved_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ease, "SINGLE_FROM", 0)
    items = twins()
    single = ease.gram(matrix(items), np.float32)
    assert ease._ease_weights(single, 1e-6) is None
    found = EASE(items, 1e-6)
    assert found._weights.dtype == np.float32
    monkeypatch.setattr(ease, "SINGLE_FROM", 10**9)
    assert_allclose(found._weights, EASE(items, 1e-6)._weights)
    rival = ease_of(1e-6, 30.0)
    monkeypatch.setattr(ease, "SINGLE_FROM", 0)
    choice = choose(rival, items, items, ["map@20"], rng=np.random.default_rng(0))
    assert len(choice.tried) == 2


def test_without_a_solution_ease_diverges_and_costs_one_lambda(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An l2 that is lost beside the counts in double precision too."""
    monkeypatch.setattr(ease, "SINGLE_FROM", 0)
    items = twins()
    with pytest.raises(DivergedError, match="1e-300"):
        EASE(items, 1e-300)
    choice = choose(ease_of(1e-300, 30.0), items, items, ["map@20"], rng=np.random.default_rng(0))
    assert choice.config.to_flat()["ease_l2"] == 30.0


@pytest.mark.parametrize("single_from", [0, 10**9])
@pytest.mark.parametrize("l2", [30.0, 1e-6])
def test_ease_takes_no_more_memory_than_it_says(
    single_from: int, l2: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solved twice, as a rival is, with items that single precision cannot tell apart."""
    monkeypatch.setattr(ease, "SINGLE_FROM", single_from)
    monkeypatch.setattr(linear, "GRAM_CELLS", 1 << 16)
    monkeypatch.setattr(ease, "GRAM_CELLS", 1 << 16)
    rng = np.random.default_rng(0)
    dense = np.repeat(rng.random((400, 500)) < 0.02, 2, axis=1)
    items = CSR.from_pairs(*np.nonzero(dense), *dense.shape)
    model = EASE()
    model.solve(EaseConfig(ease_l2=l2), twins())
    tracemalloc.start()
    for _ in range(2):
        model.solve(EaseConfig(ease_l2=l2), items)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    told = EASE.cost(EaseConfig(ease_l2=l2), Size.of(items)).memory
    cells = 1000**2
    assert peak <= told <= 1.9 * peak  # single precision leaves room for double
    assert peak < 1.1 * (12 if single_from == 0 else 20) * cells


@pytest.mark.parametrize(
    ("users", "items", "pairs", "neighbours"),
    [(2_000, 3_000, 40_000, 50), (5_000, 1_000, 100_000, 30), (1_000, 8_000, 40_000, 60)],
)
def test_slim_takes_no_more_memory_than_it_says(
    users: int, items: int, pairs: int, neighbours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Solved twice, as a rival is; a part of the items has its counts in a dense matrix."""
    monkeypatch.setattr(slim, "HEAD", 800)
    monkeypatch.setattr(linear, "GRAM_CELLS", 1 << 16)
    monkeypatch.setattr(slim, "GRAM_CELLS", 1 << 16)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, users, pairs), rng.integers(0, items, pairs)
    train = CSR.from_pairs(*drawn, users, items)
    config = SlimConfig(slim_neighbours=neighbours)
    SLIM_MODEL().solve(SlimConfig(slim_neighbours=5), tiny()[0])  # compiled
    tracemalloc.start()
    nearest_by_cosine(train, neighbours, shrink=1.0)
    near = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    model = SLIM_MODEL()
    for l2 in (100.0, 3.0):
        model.solve(config.model_copy(update={"slim_l2": l2}), train)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = Size.of(train)
    assert near <= nearest_cost(neighbours, size).memory <= 2.5 * near
    assert peak <= SLIM_MODEL.cost(config, size).memory <= 2 * peak


def test_the_counts_of_some_rows_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = matrix(twins())
    whole = (x.T @ x).toarray()
    for cells in (1, 200, 10**9):
        monkeypatch.setattr(linear, "GRAM_CELLS", cells)
        for dtype in (np.float32, np.float64):
            found = linear.gram(x, dtype)
            assert found.dtype == dtype
            assert np.array_equal(found, whole)


def test_without_time_one_config_is_tried(planted: Planted) -> None:
    choice = choose(
        ease_of(1.0, 30.0, 1e5), *planted, ["map@20"], rng=np.random.default_rng(0), seconds=0.0
    )
    assert len(choice.tried) == 1


@pytest.mark.parametrize(
    ("n_items", "memory", "linear"),
    [
        (50, 8e9, EASE_RIVAL),
        (12_000, 8e9, EASE_RIVAL),
        (12_000, 4e9, SLIM),
        (12_001, 8e9, SLIM),
        (40_000, 4e9, SLIM),
        (500_000, 24e9, SLIM),
        (500_000, 8e9, SLIM),
        (500_000, 4e9, NARROW),
    ],
)
def test_a_linear_rival_at_any_size_in_a_quarter_of_the_memory(
    n_items: int, memory: float, linear: Rival
) -> None:
    size = Size(n_items, n_items, 20 * n_items)
    allowed = Allowed.of(memory, None)
    assert rivals_for(size, allowed) == (POPULARITY, linear)
    assert why_no_linear(size, allowed) is None
    most = max(model_of(one).cost(one, size).memory for one in linear.configs)
    assert most <= memory / 4


def test_where_none_fits_a_line_says_why() -> None:
    size = Size(500_000, 500_000, 10_000_000)
    assert rivals_for(size, Allowed.of(2e9, None)) == (POPULARITY,)
    assert why_no_linear(size, Allowed.of(2e9, None)) == (
        "no linear model is compared with: on 500,000 items the cheapest needs 0.9 GB, and a rival "
        "may have 0.5 GB, 25% of the memory"
    )
    assert why_no_linear(size, Allowed.of(64e9, 30.0)) == (
        "no linear model is compared with: on 500,000 items the cheapest needs about 7 s for each "
        "of its configs, and a rival may have 3 s, 10% of the time budget"
    )
    # the time decides where the memory does not
    assert rivals_for(size, Allowed.of(64e9, None))[1] == SLIM
    assert rivals_for(size, Allowed.of(64e9, 600.0))[1] == NARROW
    assert rivals_for(Size(9_000, 9_000, 200_000), Allowed.of(64e9, 120.0))[1] == SLIM


def test_one_long_history_counts_by_its_square() -> None:
    """An account with 300,000 items: 9e10 pairs of items, whatever the mean of all users."""
    many = Size(100_000, 400_000, 2_000_000, 300_000**2 + 30_000_000)
    assert Size(100_000, 400_000, 2_000_000).meetings < 1e8 < 9e10 < many.meetings
    assert rivals_for(many, Allowed.of(64e9, 600.0)) == (POPULARITY,)
    csr, dense = tiny()
    assert Size.of(csr).squares == (dense.sum(1) ** 2).sum() == Size.of(csr).meetings
    assert Size.of(csr) == Size(3, 4, 7)


def test_how_long_the_rivals_take_is_reckoned() -> None:
    solve = 10_000**3 / RATE  # one of EASE's
    whole = seconds_for(Size(1000, 10_000, 50_000), 1e9)
    assert whole.choosing == pytest.approx(7 * solve, rel=1e-3)
    assert whole.training == pytest.approx(solve, rel=1e-3)
    # choosing keeps to its share of the budget, training does not
    cut = seconds_for(Size(1000, 10_000, 50_000), 600)
    assert (cut.choosing, cut.training) == pytest.approx((60, solve), rel=1e-3)
    assert seconds_for(Size(1000, 500, 50_000), 600).choosing < 1
    # what was measured counts for more: five configs of the linear model above EASE's size
    many = Size(1000, MAX_ITEMS + 1, 50_000)
    known = seconds_for(many, 600, {"slim": 8.0})
    assert (known.choosing, known.training) == pytest.approx((5 * 8, 8), abs=0.1)
    # one config is tried whatever it takes
    known = seconds_for(many, 600, {"slim": 90.0})
    assert (known.choosing, known.training) == pytest.approx((90, 90), abs=0.1)
    # a rival that is not allowed takes nothing
    assert seconds_for(many, 600, {}, Allowed(0.0)).training < 0.1
