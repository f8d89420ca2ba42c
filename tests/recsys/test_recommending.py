"""People whom no model has seen get what they would have got as its users, or nearly so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from recsys.data import load
from recsys.errors import ConfigError
from recsys.evaluation import TILE, evaluate, top_items
from recsys.interactions import CSR, rows_of
from recsys.models import MODELS, Model, config_from_flat, fit_model
from recsys.models.blend import Blend, BlendConfig, lists_of
from recsys.models.ials import IALS
from recsys.models.linear import matrix, sums_of_rows
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.entry import Factorization
from recsys.models.mf.folding import (
    HIDDEN_USERS,
    NEARLY,
    PLACES,
    RIDGE,
    UNKNOWN,
    WEIGHTS,
    Folding,
    hidden,
    learned_weight,
)
from recsys.models.slim import SLIM
from recsys.recommending import ITEMS, MODEL, POPULAR, Recommender
from recsys.scoring import product_with

Planted = tuple[CSR, CSR]
RNG = np.random.default_rng
FLAT: dict[str, dict[str, Any]] = {
    "lfm": {"lr": 0.05, "epochs": 5, "latent_factors": 8, "neg_mode": "even"},
    "ease": {"model": "ease", "ease_l2": 30.0},
    "item_knn": {"model": "item_knn", "knn_neighbours": 20},
    "ials": {"model": "ials", "ials_factors": 8, "epochs": 3},
    "rp3beta": {"model": "rp3beta", "rp3_neighbours": 20},
    "slim": {"model": "slim", "slim_neighbours": 20},
    "popularity": {"model": "popularity"},
}
EXACT = ("ease", "item_knn", "rp3beta", "slim", "popularity")  # a list is all that they know


def made(name: str, train: CSR) -> Recommender:
    """A trained model, or a blend of three, in use."""
    if name != "blend":
        config = config_from_flat(FLAT[name])
        return Recommender(fit_model(config, train, rng=RNG(0)), config, train)
    flat = [FLAT["slim"], FLAT["popularity"], FLAT["lfm"]]
    members = [fit_model(config_from_flat(one), train, rng=RNG(0)) for one in flat]
    config = BlendConfig.from_flat(
        {"members": [{"weight": 0.3, "config": one} for one in flat], "depth": 40}
    )
    return Recommender(Blend(config, members, train), config, train)


def test_every_model_is_tried_here() -> None:
    assert FLAT.keys() == MODELS.keys()


@pytest.mark.parametrize("name", [*FLAT, "blend"])
def test_a_list_is_scored_by_every_model(name: str, planted: Planted) -> None:
    """Users of a group like its 30 items: so does a stranger who likes three of them."""
    train, _ = planted
    recommender = made(name, train)
    three = CSR.from_pairs(np.repeat(np.arange(4), 3), np.arange(12) * 10, 4, 120)
    found = recommender.recommend(np.full(4, -1), three, 10)
    assert found.source == [ITEMS] * 4
    if name != "popularity":
        own = found.items // 30 == np.arange(4)[:, None]
        assert own.mean() > 0.9
    for row in range(4):
        assert not np.isin(found.items[row], three.row(row)).any()
        assert (np.diff(found.scores[row]) <= 0).all()
    one = recommender.recommend(np.full(1, -1), rows_of(three, np.array([2])), 10)
    assert_array_equal(one.items[0], found.items[2])  # whatever is asked beside it


@pytest.mark.parametrize("name", EXACT)
def test_a_list_is_a_history_like_any_other(name: str, planted: Planted) -> None:
    train, _ = planted
    recommender = made(name, train)
    scores = recommender.model.list_scorer(recommender.config, train)(train)
    assert_allclose(scores, recommender.model.score_users(np.arange(train.n_users)), rtol=1e-6)
    known = recommender.recommend(np.arange(train.n_users), nothing(train), 20)
    listed = recommender.recommend(np.full(train.n_users, -1), train, 20)
    assert_array_equal(known.items, listed.items)
    assert (known.source[0], listed.source[0]) == (MODEL, ITEMS)


def nothing(csr: CSR, rows: int | None = None) -> CSR:
    return CSR(np.zeros((rows or csr.n_users) + 1, np.int64), np.zeros(0, np.int32), csr.n_items)


@pytest.mark.parametrize("name", [*FLAT, "blend"])
def test_known_users_get_what_the_submission_says(name: str, planted: Planted) -> None:
    train, _ = planted
    recommender = made(name, train)
    users = np.array([3, 59, 0])
    found = recommender.recommend(users, nothing(train, 3), 20)
    assert_array_equal(found.items, top_items(recommender.model, train, users, 20))
    scores = recommender.model.score_users(users)
    assert_allclose(found.scores, np.take_along_axis(scores, found.items, 1), rtol=1e-5)


@pytest.mark.parametrize("name", [*FLAT, "blend"])
def test_seen_items_only_where_they_are_asked_for(name: str, planted: Planted) -> None:
    train, _ = planted
    recommender = made(name, train)
    list_of_5 = rows_of(train, np.array([5]))
    for users, lists in ((np.array([5]), nothing(train, 1)), (np.array([-1]), list_of_5)):
        without = recommender.recommend(users, lists, 120)
        assert (without.items >= 0).sum() == 120 - 12
        everything = recommender.recommend(users, lists, 120, exclude_seen=False)
        assert sorted(everything.items[0]) == list(range(120))
        if name not in ("popularity", "rp3beta"):  # what one has is what one likes
            assert np.isin(everything.items[0, :12], train.row(5)).mean() > 0.3


def test_history_and_list_of_a_known_user_are_one(planted: Planted) -> None:
    train, _ = planted
    recommender = made("ease", train)
    more = CSR.from_pairs(np.zeros(2, int), np.array([1, 119]), 1, 120)
    both = recommender.recommend(np.array([7]), more, 30)
    joined = CSR.from_pairs(np.zeros(14, int), np.append(train.row(7), more.row(0)), 1, 120)
    alone = recommender.recommend(np.array([-1]), joined, 30)
    assert_array_equal(both.items, alone.items)


def test_nobody_gets_what_is_popular_and_rows_keep_their_order(planted: Planted) -> None:
    train, _ = planted
    recommender = made("ials", train)
    lists = CSR.from_pairs(np.array([1]), np.array([60]), 4, 120)
    found = recommender.recommend(np.array([-1, -1, 8, -1]), lists, 7)
    assert found.source == [POPULAR, ITEMS, MODEL, POPULAR]
    popular = np.argsort(-train.item_counts(), kind="stable")[:7]
    assert_array_equal(found.items[[0, 3]], [popular, popular])
    assert_array_equal(found.scores[0], train.item_counts()[popular])


@pytest.mark.parametrize("name", EXACT)
def test_a_row_is_answered_as_if_it_were_asked_alone(name: str, planted: Planted) -> None:
    """Known or not, with or without a list, whatever the other rows are."""
    train, _ = planted
    recommender = made(name, train)
    users = np.array([-1, 7, 7, -1, 3, -1])
    lists = CSR.from_pairs(np.array([0, 0, 2, 2, 5]), np.array([3, 90, 1, 119, 40]), 6, 120)
    found = recommender.recommend(users, lists, 50)
    assert found.source == [ITEMS, MODEL, ITEMS, POPULAR, MODEL, ITEMS]
    for row in range(6):
        alone = recommender.recommend(users[[row]], rows_of(lists, np.array([row])), 50)
        assert_array_equal(alone.items[0], found.items[row])
        assert_array_equal(alone.scores[0], found.scores[row])


def test_only_what_is_allowed(planted: Planted) -> None:
    train, _ = planted
    recommender = made("lfm", train)
    allowed = np.zeros(120, bool)
    allowed[[3, 40, 41, 119]] = True
    lists = CSR.from_pairs(np.array([1]), np.array([40]), 3, 120)
    found = recommender.recommend(np.array([0, -1, -1]), lists, 50, allowed=allowed)
    assert set(found.items[1].tolist()) == {3, 41, 119, -1}
    assert set(found.items[2].tolist()) == {3, 40, 41, 119, -1}
    assert np.isnan(found.scores[found.items < 0]).all()
    assert np.isfinite(found.scores[found.items >= 0]).all()
    nowhere = recommender.recommend(np.array([0]), nothing(train, 1), 5, allowed=allowed & False)
    assert (nowhere.items == -1).all()
    with pytest.raises(ConfigError, match="k: expected a whole number from 1, got 0"):
        recommender.recommend(np.array([0]), nothing(train, 1), 0)


@pytest.mark.parametrize("name", [name for name in FLAT if name != "popularity"])
def test_similar_items_are_of_the_same_kind(name: str, planted: Planted) -> None:
    train, _ = planted
    items, nearness = made(name, train).similar(np.array([0, 35, 119]), 10)
    assert (items // 30 == np.array([[0], [1], [3]])).mean() > 0.85
    assert not (items == np.array([[0], [35], [119]])).any()
    assert (np.diff(nearness, axis=1) <= 0).all()


# --- how long people wait -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FLAT, "blend"])
def test_a_few_users_are_scored_as_in_a_whole_tile(name: str, planted: Planted) -> None:
    train, _ = planted
    model, users = made(name, train).model, np.array([7, 0, 33])
    whole = model.score_users(np.resize(users, TILE))[:3]
    assert_array_equal(model.score_few(users), whole)


def test_a_user_of_a_blend_does_not_wait_for_lists_of_others(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members may need a whole tile of scores, of which only one row is anybody's."""
    train, _ = planted
    recommender, rows = made("blend", train), []

    def listed(scores: Any, seen: CSR, users: NDArray[np.int32], depth: int) -> Any:
        rows.append(len(scores))
        return lists_of(scores, seen, users, depth)

    monkeypatch.setattr("recsys.models.blend.lists_of", listed)
    assert recommender.recommend(np.array([5]), nothing(train, 1), 10).source == [MODEL]
    assert rows == [1, 1, 1]


@pytest.mark.parametrize("name", ["lfm", "ials"])
def test_products_of_a_request_have_one_thread(
    name: str, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of numpy have one for each core, and wait for each other on a busy machine."""
    train, _ = planted
    recommender, threads = made(name, train), []
    plain = torch.mm

    def product(*operands: torch.Tensor) -> torch.Tensor:
        threads.append(torch.get_num_threads())
        return plain(*operands)

    monkeypatch.setattr(torch, "mm", product)
    lists = CSR.from_pairs(np.zeros(3, int), np.array([1, 5, 9]), 1, 120)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        recommender.recommend(np.array([-1]), lists, 10)
        threads.clear()  # of the preparation
        recommender.recommend(np.array([-1]), lists, 10)
        asked = len(threads)
        recommender.similar(np.array([4]), 10)
    finally:
        torch.set_num_threads(before)
    assert 0 < asked < len(threads)
    assert set(threads) == {1}


@pytest.mark.parametrize("name", ["lfm", "ials"])
def test_items_near_an_item_by_the_plain_cosine(name: str, planted: Planted) -> None:
    train, _ = planted
    recommender = made(name, train)
    vectors = recommender.model.vectors()
    assert vectors is not None
    unit = vectors.items.astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found, nearness = recommender.similar(np.array([3, 70]), 8)
    for row, item in enumerate((3, 70)):
        cosines = unit @ unit[item]
        cosines[item] = -np.inf
        assert_array_equal(found[row], np.argsort(-cosines, kind="stable")[:8])
        assert_allclose(nearness[row], np.sort(cosines)[::-1][:8], rtol=1e-5)


def test_products_are_those_of_numpy_but_for_rounding() -> None:
    left, right = (RNG(n).standard_normal((n, 6)).astype(np.float32) for n in (5, 40))
    assert_allclose(product_with(right)(left), left @ right.T, rtol=1e-5, atol=1e-6)
    turned = np.asfortranarray(right)
    assert_allclose(product_with(turned)(left[::2]), left[::2] @ right.T, rtol=1e-5, atol=1e-6)


def test_what_all_requests_share_is_prepared_once(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request looks at all users or at the vectors of all items anew."""
    train, _ = planted
    recommender, lists = made("ials", train), rows_of(train, np.array([5]))

    def ask() -> None:
        recommender.recommend(np.array([3]), lists, 10)
        recommender.recommend(np.array([3]), nothing(train, 1), 10)
        recommender.similar(np.array([4]), 10)

    ask()
    degrees = CSR.degrees

    def of_few(csr: CSR) -> NDArray[np.int64]:
        assert csr is not recommender.seen
        return degrees(csr)

    monkeypatch.setattr(CSR, "degrees", of_few)
    monkeypatch.setattr(recommender.model, "vectors", lambda: pytest.fail("asked again"))
    ask()


# --- the models' own steps, by their definitions -------------------------------------------------


@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 6),
    items=st.integers(1, 40),
    columns=st.integers(1, 70),
    density=st.sampled_from([0.0, 0.1, 0.7]),
)
def test_sums_for_lists_are_those_of_scipy(
    seed: int, rows: int, items: int, columns: int, density: float
) -> None:
    """To the last bit, so that a list is a history like any other."""
    rng = RNG(seed)
    lists = CSR.from_pairs(*np.nonzero(rng.random((rows, items)) < density), rows, items)
    table = rng.standard_normal((items, columns)).astype(np.float32)
    assert_array_equal(sums_of_rows(lists, table), matrix(lists) @ table)
    square = rng.standard_normal((items, items)).astype(np.float32)
    model = SLIM()
    model.become(matrix(lists), scipy.sparse.csr_matrix(square * (rng.random(square.shape) < 0.5)))
    scores = model.list_scorer(None, lists)(lists)
    assert_array_equal(scores, model.score_users(np.arange(rows)))


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_one_newton_step_by_its_definition(weight: float) -> None:
    rng = RNG(3)
    users, items = rng.standard_normal((50, 6)) * 0.7 + 0.2, rng.standard_normal((80, 6))
    bias = rng.standard_normal(80)
    narrow = [part.astype(np.float32) for part in (users, items, bias)]
    lists = CSR.from_pairs(np.array([0, 0, 0, 2]), np.array([5, 9, 77, 3]), 3, 80)
    got = Folding.of(*narrow).users(lists, weight)
    mean, spread = users.mean(0), np.cov(users.T, bias=True)
    spread = spread + RIDGE * np.trace(spread) / 6 * np.eye(6)
    share = np.exp(bias + items @ mean)
    share /= share.sum()
    expected = share @ items
    covariance = (items * share[:, None]).T @ items - np.outer(expected, expected)
    for row in range(3):
        liked = lists.row(row)
        gradient = weight * (items[liked] - expected).sum(0)
        hessian = weight * len(liked) * covariance + np.linalg.inv(spread)
        assert_allclose(got[row], mean + np.linalg.solve(hessian, gradient), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("users", "items"), [(1, 5), (3, 40), (50, 1)], ids=["one user", "few users", "one item"]
)
def test_folding_into_hardly_anything(users: int, items: int) -> None:
    rng = RNG(0)
    p, q = (rng.standard_normal((n, 16)).astype(np.float32) for n in (users, items))
    lists = CSR.from_pairs(np.array([1]), np.array([0]), 2, items)
    assert np.isfinite(Folding.of(p, q, np.zeros(items, np.float32)).users(lists, 8.0)).all()
    untrained = Folding.of(p * 0, q * 0, np.zeros(items, np.float32)).users(lists, 8.0)
    assert_array_equal(untrained, 0)


def test_some_items_of_known_users_are_hidden(planted: Planted) -> None:
    train, _ = planted
    n = train.n_users
    users = np.append(train.users(), [n, n + 1, n + 1, n + 1])
    items = np.append(train.indices, np.arange(4))
    more = CSR.from_pairs(users, items, n + 2, 120)
    given, others = hidden(more)
    assert given.n_users == others.n_users == n + 1  # not who has one item alone
    assert set(given.degrees()[:n]) == {5}
    assert (given.degrees()[n], others.degrees()[n]) == (1, 2)
    assert not given.overlap(others)
    assert given.union(others).digest() == rows_of(more, np.delete(np.arange(n + 2), n)).digest()
    again = hidden(more)
    assert [part.digest() for part in again] == [given.digest(), others.digest()]
    many = CSR.from_pairs(np.repeat(np.arange(900), 2), np.tile([0, 1], 900), 900, 2)
    assert hidden(many)[0].n_users == HIDDEN_USERS


@pytest.mark.parametrize("best", WEIGHTS)
def test_the_weight_is_learned_as_its_definition_says(best: float, planted: Planted) -> None:
    """By sorting all scores of every user; scores whose noise grows with the distance from `best`,
    but for twice as much, which is hardly worse.
    """
    train, _ = planted
    far = {w: 0.0 if w == best else 1e-4 if w == 2 * best else abs(w - best) for w in WEIGHTS}

    def weighing(weight: float) -> Any:
        def scores(lists: CSR) -> NDArray[np.float32]:
            group = np.array([lists.row(u)[0] // 30 for u in range(lists.n_users)])
            noise = np.array([RNG([int(r.sum()), 1]).normal(size=120) for r in lists.rows()])
            own = np.arange(120) // 30 == group[:, None]
            return (own + far[weight] * noise).astype(np.float32)

        return scores

    given, others = hidden(train)
    values = {}
    for weight in WEIGHTS:
        scores, found = weighing(weight)(given), []
        for user in range(given.n_users):
            order = [
                i for i in np.argsort(-scores[user], kind="stable") if i not in given.row(user)
            ]
            hits = np.isin(order[:PLACES], others.row(user))
            precision = np.cumsum(hits) / np.arange(1, PLACES + 1)
            found.append((precision * hits).sum() / min(PLACES, len(others.row(user))))
        values[weight] = np.mean(found)
    expected = min(w for w in WEIGHTS if values[w] >= NEARLY * max(values.values()))
    assert learned_weight(weighing, train) == expected == best


def test_without_items_to_hide_the_weight_is_a_constant() -> None:
    lonely = CSR.from_pairs(np.arange(3), np.arange(3), 3, 9)
    for seen in (lonely, nothing(lonely)):
        assert learned_weight(lambda _: lambda _: pytest.fail("nobody is asked"), seen) == UNKNOWN
        model = Factorization(3, 9, 2, rng=RNG(0))
        config = config_from_flat(FLAT["lfm"])
        assert isinstance(config, TrainConfig)
        assert np.isfinite(model.list_scorer(config, seen)(lonely)).all()


def test_users_without_items_are_not_among_the_known() -> None:
    """They have the factors that they began with, which say nothing of anybody."""
    rng = RNG(5)
    model = Factorization(4, 30, 3, rng=rng)
    views = model.views()
    views.user_factors[:2], views.item_factors[:] = (
        rng.normal(size=(2, 3)),
        rng.normal(size=(30, 3)),
    )
    views.user_factors[2:] = 100.0
    seen = CSR.from_pairs(np.array([0, 1]), np.array([3, 4]), 4, 30)
    two = CSR.from_pairs(np.array([0, 1]), np.array([3, 4]), 2, 30)
    config = config_from_flat(FLAT["lfm"])
    assert isinstance(config, TrainConfig)
    p = Folding.of(views.user_factors[:2], views.item_factors, views.item_bias).users(two, UNKNOWN)
    assert_allclose(model.list_scorer(config, seen)(two), p @ views.item_factors.T, rtol=1e-5)


def test_ials_solves_a_list_as_it_solves_users(planted: Planted) -> None:
    train, _ = planted
    config = config_from_flat(FLAT["ials"])
    model = fit_model(config, train, rng=RNG(0))
    assert isinstance(model, IALS)
    q = model.item_factors.astype(float)
    scores = model.list_scorer(config, train)(train)
    for user in (0, 33):
        liked = train.row(user)
        flat: Any = config
        ridge = flat.ials_l2 * (len(liked) + flat.ials_alpha * 120) ** flat.ials_nu
        system = q[liked].T @ q[liked] + flat.ials_alpha * q.T @ q + ridge * np.eye(8)
        assert_allclose(
            scores[user], q @ np.linalg.solve(system, q[liked].sum(0)), rtol=1e-3, atol=1e-4
        )


# --- how good it is ------------------------------------------------------------------------------

QUALITY: dict[str, dict[str, Any]] = {
    "bpr": {
        "neg_mode": "hard",
        "num_candidate_neg_samples": 29,
        "num_hard_neg_samples": 7,
        "margin": 0.9,
        "lr": 0.03,
        "l2": 0.05,
        "latent_factors": 16,
        "epochs": 12,
    },
    "softmax": {
        "loss": "softmax",
        "neg_mode": "fixed",
        "neg_sample_num": 20,
        "lr": 0.05,
        "l2": 0.02,
        "latent_factors": 16,
        "epochs": 8,
    },
    "bce": {
        "loss": "bce",
        "neg_mode": "fixed",
        "neg_sample_num": 100,
        "lr": 0.05,
        "l2": 0.01,
        "latent_factors": 16,
        "epochs": 12,
    },
    "ials": {"model": "ials", "ials_factors": 16, "epochs": 8},
    "slim": {"model": "slim"},
}


@pytest.mark.parametrize("name", QUALITY)
def test_five_items_are_worth_a_training(name: str) -> None:
    """Users whom the model has not seen get 95% of what one trained with their five items gives."""
    csr = load("demo").interactions.csr
    rng = RNG(1)
    strangers = np.zeros(csr.n_users, bool)
    strangers[rng.permutation(np.flatnonzero(csr.degrees() >= 10))[:80]] = True
    users, place = csr.users(), np.empty(csr.nnz, int)
    place[np.lexsort((rng.random(csr.nnz), users))] = np.arange(csr.nnz) - csr.indptr[users]
    strange, early = strangers[users], place < 5

    def part(mask: NDArray[np.bool_]) -> CSR:
        return CSR.from_pairs(users[mask], csr.indices[mask], csr.n_users, csr.n_items)

    before, with_them = part(~strange), part(~strange | early)
    given, answers = part(strange & early), part(strange & ~early)
    config = config_from_flat(QUALITY[name])
    model = fit_model(config, before, rng=RNG(0))
    scores = model.list_scorer(config, before)(given)
    retrained = [fit_model(config, with_them, rng=RNG(seed)) for seed in (0, 1)]

    def quality(scorer: Any) -> float:
        return evaluate(scorer, with_them, answers, ["ndcg@20"]).values["ndcg@20"]

    class Table:
        def score_users(self, users: NDArray) -> NDArray[np.float32]:
            return scores[users]

    wanted = float(np.mean([quality(one) for one in retrained]))
    assert quality(Table()) >= 0.95 * wanted


def test_a_model_without_vectors_says_so(planted: Planted) -> None:
    train, _ = planted
    have = {name for name in FLAT if model_of_name(name, train).vectors() is not None}
    assert have == {"lfm", "ials"}


def model_of_name(name: str, train: CSR) -> Model:
    return made(name, train).model
