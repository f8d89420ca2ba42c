"""Order time: one date divides all users. Against plain Python, and by property."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.read import Dataset, load_path
from recsys.errors import ConfigError, InputError
from recsys.interactions import CSR, Interactions
from recsys.moments import moment, read_moment
from recsys.split import HoldOut, Split, SplitPlan, make_split, resplit

DAY = 86_400
Events = dict[tuple[int, int], int]  # when a user met an item


def dataset(events: Events) -> Dataset:
    users, items = np.array(list(events), np.int64).T
    shape = int(users.max()) + 1, int(items.max()) + 1
    csr = CSR.from_pairs(users, items, *shape)
    when = np.array([events[pair] for pair in pairs_of(csr)])
    ids = np.arange(shape[0]), np.arange(shape[1])
    rank = np.zeros(csr.nnz, np.int32)
    return Dataset(Interactions(csr, rank, *ids, ordered=True, when=when, name="mine.csv"))


def pairs_of(csr: CSR) -> list[tuple[int, int]]:
    return list(zip(csr.users().tolist(), csr.indices.tolist(), strict=True))


def times(events: Events, part: CSR | None) -> list[int]:
    return [] if part is None else [events[pair] for pair in pairs_of(part)]


histories = st.dictionaries(
    st.tuples(st.integers(0, 8), st.integers(0, 12)), st.integers(0, 40), min_size=12, max_size=80
)
ratios = st.integers(5, 50).map(lambda n: HoldOut("ratio", n / 100))
dates = st.integers(-2, 42).map(lambda n: HoldOut("since", n))
rules = st.one_of(ratios, dates)


def divided(events: Events, plan: SplitPlan) -> Split | None:
    try:
        return make_split(dataset(events), plan, 0)
    except InputError as error:
        assert "would be empty" in str(error) or "nothing is left" in str(error)
        return None


@settings(max_examples=200, deadline=None)
@given(histories, st.one_of(st.none(), rules), rules)
def test_dates_divide_and_nothing_is_lost(events, test, valid):
    split = divided(events, SplitPlan("time", test, valid))
    if split is None:
        return
    train, validation, held = (
        times(events, part) for part in (split.train, split.valid, split.test)
    )
    assert sorted(train + validation + held) == sorted(events.values())
    assert max(train) < min(validation)
    assert not held or max(validation) < min(held)
    for rule, part, before in ((test, held, train + validation), (valid, validation, train)):
        if rule is None:
            continue
        if rule.kind == "since":
            assert max(before) < rule.amount <= min(part)
        else:  # at most the ratio, unless the last moment alone is more
            assert len(part) <= rule.amount * (len(part) + len(before)) or len(set(part)) == 1


@settings(max_examples=150, deadline=None)
@given(histories, st.one_of(st.none(), rules), rules, st.integers(0, 1000))
def test_a_fresh_split_has_an_earlier_date_and_no_test_item(events, test, valid, seed):
    plan = SplitPlan("time", test, valid)
    split = divided(events, plan)
    if split is None:
        return
    try:
        fresh = resplit(split, plan, seed)
    except InputError as error:
        assert "would be empty" in str(error)
        return
    search = split.search_data()
    assert fresh.test is None
    assert fresh.search_data().overlap(search) == fresh.search_data().nnz
    if fresh.train.nnz:
        assert max(times(events, fresh.train)) < min(times(events, fresh.valid))
    assert max(times(events, fresh.valid)) <= max(times(events, split.valid))
    assert resplit(split, plan, seed).digest == fresh.digest


def test_fresh_dates_differ_and_windows_keep_their_length() -> None:
    events = {(user, item): item * DAY for user in range(3) for item in range(100)}
    plan = SplitPlan("time", HoldOut("since", 90 * DAY), HoldOut("since", 80 * DAY))
    split = make_split(dataset(events), plan, 0)
    assert split.name == "time, validation from 1970-03-22, test from 1970-04-01"
    starts = set()
    for seed in range(20):
        fresh = times(events, resplit(split, plan, seed).valid)
        starts.add(min(fresh))
        assert max(fresh) - min(fresh) == 9 * DAY
        assert min(fresh) < 80 * DAY
    assert len(starts) > 4
    assert min(starts) >= 70 * DAY


def test_by_hand() -> None:
    events = {(0, 0): 1, (0, 1): 5, (1, 0): 2, (1, 2): 9, (2, 0): 3, (2, 1): 4, (2, 3): 9,
              (3, 3): 10, (0, 2): 6, (1, 1): 7}  # fmt: skip
    plan = SplitPlan("time", HoldOut("ratio", 0.3), HoldOut("ratio", 0.3))
    split = make_split(dataset(events), plan, 5)
    assert split.test is not None
    assert pairs_of(split.test) == [(1, 2), (2, 3), (3, 3)]
    assert pairs_of(split.valid) == [(0, 2), (1, 1)]
    tied = SplitPlan("time", HoldOut("ratio", 0.2), HoldOut("ratio", 0.3))
    held = make_split(dataset(events), tied, 5).test
    assert held is not None
    assert pairs_of(held) == [(3, 3)]  # two happened at 9: both or none


def test_the_last_moment_may_be_more_than_the_ratio() -> None:
    events = {(0, 0): 1, (0, 1): 2, (0, 2): 3, (1, 0): 9, (1, 1): 9, (1, 2): 9}
    plan = SplitPlan("time", HoldOut("ratio", 0.2), HoldOut("ratio", 0.4))
    split = make_split(dataset(events), plan, 0)
    assert times(events, split.test) == [9, 9, 9]


def test_a_file_with_times(tmp_path: Path) -> None:
    rows = [f"{user},{item},2024-01-{item + 1:02}" for user in range(4) for item in range(10)]
    rows.append("0,0,2024-03-01")  # again: the first time counts
    (tmp_path / "mine.csv").write_text("user,item,date\n" + "\n".join(rows) + "\n")
    data = load_path(tmp_path / "mine.csv")
    date = read_moment("2024-01-09")
    assert date is not None
    plan = SplitPlan("time", HoldOut("since", date), HoldOut("ratio", 0.2))
    split = make_split(data, plan, 0)
    assert split.test is not None
    assert sorted(set(split.test.indices.tolist())) == [8, 9]
    assert split.name == "time, validation from 2024-01-08, test from 2024-01-09"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "user,item\n" + "1,2\n1,3\n2,3\n",
            "a timestamp column with dates; use order random",
        ),
        ("user,item,time\n" + "1,2,1\n1,3,2\n2,3,3\n", "use order latest"),
        ("user,item,time\n" + "1,2,5 o'clock\n1,3,noon\n2,3,tea\n", "use order random"),
    ],
)
def test_without_points_in_time(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match="split order time needs points in time") as caught:
        make_split(load_path(tmp_path / "mine.csv"), SplitPlan("time"), 0)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rules_out_of_place() -> None:
    with pytest.raises(ConfigError, match="expected ratio or since"):
        SplitPlan("time", HoldOut("fixed", 1))
    with pytest.raises(ConfigError, match="expected ratio or fixed"):
        SplitPlan("latest", valid=HoldOut("since", 1.0))
    data = dataset({(user, item): user + item for user in range(5) for item in range(20)})
    split = make_split(data, SplitPlan(), 0)
    with pytest.raises(InputError, match="knows the order of time"):
        resplit(split, SplitPlan("time"), 0)


@given(st.integers(-(10**9), 4 * 10**9))
def test_a_moment_is_read_as_it_is_written(seconds: int) -> None:
    assert read_moment(moment(seconds)) == seconds


@pytest.mark.parametrize("text", ["2024", "2024-1-1", "2024-02-30", "2024-01-01 25:00", "soon", ""])
def test_what_is_no_moment(text: str) -> None:
    assert read_moment(text) is None
