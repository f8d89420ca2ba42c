"""What can be measured on some data is said before the search, or refused with the way out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.read import Dataset, load_path
from recsys.errors import InputError
from recsys.evaluation import evaluate
from recsys.evidence import Part, missed_users, parts, race_holds_out, suited
from recsys.interactions import CSR, Interactions
from recsys.metrics import parse_metric
from recsys.receivers import Receivers
from recsys.split import HoldOut, Split, SplitPlan, make_split, resplit
from search.record.events import read, write
from search.record.settings import Settings
from search.record.state import RunState
from search.run.evidence import (
    SettingError,
    check_evidence,
    default_evidence,
    evidence,
    fit_split,
    newcomers,
)
from search.run.session import first_line
from search.space.load import load_run_spec, load_spec
from search.space.spec import SearchSpec
from search.stages.result import told
from search.summary import newcomer_words
from tests.search.spaces import override


def csr(lists: list[list[int]], n_items: int) -> CSR:
    users = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    return CSR.from_pairs(users, np.array([i for own in lists for i in own]), len(lists), n_items)


def dataset(
    lists: list[list[int]],
    n_items: int,
    valid: list[list[int]] | None = None,
    test: list[list[int]] | None = None,
    ordered: bool = True,
) -> Dataset:
    """Train lists of users, and the validation and test of a ready split."""
    ready = None if valid is None else csr(valid, n_items)
    everything = csr(lists, n_items) if ready is None else csr(lists, n_items).union(ready)
    rank = np.concatenate([np.arange(d) for d in everything.degrees()]).astype(np.int32)
    ids = np.arange(len(lists)), np.arange(n_items)
    data = Interactions(everything, rank, *ids, ordered=ordered, name="mine.csv")
    return Dataset(data, ready, None if test is None else csr(test, n_items))


def smoke(*settings_: str) -> SearchSpec:
    return override(load_spec("smoke"), list(settings_))


SMALL = ("k=2", "metric=map@2")
ONE = ("split.test.fixed=1", "split.valid.fixed=1")
SETTINGS = Settings("x", None, None, 1, 3, None, 1, 0.0, "cpu", None, None, None)


def refusal(data: Dataset, *settings_: str) -> str:
    with pytest.raises(InputError) as caught:
        check_evidence(data, smoke(*settings_))
    message = str(caught.value)
    assert message.startswith("mine.csv: ")
    assert "\n" not in message
    assert isinstance(caught.value, SettingError) == ("--set" in message)  # `refit` asks for it
    return message


rules = st.one_of(
    st.integers(5, 60).map(lambda n: HoldOut("ratio", n / 100)),
    st.integers(1, 4).map(lambda n: HoldOut("fixed", n)),
)
histories = st.lists(
    st.lists(st.integers(0, 14), max_size=15, unique=True), min_size=1, max_size=9
).filter(lambda lists: any(lists))


def counts_are_those_of(split: Split, found: dict[str, Part]) -> None:
    for name, seen, held in (
        ("validation", split.train, split.valid),
        ("test", split.search_data(), split.test),
    ):
        if held is not None:
            np.testing.assert_array_equal(found[name].seen, seen.degrees())
            np.testing.assert_array_equal(found[name].held, held.degrees())


class TestCounts:
    @settings(max_examples=150, deadline=None)
    @given(histories, rules, st.one_of(st.none(), rules), st.sampled_from(["random", "latest"]),
           st.booleans(), st.booleans())  # fmt: skip
    def test_they_are_those_of_the_split(self, lists, valid, test, order, own_valid, own_test):
        given_valid = [[14] if 14 not in own else [] for own in lists] if own_valid else None
        given_test = [[15] for _ in lists] if own_test else None
        data = dataset(lists, 16, given_valid, given_test)
        plan = SplitPlan(order, test, valid)
        found = {part.name: part for part in parts(data, plan)}
        try:
            split = make_split(data, plan, 3)
        except InputError as error:
            assert any(not p.holding for p in found.values()) or "left to train" in str(error)
            return
        assert (split.test is None) == ("test" not in found)
        counts_are_those_of(split, found)
        if race_holds_out(data, plan):
            for seed in range(5):
                assert resplit(split, plan, seed).valid.nnz
        elif order == "random":
            with pytest.raises(InputError, match="would be empty"):
                resplit(split, plan, 0)

    @settings(max_examples=60, deadline=None)
    @given(rules, st.one_of(st.none(), rules))
    def test_the_fewest_items_that_are_enough(self, valid, test):
        plan = SplitPlan("random", test, valid)
        for part in parts(dataset([[0]], 500), plan):
            if part.first is None:
                continue
            for count in range(1, part.first + 1):
                one = {p.name: p for p in parts(dataset([list(range(count))], 500), plan)}
                assert one[part.name].holding == (count == part.first)

    @pytest.mark.parametrize("name", ["map@3", "recall@3", "precision@3", "hit@3", "ndcg@3"])
    def test_users_whose_value_is_the_same_in_every_order(self, name):
        rng = np.random.default_rng(0)
        lists = [list(range(int(n))) for n in rng.integers(2, 9, 60)]
        data = dataset(lists, 9)
        plan = SplitPlan(valid=HoldOut("fixed", 2), test=None)
        (part,) = parts(data, plan)
        split = make_split(data, plan, 0)

        class Fixed:
            def __init__(self, scores):
                self.scores = scores

            def score_users(self, users):
                return self.scores[users]

        tries = [
            evaluate(
                Fixed(rng.random((60, 9)).astype(np.float32)), split.train, split.valid, [name]
            )
            for _ in range(40)
        ]
        values = np.array([one.per_user[name] for one in tries])
        assert (values == values[0]).all(axis=0).sum() == part.certain(parse_metric(name))
        assert len(tries[0].users) == part.asked


class TestFewUsers:
    def data(self) -> Dataset:
        rng = np.random.default_rng(1)
        sizes = [12] * 6 + [1] * 34 + [2] * 160 + [4] * 200
        return dataset([rng.choice(80, n, replace=False).tolist() for n in sizes], 80)

    def test_the_users_and_the_options_are_named(self):
        test, valid = check_evidence(self.data(), smoke())
        assert test == (
            "note: test: 6 of 400 users have held-out items (those with 10 or more): differences "
            "below about 0.1 cannot be proven; --set split.test.fixed=1 --set "
            "split.valid.fixed=1 includes every user with 2 or more (366 in test, 206 in "
            "validation)"
        )
        assert valid.startswith("note: validation: 6 of 400 users")
        assert "(those with 11 or more)" in valid
        assert "--set" not in valid

    def test_the_options_do_what_is_said(self):
        first, *_ = check_evidence(self.data(), smoke())
        options = re.findall(r"--set (\S+)", first)
        spec = smoke(*options)
        split = make_split(self.data(), spec.split, 42)
        assert split.test is not None
        assert (split.test.degrees() > 0).sum() == 366
        assert (split.valid.degrees() > 0).sum() == 206
        assert not any("--set" in line for line in check_evidence(self.data(), spec))

    def test_nothing_is_said_of_ordinary_data(self):
        rng = np.random.default_rng(2)
        data = dataset([rng.choice(80, 20, replace=False).tolist() for _ in range(300)], 80)
        assert check_evidence(data, smoke()) == []
        assert default_evidence(data) == []

    @pytest.mark.parametrize(
        ("users", "said"),
        [
            (1, "1 of 1 user has held-out items"),
            (1, "too few to prove any difference, however large"),
            (6, "6 of 6 users have held-out items"),
            (6, "differences below about 0.1 cannot be proven"),
        ],
    )
    def test_one_and_six(self, users, said):
        data = dataset([list(range(u, u + 20)) for u in range(users)], 60)
        assert any(said in line for line in check_evidence(data, smoke()))


class TestNobody:
    def test_all_short(self):
        data = dataset([[u % 9, 9 + u % 5, 20 + u % 3] for u in range(40)], 30)
        message = refusal(data)
        assert message == (
            "mine.csv: the test part would be empty with ratio 0.1: expected a user with at least "
            "10 items; --set split.test.fixed=1 --set split.valid.fixed=1 includes every user with "
            "2 "
            "or more (40 in test, 40 in validation)"
        )
        assert check_evidence(data, smoke(*ONE))

    def test_two_items_each(self):
        data = dataset([[u % 9, 9 + u % 5] for u in range(40)], 30)
        message = refusal(data)
        assert "--set split.test=none --set split.valid.fixed=1" in message
        check_evidence(data, smoke("split.test=none", "split.valid.fixed=1"))

    def test_one_item_each(self):
        data = dataset([[u % 9] for u in range(40)], 30)
        assert "no user has more than 1 item, so nothing can be held out" in refusal(data)

    def test_one_item_in_all(self):
        assert "has one item only" in refusal(dataset([[0]] * 5, 1), "k=1", "metric=map@1")

    def test_the_race_of_a_ready_split(self):
        data = dataset([[0, 1, 2]] * 30, 20, valid=[[3]] * 30, test=[[4]] * 30)
        message = refusal(data)
        assert "--set race=none or --set split.valid.fixed=1" in message
        check_evidence(data, smoke("race=none"))
        check_evidence(data, smoke("split.valid.fixed=1"))

    def test_the_race_of_short_histories_by_time(self):
        data = dataset([[0, 1, 2]] * 300, 20)
        spec = ("split.order=latest", "split.valid.fixed=1")
        assert "--set race=none" in refusal(data, *spec, "split.test.fixed=1")
        check_evidence(data, smoke(*spec, "split.test.fixed=1", "race=none"))
        check_evidence(data, smoke(*spec, "split.test=none"))


class TestGivenTest:
    """A test that came with the data, and users whom a tenth would leave out of validation."""

    SHORT, LONG = list(range(5)), list(range(20))

    def data(
        self,
        short: int,
        long: int,
        valid: list[list[int]] | None = None,
        test: tuple[int, ...] = (30, 31),
    ) -> Dataset:
        lists = [self.SHORT] * short + [self.LONG] * long
        return dataset(lists, 60, valid, [list(test)] * (short + long))

    def fitted(self, data: Dataset, *settings_: str) -> tuple[SearchSpec, list[str]]:
        notes: list[str] = []
        spec = fit_split(smoke("race.finalists=2", *settings_), data, notes.append)
        return spec, notes

    @pytest.mark.parametrize("order", ["random", "latest"])
    def test_each_has_a_part_in_validation_and_race(self, order, tmp_path):
        data = self.data(short=30, long=70)
        spec, notes = self.fitted(data, f"split.order={order}")
        assert notes == [
            "validation holds out at least one item of each user: by ratio 0.1 alone, 30 test "
            "users would have none; the race holds out 11% of a user's items "
            "(not with --set split.valid.ratio=0.1)"
        ]
        assert spec.split.valid == HoldOut("ratio", 0.1, 1)
        assert spec.split.race == HoldOut("ratio", 0.11, 1)  # 200 of 1,750 pairs
        split = make_split(data, spec.split, 0)
        assert split.valid.degrees().tolist() == [1] * 30 + [2] * 70
        fresh = resplit(split, spec.split, 5)
        assert (fresh.valid.degrees() > 0).all()
        (tmp_path / "spec.yaml").write_text(spec.to_yaml())
        again = load_run_spec(tmp_path)
        assert again == spec
        assert not again.split.by_default  # what a run keeps is what it was fitted to

    def test_who_asks_for_a_tenth_gets_it_in_both(self):
        spec, notes = self.fitted(self.data(short=30, long=70), "split.valid.ratio=0.1")
        assert (spec.split.valid, spec.split.race, notes) == (HoldOut("ratio", 0.1), None, [])

    def test_a_race_that_was_asked_for_stays(self):
        spec, (note,) = self.fitted(self.data(short=30, long=70), "split.race.ratio=0.3")
        assert spec.split.race == HoldOut("ratio", 0.3)
        assert "the race" not in note

    def test_a_few_users_change_nothing_but_the_race(self):
        many = (30, 31, 32, 33, 34)
        spec, (note,) = self.fitted(self.data(short=5, long=95, test=many))
        assert (spec.split.valid, spec.split.race) == (
            HoldOut("ratio", 0.1),
            HoldOut("ratio", 0.15),
        )
        assert note.startswith("the race holds out 15% of a user's items (not with --set ")
        spec, _ = self.fitted(self.data(short=6, long=94, test=many))
        assert spec.split.valid.least == 1

    def test_the_race_holds_out_as_the_test_or_15_percent_and_a_tenth_at_least(self):
        spec, _ = self.fitted(self.data(0, 100, test=(30, 31, 32)))
        assert spec.split.race == HoldOut("ratio", 0.13)
        spec, _ = self.fitted(self.data(0, 100, test=tuple(range(20, 50))))
        assert spec.split.race == HoldOut("ratio", 0.15)
        spec, notes = self.fitted(self.data(0, 100, test=(30,)))
        assert (spec.split.race, notes) == (None, [])

    def test_histories_too_short_to_give_one_of_each(self):
        def plan(short: int, long: int) -> SplitPlan:
            lists = [[0, 1, 2]] * short + [self.LONG] * long
            data = dataset(lists, 60, None, [[30, 31]] * (short + long))
            return suited(data, SplitPlan(by_default=True))

        # 80 + 40 of 640 pairs are a fifth and less, 90 + 20 of 470 are more
        assert plan(80, 20).valid == HoldOut("ratio", 0.1, 1)
        assert plan(90, 10).valid == HoldOut("ratio", 0.1)

    def test_who_has_one_item_is_not_missed(self):
        lists = [[0]] * 50 + [self.LONG] * 50
        data = dataset(lists, 60, None, [[30]] * 100)
        assert missed_users(data, SplitPlan()) == 0
        assert suited(data, SplitPlan(by_default=True)) == SplitPlan()

    def test_a_test_that_is_drawn_and_one_by_date_stay(self):
        drawn = dataset([self.SHORT] * 30 + [self.LONG] * 70, 60)
        assert suited(drawn, SplitPlan(by_default=True)) == SplitPlan()
        assert missed_users(drawn, SplitPlan(test=None)) == 0
        by_date = SplitPlan("time", by_default=True)
        assert suited(self.data(30, 70), by_date) == by_date

    def test_the_race_beside_a_given_validation(self):
        data = self.data(30, 70, valid=[[40]] * 100)
        spec, notes = self.fitted(data)
        assert len(notes) == 1
        split = make_split(data, spec.split, 0)
        assert split.valid.degrees().tolist() == [1] * 100
        assert (resplit(split, spec.split, 5).valid.degrees() > 0).all()

    @pytest.mark.parametrize("setting", ["purpose=table", "race=none"])
    def test_without_a_race_only_validation_follows(self, setting):
        data = self.data(30, 70)
        notes: list[str] = []
        spec = fit_split(smoke(setting), data, notes.append)
        assert spec.split.race is None
        (note,) = notes
        assert "the race" not in note


class TestNothingLeft:
    def test_every_pair(self):
        message = refusal(dataset([list(range(60))] * 20, 60))
        assert "each of the 20 users has every one of the 60 items" in message
        assert "the only user has every one of the 60 items" in refusal(
            dataset([list(range(60))], 60)
        )

    def test_every_pair_with_ratings(self, tmp_path: Path):
        rows = [f"{u},{i},{(u + i) % 2}\n" for u in range(20) for i in range(60)]
        (tmp_path / "mine.csv").write_text("user,item,rating\n" + "".join(rows))
        data = load_path(tmp_path / "mine.csv")
        assert "600 of them are rated 0 or less" in data.interactions.notes[0]
        assert "--min-rating" in refusal(data)
        (line,) = default_evidence(data)
        assert line.startswith("note: a search would refuse this: mine.csv: each of the 20 users")
        check_evidence(load_path(tmp_path / "mine.csv", min_rating=1), smoke())

    def test_some_users_have_everything(self):
        data = dataset([list(range(30))] * 4 + [list(range(25))] * 2 + [list(range(20))] * 300, 30)
        lines = check_evidence(data, smoke())
        assert any(line.startswith("note: 4 of 306 users have every item") for line in lines)
        assert any("2 of 306 users have fewer than 10 items left" in line for line in lines)
        assert any(
            "test: 4 of 306 users with held-out items have no other item left to rank" in line
            for line in lines
        )

    def test_those_whom_the_submission_is_for_have_everything(self):
        full, some = [list(range(30))] * 3, [list(range(20))] * 300
        data = dataset(full + some, 30)
        names = ("0", "1", "new")
        asked = replace(data, receivers=Receivers(names, np.array([0, 1, -1])))
        assert any("2 of 3 users have every item" in x for x in check_evidence(asked, smoke()))
        only = replace(data, receivers=Receivers(names[:2], np.array([0, 1])))
        assert "each of the 2 users whom the submission is for has every item" in refusal(only)

    def test_nobody_has_another_item_left(self):
        data = dataset([[0, 1, 2], [0, 1, 2], [0, 1]], 4, test=[[3], [3], []])
        message = refusal(data, *SMALL, "race=none", "split.valid.fixed=1")
        assert "none of 2 users with test items has another item left to rank" in message

    def test_a_list_that_holds_all_that_is_left(self):
        data = dataset([list(range(20))] * 300, 28)
        assert "recall@10 is the same in every order" in refusal(data, "metric=recall@10")
        assert check_evidence(data, smoke("metric=ndcg@10"))
        assert not any("in every order" in line for line in check_evidence(data, smoke()))


class TestReadyParts:
    def test_unknown_users(self):
        known, new = [list(range(20))] * 100, [[]] * 300
        data = dataset(known + new, 60, test=[[30]] * 400)
        line, valid = check_evidence(data, smoke())
        assert valid.startswith("note: validation: 100 of 400 users have held-out items (those")
        assert line.startswith("note: test: 300 of 400 users with held-out items are not in train")
        assert "leave the test file out" in line

    def test_all_are_unknown(self):
        data = dataset([list(range(20))] * 100 + [[]] * 50, 60, test=[[]] * 100 + [[30]] * 50)
        message = refusal(data)
        assert "none of the 50 users of the test part is in train" in message
        assert "spelled the same way" in message


class TestRepeats:
    def write(self, folder: Path, train: str, test: str, valid: str | None = None) -> Path:
        for name, pairs in (("train", train), ("valid", valid), ("test", test)):
            if pairs is not None:
                rows = "".join(f"{p[0]},{p[1]}\n" for p in pairs.split())
                (folder / f"{name}.csv").write_text("user,item\n" + rows)
        return folder

    def test_they_are_left_out_and_said(self, tmp_path):
        data = load_path(self.write(tmp_path, "11 12 13 21 22", "11 14 24 25"))
        assert data.ready_test is not None
        assert data.ready_test.nnz == 3
        assert data.interactions.notes[-1] == (
            "test: 1 of 4 user-item pairs (25%) are in train too: what a user has cannot be "
            "recommended again, so they are left out of test"
        )
        assert data.interactions.csr.overlap(data.ready_test) == 0

    def test_of_validation_and_of_both(self, tmp_path):
        folder = self.write(tmp_path, "11 12 21 22", "11 13 14 23 24", valid="12 13 25")
        data = load_path(folder)
        assert data.ready_valid is not None
        assert data.ready_test is not None
        assert (data.ready_valid.nnz, data.ready_test.nnz) == (2, 3)
        first, second = data.interactions.notes[-2:]
        assert "valid: 1 of 3" in first
        assert "test: 2 of 5 user-item pairs (40%) are in train or valid too" in second
        make_split(data, SplitPlan(), 0)

    def test_a_copy_is_refused(self, tmp_path):
        folder = self.write(tmp_path, "11 12 21 22", "11 12 21 22")
        with pytest.raises(InputError) as caught:
            load_path(folder)
        message = str(caught.value)
        assert "test.csv: shares 4 user-item pairs with train, all that it has" in message
        assert "leave the file out, and a test is drawn" in message

    def test_nearly_a_copy_is_refused(self, tmp_path):
        pairs = " ".join(f"{u}{i}" for u in "1234" for i in "12345")
        folder = self.write(tmp_path, pairs, pairs + " 19")
        with pytest.raises(InputError, match=r"shares 20 user-item pairs with train, 95\.2% of"):
            load_path(folder)


def test_evidence_without_a_metric_says_the_same():
    data = TestFewUsers().data()
    assert evidence(data, SplitPlan()) == check_evidence(data, smoke())


class TestByDate:
    """Order time: who is new, what is new, and when the parts begin."""

    @staticmethod
    def data(back: int = 3) -> Dataset:
        """Ten users, on day 0 to 9 and all on day 9; the first `back` of them return on day 20,
        when two new users come, and a new item."""
        pairs = [(user, item, user) for user in range(10) for item in range(4)]
        pairs += [(user, 4, 9) for user in range(10)] + [(9, 6, 9)]
        pairs += [(user, 6, 20) for user in range(back)]
        pairs += [(10, 6, 20), (11, 12, 20)]
        users, items, days = np.array(pairs).T
        whole = CSR.from_pairs(users, items, 12, 13)
        when = days[np.lexsort((items, users))] * 86_400
        ids = np.arange(12), np.arange(13)
        span = (0, 20 * 86_400)
        rank = np.zeros(whole.nnz, np.int32)
        return Dataset(
            Interactions(
                whole, rank, *ids, ordered=True, name="mine.csv", when=when, time_span=span
            )
        )

    def test_counts_are_those_of_the_split(self) -> None:
        data = self.data()
        for test in (None, HoldOut("ratio", 0.1), HoldOut("since", 20 * 86_400)):
            for valid in (HoldOut("ratio", 0.2), HoldOut("since", 8 * 86_400)):
                plan = SplitPlan("time", test, valid)
                found = {part.name: part for part in parts(data, plan)}
                split = make_split(data, plan, 0)
                # a window from day 8 to the last may not move so far that nothing comes before
                assert race_holds_out(data, plan) == (test is not None or valid.kind == "ratio")
                for seed in range(10 * race_holds_out(data, plan)):
                    assert resplit(split, plan, seed).train.nnz
                    assert resplit(split, plan, seed).valid.nnz
                counts_are_those_of(split, found)

    def test_what_is_new_is_said(self) -> None:
        plan = SplitPlan("time", HoldOut("since", 20 * 86_400), HoldOut("since", 8 * 86_400))
        lines = evidence(self.data(), plan)
        assert lines[0] == (
            "note: test: from 1970-01-21 on, 5 interactions of 5 users; 2 of them are new, and all "
            "of these get the same list; 20.0% of the interactions are with 1 new item, which no "
            "model can recommend"
        )

    @pytest.mark.parametrize("seed", range(5))
    def test_what_is_new_is_in_the_result_as_the_journal_keeps_it(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        pairs = np.unique(rng.integers(0, [30, 25], (150, 2)), axis=0)
        when = (rng.integers(0, 30, len(pairs)) + 3 * pairs[:, 0]) * 86_400
        matrix = CSR.from_pairs(*pairs.T, 30, 25)
        ids = np.arange(30), np.arange(25)
        rank = np.zeros(len(pairs), np.int32)
        data = Dataset(Interactions(matrix, rank, *ids, ordered=True, when=when))
        spec = smoke("split.order=time", "split.test.ratio=0.2", "split.valid.ratio=0.2", *SMALL)
        split = make_split(data, spec.split, seed)
        began = first_line("a", spec, SETTINGS, data, split)
        state = RunState()
        state.apply(read(json.loads(json.dumps(write(began)))), 0)
        found = told(state, "a", spec, SETTINGS).newcomers
        assert [one.part for one in found] == ["test", "validation"]
        before = [split.search_data(), split.train]
        for one, seen, held in zip(found, before, (split.test, split.valid), strict=True):
            had = {user for user in range(30) if len(seen.row(user))}
            known = set(seen.indices.tolist())
            held_pairs = list(zip(held.users().tolist(), held.indices.tolist(), strict=True))
            new = [item for _, item in held_pairs if item not in known]
            assert (one.pairs, one.new_pairs, one.new_items) == (
                len(held_pairs), len(new), len(set(new))
            )  # fmt: skip
            users = {user for user, _ in held_pairs}
            assert (one.users, one.new_users) == (len(users), len(users - had))
            assert one.since in split.name
            assert f"note: {newcomer_words(one)}" in evidence(data, spec.split)
        assert any(one.new_users for one in found)

    def test_without_a_date_nobody_is_a_newcomer(self) -> None:
        assert newcomers(self.data(), SplitPlan()) == []

    def test_nobody_comes_back(self) -> None:
        plan = SplitPlan("time", HoldOut("since", 20 * 86_400), HoldOut("since", 8 * 86_400))
        with pytest.raises(SettingError, match="expected users who come back") as caught:
            evidence(self.data(back=0), plan)
        assert "1970-01-21" in str(caught.value)

    def test_a_date_after_the_data(self) -> None:
        plan = SplitPlan("time", HoldOut("since", 30 * 86_400))
        with pytest.raises(InputError, match="since 1970-01-31: the times go from 1970-01-01 to"):
            evidence(self.data(), plan)

    def test_one_day_of_validation_leaves_no_earlier_one(self) -> None:
        plan = SplitPlan("time", None, HoldOut("since", 86_400))
        assert not race_holds_out(self.data(), plan)


@pytest.mark.parametrize(("space", "deciding"), [("all", "method"), ("bce", None)])
def test_the_first_line_names_what_decides_which_parameters_exist(
    space: str, deciding: str | None
) -> None:
    data, spec = dataset([list(range(12))] * 9, 40), load_spec(space)
    began = first_line("a", spec, SETTINGS, data, make_split(data, spec.split, 1))
    decides = spec.deciding()
    assert began.deciding == (decides and decides.name) == deciding
