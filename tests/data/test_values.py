"""Values of pairs: ratings or counts, read if asked for, and carried through every split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from recsys.data import load
from recsys.data.read import Dataset, load_path
from recsys.interactions import CSR, rows_of, subset
from recsys.split import HoldOut, Split, SplitPlan, make_split, resplit, training_part

Write = Callable[[str, str], Path]


def values(data: Dataset) -> dict[tuple[object, object], float]:
    """The value of each pair, by the ids of the file."""
    own = data.interactions
    assert own.csr.values is not None
    assert own.csr.values.dtype == np.float32
    assert not own.csr.values.flags.writeable
    pairs = zip(own.csr.users(), own.csr.indices, own.csr.values, strict=True)
    return {(own.user_ids[u], own.item_ids[i]): float(v) for u, i, v in pairs}


def test_a_rating_is_the_value_of_its_pair(write: Write) -> None:
    path = write("r.csv", "user,item,rating\n2,b,3\n1,b,4.5\n1,a,5\n")
    data = load_path(path, values=True)
    assert values(data) == {(1, "a"): 5, (1, "b"): 4.5, (2, "b"): 3}
    assert (data.interactions.repeats, data.interactions.unvalued) == (None, "")
    assert len(data.interactions.values_digest()) == 16


def test_nothing_is_kept_unless_asked_for(write: Write) -> None:
    path = write("r.csv", "user,item,rating\n2,b,3\n1,b,4.5\n1,a,5\n1,a,5\n")
    plain, valued = load_path(path), load_path(path, values=True)
    assert plain.interactions.csr.values is None
    assert plain.interactions.repeats is None
    assert plain.interactions.values_digest() == ""
    # pairs are the same pairs, with values or without
    assert plain.interactions.digest() == valued.interactions.digest()
    plan = SplitPlan(test=None, valid=HoldOut("fixed", 1))
    assert make_split(plain, plan, 1).digest == make_split(valued, plan, 1).digest


def test_ratings_below_the_limit_take_their_values_with_them(write: Write) -> None:
    path = write("r.csv", "user,item,rating\n1,a,1\n1,b,4\n2,a,5\n2,b,2\n2,c,3\n")
    assert values(load_path(path, values=True, min_rating=3)) == {
        (1, "b"): 4,
        (2, "a"): 5,
        (2, "c"): 3,
    }


def test_without_ratings_a_pair_counts_as_often_as_it_occurs(write: Write) -> None:
    path = write("r.csv", "user,item\n1,a\n1,b\n1,a\n2,b\n1,a\n")
    data = load_path(path, values=True)
    assert values(data) == {(1, "a"): 3, (1, "b"): 1, (2, "b"): 1}
    assert data.interactions.repeats is not None
    assert data.interactions.duplicates == 2


def test_lists_with_an_item_twice_count(write: Write) -> None:
    data = load_path(write("train.csv", "UserId,ItemId\n1,5 6 5\n2,6 7\n"), values=True)
    assert values(data) == {(1, 5): 2, (1, 6): 1, (2, 6): 1, (2, 7): 1}


def test_with_both_the_rating_of_the_earliest_row_counts(write: Write) -> None:
    rows = "1,a,2,2024-03-01\n1,a,5,2024-01-01\n2,a,3,2024-02-01\n1,a,4,2024-04-01\n"
    data = load_path(write("r.csv", f"user,item,rating,timestamp\n{rows}"), values=True)
    assert values(data) == {(1, "a"): 5, (2, "a"): 3}
    assert data.interactions.repeats is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("user,item,rating\n1,a,1\n1,b,1\n1,a,1\n2,b,1\n", {(1, "a"): 2, (1, "b"): 1, (2, "b"): 1}),
        ("user,item,rating\n1,a,0\n1,b,3\n1,b,3\n", {(1, "a"): 1, (1, "b"): 2}),
        ("user,item,rating\n1,a,x\n1,b,3\n1,b,3\n", {(1, "a"): 1, (1, "b"): 2}),
    ],
)
def test_ratings_that_tell_nothing_give_way_to_counts(
    write: Write, content: str, expected: dict[tuple[int, str], float]
) -> None:
    assert values(load_path(write("r.csv", content), values=True)) == expected


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("user,item\n1,a\n1,b\n", "no ratings, and no user-item pair twice"),
        ("user,item,rating\n1,a,1\n1,b,1\n", "no rating but 1, and no user-item pair twice"),
        ("user,item,rating\n1,a,-2\n1,b,1\n", "ratings of -2: expected all above 0 and below 3e38"),
        ("user,item,rating\n1,a,1e39\n1,b,1\n", "ratings of inf: expected all above 0"),
    ],
)
def test_data_without_values_say_why(write: Write, content: str, why: str) -> None:
    own = load_path(write("r.csv", content), values=True).interactions
    assert own.csr.values is None
    assert own.unvalued.startswith(why)


def test_the_generated_set_has_none() -> None:
    assert load("demo", values=True).interactions.unvalued.startswith("no ratings")
    assert load("demo").interactions.unvalued == ""


def test_a_ready_test_has_values_too(write: Write) -> None:
    write("d/train.csv", "user,item,rating\n1,a,2\n1,b,3\n2,b,4\n2,a,5\n")
    path = write("d/test.csv", "user,item,rating\n1,c,1\n2,c,5\n").parent
    split = make_split(
        load_path(path, values=True), SplitPlan("random", None, HoldOut("fixed", 1)), 1
    )
    assert split.test is not None
    assert_array_equal(split.test.values, np.array([1, 5], np.float32))
    full = split.full()
    assert full.values is not None
    assert dict(zip(zip(full.users(), full.indices, strict=True), full.values, strict=True)) == {
        (0, 0): 2, (0, 1): 3, (0, 2): 1, (1, 0): 5, (1, 1): 4, (1, 2): 5,
    }  # fmt: skip


# --- splits -------------------------------------------------------------------------------------

FIXED = HoldOut("fixed", 1)


def valued(users: int, items: int, seed: int) -> CSR:
    rng = np.random.default_rng(seed)
    csr = CSR.from_pairs(*np.nonzero(rng.random((users, items)) < 0.5), users, items)
    return csr.with_values(rng.integers(1, 9, csr.nnz))


def by_pair(csr: CSR) -> dict[tuple[int, int], float]:
    if not csr.nnz:
        return {}
    assert csr.values is not None
    pairs = zip(csr.users().tolist(), csr.indices.tolist(), strict=True)
    return dict(zip(pairs, csr.values.tolist(), strict=True))


def test_subsets_rows_and_unions_keep_the_value_of_each_pair() -> None:
    csr = valued(12, 9, 0)
    known = by_pair(csr)
    keep = np.random.default_rng(1).random(csr.nnz) < 0.5
    one, other = subset(csr, keep), subset(csr, ~keep)
    assert by_pair(one) == {p: v for (p, v), k in zip(known.items(), keep, strict=True) if k}
    assert by_pair(one.union(other)) == by_pair(other.union(one)) == known
    assert by_pair(rows_of(csr, np.array([3, 3]))) == {
        (row, i): v for row in (0, 1) for (u, i), v in known.items() if u == 3
    }
    # without the values of a part, those of the whole are unknown
    assert one.union(other.with_values(None)).values is None
    assert csr.with_values(None).digest() == csr.digest()


def events_of(write_to: Path, rows: list[tuple[int, int]]) -> Dataset:
    """Rows at ascending times, a day apart."""
    days = np.datetime64("2024-01-01") + np.arange(len(rows))
    lines = [f"{u},{i},{day}" for (u, i), day in zip(rows, days, strict=True)]
    path = write_to / "events.csv"
    path.write_text("user,item,timestamp\n" + "\n".join(lines) + "\n")
    return load_path(path, values=True)


def counted(data: Dataset, rows: list[tuple[int, int]], part: CSR) -> Counter[tuple[int, int]]:
    """How often the pairs of a part are in `rows`, by internal ids."""
    own = data.interactions
    users, items = own.user_ids.tolist(), own.item_ids.tolist()
    pairs = Counter((users.index(u), items.index(i)) for u, i in rows)
    there = set(zip(part.users().tolist(), part.indices.tolist(), strict=True))
    return Counter({pair: n for pair, n in pairs.items() if pair in there})


def until(data: Dataset, rows: list[tuple[int, int]], part: CSR, order: str) -> list:
    """The rows that are known when a part ends: up to its last new pair, or under order latest, in
    each history up to the row before the first that begins a pair outside the part.
    """
    own = data.interactions
    users, items = own.user_ids.tolist(), own.item_ids.tolist()
    there = set(zip(part.users().tolist(), part.indices.tolist(), strict=True))
    inner = [(users.index(u), items.index(i)) for u, i in rows]
    if order == "time":
        begun = {pair: n for n, pair in reversed(list(enumerate(inner)))}
        last = max(n for pair, n in begun.items() if pair in there)
        return [row for n, row in enumerate(rows) if n <= last]
    ended: set[int] = set()
    found = []
    for row, pair in zip(rows, inner, strict=True):
        if pair not in there:
            ended.add(pair[0])
        if pair[0] not in ended:
            found.append(row)
    return found


@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 7)), min_size=40, max_size=90),
    order=st.sampled_from(["latest", "time"]),
    seed=st.integers(0, 3),
)
def test_a_count_knows_nothing_of_what_is_held_out(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], order: str, seed: int
) -> None:
    share = HoldOut("ratio", 0.25)
    data = events_of(tmp_path_factory.mktemp("events"), rows)
    if data.interactions.csr.values is None or data.interactions.csr.degrees().max() < 6:
        return
    plan = SplitPlan(order, share, share)  # type: ignore[arg-type]
    split = make_split(data, plan, seed)
    for part in (split.train, split.search_data(), split.full()):
        known = rows if part.nnz == data.interactions.nnz else until(data, rows, part, order)
        assert by_pair(part) == counted(data, known, part)
    joined = split.for_test()
    assert by_pair(joined[0].union(joined[1])) == by_pair(split.search_data())
    assert split.test is not None
    everything = data.interactions.csr
    kept = np.array([pair not in by_pair(split.test) for pair in by_pair(everything)])
    assert by_pair(training_part(data.interactions, kept, plan.order)) == by_pair(
        split.search_data()
    )
    fresh = resplit(split, plan, seed)
    assert by_pair(fresh.train) == counted(data, until(data, rows, fresh.train, order), fresh.train)


def test_a_random_split_counts_everything(tmp_path: Path) -> None:
    rows = [(u, i) for u in range(4) for i in range(6)] + [(u, 2) for u in range(4)] * 2
    data = events_of(tmp_path, rows)
    split = make_split(data, SplitPlan("random", FIXED, FIXED), 0)
    assert split.repeats is None
    assert split.for_test() == (split.train, split.valid)
    for part in (
        split.train,
        split.search_data(),
        split.full(),
        resplit(split, SplitPlan("random", FIXED, FIXED), 1).train,
    ):
        assert set(by_pair(part).items()) <= set(by_pair(data.interactions.csr).items())
    assert max(by_pair(split.full()).values()) == 3


@pytest.mark.parametrize("order", ["random", "latest", "time"])
def test_what_is_held_out_does_not_depend_on_values(tmp_path: Path, order: str) -> None:
    rows = [(u, (3 * u + i) % 9) for i in range(8) for u in range(5)] * 2
    data = events_of(tmp_path, rows)
    own = data.interactions
    bare = Dataset(replace(own, csr=own.csr.with_values(None), repeats=None))
    plan = SplitPlan(order, HoldOut("ratio", 0.2), HoldOut("ratio", 0.2))  # type: ignore[arg-type]

    def digests(data: Dataset) -> list[str]:
        split: Split = make_split(data, plan, 5)
        return [split.digest, resplit(split, plan, 6).digest]

    assert digests(data) == digests(bare)
