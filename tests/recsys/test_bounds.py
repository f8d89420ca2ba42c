"""Ranking by bounds is ranking: against the full product, one user at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from recsys import bounds as module
from recsys.bounds import CHUNK, Bounds, Ranker, bounds_for
from recsys.evaluation import TILE, evaluate, top_items
from recsys.interactions import CSR
from recsys.scoring import Vectors

USERS = 300


class Product:
    """A scorer of vectors."""

    def __init__(self, vectors: Vectors) -> None:
        self.given = vectors

    def vectors(self) -> Vectors:
        return self.given

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        one = self.given
        scores = one.users[users] @ one.items.T
        return np.asarray(scores if one.bias is None else scores + one.bias, np.float32)


class Table(Product):
    """The same without vectors: every item is scored."""

    vectors = None  # type: ignore[assignment]


def whole(rng: np.random.Generator, items: int, dims: int, *, bias: bool, flat: bool) -> Vectors:
    """Vectors of small integers: sums are exact in any order, and many scores equal."""
    scale = np.full(dims, 3) if flat else np.ceil(6 / (1 + np.arange(dims)))
    users = np.round(rng.normal(size=(USERS, dims)) * scale)
    rows = np.round(rng.normal(size=(items, dims)) * scale * rng.random((items, 1)))
    users[:3] = 0  # somebody whose every score is the item's bias
    added = np.round(rng.normal(size=items) * 2) if bias else None
    return Vectors(
        users.astype(np.float32),
        rows.astype(np.float32),
        None if added is None else added.astype(np.float32),
    )


def decaying(rng: np.random.Generator, items: int, dims: int) -> Vectors:
    """Vectors of which a few dimensions say nearly all."""
    turn = np.linalg.qr(rng.normal(size=(dims, dims)))[0]
    scale = 0.7 ** np.arange(dims)
    sides = [(rng.normal(size=(n, dims)) * scale) @ turn for n in (USERS, items)]
    return Vectors(*(side.astype(np.float32) for side in (*sides, rng.normal(size=items) * 0.1)))


def seen_of(rng: np.random.Generator, items: int, share: float) -> CSR:
    users, rows = np.nonzero(rng.random((USERS, items)) < share)
    most = np.arange(items - 2)  # user 5 has all but two, user 6 all
    # and everybody has an item, for who has none gets what is popular
    users = np.concatenate([users, np.full(items - 2, 5), np.full(items, 6), np.arange(USERS)])
    rows = np.concatenate([rows, most, np.arange(items), rng.integers(0, items, USERS)])
    return CSR.from_pairs(users, rows, USERS, items)


def found(vectors: Vectors, k: int, monkeypatch: pytest.MonkeyPatch, head: int) -> Bounds:
    """Bounds of `head` dimensions, whether they help or not."""
    monkeypatch.setattr(module, "HEADS", (head,))
    monkeypatch.setattr(module, "SELECT", 1e9)
    monkeypatch.setattr(module, "LEAST_ITEMS", 1)
    monkeypatch.setattr(module, "LEAST_USERS", 1)
    made = bounds_for(vectors, len(vectors.users), k)
    assert made is not None
    return made


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.sampled_from([700, CHUNK, CHUNK + 1, 2 * CHUNK + 77]),
    dims=st.sampled_from([3, 9, 40]),
    k=st.sampled_from([1, 20, 43]),
    bias=st.booleans(),
    flat=st.booleans(),
)
def test_the_best_are_those_of_the_full_ranking(
    seed: int, items: int, dims: int, k: int, bias: bool, flat: bool
) -> None:
    rng = np.random.default_rng(seed)
    vectors = whole(rng, items, dims, bias=bias, flat=flat)
    seen = seen_of(rng, items, 0.01)
    users = rng.permutation(USERS).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        made = found(vectors, k, patch, max(1, dims // 4))
    ranker = Ranker(made, seen, TILE, k)
    result = np.empty((USERS, k), np.int32)
    for start in range(0, USERS, TILE):
        ranker.rank(users[start : start + TILE], result[start : start + TILE])
    assert_array_equal(result, top_items(Table(vectors), seen, users, k))


def test_little_is_scored_where_few_dimensions_say_nearly_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    vectors = decaying(rng, 3 * CHUNK, 32)
    seen = seen_of(rng, 3 * CHUNK, 0.001)
    ranker = Ranker(found(vectors, 20, monkeypatch, 8), seen, TILE, 20)
    users = np.arange(10, 10 + TILE, dtype=np.int32)
    ranker.rank(users, np.empty((TILE, 20), np.int32))
    assert 20 * TILE <= ranker.scored < 0.05 * TILE * 3 * CHUNK


def test_it_is_chosen_by_the_model() -> None:
    rng = np.random.default_rng(1)
    told = decaying(rng, 2 * CHUNK, 64)
    assert bounds_for(told, 5000, 20) is not None
    assert bounds_for(told, module.LEAST_USERS - 1, 20) is None
    assert bounds_for(told, 5000, CHUNK) is None  # nearly all are wanted
    flat = rng.normal(size=(2 * CHUNK, 64)).astype(np.float32)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    users = rng.normal(size=(USERS, 64)).astype(np.float32)
    assert bounds_for(Vectors(users, flat), 5000, 20) is None  # nothing rules anything out
    few = Vectors(told.users, told.items[:1000], None)
    assert bounds_for(few, 5000, 20) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("part", ["users", "items", "bias"])
def test_what_is_not_a_number_is_left_to_the_full_ranking(bad: float, part: str) -> None:
    rng = np.random.default_rng(2)
    vectors = decaying(rng, 2 * CHUNK, 64)
    assert bounds_for(vectors, 5000, 20) is not None
    getattr(vectors, part).flat[7] = bad
    assert bounds_for(vectors, 5000, 20) is None


def test_scores_of_all_sizes_stay_below_their_bounds() -> None:
    """Rounding: vectors from 1e-6 to 1e6 long, and biases that nearly cancel their products."""
    rng = np.random.default_rng(3)
    items, dims = CHUNK, 48
    rows = rng.normal(size=(items, dims)) * 10 ** rng.uniform(-6, 6, (items, 1))
    users = rng.normal(size=(USERS, dims)) * 10 ** rng.uniform(-3, 3, (USERS, 1))
    bias = -(rows @ users[17])
    vectors = Vectors(*(a.astype(np.float32) for a in (users, rows, bias)))
    with pytest.MonkeyPatch.context() as patch:
        made = found(vectors, 20, patch, 8)
    side, _ = made.tile(np.arange(USERS, dtype=np.int32), USERS)
    over = side @ made.heads[:items].T
    scores = made.users @ made.items.T + made.bias
    assert (over >= scores).all()


def test_evaluation_and_threads_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    vectors = whole(rng, 2 * CHUNK, 24, bias=True, flat=False)
    seen = seen_of(rng, 2 * CHUNK, 0.002)
    held = np.setdiff1d(rng.choice(USERS * 2 * CHUNK, 900), _keys(seen))
    held_out = CSR.from_pairs(held // (2 * CHUNK), held % (2 * CHUNK), USERS, 2 * CHUNK)
    slow = evaluate(Table(vectors), seen, held_out, ["ndcg@20", "recall@50"])
    found(vectors, 50, monkeypatch, 8)
    ranked = []
    rank = Ranker.rank
    monkeypatch.setattr(
        Ranker, "rank", lambda self, users, out: (ranked.append(len(users)), rank(self, users, out))
    )
    for threads, block in ((1, 1024), (2, 128), (3, 128)):
        fast = evaluate(
            Product(vectors), seen, held_out, ["ndcg@20", "recall@50"], block=block, threads=threads
        )
        assert sum(ranked) == len(slow.users)
        ranked.clear()
        assert fast.values == slow.values
        for name, values in slow.per_user.items():
            assert_array_equal(fast.per_user[name], values)


def _keys(csr: CSR) -> NDArray[np.int64]:
    rows = np.repeat(np.arange(csr.n_users), csr.degrees())
    return rows * csr.n_items + csr.indices
