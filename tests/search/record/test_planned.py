"""How many trials a run has: never more than its space has configs, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.search import Searcher

from search.propose import distributions
from search.propose.samplers import sampler
from search.propose.study import quiet
from search.record.events import StageMarked, StageState, State, TrialEnded, TrialMade
from search.record.planned import (
    configs_left,
    different_configs,
    distinct,
    plan_more,
    plan_new,
    with_trials,
)
from search.record.result import Searched, SearchEnd
from search.record.state import RunState
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig, trial_id
from search.tune.searcher import StudySearch
from tests.search.fake_search import SPACE, records, run, spec, suggest
from tests.search.spaces import override

__all__ = ["spec"]

GRID = """
searcher: grid
params: {lr: {choice: [0.05, 0.1]}, latent_factors: {choice: [4, 8]}}
"""
ROUNDING = """
searcher: random
params:
  lr: 0.1
  latent_factors: 4
  neg_mode: hard
  num_candidate_neg_samples: 4
  hard_fraction: {low: 0.1, high: 1}
"""


def space(tmp_path: Path, text: str) -> SearchSpec:
    path = tmp_path / "own.yaml"
    path.write_text(dedent(text))
    return load_spec(str(path))


def state_of(
    spec: SearchSpec,
    configs: list[dict[str, Any]],
    running: int = 0,
    search: Searched | None = None,
) -> RunState:
    """A run that made a trial of each of `configs`, the last `running` of them not ended."""
    state = RunState()
    for n, params in enumerate(configs):
        trial = TrialConfig.of(spec, params, 0)
        flat = trial.train.to_flat()
        made = TrialMade(id=trial_id(n), number=n, params=params, config=flat, seed=trial.seed)
        state.apply(made, 0)
        if n < len(configs) - running:
            state.apply(TrialEnded(id=trial_id(n), state=State.COMPLETE, value=0.1), 0)
    if search is not None:
        done = StageMarked(name="search", state=StageState.DONE, data=search.plain())
        state.apply(done, 0)
    return state


class TestHowManyConfigs:
    def test_a_grid(self, tmp_path):
        grid = space(tmp_path, GRID)
        assert different_configs(grid, 100) == 4
        assert different_configs(grid, 4) == 4
        assert different_configs(grid, 3) is None

    def test_conditions_and_set(self, tmp_path):
        text = """
            params:
              loss: {choice: [softmax, bpr]}
              margin: {low: 0, high: 1, step: 0.5, when: {loss: bpr}}
              lr: {choice: [0.1, 0.2]}
        """
        conditional = space(tmp_path, text)
        assert different_configs(conditional, 100) == 8
        assert different_configs(override(conditional, ["loss=softmax"]), 100) == 2
        assert different_configs(override(conditional, ["margin=0.5"]), 100) == 4
        ends = override(conditional, ["lr={low: 0.1, high: 0.1}", "loss=softmax"])
        assert different_configs(ends, 100) == 1

    def test_fractions_that_round_to_one_count_are_one_config(self, tmp_path):
        stepped = override(space(tmp_path, ROUNDING), ["hard_fraction=[0.25, 0.26, 0.5, 1.0]"])
        assert different_configs(stepped, 100) == 3

    def test_what_cannot_be_counted(self, spec):
        assert different_configs(spec, 10**6) is None

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 80))
    def test_equals_its_slow_twin(self, tmp_path_factory, sizes, most):
        names = ("latent_factors", "batch_size", "patience")
        params = {n: {"choice": list(range(1, k + 1))} for n, k in zip(names, sizes, strict=False)}
        text = "params: " + str({"lr": 0.1, "latent_factors": 2} | params).replace("'", "")
        counted = different_configs(space(tmp_path_factory.mktemp("s"), text), most)
        size = int(np.prod(sizes))
        assert counted == (size if size <= most else None)


class TestPlanOfANewRun:
    def test_a_grid_asked_for_more_than_it_has(self, tmp_path):
        plan = plan_new(override(space(tmp_path, GRID), ["trials=100"]), by_option=True)
        assert plan.trials == 4
        (note,) = plan.notes
        assert note == (
            "note: the grid has 4 configs: 4 trials are planned (--trials asked for 100)"
        )

    def test_one_config(self, tmp_path):
        one = override(
            space(tmp_path, GRID), ["searcher=tpe", "lr=0.1", "latent_factors=4", "trials=5"]
        )
        plan = plan_new(one)
        assert plan.trials == 1
        assert "the space has 1 config: 1 trial is planned" in plan.notes[0]

    @pytest.mark.parametrize("trials", [1, 3, 4])
    def test_nothing_is_said_where_there_is_enough(self, tmp_path, trials):
        plan = plan_new(override(space(tmp_path, GRID), [f"trials={trials}"]))
        assert (plan.trials, plan.notes) == (trials, ())

    def test_a_space_without_a_count(self, spec):
        assert plan_new(spec).trials == spec.trials

    def test_every_space_of_the_project_keeps_its_number(self):
        from search.space.load import space_names

        for name in space_names():
            known = load_spec(name)
            assert plan_new(known).trials == known.trials


class TestPlanOfMore:
    def test_extending_a_grid_that_is_through(self, tmp_path):
        grid = space(tmp_path, GRID)
        state = state_of(grid, list(grid.grid()))
        for planned in (4, 100):
            assert plan_more(grid, state, planned, 10).trials == 4
        assert not configs_left(grid, state)

    def test_only_some_are_left(self, tmp_path):
        grid = space(tmp_path, GRID)
        state = state_of(grid, list(grid.grid())[:3])
        plan = plan_more(grid, state, 3, 10)
        assert plan.trials == 4
        assert "3 trials so far, 1 more: 4 in all" in plan.notes[0]
        assert "1 config left, not 10" in plan.notes[0]

    def test_repeats_of_an_older_version_do_not_count(self, tmp_path):
        grid = space(tmp_path, GRID)
        first, second, *_ = grid.grid()
        state = state_of(grid, [first, first, first, second])
        assert distinct(t.config for t in state.trials.values()) == 2
        assert plan_more(grid, state, 4, 10).trials == 6

    def test_after_a_time_budget_ended_the_run(self, spec):
        rng = np.random.default_rng(0)
        configs = [spec.sample(rng) for _ in range(25)]
        state = state_of(spec, configs, search=Searched(planned=4000))
        plan = plan_more(spec, state, 4000, 5)
        assert plan.trials == 30
        assert plan.notes == (
            "note: 25 trials so far, 5 more: 30 in all (not the 4,000 planned before)",
        )

    def test_trials_that_have_not_ended_are_among_the_more(self, spec):
        rng = np.random.default_rng(0)
        state = state_of(spec, [spec.sample(rng) for _ in range(10)], running=2)
        assert plan_more(spec, state, 64, 5).trials == 13
        assert plan_more(spec, state, 64, 1).trials == 10

    def test_a_resume_keeps_its_number(self, spec, tmp_path):
        rng = np.random.default_rng(0)
        state = state_of(spec, [spec.sample(rng) for _ in range(10)], running=2)
        assert plan_more(spec, state, 64, None).trials == 64
        grid = space(tmp_path, GRID)
        assert plan_more(grid, state_of(grid, list(grid.grid())[:2]), 100, None).trials == 4

    def test_a_search_that_found_nothing_new_has_nothing_left(self, tmp_path):
        rounding = space(tmp_path, ROUNDING)
        configs = [{"hard_fraction": f} for f in (0.25, 0.5, 0.75, 1.0)]
        ended = Searched(stopped_by=SearchEnd.SPACE, planned=20)
        state = state_of(rounding, configs, search=ended)
        assert not configs_left(rounding, state)
        assert plan_more(rounding, state, 20, 10).trials == 4


def by_optuna_alone(spec: SearchSpec, seed: int, ahead: int, n: int) -> list[Any]:
    """The slow twin: what Optuna's own sampler proposes, without a look at what is known."""
    quiet()
    study = optuna.create_study(direction="maximize")
    rng = np.random.default_rng(seed)
    found, open_trials = [], []
    for number in range(n):
        study.sampler = sampler(spec, seed, number)
        trial = study.ask()
        found.append(distributions.suggest(spec, trial))
        open_trials.append(trial)
        while len(open_trials) > ahead:
            done = open_trials.pop(int(rng.integers(len(open_trials))))
            study.tell(done, done.params["lr"])
    return found


@pytest.mark.parametrize("searcher", ["tpe", "random"])
@pytest.mark.parametrize("ahead", [0, 3])
def test_where_all_is_new_optuna_itself_decides(tmp_path, searcher, ahead):
    chosen = override(space(tmp_path, SPACE), [f"searcher={searcher}", "enqueue=[]"])
    expected = by_optuna_alone(chosen, 3, ahead, 30)
    search = StudySearch(chosen, seed=3, budget=30)
    rng = np.random.default_rng(3)
    found, running = [], []
    for number in range(30):
        trial = suggest(search, f"x{number}")
        assert trial is not None
        found.append(trial.params)
        running.append((f"x{number}", trial.params["lr"]))
        while len(running) > ahead:
            name, value = running.pop(int(rng.integers(len(running))))
            search.on_trial_complete(name, {"objective": value, "epoch": 1, "stop": "epochs"})
    assert found == expected


class TestNoConfigTwice:
    @pytest.mark.parametrize("searcher", ["gp", "tpe", "random", "grid"])
    def test_a_space_that_can_be_counted(self, tmp_path, searcher):
        small = override(
            space(tmp_path, GRID),
            [f"searcher={searcher}", "latent_factors={low: 1, high: 6, step: 1}"],
        )
        search = StudySearch(small, seed=1, budget=100)
        configs = run(search, lambda params: params["lr"])
        assert len(configs) == 12
        assert distinct(trial.train.to_flat() for trial in configs) == 12
        assert search.exhausted

    @pytest.mark.parametrize("searcher", ["gp", "tpe", "random"])
    def test_a_space_that_cannot_be_counted(self, tmp_path, searcher):
        rounding = override(space(tmp_path, ROUNDING), [f"searcher={searcher}"])
        search = StudySearch(rounding, seed=1, budget=30)
        configs = run(search, lambda params: params["hard_fraction"])
        assert sorted(c.train.negatives.hard for c in configs) == [1, 2, 3, 4]
        assert search.exhausted
        assert search.suggest("more") == Searcher.FINISHED

    def test_running_pruned_and_failed_trials_are_not_repeated(self, tmp_path):
        small = override(space(tmp_path, GRID), ["searcher=random"])
        search = StudySearch(small, seed=1, budget=100)
        configs = [suggest(search, f"x{n}") for n in range(3)]
        search.on_trial_complete("x0", None, error=True)
        search.on_trial_complete("x1", {"objective": 0.1, "epoch": 1, "stop": None})
        configs.append(suggest(search, "x3"))
        assert distinct(trial.train.to_flat() for trial in configs) == 4
        assert search.suggest("x4") == Searcher.FINISHED

    def test_entries_of_enqueue_that_are_one_training(self, tmp_path):
        twice = override(
            space(tmp_path, ROUNDING),
            ["enqueue=[{hard_fraction: 0.25}, {hard_fraction: 0.26}, {hard_fraction: 0.5}]"],
        )
        search = StudySearch(twice, seed=1, budget=3)
        fractions = [c.params["hard_fraction"] for c in run(search, lambda params: 0.5)]
        assert fractions[:2] == [0.25, 0.5]
        assert len(fractions) == 3

    def test_the_same_after_a_resume(self, tmp_path):
        small = override(space(tmp_path, GRID), ["searcher=tpe", "latent_factors=[1, 2, 3, 4, 5]"])
        whole = run(StudySearch(small, seed=9, budget=10), lambda params: params["lr"])
        first = StudySearch(small, seed=9, budget=10)
        run(first, lambda params: params["lr"], most=6)
        second = StudySearch(small, records(first.study), seed=9, budget=10)
        rest = run(second, lambda params: params["lr"])
        assert rest == whole[6:]
        assert distinct(c.train.to_flat() for c in whole) == 10

    def test_a_space_of_constants(self, tmp_path):
        one = with_trials(override(space(tmp_path, GRID), ["lr=0.1", "latent_factors=4"]), 5)
        one = override(one, ["searcher=tpe"])
        search = StudySearch(one, seed=1, budget=5)
        assert len(run(search, lambda params: 0.5)) == 1
        states = [t.state for t in search.study.get_trials(deepcopy=False)]
        assert states == [optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.FAIL]
