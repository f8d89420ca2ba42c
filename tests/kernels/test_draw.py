"""Every way of drawing negatives is exact: allowed, distinct, uniform."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.interactions import CSR
from recsys.kernels.jit import kernel
from recsys.models.mf.kernels.draw import CROWDED, EXACT, MAX_DRAW, SCARCE
from recsys.models.mf.kernels.plan import BPR, HARD, SGD, Plan
from recsys.models.mf.kernels.rng import below, load, new_states, store
from recsys.models.mf.kernels.rows import draft, new_scratch
from recsys.models.mf.kernels.shuffle import AHEAD, shuffle_rows
from recsys.models.mf.sampling import make_pool, sample_hard, sample_uniform
from tests.kernels.helpers import chi_square, make_model, random_csr

# (items, items the user has, drawn at once): which branch of the sampler each one takes
WAYS = {
    "rejection": (300, 40, 12),
    "rejection, hashed filter": (5000, 40, 12),
    "one": (300, 40, 1),
    "one rank": (300, 290, 1),
    "ranks": (400, 360, 6),
    "shuffle": (60, 40, 14),
    "all": (60, 40, 20),
}


def one_user(n_items: int, seen: int, seed: int = 3) -> CSR:
    items = np.random.default_rng(seed).choice(n_items, seen, replace=False)
    return CSR.from_pairs(np.zeros(seen, int), items, 1, n_items)


@pytest.mark.parametrize("way", WAYS)
def test_uniform_over_free_items(way: str) -> None:
    n_items, seen, count = WAYS[way]
    csr = one_user(n_items, seen)
    free = n_items - seen
    drawn = sample_uniform(
        make_pool(csr), np.zeros(60 * n_items // count, int), count, np.random.default_rng(5)
    )
    assert drawn.shape[1] == count and (drawn >= 0).all()
    assert not np.isin(drawn, csr.row(0)).any()
    ordered = np.sort(drawn, axis=1)
    assert (ordered[:, 1:] != ordered[:, :-1]).all()
    allowed = np.setdiff1d(np.arange(n_items), csr.row(0))
    for column in {0, count - 1}:  # the first and the last of a row
        counts = np.bincount(drawn[:, column], minlength=n_items)[allowed]
        assert abs(chi_square(counts, len(drawn) / free)) < 4.5
    if count < free:
        # items of one row are drawn without replacement: less varied than independent draws
        counts = np.bincount(drawn.ravel(), minlength=n_items)[allowed]
        spread = 1 - count / free
        assert abs(chi_square(counts, drawn.size / free) - np.sqrt(free / 2) * (spread - 1)) < 4.5


def test_the_cases_take_the_branches_they_name() -> None:
    def branch(n_items: int, seen: int, count: int) -> str:
        free = n_items - seen
        if count > 1 and free <= CROWDED * count:
            return "shuffle"
        return "ranks" if free * SCARCE < n_items else "rejection"

    assert [branch(*way) for way in WAYS.values()] == [
        *("rejection", "rejection", "rejection", "ranks", "ranks", "shuffle", "shuffle")
    ]
    sizes = [make_pool(one_user(n, seen)).users[0, 0] & 63 for n, seen in ((300, 40), (5000, 40))]
    assert sizes[0] == EXACT > sizes[1]


@pytest.mark.parametrize(("n_items", "seen"), [(7, 2), (7, 3), (60, 55)])
def test_every_ordered_choice_is_equally_likely(n_items: int, seen: int) -> None:
    csr = one_user(n_items, seen)
    rows = 24_000
    drawn = sample_uniform(make_pool(csr), np.zeros(rows, int), 3, np.random.default_rng(9))
    free = np.setdiff1d(np.arange(n_items), csr.row(0)).tolist()
    number = {choice: k for k, choice in enumerate(permutations(free, 3))}
    counts = np.bincount([number[tuple(row)] for row in drawn.tolist()], minlength=len(number))
    assert abs(chi_square(counts, rows / len(number))) < 4.5


def test_fewer_free_than_asked_gives_all_and_none_gives_nothing() -> None:
    csr = CSR.from_pairs([0] * 3 + [1] * 5, [0, 1, 2, 0, 1, 2, 3, 4], 3, 5)
    drawn = sample_uniform(make_pool(csr), np.array([0, 1, 2, 0]), 4, np.random.default_rng(0))
    assert sorted(drawn[0].tolist()) == [-1, -1, 3, 4]
    assert drawn[0, 2:].tolist() == [-1, -1]
    assert drawn[1].tolist() == [-1] * 4
    assert len(set(drawn[2].tolist())) == 4 and (drawn[2] >= 0).all()
    single = sample_uniform(make_pool(csr), np.array([0, 1, 2]), 1, np.random.default_rng(0))
    assert single[1, 0] == -1 and single[0, 0] in (3, 4)


@settings(max_examples=60, deadline=None)
@given(
    n_users=st.integers(1, 6),
    n_items=st.integers(1, 90),
    fill=st.floats(0, 1),
    count=st.integers(1, 100),
    seed=st.integers(0, 2**32),
)
def test_any_shape(n_users: int, n_items: int, fill: float, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    users, items = np.nonzero(rng.random((n_users, n_items)) < fill)
    csr = CSR.from_pairs(users, items, n_users, n_items)
    asked = rng.integers(0, n_users, 8)
    for user, row in zip(asked, sample_uniform(make_pool(csr), asked, count, rng), strict=True):
        found = row[row >= 0]
        assert len(found) == min(count, n_items - len(csr.row(user))) == len(set(found.tolist()))
        assert not np.isin(found, csr.row(user)).any()


def test_hard_negatives_equal_a_plain_twin_for_the_same_candidates() -> None:
    csr = random_csr(20, 80, 12)
    model = make_model(csr)
    views = model.views()
    users = np.arange(200) % 20
    for n, m, k in ((10, 3, 3), (10, 10, 4), (50, 40, 5), (1, 1, 0), (70, 2, 66)):
        pool, rng = make_pool(csr), np.random.default_rng(4)
        negatives, candidates = sample_hard(pool, views, users, n, m, k, rng)
        for user, row, drawn in zip(users, negatives, candidates, strict=True):
            seen = set(csr.row(user).tolist())
            drawn = drawn[drawn >= 0]
            assert len(set(drawn.tolist())) == len(drawn) == min(n, 80 - len(seen))
            scores = views.item_bias[drawn] + views.item_factors[drawn] @ views.user_factors[user]
            hardest = set(drawn[np.argsort(-scores)[:m]].tolist())
            size = len(hardest)
            assert set(row[:size].tolist()) == hardest
            others = row[size : size + k]
            others = others[others >= 0]
            assert len(others) == min(k, 80 - len(seen) - size)
            assert not (set(others.tolist()) & (hardest | seen))
            assert len(set(others.tolist())) == len(others)


@pytest.mark.parametrize("most", [3, 40])
def test_equal_scores_keep_the_lower_items(most: int) -> None:
    csr = random_csr(4, 60, 5)
    model = make_model(csr)
    model.user_factors.data.zero_()
    model.item_bias.data.zero_()
    negatives, candidates = sample_hard(
        make_pool(csr), model.views(), np.arange(4), 45, most, 0, np.random.default_rng(0)
    )
    for row, drawn in zip(negatives, candidates, strict=True):
        assert sorted(row.tolist()) == sorted(drawn.tolist())[:most]


def test_random_part_is_uniform_outside_the_hard_part() -> None:
    """The hard part is always the 2 best items, so the K others are uniform over the rest."""
    csr = one_user(30, 10)
    model = make_model(csr)
    free = np.setdiff1d(np.arange(30), csr.row(0))
    model.user_factors.data.zero_()
    model.item_bias.data[:] = 0
    model.item_bias.data[free[:2].tolist()] = 9.0
    negatives, _ = sample_hard(
        make_pool(csr), model.views(), np.zeros(20_000, int), 20, 2, 3, np.random.default_rng(1)
    )
    assert set(negatives[:, :2].ravel().tolist()) == set(free[:2].tolist())
    for column in (2, 3, 4):
        counts = np.bincount(negatives[:, column], minlength=30)
        assert counts.sum() == counts[free[2:]].sum()
        assert abs(chi_square(counts[free[2:]], len(negatives) / 18)) < 4.5


def test_the_number_of_a_draw_wraps_round() -> None:
    plan = Plan(BPR, SGD, HARD, 8, 2, 0)
    scratch = new_scratch(np.random.default_rng(0), 1, plan, 50, 5)[0]
    scratch.taken.draw[0] = MAX_DRAW - 2
    pool = make_pool(one_user(50, 10))
    for _ in range(4):
        assert _draw_kernel(pool, plan, scratch) == 8
        assert len(set(scratch.candidates[0].tolist())) == 8
    assert scratch.taken.draw[0] == 3


@kernel()
def _draw_kernel(pool, plan, scratch):  # type: ignore[no-untyped-def]
    draft(pool, plan, 0, 0, scratch)
    return scratch.counts[0, 0]


@kernel()
def _many_below(state, bounds, out):  # type: ignore[no-untyped-def]
    numbers = load(state)
    for k in range(len(out)):
        out[k], numbers = below(numbers, bounds[k])
    store(state, numbers)


def test_generator_equals_its_definition() -> None:
    """xoshiro256++ in plain integers, and Lemire's bounded integers on it."""
    state = new_states(np.random.default_rng(7), 1)[0]
    s = [int(x) for x in state]
    whole = 2**64 - 1

    def rotl(x: int, k: int) -> int:
        return ((x << k) | (x >> (64 - k))) & whole

    def following() -> int:
        result = (rotl((s[0] + s[3]) & whole, 23) + s[0]) & whole
        t = (s[1] << 17) & whole
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 45)
        return result

    bounds = np.array([1, 2, 3, 1000, 2**31 - 1, 2**32 - 5, 3 * 2**30] * 50, np.int64)
    out = np.zeros(len(bounds), np.int64)
    _many_below(state, bounds, out)
    for bound, got in zip(bounds.tolist(), out.tolist(), strict=True):
        product = (following() >> 32) * bound
        while product % 2**32 < (2**32 - bound) % bound:
            product = (following() >> 32) * bound
        assert got == product >> 32


def test_bounded_integers_are_uniform() -> None:
    state = new_states(np.random.default_rng(8), 1)[0]
    out = np.zeros(200_000, np.int64)
    bound = 3 * 2**30  # plain remainders of 32 bits would give the first third twice as often
    _many_below(state, np.full(len(out), bound), out)
    counts = np.bincount(out * 96 // bound, minlength=96)
    assert len(counts) == 96
    assert abs(chi_square(counts, len(out) / 96)) < 4.5


def test_shuffle_is_uniform_and_keeps_rows_whole() -> None:
    state = new_states(np.random.default_rng(1), 1)[0]
    partners = np.zeros(AHEAD, np.int64)
    places = dict.fromkeys(permutations(range(4)), 0)
    for _ in range(12_000):
        rows = np.arange(8, dtype=np.int32).reshape(4, 2)
        given = np.arange(4, dtype=np.int32)[:, None].copy()
        shuffle_rows(rows, given, partners, state)
        assert (rows[:, 0] == 2 * given[:, 0]).all() and (rows[:, 1] == rows[:, 0] + 1).all()
        places[tuple(given[:, 0].tolist())] += 1
    assert abs(chi_square(np.array(list(places.values())), 500)) < 4.5
    rows = np.arange(2000, dtype=np.int32).reshape(1000, 2)
    shuffle_rows(rows, np.zeros((0, 0), np.int32), partners, state)
    assert sorted(rows[:, 0].tolist()) == list(range(0, 2000, 2))
    assert (rows[:, 0] == np.arange(0, 2000, 2)).sum() < 10
