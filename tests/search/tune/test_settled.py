"""When a search ends by itself: what counts, and what it is held against."""

from __future__ import annotations

import math

import numpy as np
import pytest

from search.record.events import State
from search.tune.settled import LEAST_TRIALS, PART, Settling, told_apart


def after(values: list[float | None], users: int = 900, splits: int = 5) -> Settling:
    """Trials of these values, all completed; None: pruned with a better one than any."""
    found = Settling(users, splits)
    for value in values:
        if value is None:
            found.add(State.PRUNED, 0.99)
        else:
            found.add(State.COMPLETE, value)
    return found


def test_what_a_race_tells_apart() -> None:
    # MovieLens-100K: its race said .006 to .007 (docs/experiments.md)
    assert told_apart(0.138, 876, 5) == pytest.approx(0.006, abs=0.001)
    assert told_apart(0.138, 4 * 876, 5) == pytest.approx(told_apart(0.138, 876, 5) / 2)
    assert told_apart(0.2, 500, 0) == told_apart(0.2, 500, 1) > told_apart(0.2, 500, 5)
    assert told_apart(0.0, 10, 1) == told_apart(1.0, 10, 1) == 0.0


def test_it_ends_where_the_second_half_gained_too_little() -> None:
    apart = told_apart(0.2, 900, 5)
    half = LEAST_TRIALS // 2
    little, enough = 0.9 * PART * apart, 1.2 * PART * apart
    assert after([0.2 - little] * half + [0.2] * half).reached
    assert not after([0.2 - enough] * half + [0.2] * half).reached
    # fewer trials are too few, whatever they gained
    assert not after([0.2] * (LEAST_TRIALS - 1)).reached
    # more users tell smaller gaps apart
    assert not after([0.2 - little] * half + [0.2] * half, users=9_000).reached


def test_at_a_ceiling_nothing_more_is_gained() -> None:
    """There the race tells any gap apart, and no trial can bring one."""
    assert after([1.0] * LEAST_TRIALS).reached
    assert not after([0.0] * LEAST_TRIALS).reached  # a trial that finds anything gains
    half = LEAST_TRIALS // 2
    assert not after([0.0] * half + [1.0] * half).reached


def test_only_completed_trials_are_the_best_and_failed_ones_are_none() -> None:
    half = LEAST_TRIALS // 2
    assert after([0.2] + [None] * (LEAST_TRIALS - 1)).reached
    assert not after([None] * LEAST_TRIALS).reached  # nothing is known of where it will end
    found = after([0.2] * (LEAST_TRIALS - 1))
    found.add(State.FAILED, None)
    assert not found.reached
    late = after([None] * half + [0.2] * half)  # the first half had no best
    assert late.gain() == math.inf
    assert not late.reached


def test_its_words_say_why() -> None:
    words = after([0.19] * 20 + [0.1912] * 20).words()
    assert words.startswith(
        "the last 20 of 40 trials gained 0.0012, and the race needs a gap of about"
    )
    assert "--extend" in words


def test_a_search_that_climbs_goes_on_and_a_flat_one_does_not() -> None:
    """A search that still finds better ones is not cut off."""
    rng = np.random.default_rng(0)
    climbing = after([])
    for n in range(200):
        climbing.add(State.COMPLETE, 0.1 + 0.0006 * n + 0.001 * rng.random())
        assert not climbing.reached
    flat = after([])
    ends = []
    for n in range(200):
        flat.add(State.COMPLETE, 0.15 + 0.002 * rng.random())
        if flat.reached:
            ends.append(n + 1)
    assert ends[0] == LEAST_TRIALS
