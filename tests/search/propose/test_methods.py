"""A space with methods: each is searched on its own, and trials are dealt out among them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from search.propose.methods import _value_of
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune.searcher import StudySearch
from tests.search.fake_search import finish, records, run, suggest

SPACE = """
    trials: 60
    params:
      method:
        choice:
          hard: {loss: bpr, neg_mode: hard, num_candidate_neg_samples: 20, hard_fraction: 0.2}
          soft: {loss: softmax, neg_mode: fixed, neg_sample_num: 5}
          slim: {model: slim}
      lr: {low: 0.001, high: 1, log: true}
      margin: {low: 0, high: 4, when: {loss: bpr}}
      slim_l2: {low: 1, high: 10000, log: true}
      slim_neighbours: {choice: [50, 100]}
    enqueue:
      - {method: slim, slim_l2: 5, slim_neighbours: 50}
"""


def space(tmp_path: Path, text: str = SPACE) -> SearchSpec:
    path = tmp_path / "several.yaml"
    path.write_text(dedent(text))
    return load_spec(str(path))


def value(params: dict[str, Any]) -> float:
    """hard can be best: 1 with lr 0.05 and margin 2; slim 0.8 with l2 100; soft always 0.1."""
    if params["method"] == "hard":
        off = abs(math.log(params["lr"] / 0.05)) + abs(params["margin"] - 2)
        return 1 / (1 + off)
    if params["method"] == "slim":
        return 0.8 / (1 + abs(math.log(params["slim_l2"] / 100)))
    return 0.1


@pytest.mark.parametrize(
    ("state", "reached"), [(State.COMPLETE, 0.9), (State.PRUNED, 0.4), (State.FAILED, None)]
)
def test_what_a_trial_reached(state: State, reached: float | None) -> None:
    trial = StudyTrial(0, {}, state, value=0.9, steps=((1, 0.2), (3, 0.4)))
    assert _value_of(trial) == reached
    with pytest.raises(AssertionError):
        _value_of(replace(trial, state=State.RUNNING))


def test_what_is_a_method(tmp_path: Path) -> None:
    spec = space(tmp_path)
    assert spec.methods() == ("hard", "soft", "slim")
    only = spec.of_method("slim")
    chosen = only.choose(lambda param: next(iter(param.domain.corners())))  # type: ignore[union-attr]
    assert chosen == {"method": "slim", "slim_l2": 1, "slim_neighbours": 50}
    one = "params:\n  lr: {low: 0.01, high: 1}\n  loss: {choice: [bpr, softmax]}\n"
    assert space(tmp_path, one).methods() == ()
    below = """
        params:
          loss: {choice: [bpr, bce]}
          neg:
            when: {loss: bpr}
            choice: {a: {neg_mode: even}, b: {neg_mode: fixed, neg_sample_num: 3}}
          lr: {low: 0.01, high: 1}
    """
    assert space(tmp_path, below).methods() == ()  # it is not there in every trial
    models = "params:\n  model: {choice: [lfm, ease]}\n  lr: {low: 0.01, high: 1}\n"
    assert space(tmp_path, models).methods() == ("lfm", "ease")


def test_trials_go_where_they_are_worth_most(tmp_path: Path) -> None:
    trials = run(StudySearch(space(tmp_path), seed=0), value)
    assert trials[0].params["method"] == "slim"  # what is listed comes first
    count = Counter(str(trial.params["method"]) for trial in trials)
    assert min(count.values()) >= 3
    assert count["soft"] <= 12  # 0.1 whatever it does
    assert max(value(trial.params) for trial in trials) > 0.75


@pytest.mark.parametrize("cut", [1, 7, 23])
def test_a_resumed_search_proposes_the_same(tmp_path: Path, cut: int) -> None:
    spec = space(tmp_path)
    whole = [t.params for t in run(StudySearch(spec, seed=4, budget=30), value)]
    first = StudySearch(spec, seed=4, budget=30)
    before = run(first, value, most=cut)
    open_ = suggest(first, "was running")
    assert open_ is not None
    second = StudySearch(spec, records(first.study), seed=4, budget=30)
    after = run(second, value)
    assert after[0].params == open_.params
    assert [t.params for t in [*before, *after]] == whole


def test_a_method_without_new_configs_gives_way(tmp_path: Path) -> None:
    text = """
        trials: 20
        params:
          model: {choice: [popularity, ease]}
          ease_l2: {choice: [1, 10, 100]}
    """
    search = StudySearch(space(tmp_path, text), seed=0)
    trials = run(search, lambda params: 0.5 if params["model"] == "popularity" else 0.1)
    assert Counter(t.params["model"] for t in trials) == {"popularity": 1, "ease": 3}
    assert search.exhausted


def test_a_method_of_which_only_stopped_trials_have_ended_is_not_behind(tmp_path: Path) -> None:
    """Its better ones still run: what the stopped one had after a few epochs says nothing."""
    text = SPACE.replace("slim: {model: slim}", "more: {loss: bce, neg_mode: even}")
    spec = replace(space(tmp_path, text[: text.index("slim_l2")]), enqueue=())
    search = StudySearch(spec, seed=1)
    begun = {n: suggest(search, f"x{n}") for n in range(9)}
    for n, trial in begun.items():
        assert trial is not None
        if trial.params["method"] == "hard" and n >= 6:
            search.on_trial_complete(f"x{n}", {"epoch": 4, "objective": 0.02})
        elif trial.params["method"] != "hard":
            finish(search, f"x{n}", 0.2 if trial.params["method"] == "soft" else 0.1)
    after = Counter(suggest(search, f"y{n}").params["method"] for n in range(12))  # type: ignore[union-attr]
    assert after["hard"] >= 4
    assert after["more"] <= 1


def test_several_at_a_time(tmp_path: Path) -> None:
    search = StudySearch(space(tmp_path), seed=2, budget=12)
    for n in range(6):
        suggest(search, f"x{n}")
    for n in range(6):
        finish(search, f"x{n}", 0.1 * n, stop=None if n % 2 else "epochs")
        suggest(search, f"y{n}")
    states = Counter(trial.state for trial in records(search.study))
    assert states == {"COMPLETE": 3, "PRUNED": 3, "RUNNING": 6}
