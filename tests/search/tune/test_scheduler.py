"""ASHA in epochs against a plain twin, and fed again after an interruption."""

from __future__ import annotations

import math
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune.scheduler import EpochASHA, make_scheduler, rungs
from tests.search.spaces import override

LFM = SimpleNamespace(model="lfm", most_epochs=60)
SPEC = override(load_spec("smoke"), ["max_epochs=60", "reduction_factor=3"])


def tune_trial(name: str, model: str = "lfm", epochs: int = 60) -> Any:
    """What the scheduler looks at in one of Tune's trials; Tune's own id differs from ours."""
    ours = SimpleNamespace(id=name, train=SimpleNamespace(model=model, most_epochs=epochs))
    return SimpleNamespace(trial_id=f"tune-{name}", config={"trial": ours})


def report(asha: EpochASHA, name: str, epoch: int, value: float, model: str = "lfm") -> str:
    trial = tune_trial(name, model)
    return str(asha.on_trial_result(None, trial, {"epoch": epoch, "objective": value}))


def recorded(asha: EpochASHA, model: str = "lfm") -> list[dict[str, float]]:
    """Best values so far by trial, rung for rung."""
    return asha.reached[model].recorded


class Twin:
    """The rule in plain words: at a rung, go on if less than 1/3 of those there are better."""

    def __init__(self, spec: SearchSpec) -> None:
        self.spec = spec
        self.seen: dict[int, dict[str, float]] = {}

    def report(self, name: str, epoch: int, value: float) -> str:
        if epoch >= self.spec.max_epochs:
            return "STOP"
        rung, best = self.spec.grace_epochs, None
        while rung < self.spec.max_epochs:
            if rung <= epoch:
                best = rung
            rung *= self.spec.reduction_factor
        if best is None:
            return "CONTINUE"
        here = self.seen.setdefault(best, {})
        if name in here:
            return "CONTINUE"
        here[name] = value
        if len(here) < self.spec.reduction_factor:
            return "CONTINUE"
        ranked = sorted(here.values(), reverse=True)
        allowed = math.ceil(len(ranked) / self.spec.reduction_factor)
        return "CONTINUE" if value >= ranked[allowed - 1] else "STOP"


def test_rungs() -> None:
    assert rungs(SPEC) == [6, 18, 54]
    assert rungs(override(SPEC, ["max_epochs=54"])) == [6, 18]
    assert rungs(override(SPEC, ["max_epochs=3"])) == [1]
    assert rungs(override(SPEC, ["max_epochs=1"])) == []
    assert rungs(override(SPEC, ["grace_epochs=20", "reduction_factor=2"])) == [20, 40]
    assert rungs(override(SPEC, ["scheduler=none"])) == []


def test_no_scheduler_stops_nothing() -> None:
    scheduler = make_scheduler(override(SPEC, ["scheduler=none"]))
    trial = tune_trial("t0000")
    for epoch in range(1, 60):
        decision = scheduler.on_trial_result(None, trial, {"epoch": epoch, "objective": -epoch})
        assert decision == "CONTINUE"
    assert isinstance(make_scheduler(SPEC), EpochASHA)


def test_the_first_trials_are_not_stopped_and_then_the_best_third_goes_on() -> None:
    asha = EpochASHA(SPEC)
    assert report(asha, "t0000", 6, 0.5) == "CONTINUE"
    assert report(asha, "t0001", 6, 0.1) == "CONTINUE"  # with two there is no best third
    assert report(asha, "t0002", 6, 0.4) == "STOP"
    assert report(asha, "t0003", 6, 0.6) == "CONTINUE"
    assert report(asha, "t0004", 6, 0.5) == "CONTINUE"  # equal to the second of two places
    assert report(asha, "t0005", 6, 0.49) == "STOP"


def test_between_rungs_nothing_is_decided() -> None:
    asha = EpochASHA(SPEC)
    for i, value in enumerate((0.5, 0.6, 0.7)):
        assert report(asha, f"t{i}", 6, value) == "CONTINUE"
    assert report(asha, "t3", 5, 0.0) == "CONTINUE"
    for epoch in range(7, 18):
        assert report(asha, "t0", epoch, 0.0) == "CONTINUE"
    assert report(asha, "t0", 60, 1.0) == "STOP"


def test_several_rungs_at_once_count_in_the_last() -> None:
    asha = EpochASHA(SPEC)
    assert report(asha, "t0", 20, 0.5) == "CONTINUE"
    assert recorded(asha) == [{}, {"t0": 0.5}, {}]


def test_one_that_ran_out_of_patience_stays_in_its_rungs() -> None:
    asha = EpochASHA(SPEC)
    report(asha, "t0", 6, 0.9)
    result = {"epoch": 11, "objective": 0.9, "stop": "patience"}
    asha.on_trial_result(None, tune_trial("t0"), result)
    asha.on_trial_complete(None, tune_trial("t0"), result)
    assert recorded(asha)[0] == {"t0": 0.9}
    report(asha, "t1", 6, 0.8)
    assert report(asha, "t2", 6, 0.85) == "STOP"


def test_values_that_are_no_numbers() -> None:
    asha = EpochASHA(SPEC)
    assert report(asha, "t0", 6, math.nan) == "STOP"
    assert report(asha, "t1", 6, -math.inf) == "CONTINUE"  # a failure, on its way out
    assert recorded(asha) == []


events = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 25), st.integers(0, 6).map(lambda v: v / 10)),
    max_size=80,
)


@given(events, st.sampled_from([2, 3, 4]), st.sampled_from([10, 20, 60]))
@settings(max_examples=150, deadline=None)
def test_against_the_twin(
    steps: list[tuple[int, int, float]], factor: int, max_epochs: int
) -> None:
    spec = override(SPEC, [f"max_epochs={max_epochs}", f"reduction_factor={factor}"])
    asha, twin = EpochASHA(spec), Twin(spec)
    epochs: dict[int, int] = {}
    for trial, more, value in steps:
        epochs[trial] = min(epochs.get(trial, 0) + more, max_epochs)
        name = f"t{trial:04d}"
        assert report(asha, name, epochs[trial], value) == twin.report(name, epochs[trial], value)


@pytest.mark.parametrize("cut", [3, 17, 40])
def test_replay_decides_as_without_an_interruption(cut: int) -> None:
    rng = np.random.default_rng(cut)
    ends = np.sort(rng.random(60))
    rng.shuffle(ends)
    curves = {f"t{i:04d}": ends[i] * (1 - np.exp(-np.arange(1, 61) / 20)) for i in range(60)}

    def run(asha: EpochASHA, name: str) -> list[tuple[int, float]]:
        seen = []
        for epoch in range(1, 61):
            value = float(curves[name][epoch - 1])
            seen.append((epoch, value))
            if epoch in (*rungs(SPEC), 60) and report(asha, name, epoch, value) == "STOP":
                break
        return seen

    whole = EpochASHA(SPEC)
    expected = {name: run(whole, name) for name in curves}
    first, journal = EpochASHA(SPEC), {}
    for name in list(curves)[:cut]:
        journal[name] = run(first, name)
    # the next one had passed two rungs when the machine died
    running = list(curves)[cut]
    journal[running] = [(e, float(curves[running][e - 1])) for e in range(1, 20)]
    if len(expected[running]) < 20:
        journal[running] = journal[running][: len(expected[running]) - 1]
    second = EpochASHA(SPEC)
    for name, reports in journal.items():
        second.replay(name, reports, LFM)
    for name in list(curves)[cut:]:
        assert run(second, name) == expected[name]
    assert recorded(second) == recorded(whole)


def test_ray_may_pickle_it() -> None:
    asha = EpochASHA(SPEC)
    report(asha, "t0", 6, 0.5)
    again = pickle.loads(pickle.dumps(asha))
    assert recorded(again) == recorded(asha)
    assert report(again, "t0", 6, 0.1) == "CONTINUE"
    assert "lfm 1: 1" in again.debug_string()


def test_a_trial_that_said_its_last_word_is_not_asked_again() -> None:
    for spec in (SPEC, override(SPEC, ["scheduler=none"])):
        scheduler, trial = make_scheduler(spec), tune_trial("t0000")
        told = {"epoch": 2, "objective": 0.5}
        assert scheduler.on_trial_result(None, trial, told) == "CONTINUE"
        for last in ({"stop": "patience"}, {"error": "Traceback", "cause": "diverged"}):
            assert scheduler.on_trial_result(None, trial, told | last) == "STOP"


def test_the_trial_that_waited_for_longest_is_next_and_ended_ones_are_not_looked_at() -> None:
    class Waits(SimpleNamespace):
        looked = 0

        @property
        def status(self) -> str:
            self.looked += 1
            return str(self.now)

    scheduler, trials = make_scheduler(SPEC), [Waits(now="PENDING") for _ in range(50)]
    for trial in trials:
        scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    for trial in trials[:40]:
        assert scheduler.choose_trial_to_run(None) is trial
        trial.now = "RUNNING"
    again = trials[3]  # its worker died: it is last in line
    again.now = "PENDING"
    scheduler.on_trial_add(None, again)  # type: ignore[arg-type]
    for trial in [*trials[40:], again]:
        assert scheduler.choose_trial_to_run(None) is trial
        trial.now = "TERMINATED"
    assert scheduler.choose_trial_to_run(None) is None
    assert sum(trial.looked for trial in trials) < 3 * len(trials)
    assert pickle.loads(pickle.dumps(scheduler)).choose_trial_to_run(None) is None


def test_each_model_has_rungs_of_its_own() -> None:
    """One that learns in few epochs does not end one that needs many."""
    asha = EpochASHA(SPEC)
    for n in range(9):
        assert report(asha, f"fast{n}", 6, 0.9, "ials") == "CONTINUE"
    for n in range(3):
        report(asha, f"slow{n}", 6, 0.1 - 0.01 * n)
    assert report(asha, "slow9", 6, 0.01) == "STOP"  # the last of four of its own kind
    assert set(asha.reached) == {"ials", "lfm"}
    assert len(recorded(asha)[0]) == 4


def test_paced_trials_meet_after_the_same_part_of_their_length() -> None:
    asha = EpochASHA(SPEC, paced=True)

    def reached(name: str, length: int, epoch: int, value: float) -> str:
        trial = tune_trial(name, epochs=length)
        return str(asha.on_trial_result(None, trial, {"epoch": epoch, "objective": value}))

    assert reached("short", 9, 1, 0.5) == "CONTINUE"
    assert reached("long", 36, 3, 0.9) == "CONTINUE"  # its first rung is epoch 4
    assert recorded(asha)[0] == {"short": 0.5}
    assert reached("long", 36, 4, 0.3) == "CONTINUE"
    assert reached("middle", 18, 2, 0.2) == "STOP"
    assert reached("short", 9, 3, 0.6) == "CONTINUE"
    assert recorded(asha) == [{"short": 0.5, "long": 0.3, "middle": 0.2}, {"short": 0.6}]
    assert reached("short", 9, 9, 0.7) == "STOP"  # its end

    again = EpochASHA(SPEC, paced=True)
    again.replay("long", [(4, 0.3)], SimpleNamespace(model="lfm", most_epochs=36))
    assert recorded(again) == [{"long": 0.3}, {}]
