"""What of a time budget is kept for the stages after the search."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from recsys.rivals import Needed
from search.record.events import State
from search.record.state import TrialRecord
from search.space.spec import RaceSpec
from search.tune.reserve import Reserve


def trial(
    number: int, value: float | None, busy_s: float, state: State = State.COMPLETE, **config: str
) -> TrialRecord:
    flat = config or {"lr": 0.1}
    known = {"params": {}, "config": flat, "seed": 0, "created": 0.0}
    return TrialRecord(f"t{number:04d}", number, state=state, value=value, busy_s=busy_s, **known)


NONE = Needed()


def seconds(
    trials: list[TrialRecord], race: RaceSpec, concurrent: int, rivals: Needed = NONE
) -> float:
    return Reserve(race, concurrent, rivals=lambda _: rivals).add_all(trials).seconds()


def test_by_hand() -> None:
    # the best two take 15 s on average; (2 + 1) x 4 trainings, 3 at a time, then two more
    trials = [trial(0, 0.1, 500), trial(1, 0.3, 10), trial(2, 0.2, 20)]
    assert seconds(trials, RaceSpec(2, 4), 3) == pytest.approx(15 * (12 / 3 + 2) * 1.3 + 15)


def test_only_complete_trials_say_how_long_one_takes() -> None:
    trials = [trial(0, 0.9, 1000, State.PRUNED), trial(1, 0.1, 10)]
    assert seconds(trials, RaceSpec(2, 2), 1) == pytest.approx(10 * (6 + 2) * 1.3 + 15)


def test_rivals_are_told_what_a_training_of_each_model_took() -> None:
    asked: list[Mapping[str, float]] = []

    def rivals(measured: Mapping[str, float]) -> Needed:
        asked.append(measured)
        return NONE

    trials = [
        trial(0, 0.1, 4),
        trial(1, 0.2, 8, model="slim"),
        trial(2, 0.3, 6, model="slim"),
        trial(3, None, 9, State.FAILED, of_another_version="x"),
    ]
    Reserve(RaceSpec(1, 1), 1, rivals=rivals).add_all(trials).seconds()
    assert asked == [{"lfm": 4, "slim": 7}]


def test_rivals_that_take_longer_than_the_winner_on_test() -> None:
    trials = [trial(0, 0.1, 10)]
    # a race of 4 trainings, two at a time, the test with the rivals beside it, the refit
    rivals = Needed(0, 60)
    assert seconds(trials, RaceSpec(1, 2), 2, rivals) == pytest.approx((20 + 60 + 10) * 1.3 + 15)
    assert seconds(trials, RaceSpec(1, 2), 1, rivals) == pytest.approx((40 + 70 + 10) * 1.3 + 15)


def test_rivals_are_chosen_beside_the_race() -> None:
    trials = [trial(0, 0.1, 10)]
    # 40 s of trainings and 20 s of choosing on two workers; 60 s of choosing are longer than both
    for choosing, race in ((20, 30), (60, 60)):
        rivals = Needed(choosing, 5)
        expected = (race + 10 + 10) * 1.3 + 15
        assert seconds(trials, RaceSpec(1, 2), 2, rivals) == pytest.approx(expected)
    alone = seconds(trials, RaceSpec(1, 2), 1, Needed(20, 5))
    assert alone == pytest.approx((40 + 20 + 15 + 10) * 1.3 + 15)


def test_before_any_has_ended_little_is_kept() -> None:
    assert seconds([], RaceSpec(4, 5), 1) == 15


def test_without_a_race_the_best_is_trained_twice() -> None:
    trials = [trial(0, 0.3, 10), trial(1, 0.1, 99)]
    assert seconds(trials, RaceSpec(0, 0), 2) == pytest.approx(2 * 10 * 1.3 + 15)


def test_trial_by_trial_it_says_what_all_of_them_together_say() -> None:
    """The slow twin looks at every trial each time."""
    rng, race, seen = np.random.default_rng(3), RaceSpec(3, 4), []

    def rivals(measured: Mapping[str, float]) -> Needed:
        return Needed(2 * sum(measured.values()), sum(measured.values()))

    reserve = Reserve(race, 2, members=5, rivals=rivals)
    for number in range(200):
        one = trial(
            number,
            None if number % 9 == 8 else round(float(rng.random()), 2),  # with ties
            float(rng.integers(0, 20)),
            rng.choice([State.COMPLETE, State.COMPLETE, State.PRUNED, State.FAILED]),
            **({} if number % 3 else {"model": "slim"}),
        )
        seen.append(one)
        reserve.add(one.number, one.state, one.value, one.busy_s, one.config.get("model", "lfm"))
        whole = [t for t in seen if t.state == State.COMPLETE]
        best = sorted(whole, key=lambda t: -(t.value or 0.0))[:3]
        each = float(np.mean([t.busy_s for t in best])) if best else 0.0
        of = {
            model: [
                t.busy_s for t in whole if t.busy_s > 0 and t.config.get("model", "lfm") == model
            ]
            for model in ("lfm", "slim")
        }
        other = sum(float(np.median(taken)) for taken in of.values() if taken)
        raced = max(2 * other, (each * (3 + 1) * 4 + 2 * other) / 2)
        tested = max(each, other, (each + other) / 2)
        members = 5 * each / 2  # trained for the test, and for good where the winner is not
        expected = (raced + tested + members + max(each, members)) * 1.3 + 15
        assert reserve.seconds() == pytest.approx(expected, rel=1e-12)
        assert reserve.rivals_need() == Needed(2 * other, other)
