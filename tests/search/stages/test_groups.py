"""Whom a model fails: groups against the definition, and a model that fails a group on purpose."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR
from search.stages.groups import LEAST, MOST, groups, ranges

USERS, ITEMS, K = 240, 90, 10


class Table:
    def __init__(self, scores: NDArray[np.float32]) -> None:
        self.scores = scores

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        return self.scores[users]


def halves(seed: int) -> tuple[CSR, CSR]:
    """(seen, test): histories of 0 to 60 items, and items of which some nobody had."""
    rng = np.random.default_rng(seed)
    chance = np.outer(np.linspace(0.05, 0.9, USERS), np.linspace(0.1, 0.9, ITEMS))
    users, items = np.nonzero(rng.random((USERS, ITEMS)) < chance)
    in_test = (rng.random(len(users)) < 0.25) | (items < 3) | (users % 40 == 7)
    seen = CSR.from_pairs(users[~in_test], items[~in_test], USERS, ITEMS)
    return seen, CSR.from_pairs(users[in_test], items[in_test], USERS, ITEMS)


def measured(seen: CSR, test: CSR, scores: NDArray[np.float32]) -> Evaluation:
    return evaluate(Table(scores), seen, test, [f"ndcg@{K}", "map@50"], pairs=True)


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 40), max_size=300))
def test_groups_hold_every_count_once_and_are_not_too_many(counts: list[int]) -> None:
    found = ranges(np.array(counts, np.int64))
    inside = [[count for count in counts if low <= count <= high] for low, high in found]
    assert sorted(count for group in inside for count in group) == sorted(counts)
    assert all(min(group) == low and max(group) == high
               for group, (low, high) in zip(inside, found, strict=True))  # fmt: skip
    assert found == sorted(found)
    known = [pair for pair in found if pair != (0, 0)]
    assert len(known) <= max(1, min(MOST, len(counts) // LEAST))
    assert ((0, 0) in found) == (0 in counts)


def test_a_count_that_most_share_is_a_group_of_its_own() -> None:
    counts = [1] * 460 + list(range(2, 42))
    assert ranges(np.array(counts)) == [(1, 1), (2, 21), (22, 41)]
    assert ranges(np.array([1] * 30 + [2] * 10)) == [(1, 2)]  # ten are no group


def test_counts_that_differ_make_groups_of_equal_size() -> None:
    found = ranges(np.random.default_rng(0).permutation(np.arange(1, 101)))
    assert found == [(1, 20), (21, 40), (41, 60), (61, 80), (81, 100)]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_group_against_its_definition(seed: int) -> None:
    """The slow twin: user by user and pair by pair."""
    seen, test = halves(seed)
    rng = np.random.default_rng([seed, 1])
    mine, other = (
        measured(seen, test, rng.random((USERS, ITEMS)).astype(np.float32)) for _ in "ab"
    )
    found = groups("winner", f"ndcg@{K}", mine, {"other": other}, seen, test)
    assert (found.model, found.k) == ("winner", K)
    history = {user: len(seen.row(user)) for user in mine.users.tolist()}
    users_of = seen.item_counts().tolist()
    assert found.by_user[0].high == 0 and found.by_item[0].high == 0
    for one in found.by_user:
        rows = [n for n, user in enumerate(mine.users.tolist())
                if one.low <= history[user] <= one.high]  # fmt: skip
        values = [mine.per_user[f"ndcg@{K}"][n] for n in rows]
        theirs = [other.per_user[f"ndcg@{K}"][n] for n in rows]
        assert one.users == len(rows)
        assert one.pairs == sum(len(test.row(int(mine.users[n]))) for n in rows)
        assert one.value == pytest.approx(np.mean(values))
        assert one.rivals["other"].value == pytest.approx(np.mean(theirs))
        assert one.rivals["other"].gain == pytest.approx(np.mean(values) - np.mean(theirs))
    for one in found.by_item:
        pairs = [
            (n, user)
            for n, (user, item) in enumerate(zip(test.users(), test.indices, strict=True))
            if user in history and one.low <= users_of[item] <= one.high
        ]
        assert one.pairs == len(pairs)
        assert one.users == len({user for _, user in pairs})
        assert one.items == sum(one.low <= count <= one.high for count in users_of)
        assert mine.found is not None and other.found is not None
        assert one.value == pytest.approx(np.mean([mine.found[n] for n, _ in pairs]))
        assert one.rivals["other"].value == pytest.approx(
            np.mean([other.found[n] for n, _ in pairs])
        )
    assert sum(one.users for one in found.by_user) == len(mine.users)


def test_models_that_know_nothing_are_rarely_told_apart() -> None:
    """In 5 of 100 runs there may be a group, of each kind, in which a lead is called proven."""
    alarms = {"user": 0, "item": 0}
    for seed in range(100):
        seen, test = halves(seed)
        rng = np.random.default_rng([seed, 1])
        mine, other = (
            measured(seen, test, rng.random((USERS, ITEMS)).astype(np.float32)) for _ in "ab"
        )
        found = groups("winner", f"ndcg@{K}", mine, {"other": other}, seen, test)
        for kind, rows in (("user", found.by_user), ("item", found.by_item)):
            alarms[kind] += any(one.rivals["other"].proven for one in rows)
    assert max(alarms.values()) <= 12


def test_a_model_that_fails_those_with_few_items_is_found_out() -> None:
    seen, test = halves(2)
    rng = np.random.default_rng([2, 1])
    noise = rng.random((USERS, ITEMS)).astype(np.float32)
    perfect = noise.copy()
    perfect[test.users(), test.indices] += 1
    few = seen.degrees() < 12
    failing = np.where(few[:, None], noise, perfect).astype(np.float32)
    mine, good = measured(seen, test, failing), measured(seen, test, perfect)
    found = groups("winner", f"ndcg@{K}", mine, {"good": good}, seen, test)
    behind = [one for one in found.by_user if one.rivals["good"].proven]
    assert behind and all(0 < one.low < 12 for one in behind)
    level = [one for one in found.by_user if one.low >= 12]
    assert level and all(one.rivals["good"].gain == 0 for one in level)
    assert min(found.by_user[1:], key=lambda one: one.value or 0.0) in behind
    assert all(one.value == pytest.approx(1.0) for one in level)


def test_one_user_alone_has_no_interval() -> None:
    seen = CSR.from_pairs(np.array([0]), np.array([0]), 1, 5)
    test = CSR.from_pairs(np.array([0]), np.array([1]), 1, 5)
    mine = evaluate(Table(np.ones((1, 5), np.float32)), seen, test, ["map@2"], pairs=True)
    found = groups("winner", "map@2", mine, {"same": mine}, seen, test)
    (one,) = found.by_user
    assert one.ci is not None and one.value == 1.0 and one.users == 1
    assert np.isnan(one.ci).all()
    assert one.plain()["ci"] == [None, None]  # JSON has no word for NaN
    json.dumps(found.plain(), allow_nan=False)
    assert not one.rivals["same"].proven
