"""What follows the search: how large the race is."""

from __future__ import annotations

from search.endgame import fit_race
from search.records import TrialRecord


def racers(*seconds):
    return [TrialRecord(f"t{n:04d}", n, {}, {}, 0, 0.0, busy_s=s) for n, s in enumerate(seconds)]


def test_a_race_without_hurry_is_as_planned():
    some = racers(10, 20, 30)
    assert fit_race(some, 5, 2, float("inf")) == (some, 5)
    assert fit_race(some, 5, 2, 150) == (some, 5)  # 60 x 5 / 2


def test_a_short_budget_takes_replicates_first_then_the_worst_finalists():
    some = racers(10, 20, 30)
    assert fit_race(some, 5, 2, 149) == (some, 4)
    assert fit_race(some, 5, 2, 59) == (some[:2], 2)
    assert fit_race(some, 5, 2, -1) == (some[:2], 2)


def test_one_finalist_or_no_race_stay():
    some = racers(10)
    assert fit_race(some, 5, 1, 0) == (some, 2)
    assert fit_race(some, 0, 1, 0) == (some, 0)
