"""The rules of the split, against plain Python and by property."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.read import Dataset
from recsys.errors import ConfigError, InputError
from recsys.interactions import CSR, Interactions
from recsys.split import HoldOut, OverlapError, Split, SplitPlan, make_split, resplit


def dataset(lists: list[list[int]], ordered: bool = True) -> Dataset:
    """Users with lists of items in the order of time."""
    n_items = 1 + max((i for items in lists for i in items), default=0)
    users = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    items = np.array([i for own in lists for i in own], np.int64)
    csr = CSR.from_pairs(users, items, len(lists), n_items)
    rank = [own.index(int(i)) for u, own in enumerate(lists) for i in csr.row(u)]
    ids = np.arange(len(lists)), np.arange(n_items)
    return Dataset(Interactions(csr, np.array(rank, np.int32), *ids, ordered=ordered))


histories = st.lists(
    st.lists(st.integers(0, 40), max_size=30, unique=True), min_size=1, max_size=12
).filter(lambda lists: any(len(own) >= 20 for own in lists))
rules = st.one_of(
    st.builds(
        lambda n, least: HoldOut("ratio", n / 100, least), st.integers(10, 60), st.integers(0, 3)
    ),
    st.integers(1, 5).map(lambda n: HoldOut("fixed", n)),
)
plans = st.builds(
    SplitPlan, st.sampled_from(["random", "latest"]), st.one_of(st.none(), rules), rules
)


def held(rule: HoldOut | None, count: int) -> int:
    """The report's rule in exact arithmetic."""
    if rule is None:
        return 0
    if rule.kind == "ratio":
        share = math.floor(Fraction(round(rule.amount * 100), 100) * count)
        return max(share, rule.least) if count > rule.least else share
    return int(rule.amount) if count > rule.amount else 0


@settings(max_examples=80, deadline=None, database=None)
@given(histories, plans, st.integers(0, 2**63 - 1))
def test_parts_are_disjoint_complete_and_of_the_right_size(lists, plan, seed):
    data = dataset(lists)
    split = make_split(data, plan, seed)
    for user, own in enumerate(lists):
        test = [] if split.test is None else split.test.row(user).tolist()
        valid, train = split.valid.row(user).tolist(), split.train.row(user).tolist()
        assert sorted(test + valid + train) == sorted(own)
        assert len(test) == held(plan.test, len(own))
        assert len(valid) == held(plan.valid, len(own) - len(test))
        if plan.order == "latest":
            rest = own[: len(own) - len(test)]
            assert set(test) == set(own[len(rest) :])
            assert set(valid) == set(rest[len(rest) - len(valid) :])
    assert split.full().digest() == data.interactions.csr.digest()
    assert split.search_data().nnz == split.train.nnz + split.valid.nnz
    again = make_split(data, plan, seed)
    assert again.digest == split.digest
    assert (split.test is None) == (plan.test is None)


@settings(max_examples=60, deadline=None, database=None)
@given(histories, plans, st.integers(0, 1000))
def test_a_fresh_split_divides_train_and_validation_only(lists, plan, seed):
    split = make_split(dataset(lists), plan, 7)
    fresh = resplit(split, plan, seed)
    assert fresh.test is None
    assert fresh.seed == seed
    search = split.search_data()
    union = fresh.search_data()
    assert union.overlap(search) == union.nnz
    if split.test is not None:
        assert union.overlap(split.test) == 0
    if plan.order == "random":
        assert union.digest() == search.digest()
        for user in range(search.n_users):
            assert len(fresh.valid.row(user)) == held(plan.valid, len(search.row(user)))
        return
    if union.nnz == search.nnz:
        assert fresh.valid.digest() == split.valid.digest()  # too short for all but the same
        return
    for user, own in enumerate(lists):
        kept = [i for i in own if i in search.row(user)]
        valid = held(plan.valid, len(kept))
        left = [i for i in kept if i in union.row(user)]
        dropped = len(kept) - len(left)
        assert left == kept[: len(left)]  # a history that ends earlier
        assert (dropped == 0) if valid == 0 else (1 <= dropped <= valid)
        tail = held(plan.valid, len(left))
        assert set(fresh.valid.row(user).tolist()) == set(left[len(left) - tail :])


def test_histories_too_short_to_end_earlier_are_divided_as_before():
    """Ten interactions hold one out, nine none: a race on such data is no reason to fail."""
    plan = SplitPlan("latest", None, HoldOut("ratio", 0.1))
    split = make_split(dataset([list(range(10)), list(range(5, 15))]), plan, 7)
    fresh = resplit(split, plan, 3)
    assert fresh.valid.digest() == split.valid.digest()
    assert fresh.train.digest() == split.train.digest()


def test_seeds_differ_and_test_depends_on_its_own_rule_only():
    data = dataset([list(range(40)) for _ in range(30)])
    tenth, fifth = SplitPlan(), SplitPlan(valid=HoldOut("ratio", 0.2))
    one, other = make_split(data, tenth, 1), make_split(data, tenth, 2)
    assert one.digest != other.digest
    assert one.test.digest() != other.test.digest()
    assert make_split(data, fifth, 1).test.digest() == one.test.digest()
    fresh = {resplit(one, tenth, seed).digest for seed in range(5)}
    assert len(fresh) == 5


def test_the_split_of_a_seed_is_pinned():
    """A changed digest would make every recorded number incomparable with new ones."""
    data = dataset([list(range(n, n + 30)) for n in range(20)])
    assert make_split(data, SplitPlan(), 42).digest == "f892ac21d7a9faaf"


def test_every_item_is_held_out_equally_often():
    data = dataset([list(range(10))])
    counts = np.zeros(10)
    draws = 4000
    for seed in range(draws):
        split = make_split(
            data, SplitPlan(test=HoldOut("fixed", 2), valid=HoldOut("fixed", 1)), seed
        )
        counts[split.test.row(0)] += 1
    expected = draws * 2 / 10
    chi2 = ((counts - expected) ** 2 / (expected * 0.8)).sum() * 9 / 10
    assert chi2 < 27.9  # 99.9 % of the chi-square distribution with 9 degrees of freedom


def test_binary_fractions_do_not_lose_an_item():
    assert HoldOut("ratio", 0.29).counts(np.array([100])).tolist() == [29]
    assert HoldOut("ratio", 0.1).counts(np.array([9, 10, 29, 30])).tolist() == [0, 1, 2, 3]
    assert HoldOut("fixed", 3).counts(np.array([3, 4])).tolist() == [0, 3]


def test_names_say_how_it_was_divided():
    data = dataset([list(range(40))])
    assert make_split(data, SplitPlan(), 0).name == "random ratio 0.1, test ratio 0.1"
    plan = SplitPlan("latest", None, HoldOut("fixed", 5))
    assert make_split(data, plan, 0).name == "latest fixed 5, test none"
    assert resplit(make_split(data, plan, 0), plan, 3).name == (
        "latest fixed 5 of train and validation"
    )


def ready(valid: bool) -> Dataset:
    whole = dataset([list(range(20)), list(range(5, 30))])
    csr = whole.interactions.csr
    test = CSR.from_pairs(np.array([0, 1]), np.array([25, 2]), 2, csr.n_items)
    given_valid = CSR.from_pairs(np.array([0, 1]), np.array([3, 9]), 2, csr.n_items)
    return Dataset(whole.interactions, given_valid if valid else None, test)


def test_ready_parts_stay_as_they_are():
    data = ready(valid=True)
    split = make_split(data, SplitPlan(), 5)
    assert split.name == "given, test given"
    assert split.valid.digest() == data.ready_valid.digest()
    assert split.test.digest() == data.ready_test.digest()
    assert split.train.nnz == data.interactions.nnz - 2
    assert split.full().nnz == data.interactions.nnz + 2


def test_validation_comes_from_train_where_only_test_is_given():
    data = ready(valid=False)
    split = make_split(data, SplitPlan(), 5)
    assert split.name == "random ratio 0.1, test given"
    assert split.valid.degrees().tolist() == [2, 2]
    assert split.search_data().digest() == data.interactions.csr.digest()
    plan = SplitPlan("latest")
    assert make_split(data, plan, 5).valid.row(0).tolist() == [18, 19]
    assert resplit(split, SplitPlan(), 1).full().digest() == data.interactions.csr.digest()


def test_overlap_raises_with_counts():
    part = CSR.from_pairs(np.array([0, 0]), np.array([0, 1]), 1, 3)
    other = CSR.from_pairs(np.array([0, 0]), np.array([1, 2]), 1, 3)
    with pytest.raises(OverlapError, match="train and test share 1 of 2 and 2 pairs"):
        Split(part, CSR.from_pairs(np.array([]), np.array([]), 1, 3), other, "x", 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HoldOut("ratio", 0), "expected a number in"),
        (lambda: HoldOut("ratio", 1.0), "expected a number in"),
        (lambda: HoldOut("ratio", float("nan")), "expected a number in"),
        (lambda: HoldOut("fixed", 1.5), "whole number"),
        (lambda: HoldOut("fixed", float("inf")), "whole number"),
        (lambda: HoldOut("most", 1), "expected ratio, fixed or since"),
        (lambda: HoldOut("fixed", 2, 1), "least is 1: has no meaning with fixed"),
        (lambda: HoldOut("ratio", 0.1, -1), "least is -1: expected a whole number"),
        (lambda: SplitPlan("time", valid=HoldOut("ratio", 0.1, 1)), "one date has no users"),
        (
            lambda: SplitPlan(race=HoldOut("since", 5)),
            r"split\.race: since .* expected ratio or fixed",
        ),
        (lambda: SplitPlan("newest"), "expected one of random, latest, time"),
        (lambda: make_split(dataset([list(range(40))]), SplitPlan(), -1), "expected 0 or more"),
    ],
)
def test_impossible_plans(make, words):
    with pytest.raises(ConfigError, match=words):
        make()


def test_a_race_may_hold_out_more_than_validation():
    data = dataset([list(range(40))] * 5)
    for order in ("random", "latest"):
        plan = SplitPlan(order, None, HoldOut("ratio", 0.1), HoldOut("ratio", 0.25))
        split = make_split(data, plan, 0)
        assert split.valid.degrees().tolist() == [4] * 5
        fresh = resplit(split, plan, 1)
        left = fresh.train.degrees() + fresh.valid.degrees()
        assert fresh.valid.degrees().tolist() == (left // 4).tolist()
        assert fresh.name == f"{order} ratio 0.25 of train and validation"
        assert (left == 40).all() == (order == "random")


def test_at_least_one_of_a_user_by_hand():
    rule = HoldOut("ratio", 0.1, 1)
    assert rule.counts(np.array([0, 1, 2, 9, 19, 20, 35])).tolist() == [0, 0, 1, 1, 1, 2, 3]
    assert HoldOut("ratio", 0.1, 3).counts(np.array([3, 4, 29, 40])).tolist() == [0, 3, 3, 4]
    assert (str(rule), rule.plain()) == (
        "ratio 0.1, at least 1 of a user",
        {"ratio": 0.1, "least": 1},
    )
    with pytest.raises(InputError, match=r"validation part .* at least 2 interactions"):
        make_split(dataset([[1], [3]]), SplitPlan(test=None, valid=rule), 0)


def test_impossible_data():
    small = dataset([[1, 2], [3]])
    with pytest.raises(InputError, match=r"test part would be empty with ratio 0\.1: expected"):
        make_split(small, SplitPlan(), 0)
    with pytest.raises(InputError, match=r"validation part .* at least 3 interactions"):
        make_split(small, SplitPlan(test=None, valid=HoldOut("fixed", 2)), 0)
    unordered = dataset([list(range(40))], ordered=False)
    with pytest.raises(InputError, match=r"latest needs the order of time.*timestamp column"):
        make_split(unordered, SplitPlan("latest"), 0)
    random = make_split(unordered, SplitPlan(), 0)
    with pytest.raises(InputError, match="knows the order of time"):
        resplit(random, SplitPlan("latest"), 0)
