import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score, ndcg_score

from recsys.errors import ConfigError
from recsys.metrics import (
    KINDS,
    PER_USER,
    Metric,
    check_metric,
    coverage,
    parse_metric,
    same_in_every_order,
    user_values,
)

# hits at places 1 and 3 (c=2), at 2 (c=1), none (c=3), all of 4 (c=6), at 4 of c=1
HITS = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]], bool)
HELD = np.array([2, 1, 3, 6, 1], np.int64)
LOG = [1 / math.log2(place + 1) for place in (1, 2, 3, 4)]


BY_HAND = [
    ("map@4", [(1 + 2 / 3) / 2, 1 / 2, 0, 1.0, 1 / 4]),
    ("map@2", [1 / 2, 1 / 2, 0, 1.0, 0]),
    (
        "ndcg@4",
        [(LOG[0] + LOG[2]) / (LOG[0] + LOG[1]), LOG[1] / LOG[0], 0, 1.0, LOG[3]],
    ),
    ("ndcg@1", [1, 0, 0, 1, 0]),
    ("recall@4", [1, 1, 0, 4 / 6, 1]),
    ("recall@3", [1, 1, 0, 3 / 6, 0]),
    ("precision@4", [2 / 4, 1 / 4, 0, 1, 1 / 4]),
    ("hit@4", [1, 1, 0, 1, 1]),
    ("hit@1", [1, 0, 0, 1, 0]),
]


@pytest.mark.parametrize(("name", "expected"), BY_HAND)
def test_by_hand(name: str, expected: list[float]) -> None:
    assert_allclose(user_values(parse_metric(name), HITS, HELD), expected, rtol=1e-12)


def test_every_word_reaches_its_own_metric() -> None:
    """Each has values by hand; no two are equal here, so none gives another's."""
    assert {parse_metric(name).kind for name, _ in BY_HAND} == set(PER_USER)
    found = {tuple(user_values(Metric(kind, 4), HITS, HELD)) for kind in PER_USER}
    assert len(found) == len(PER_USER)
    assert set(KINDS) - set(PER_USER) == {"coverage"}
    with pytest.raises(AssertionError):
        user_values(Metric("coverage", 4), HITS, HELD)


@pytest.mark.parametrize("kind", PER_USER)
def test_when_no_order_changes_a_value(kind: str) -> None:
    """Against every order of up to four items, of which some are held out."""
    for free in range(2, 5):
        for held in range(1, free):
            orders = np.array(sorted(set(permutations([True] * held + [False] * (free - held)))))
            for k in range(1, free + 2):
                places = np.pad(orders, ((0, 0), (0, max(0, k - free))))
                values = user_values(Metric(kind, k), places, np.full(len(orders), held))
                same = same_in_every_order(Metric(kind, k), np.array([free]), np.array([held]))
                assert same.tolist() == [np.ptp(values) < 1e-12], (free, held, k)


def test_the_order_of_coverage_matters() -> None:
    assert not same_in_every_order(Metric("coverage", 2), np.array([3]), np.array([1])).any()
    with pytest.raises(AssertionError):
        same_in_every_order(Metric("new", 2), np.array([3]), np.array([1]))


def test_coverage_by_hand() -> None:
    items = np.array([[0, 1, 2], [1, 0, -1], [4, -1, -1]], np.int32)
    assert coverage(items, 1, 8) == 3 / 8
    assert coverage(items, 3, 8) == 4 / 8
    assert coverage(np.full((1, 2), -1, np.int32), 2, 3) == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_agrees_with_scikit_learn_on_full_rankings(seed: int, n_items: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(n_items).astype(float)
    relevant = np.zeros(n_items, int)
    relevant[rng.permutation(n_items)[: rng.integers(1, n_items + 1)]] = 1
    order = np.argsort(-scores)
    hits = relevant[order][None].astype(bool)
    held = np.array([relevant.sum()], np.int64)
    average = user_values(Metric("map", n_items), hits, held)[0]
    assert average == pytest.approx(average_precision_score(relevant, scores))
    for k in (1, n_items // 2 + 1, n_items):
        mine = user_values(Metric("ndcg", k), hits, held)[0]
        # scikit-learn's ideal is cut at k as well
        assert mine == pytest.approx(ndcg_score(relevant[None], scores[None], k=k))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_bounds_and_perfect_lists(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hits = rng.random((20, 7)) < 0.4
    held = hits.sum(1) + rng.integers(1, 4, 20)
    perfect = np.arange(7) < np.minimum(held, 7)[:, None]
    for kind in KINDS[:-1]:
        for k in (1, 3, 7):
            values = user_values(Metric(kind, k), hits, held)
            best = user_values(Metric(kind, k), perfect, held)
            assert ((values >= 0) & (values <= best + 1e-12)).all()
            if kind in ("map", "ndcg", "hit"):
                assert_allclose(best, 1.0)


@pytest.mark.parametrize(
    "name", ["map", "map@", "map@0", "map@-1", "MAP@5", "map@5 ", "mrr@5", "map@1.5", "map@٣", ""]
)
def test_unknown_names_list_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match="expected one of map@K, ndcg@K"):
        parse_metric(name)


def test_k_larger_than_the_catalogue() -> None:
    assert check_metric("map@50", 50) == Metric("map", 50)
    with pytest.raises(ConfigError, match="51 places, but the data has only 50 items"):
        check_metric("map@51", 50)
