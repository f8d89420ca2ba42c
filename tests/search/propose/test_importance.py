"""Which parameters mattered, on functions that say which do, whatever chose the trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.propose.importance import Shares, importance
from search.propose.lengths import Lengths
from search.propose.proposers import PROPOSERS
from search.record.events import State
from search.record.state import TrialRecord
from search.space.load import load_spec
from search.space.spec import SearchSpec

SPACE = """
metric: map@50
max_epochs: 16
params:
  loss: bpr
  neg_mode: fixed
  optimizer: adagrad
  latent_factors: {choice: [64, 128, 256]}
  neg_sample_num: {low: 1, high: 10, log: true}
  margin: {low: 0, high: 4}
  lr: {low: 0.01, high: 1, log: true}
  l2: {low: 0.0001, high: 0.1, log: true}
"""
Function = Callable[[dict[str, Any]], float]


@pytest.fixture
def spec(tmp_path: Path) -> SearchSpec:
    path = tmp_path / "planted.yaml"
    path.write_text(SPACE)
    return load_spec(str(path))


def place(params: dict[str, Any], name: str) -> float:
    """Where lr or l2 lies in its range, from 0 to 1."""
    low, high = {"lr": (0.01, 1.0), "l2": (0.0001, 0.1)}[name]
    return math.log(params[name] / low) / math.log(high / low)


def one(params: dict[str, Any]) -> float:
    return -((place(params, "lr") - 0.6) ** 2)


def ended(number: int, params: dict[str, Any], value: float) -> TrialRecord:
    known: dict[str, Any] = {"state": State.COMPLETE, "value": value}
    config = {"epochs": 16}
    return TrialRecord(f"t{number}", number, dict(params), config, seed=0, created=0.0, **known)


def trials(
    spec: SearchSpec, searcher: str, count: int, function: Function, noise: float = 0.01
) -> list[TrialRecord]:
    """The trials of a search that maximises a function, with noise; `random`: drawn evenly."""
    startup = count if searcher == "random" else 8
    make = PROPOSERS["gp" if searcher == "random" else searcher].make
    proposer = make(spec, startup, Lengths(lambda config: []))
    rng = np.random.default_rng(7)
    found: list[TrialRecord] = []
    for number in range(count):
        params = proposer.propose(3, number, lambda _: False)
        value = function(params) + noise * rng.standard_normal()
        proposer.tell(number, State.COMPLETE, value, None)
        found.append(ended(number, params, value))
    return found


def shares(spec: SearchSpec, made: list[TrialRecord]) -> Shares:
    return importance(spec, made, np.random.default_rng(0))


@pytest.mark.parametrize("searcher", ["random", "gp", "tpe"])
def test_what_matters_leads_and_what_does_nothing_has_nothing(
    spec: SearchSpec, searcher: str
) -> None:
    """A search that learns has hardly any bad trials left, and still is told."""
    found = shares(spec, trials(spec, searcher, 50, one))
    assert next(iter(found.shares)) == "lr"
    assert found.shares["lr"] > 0.4
    assert found.intervals["lr"][0] > 0.2
    for name in ("latent_factors", "neg_sample_num", "margin", "l2"):
        assert found.shares[name] < 0.1
        assert found.intervals[name][0] < 0.01


@pytest.mark.parametrize("searcher", ["random", "gp", "tpe"])
@pytest.mark.parametrize("count", [8, 14, 40])
def test_every_interval_has_its_share_in_it(spec: SearchSpec, searcher: str, count: int) -> None:
    made = trials(spec, searcher, count, lambda p: one(p) + 0.03 * p["margin"])
    found = shares(spec, made)
    assert found.shares.keys() == found.intervals.keys()
    for name, share in found.shares.items():
        low, high = found.intervals[name]
        assert 0 <= low <= share <= high <= 1


def test_two_that_only_matter_together_both_have_it(spec: SearchSpec) -> None:
    made = trials(spec, "random", 60, lambda p: -((place(p, "lr") - place(p, "l2")) ** 2))
    found = shares(spec, made)
    assert set(list(found.shares)[:2]) == {"lr", "l2"}
    assert min(found.shares["lr"], found.shares["l2"]) > 0.5


def test_where_only_chance_differs_nearly_nothing_is_proven(spec: SearchSpec) -> None:
    """An interval has nine tenths: of 25, one or two may lie above 0."""
    lows: list[float] = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = 0.2 + 0.01 * rng.standard_normal(30)
        made = [ended(n, spec.sample(rng), float(value)) for n, value in enumerate(values)]
        lows += [low for low, _ in shares(spec, made).intervals.values()]
    assert len(lows) == 25
    assert sum(low > 0.02 for low in lows) <= 3


def test_a_number_of_factors_among_three(spec: SearchSpec) -> None:
    gain = {64: 0.0, 128: 0.1, 256: 0.12}
    found = shares(spec, trials(spec, "gp", 40, lambda p: gain[p["latent_factors"]]))
    assert next(iter(found.shares)) == "latent_factors"
    assert found.intervals["latent_factors"][0] > 0.2


def test_trials_that_were_stopped_count_with_what_they_had_reached(spec: SearchSpec) -> None:
    """Bad learning rates never came to their end."""
    made = trials(spec, "random", 40, one)
    cut = []
    for trial in made:
        assert trial.value is not None
        if trial.value < -0.05:
            columns, rows = ("epoch", "map@50"), [[1.0, trial.value - 0.1], [2.0, trial.value]]
            trial = replace(trial, state=State.PRUNED, columns=columns, rows=rows)
        cut.append(trial)
    assert 10 < sum(trial.state == State.PRUNED for trial in cut) < 35
    found = shares(spec, cut)
    assert next(iter(found.shares)) == "lr"
    assert found.shares["lr"] > 0.5


def test_failed_trials_were_worse_than_others(spec: SearchSpec) -> None:
    made = [
        trial if trial.params["margin"] < 3 else replace(trial, state=State.FAILED, value=None)
        for trial in trials(spec, "random", 40, lambda _: 0.2, noise=0.001)
    ]
    assert next(iter(shares(spec, made).shares)) == "margin"


def test_too_few_trials_or_equal_ones_say_nothing(spec: SearchSpec) -> None:
    assert shares(spec, []) == Shares()
    assert shares(spec, trials(spec, "random", 7, one)) == Shares()
    assert shares(spec, trials(spec, "random", 20, lambda _: 0.2, noise=0)) == Shares()
    failed = [replace(t, state=State.FAILED, value=None) for t in trials(spec, "random", 20, one)]
    assert shares(spec, failed) == Shares()


def test_the_same_trials_give_the_same_shares(spec: SearchSpec) -> None:
    made = trials(spec, "random", 12, one)
    assert shares(spec, made) == shares(spec, made)
