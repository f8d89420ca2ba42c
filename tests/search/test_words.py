"""A result in words: on tiny and odd runs nothing is said that is not so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from search import summary, words
from search.record.result import RunResult


def result(**changes: Any) -> RunResult:
    """A finished run of some trials, with a race and a test."""
    known = {
        "metric": "map@10",
        "best_trial": "t0002",
        "valid": 0.2,
        "test": 0.1702,
        "test_ci": [0.1611, 0.1795],
        "test_users": 940,
        "baselines": {"popularity": {"test": 0.0691}, "ease": {"test": 0.1721}},
        "trials": {"completed": 3, "pruned": 1, "failed": 0},
        "configs": 4,
        "configs_left": True,
    }
    return RunResult.model_validate(known | changes)


def compared(name: str, gain: float | None, proven: bool = False) -> dict[str, Any]:
    return {"against": name, "name": name, "gain": gain, "proven": proven, "words": "w"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (-0.0, "0.0000"), (-0.00004, "0.0000"), (-0.00006, "-0.0001"),
     (float("nan"), "-"), (None, "-"), (True, "-")],
)  # fmt: skip
def test_numbers(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0213, "2.1%"), (-0.0002, "0.0%"), (-0.02, "-2.0%"), (1, "100.0%"),
     (float("nan"), "-"), (None, "-"), (False, "-")],
)  # fmt: skip
def test_shares(value, text):
    assert words.percent(value) == text


class TestTest:
    def test_one_user(self):
        assert summary.test_words(result(test_users=1, test_ci=[None, None])) == "0.1702 (1 user)"

    def test_an_interval_of_no_width_is_none(self):
        said = summary.test_words(result(test=0.0, test_ci=[0.0, 0.0], test_users=6))
        assert said == "0.0000 (the same for every one of the 6 users)"


class TestHeadline:
    def test_the_baselines_are_judged_as_the_test_compared_them(self):
        six = result(
            test=0.0,
            test_ci=[0.0, 0.0],
            test_users=6,
            test_comparisons=[compared("popularity", -0.08), compared("ease", 0.1, proven=True)],
        )
        said = summary.headline(six)
        assert "not told apart from popularity (0.0691) and above EASE (0.1721)" in said

    def test_who_could_not_be_tested_is_named(self):
        beside = {"popularity": {"test": 0.0691}, "ease": {"valid": 0.1, "skipped": "no memory"}}
        said = summary.headline(result(baselines=beside))
        assert "popularity (0.0691); EASE is not tested (no memory)." in said

    def test_without_an_interval_nothing_is_above_or_below(self):
        said = summary.headline(result(test_users=1, test_ci=[None, None]))
        assert "next to popularity (0.0691) and next to EASE (0.1721)" in said

    @pytest.mark.parametrize(
        ("gain", "proven", "said"),
        [
            (0.01, True, "Its gain of 0.0100 over the first default config t0000 is proven."),
            (-0.01, False, "Its loss of 0.0100 against the first default config t0000 is not"),
            (0.00001, False, "It and the first default config t0000 are level."),
            (-0.0, False, "It and the first default config t0000 are level."),
            (
                None,
                False,
                "Nothing can be said about its lead over the first default config t0000.",
            ),
        ],
    )
    def test_the_lead(self, gain, proven, said):
        race = {"comparisons": [compared("the first default config t0000", gain, proven)]}
        assert said in summary.headline(result(race=race))
        assert "0.0000" not in summary.headline(result(race=race))

    def test_it_names_what_won(self):
        config = {"model": "slim", "slim_l2": 200.0, "slim_neighbours": 200, "slim_shrink": 10.0}
        won = result(best_trial="t0001", best_config=config)
        assert summary.headline(won).startswith("slim k=200 l2=200 (t0001) reaches map@10 0.1702")
        so_far = result(best_trial="t0001", best_config=config, test=None, valid=0.25)
        assert summary.headline(so_far).startswith(
            "The best config so far, slim k=200 l2=200 (t0001), reaches map@10 0.2500"
        )
        unknown = result(best_trial="t0001", best_config={"model": "of another version"})
        assert summary.headline(unknown).startswith("t0001 reaches map@10")

    def test_the_winner_is_the_default(self):
        race = {"winner_is_default": True}
        assert "the search found nothing better" in summary.headline(result(race=race))
        alone = summary.headline(result(race=race, configs=1))
        assert "the first default config, the only config that was tried." in alone
        assert summary.gain_words(result(race=race, configs=1)) == [
            "the winner is the first default config, the only config that was tried"
        ]


def test_counts():
    assert summary.counts_words(result()) == "4 trials: 3 completed, 1 pruned"
    one = result(trials={"completed": 1, "pruned": 0, "failed": 0}, configs=1)
    assert summary.counts_words(one) == "1 trial: 1 completed"
    repeats = summary.counts_words(result(configs=1))
    assert repeats == "4 trials of 1 different config: 3 completed, 1 pruned"


def test_what_to_run_next_is_what_can_be_run(tmp_path: Path):
    (tmp_path / "submission.csv").touch()
    for left in (True, False):
        rows = summary.result_rows(result(configs_left=left), tmp_path)
        following = [text for label, text in rows if label == "next"]
        assert any("--extend" in text for text in following) is left
        assert any("export" in text for text in following)
    older = summary.result_rows(result(configs_left=None), tmp_path)
    assert any("--extend" in text for _, text in older)


class TestFails:
    def group(self, low: int, high: int, value: float, **more: Any) -> dict[str, Any]:
        return {"low": low, "high": high, "users": 50, "value": value, "ci": [0.1, 0.3]} | more

    def said(self, by_user: Any, by_item: Any = (), model: str = "winner") -> str:
        groups = {"model": model, "k": 10, "by_user": by_user, "by_item": by_item}
        return summary.fails_words(result(groups=groups))

    def test_the_lowest_value_is_named_with_the_best_rival_there(self):
        rivals = {
            "popularity": {"value": 0.1, "gain": 0.05},
            "ease": {"value": 0.22, "gain": -0.07, "proven": True},
        }
        rows = [self.group(1, 1, 0.2), self.group(2, 9, 0.15, rivals=rivals)]
        assert self.said(rows, model="blend") == (
            "the blend serves worst: users with 2 to 9 items (map@10 0.1500, 95% interval 0.1000 "
            "to 0.3000, 50 users; EASE 0.2200, proven better)"
        )
        assert "users with 1 item (" in self.said([self.group(1, 1, 0.1), *rows[1:]])

    def test_new_items_which_nobody_can_recommend_are_no_failure(self):
        items = [self.group(0, 0, 0.0), self.group(1, 4, 0.02), self.group(5, 9, 0.5)]
        said = self.said([self.group(0, 0, 0.1), self.group(1, 9, 0.2)], items)
        assert "users without a history (map@10 0.1000" in said
        assert (
            "and items with 1 to 4 users (2.0% of the test items among them are in the lists of 10)"
            in said
        )

    def test_a_few_users_and_one_group_say_nothing(self):
        rows = [self.group(1, 2, 0.1, users=5), self.group(3, 9, 0.2)]
        assert self.said(rows) == self.said([]) == self.said(rows[1:]) == ""
        assert summary.fails_words(result()) == ""
