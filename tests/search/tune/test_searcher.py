"""The searcher driven by hand: what it hands out, and what Optuna is told."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args

import numpy as np
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from recsys.models.progress import Stop
from search.propose.study_journal import as_journal
from search.record.events import Reason, State
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig
from search.tune.outcome import AT_ONCE, Outcome, Report, judge
from search.tune.searcher import StudySearch
from search.tune.worker import report_every_s
from tests.search.fake_search import finish, objective, run, spec, suggest
from tests.search.spaces import override

__all__ = ["spec"]


def test_suggestions_are_complete_configs(spec: SearchSpec) -> None:
    told: list[TrialConfig] = []
    search = StudySearch(
        spec,
        seed=3,
        budget=12,
        on_new=told.append,
    )
    ids = []
    for n in range(12):
        ids.append(search.next_id())
        trial = suggest(search, f"tune{n}")
        assert trial is not None
        assert len(told) == n + 1, "the journal has to know a trial before anyone runs it"
        assert told[n] == trial == TrialConfig.of(spec, trial.params, 3, n)
        assert trial.id == ids[n]
        finish(search, f"tune{n}", objective(trial.params))
    assert ids == [f"t{n:04d}" for n in range(12)]
    assert told[0].params == dict(spec.enqueue[0])
    assert search.suggest("more") == Searcher.FINISHED


def test_each_suggestion_says_how_many_trials_run_at_once_by_then(spec: SearchSpec) -> None:
    """As many as fit, or as run where some are smaller than was thought; the trial stays the same:
    a cluster that grows changes how often is reported, and no config.
    """
    room = [1]
    search = StudySearch(spec, seed=3, budget=5, fit=lambda: room[0])
    said, trials = [], []
    for n, now in enumerate((1, 1, 1, 400, 2)):
        room[0] = now
        suggestion = search.suggest(f"x{n}")
        assert isinstance(suggestion, dict)
        said.append(suggestion[AT_ONCE])
        trials.append(suggestion["trial"])
    assert said == [1, 1, 2, 400, 4]
    assert [report_every_s(n) for n in said] == [0.5, 0.5, 0.5, 2.0, 0.5]
    again = StudySearch(spec, seed=3, budget=5)
    assert [suggest(again, f"x{n}") for n in range(5)] == trials


def test_parameters_that_do_not_exist_never_reach_optuna(spec: SearchSpec) -> None:
    search = StudySearch(spec, seed=1, budget=40)
    run(search)
    trials = search.study.get_trials()
    assert len(trials) == 40
    for trial in trials:
        assert ("margin" in trial.params) == (trial.params["loss"] == "bpr")
        assert ("temperature" in trial.params) == (trial.params["loss"] == "softmax")
        assert trial.distributions.keys() == trial.params.keys()
    assert {t.params["loss"] for t in trials} == {"bpr", "softmax"}


def test_what_optuna_reads_in_a_fresh_process(spec: SearchSpec, tmp_path: Path) -> None:
    search = StudySearch(spec, seed=1, budget=8)
    for n in range(7):
        search.suggest(f"x{n}")
    finish(search, "x0", 1.0)
    # stopped by ASHA: Ray does not pass the last report to on_trial_result
    search.on_trial_result("x1", {"epoch": 4, "objective": 0.2})
    search.on_trial_complete("x1", {"epoch": 12, "objective": 0.3, "stop": None})
    search.on_trial_complete("x2", None, error=True)
    search.on_trial_complete(
        "x3", {"epoch": 5, "objective": 0.4, "error": "Traceback ...", "cause": "diverged in 6"}
    )
    search.on_trial_complete("x4", {"epoch": 5, "objective": math.nan, "stop": "epochs"})
    search.on_trial_complete("x5")  # it never ran: Tune gave up before
    path = tmp_path / "study.journal"
    path.write_text(as_journal(search.study.get_trials(deepcopy=False), "demo-1"))
    code = f"""
import json
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
storage = JournalStorage(JournalFileBackend({str(path)!r}))
study = optuna.load_study(study_name="demo-1", storage=storage)
print(json.dumps([[t.state.name, t.value, t.intermediate_values, t.user_attrs.get("error")]
                  for t in study.get_trials()]))
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    ).stdout
    assert json.loads(output) == [
        ["COMPLETE", 1.0, {"4": 0.1, "12": 0.3, "36": 0.9, "40": 1.0}, None],
        ["PRUNED", 0.3, {"4": 0.2, "12": 0.3}, None],
        ["FAIL", None, {}, "the trial's process died"],
        ["FAIL", None, {}, "diverged in 6"],
        ["FAIL", None, {}, "no finite objective was reported, got nan"],
        ["RUNNING", None, {}, None],
        ["RUNNING", None, {}, None],
    ]


REPORTS: list[tuple[dict[str, Any] | None, dict[str, Any], Outcome]] = [
    ({"objective": 0.5, "stop": "patience"}, {}, Outcome(State.COMPLETE, Reason.PATIENCE, 0.5)),
    ({"objective": 0.5, "stop": None}, {}, Outcome(State.PRUNED, Reason.STOPPED, 0.5)),
    ({"objective": 0.5}, {"stopped_by": Reason.TIME}, Outcome(State.PRUNED, Reason.TIME, 0.5)),
    (None, {}, Outcome(State.PRUNED, Reason.STOPPED)),
    (
        {"objective": 0.5, "cause": "c", "error": "Traceback"},
        {},
        Outcome(State.FAILED, Reason.ERROR, 0.5, "c", "Traceback"),
    ),
    (  # trained to its end, and what came after that failed
        {"objective": 0.5, "stop": "epochs", "cause": "c", "error": "Traceback"},
        {},
        Outcome(State.FAILED, Reason.ERROR, 0.5, "c", "Traceback"),
    ),
    (
        {"objective": 0.5, "stop": "epochs"},
        {"death": "gone"},
        Outcome(State.FAILED, Reason.WORKER, 0.5, "gone"),
    ),
    (None, {"death": "gone"}, Outcome(State.FAILED, Reason.WORKER, None, "gone")),
    (
        {"objective": -math.inf, "stop": "epochs"},
        {},
        Outcome(State.FAILED, Reason.ERROR, None, "no finite objective was reported, got -inf"),
    ),
]


@pytest.mark.parametrize(("report", "more", "expected"), REPORTS)
def test_what_a_last_report_means(
    report: dict[str, Any] | None, more: dict[str, Any], expected: Outcome
) -> None:
    assert judge(Report.of(report), **more) == expected


@pytest.mark.parametrize("stop", get_args(Stop))
def test_a_training_that_ended_by_itself_is_complete_for_a_known_reason(stop: Stop) -> None:
    found = judge(Report(objective=0.5, stop=stop))
    assert (found.state, found.reason) == (State.COMPLETE, stop)


def test_same_seed_same_sequence(spec: SearchSpec) -> None:
    def sequence(seed: int) -> list[TrialConfig]:
        return run(StudySearch(spec, seed=seed, budget=25))

    assert sequence(5) == sequence(5)
    assert sequence(6) != sequence(5)


def best_of(spec: SearchSpec, searcher: str, seed: int, noise: float) -> float:
    """The true value of the config that a search of 40 trials finds best."""
    rng = np.random.default_rng(seed)
    chosen = override(spec, [f"searcher={searcher}", "trials=40", "enqueue=[]"])
    search = StudySearch(chosen, seed=seed)
    run(search, lambda params: objective(params) + noise * float(rng.standard_normal()))
    return objective(search.study.best_params)


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("searcher", ["gp", "tpe"])
def test_the_known_optimum_is_found_better_than_by_chance(
    spec: SearchSpec, searcher: str, noise: float
) -> None:
    # 12 pairs; at chance it wins 6 of them, and 10 or more with probability 0.02
    names = (searcher, "random")
    pairs = [[best_of(spec, name, seed, noise) for name in names] for seed in range(12)]
    wins = sum(learned > chance for learned, chance in pairs)
    assert wins >= 10, pairs
    assert np.mean([one for one, _ in pairs]) > np.mean([chance for _, chance in pairs]) + 0.05
    assert np.median([one for one, _ in pairs]) > 0.6


def test_failing_and_pruned_trials_do_not_mislead(spec: SearchSpec) -> None:
    search = StudySearch(spec, seed=0, budget=60)
    for n in range(60):
        trial = suggest(search, f"x{n}")
        assert trial is not None
        value = objective(trial.params)
        if trial.params["lr"] > 0.3:
            search.on_trial_complete(f"x{n}", {"objective": value, "cause": "diverged"})
        elif value < 0.3:
            search.on_trial_complete(f"x{n}", {"epoch": 4, "objective": value, "stop": None})
        else:
            finish(search, f"x{n}", value)
    states = [t.state for t in search.study.get_trials()]
    assert {TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE} <= set(states)
    assert search.study.best_value > 0.5
    assert all(
        t.params["lr"] > 0.3 for t in search.study.get_trials() if t.state == TrialState.FAIL
    )


def test_random_depends_on_seed_and_number_alone(spec: SearchSpec) -> None:
    chosen = override(spec, ["searcher=random", "enqueue=[]"])
    one = StudySearch(chosen, seed=4, budget=10)
    two = StudySearch(chosen, seed=4, budget=10)
    first = run(one)
    second = [suggest(two, f"p{n}") for n in range(10)]  # all at once, as in parallel
    assert first == second
    assert len({str(trial.params) for trial in first}) == 10


def test_grid_is_every_config_once_in_order(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        dedent(
            """
            searcher: grid
            params:
              loss: {choice: [softmax, bpr]}
              margin: {low: 0, high: 1, step: 0.5, when: {loss: bpr}}
              lr: {choice: [0.1, 0.2]}
            enqueue: [{loss: bpr, margin: 1, lr: 0.1}]
            """
        )
    )
    spec = load_spec(str(path))
    assert spec.trials == 8
    search = StudySearch(spec, seed=0, budget=100)
    configs = [trial.params for trial in run(search, lambda params: 0.5)]
    first = {"loss": "bpr", "margin": 1.0, "lr": 0.1}
    assert configs == [first, *(c for c in spec.grid() if c != first)]
    assert [t.params for t in search.study.get_trials()] == configs


def test_grid_stops_at_its_budget() -> None:
    search = StudySearch(load_spec("report_table"), seed=0, budget=3)
    assert len(run(search, lambda params: 0.5)) == 3
