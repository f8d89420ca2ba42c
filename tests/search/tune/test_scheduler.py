"""ASHA in epochs against a plain twin, and fed again after an interruption."""

from __future__ import annotations

import math
import pickle
from collections import Counter
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.propose.trials import from_journal
from search.record.events import (
    EpochRow,
    EpochsReported,
    Reason,
    State,
    TrialEnded,
    TrialMade,
)
from search.record.state import RunState
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune.scheduler import EpochASHA, make_scheduler, rungs
from tests.search.spaces import override

LFM = SimpleNamespace(model="lfm", most_epochs=60)
SPEC = override(load_spec("bpr_hard"), ["max_epochs=60", "reduction_factor=3"])
ALL = override(load_spec("all"), ["max_epochs=60", "grace_epochs=6", "reduction_factor=3"])


def tune_trial(name: str, model: str = "lfm", epochs: int = 60, method: str | None = None) -> Any:
    """What the scheduler looks at in one of Tune's trials; Tune's own id differs from ours."""
    train = SimpleNamespace(model=model, most_epochs=epochs)
    ours = SimpleNamespace(id=name, train=train, params={"lr": 0.1} | params_of(method))
    return SimpleNamespace(trial_id=f"tune-{name}", config={"trial": ours})


def params_of(method: str | None) -> dict[str, Any]:
    return {} if method is None else {"method": method}


def report(
    asha: EpochASHA,
    name: str,
    epoch: int,
    value: float,
    model: str = "lfm",
    method: str | None = None,
) -> str:
    trial = tune_trial(name, model, method=method)
    return str(asha.on_trial_result(None, trial, {"epoch": epoch, "objective": value}))


def recorded(
    asha: EpochASHA, model: str = "lfm", method: str | None = None
) -> list[dict[str, float]]:
    """Best values so far by trial, rung for rung."""
    return asha.reached[model, method].recorded


class Twin:
    """The rule in plain words: at a rung, go on if less than 1/3 of those there are better."""

    def __init__(self, spec: SearchSpec, near: float) -> None:
        self.spec, self.near = spec, near
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
            return "CONTINUE" if value >= self.near * max(here.values()) else "STOP"
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


def test_the_first_trials_of_a_method_go_on_unless_they_are_far_below() -> None:
    asha = EpochASHA(ALL)
    assert report(asha, "t0000", 6, 0.5, method="bce") == "CONTINUE"
    assert report(asha, "t0001", 6, 0.34, method="bce") == "STOP"
    assert report(asha, "t0002", 6, 0.36, method="bce") == "STOP"  # three are there: the best third
    assert report(asha, "t0003", 6, 0.1, method="bpr_hard") == "CONTINUE"  # its first
    assert report(asha, "t0004", 6, 0.08, method="bpr_hard") == "CONTINUE"
    assert report(asha, "t0005", 6, 0.01, "ials", "ials") == "CONTINUE"
    assert report(asha, "t0006", 6, 0.0, method="softmax_hard") == "CONTINUE"
    assert report(asha, "t0007", 6, 0.0, method="softmax_hard") == "CONTINUE"  # level, at nothing


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


@cache
def sized(several: bool, factor: int, max_epochs: int) -> SearchSpec:
    """A space with methods or without."""
    settings = [f"max_epochs={max_epochs}", f"reduction_factor={factor}"]
    return override(ALL if several else SPEC, settings)


@given(events, st.sampled_from([2, 3, 4]), st.sampled_from([10, 20, 60]), st.booleans())
@settings(max_examples=150, deadline=None)
def test_against_the_twin(
    steps: list[tuple[int, int, float]], factor: int, max_epochs: int, several: bool
) -> None:
    """Where a space has several methods, the trials of each are as those of a search."""
    spec = sized(several, factor, max_epochs)
    asha = EpochASHA(spec)
    methods = ["bpr_hard", "bce"] if several else [None]
    twins = {method: Twin(spec, 0.7 if several else 0.0) for method in methods}
    epochs: dict[int, int] = {}
    for trial, more, value in steps:
        epochs[trial] = min(epochs.get(trial, 0) + more, max_epochs)
        name = f"t{trial:04d}"
        method = methods[trial % len(methods)]
        decided = report(asha, name, epochs[trial], value, method=method)
        assert decided == twins[method].report(name, epochs[trial], value)


@pytest.mark.parametrize("cut", [3, 17, 40])
@pytest.mark.parametrize(
    ("spec", "methods"),
    [(SPEC, [None]), (ALL, ["bpr_hard", "bpr_uniform", "softmax_uniform"])],
    ids=["one", "several"],
)
def test_replay_decides_as_without_an_interruption(
    spec: SearchSpec, methods: list[str | None], cut: int
) -> None:
    rng = np.random.default_rng(cut)
    ends = np.sort(rng.random(60))
    rng.shuffle(ends)
    curves = {f"t{i:04d}": ends[i] * (1 - np.exp(-np.arange(1, 61) / 20)) for i in range(60)}
    of = {f"t{i:04d}": methods[i % len(methods)] for i in range(60)}

    def run(asha: EpochASHA, name: str) -> list[tuple[int, float]]:
        seen = []
        for epoch in range(1, 61):
            value = float(curves[name][epoch - 1])
            seen.append((epoch, value))
            if epoch in (*rungs(SPEC), 60):
                stop = report(asha, name, epoch, value, method=of[name])
                if stop == "STOP":
                    break
        return seen

    whole = EpochASHA(spec)
    expected = {name: run(whole, name) for name in curves}
    first, journal = EpochASHA(spec), {}
    for name in list(curves)[:cut]:
        journal[name] = run(first, name)
    # the next one had passed two rungs when the machine died
    running = list(curves)[cut]
    journal[running] = [(e, float(curves[running][e - 1])) for e in range(1, 20)]
    if len(expected[running]) < 20:
        journal[running] = journal[running][: len(expected[running]) - 1]
    second = EpochASHA(spec)
    for name, reports in journal.items():
        second.replay(name, reports, LFM, params_of(of[name]))
    for name in list(curves)[cut:]:
        assert run(second, name) == expected[name]
    assert set(second.reached) == {("lfm", method) for method in methods}
    for method in methods:
        assert recorded(second, method=method) == recorded(whole, method=method)


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
    assert set(asha.reached) == {("ials", None), ("lfm", None)}
    assert len(recorded(asha)[0]) == 4


def grown(level: float, slowness: float, epoch: int) -> float:
    """What a trial that will reach `level` has after an epoch."""
    return level * (1 - math.exp(-epoch / slowness))


def test_a_method_that_learns_slowly_is_not_held_against_one_that_learns_fast() -> None:
    """Two methods of one model, level at the end: the best of the slow one comes to its end, and
    its weak ones do not.
    """
    asha, reached = EpochASHA(ALL), {}
    for n in range(24):
        method, slowness = ("softmax_hard", 3.0) if n % 2 else ("bpr_uniform", 40.0)
        level = 0.2 if n == 22 else 0.05 + 0.005 * (n // 2 * 5 % 12)
        for epoch in (6, 18, 54, 60):
            reached[n] = epoch
            value = grown(level, slowness, epoch)
            if report(asha, f"t{n:04d}", epoch, value, method=method) == "STOP":
                break
    assert grown(0.2, 40.0, 6) < grown(0.05, 3.0, 6)  # behind all of the fast one at first
    assert reached[22] == 60
    assert Counter(reached[n] for n in range(0, 24, 2))[6] == 4  # weak ones of the slow one
    assert len(recorded(asha, method="bpr_uniform")[0]) == 12
    assert "bpr_uniform 1: 12" in asha.debug_string()


def test_one_method_alone_is_a_space_without_methods() -> None:
    only = override(ALL, ["method=[bpr_uniform]"])
    asha = EpochASHA(only)
    report(asha, "t0", 6, 0.5, method="bpr_uniform")
    assert set(asha.reached) == {("lfm", None)}


def test_a_journal_from_before_methods_had_rungs_is_resumed() -> None:
    """Nothing new is kept: what a trial was chosen to be tells its rungs. What was stopped then
    stays so, and stands in the rungs of its own method.
    """
    state = RunState()
    for n, (method, value) in enumerate(
        [
            ("softmax_hard", 0.17),
            ("softmax_hard", 0.16),
            ("bpr_uniform", 0.04),
            ("bpr_uniform", 0.03),
        ]
    ):
        stopped = method == "bpr_uniform"
        params = {"method": method, "lr": 0.1}
        flat = {"loss": "bpr", "neg_mode": "fixed", "neg_sample_num": 3, "lr": 0.1, "epochs": 60}
        state.apply(TrialMade(id=f"t{n:04d}", number=n, params=params, config=flat, seed=n), 0)
        rows = [EpochRow(6, 0.5, (value,), 0.1, 0.1)]
        state.apply(EpochsReported.of(f"t{n:04d}", 1, (ALL.metric,), rows), 0)
        if stopped:
            end = TrialEnded(
                id=f"t{n:04d}", state=State.PRUNED, reason=Reason.ASHA, value=value, epochs=6
            )
            state.apply(end, 0)
    asha = EpochASHA(ALL)
    for trial in state.in_order():
        steps = from_journal(trial, ALL.metric).steps
        asha.replay(trial.id, steps, trial.training, trial.params)
    assert recorded(asha, method="bpr_uniform")[0] == {"t0002": 0.04, "t0003": 0.03}
    assert report(asha, "t0004", 6, 0.05, method="bpr_uniform") == "CONTINUE"
    assert report(asha, "t0005", 6, 0.035, method="bpr_uniform") == "STOP"


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
    again.replay("long", [(4, 0.3)], SimpleNamespace(model="lfm", most_epochs=36), {})
    assert recorded(again) == [{"long": 0.3}, {}]
