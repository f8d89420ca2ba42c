"""What of a time budget is kept for the stages after the search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from recsys.rivals import Needed
from search.record.events import State
from search.record.state import TrialRecord
from search.space.load import load_spec
from search.space.spec import RaceSpec
from search.tune.reserve import Reserve, in_turns


def trial(
    number: int,
    value: float | None,
    busy_s: float,
    state: State = State.COMPLETE,
    epochs: int = 0,
    **config: str,
) -> TrialRecord:
    flat = config or {"lr": 0.1, "epochs": 60}
    known = {"params": {}, "config": flat, "seed": 0, "created": 0.0}
    ended = {"state": state, "value": value, "busy_s": busy_s, "epochs": epochs}
    return TrialRecord(f"t{number:04d}", number, **known, **ended)


NONE = Needed()


def seconds(
    trials: list[TrialRecord], race: RaceSpec, concurrent: int, rivals: Needed = NONE
) -> float:
    racers = race.finalists + 1 if race.finalists else 0
    return Reserve(race, concurrent, racers, rivals=lambda _: rivals).add_all(trials).seconds()


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
    Reserve(RaceSpec(1, 1), 1, 2, rivals=rivals).add_all(trials).seconds()
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


def test_before_any_has_reported_little_is_kept() -> None:
    assert seconds([], RaceSpec(4, 5), 1) == 15
    # one without a value is nothing that could be raced, tested or handed over
    assert seconds([trial(0, None, 9, State.PRUNED, epochs=2)], RaceSpec(4, 5), 1) == 15


def test_until_one_completes_those_that_have_begun_say_how_long_a_training_takes() -> None:
    """Else a search of long trials goes on to its deadline, and test and refit come after it."""
    config = trial(0, 0.0, 0).training
    reserve = Reserve(RaceSpec(1, 1), 1, 2)
    reserve.foresee(0, 0.2, 5.0, 3, config)  # 60 epochs: 100 s
    expected = 100 * (2 + 2) * 1.3 + 15
    assert reserve.seconds() == pytest.approx(expected)
    reserve.foresee(1, 0.1, 1.0, 1, config)  # worse: not what would be raced
    assert reserve.seconds() == pytest.approx(expected)
    reserve.foresee(0, 0.2, 20.0, 6, config)  # it has become slower
    assert reserve.seconds() == pytest.approx(200 * 4 * 1.3 + 15)
    reserve.add(0, State.FAILED, None, 20.0, config)
    assert reserve.seconds() == pytest.approx(60 * 4 * 1.3 + 15)
    reserve.add(1, State.COMPLETE, 0.1, 30.0, config)
    assert reserve.seconds() == pytest.approx(30 * 4 * 1.3 + 15)
    reserve.foresee(2, 0.9, 50.0, 1, config)
    assert reserve.seconds() == pytest.approx(30 * 4 * 1.3 + 15)


def test_a_resumed_search_knows_what_was_cut_off() -> None:
    cut = trial(0, 0.3, 10, State.PRUNED, epochs=6)
    assert seconds([cut], RaceSpec(1, 1), 1) == pytest.approx(100 * 4 * 1.3 + 15)
    assert seconds([cut, trial(1, 0.1, 7)], RaceSpec(1, 1), 1) == pytest.approx(7 * 4 * 1.3 + 15)


def test_for_a_blend_one_of_every_method_races() -> None:
    spec = load_spec("all")
    assert (len(spec.methods()), spec.blend, spec.race.finalists, spec.race.replicates) == (
        *(9, 5, 3, 4),
    )
    assert spec.racers() == min(9, 5 + 3) + 1 == 9
    assert replace(spec, blend=0).racers() == 4
    assert replace(spec, race=RaceSpec(0, 0)).racers() == 0
    kinds = [{"lr": 0.1}, {"model": "slim"}, {"model": "ials"}, {"model": "rp3beta"}]
    trials = [trial(n, 0.9 - n / 10, 10 * (n + 1), **kinds[n]) for n in range(4)]
    reserve = Reserve(spec.race, 2, spec.racers(), spec.blend).add_all(trials)
    # the three finalists, the best of the other kind, and five of which nothing is known
    race = (10 + 20 + 30 + 40 + 5 * 20) * 4 / 2
    members = 5 * 20 / 2
    assert reserve.seconds() == pytest.approx((race + 20 + members + members) * 1.3 + 15)
    alone = Reserve(spec.race, 2, 4).add_all(trials)  # without a blend: no other method races
    assert alone.seconds() == pytest.approx((4 * 20 * 4 / 2 + 20 + 20) * 1.3 + 15)


def test_no_training_can_be_divided_among_workers() -> None:
    trials = [trial(n, 0.1, 150) for n in range(6)]
    # all trainings of the race at once, then the test, then the refit
    assert seconds(trials, RaceSpec(5, 2), 64) == pytest.approx(3 * 150 * 1.3 + 15)
    blend = Reserve(RaceSpec(5, 2), 64, 6, 4).add_all(trials)
    assert blend.seconds() == pytest.approx(4 * 150 * 1.3 + 15)  # its members after the winner


def test_without_a_race_the_best_is_trained_twice() -> None:
    trials = [trial(0, 0.3, 10), trial(1, 0.1, 99)]
    assert seconds(trials, RaceSpec(0, 0), 2) == pytest.approx(2 * 10 * 1.3 + 15)


def test_trial_by_trial_it_says_what_all_of_them_together_say() -> None:
    """The slow twin looks at every trial each time."""
    rng, race, seen = np.random.default_rng(3), RaceSpec(3, 4), []

    def rivals(measured: Mapping[str, float]) -> Needed:
        return Needed(2 * sum(measured.values()), sum(measured.values()))

    reserve = Reserve(race, 2, 4, members=5, rivals=rivals)
    for number in range(200):
        one = trial(
            number,
            None if number % 9 == 8 else round(float(rng.random()), 2),  # with ties
            float(rng.integers(0, 20)),
            rng.choice([State.COMPLETE, State.COMPLETE, State.PRUNED, State.FAILED]),
            **({} if number % 3 else {"model": "slim"}),
        )
        seen.append(one)
        reserve.add(one.number, one.state, one.value, one.busy_s, one.training)
        whole = [t for t in seen if t.state == State.COMPLETE]
        ranked = sorted(whole, key=lambda t: -(t.value or 0.0))
        best = ranked[:3]
        each = float(np.mean([t.busy_s for t in best])) if best else 0.0
        racing = [t.busy_s for t in best]
        kinds = {t.training.kind for t in best}
        for other in ranked[3:]:
            if other.training.kind not in kinds:
                kinds.add(other.training.kind)
                racing.append(other.busy_s)
        racing += [each] * (4 - len(racing))
        of = {
            model: [
                t.busy_s for t in whole if t.busy_s > 0 and t.config.get("model", "lfm") == model
            ]
            for model in ("lfm", "slim")
        }
        other = sum(float(np.median(taken)) for taken in of.values() if taken)
        raced = max(2 * other, *racing, (sum(racing) * 4 + 2 * other) / 2)
        tested = max(each, other, (each + other) / 2)
        members = max(
            each, 5 * each / 2
        )  # trained for the test, and for good where the winner is not
        expected = (raced + tested + members + max(each, members)) * 1.3 + 15
        assert reserve.seconds() == pytest.approx(expected, rel=1e-12)
        assert reserve.rivals_need() == Needed(2 * other, other)


def test_trainings_that_take_turns() -> None:
    assert in_turns([], 2) == 0
    assert in_turns([20, 20, 20], 2) == 40  # of which `together` counts 30
    assert in_turns([10, 10, 30], 2) == 40
    assert in_turns([30, 10, 10], 2) == 30
    assert in_turns([5, 7], 64) == 7
