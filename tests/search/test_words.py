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
