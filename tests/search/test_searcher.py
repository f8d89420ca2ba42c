"""The searcher driven by hand: what it hands out, and what Optuna is told."""

from __future__ import annotations

import copy
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from recsys.errors import ConfigError
from search.searcher import StudySearch, outcome
from search.space import SearchSpec, load_spec, override
from search.study import StudyTrial, importance, open_study, rebuild, records
from search.trial import TrialConfig

SPACE = """
    trials: 30
    max_epochs: 40
    params:
      loss: {choice: [bpr, softmax]}
      margin: {low: 0, high: 4, when: {loss: bpr}}
      temperature: {low: 0.1, high: 10, log: true, when: {loss: softmax}}
      lr: {low: 0.001, high: 1, log: true}
      latent_factors: {low: 8, high: 64, step: 8}
    enqueue:
      - {loss: softmax, temperature: 10, lr: 0.5, latent_factors: 8}
"""


@pytest.fixture
def spec(tmp_path: Path) -> SearchSpec:
    path = tmp_path / "fake.yaml"
    path.write_text(dedent(SPACE))
    return load_spec(str(path))


@pytest.fixture
def study_path(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "demo-1"
    folder.mkdir(parents=True)
    return folder / "study.journal"


def objective(params: dict[str, Any]) -> float:
    """Best is 1: bpr, margin 2, lr 0.05, 32 factors."""
    off = abs(math.log(params["lr"] / 0.05)) + abs(params["latent_factors"] - 32) / 32
    off += abs(params["margin"] - 2) if params["loss"] == "bpr" else 3.0
    return 1 / (1 + off)


def finish(search: StudySearch, name: str, value: float, stop: str | None = "epochs") -> None:
    for epoch in (4, 12, 36):
        search.on_trial_result(name, {"epoch": epoch, "objective": value * epoch / 40})
    search.on_trial_complete(name, {"epoch": 40, "objective": value, "stop": stop})


def run(
    search: StudySearch, value: Callable[[dict[str, Any]], float] = objective, most: int = 10**6
) -> list[dict[str, Any]]:
    """One trial after another until the searcher has no more."""
    configs: list[dict[str, Any]] = []
    while len(configs) < most:
        name = f"tune{len(configs)}"
        config = search.suggest(name)
        if config == Searcher.FINISHED:
            break
        assert isinstance(config, dict)
        finish(search, name, value(config["params"]))
        configs.append(config)
    return configs


def test_suggestions_are_complete_configs(spec: SearchSpec, study_path: Path) -> None:
    told: list[tuple[int, dict[str, Any]]] = []
    search = StudySearch(
        spec,
        study_path,
        seed=3,
        budget=12,
        on_new=lambda number, params: told.append((number, params)),
    )
    ids = []
    for n in range(12):
        ids.append(search.next_id())
        config = search.suggest(f"tune{n}")
        assert isinstance(config, dict)
        assert len(told) == n + 1, "the journal has to know a trial before anyone runs it"
        assert told[n] == (n, config["params"])
        assert config["id"] == ids[n]
        trial = TrialConfig.of(spec, config["params"], 3)
        assert config["train"] == trial.train.to_flat()
        assert config["seed"] == trial.seed
        finish(search, f"tune{n}", objective(config["params"]))
    assert ids == [f"t{n:04d}" for n in range(12)]
    assert told[0][1] == dict(spec.enqueue[0])
    assert search.suggest("more") == Searcher.FINISHED


def test_parameters_that_do_not_exist_never_reach_optuna(
    spec: SearchSpec, study_path: Path
) -> None:
    run(StudySearch(spec, study_path, seed=1, budget=40))
    trials = open_study(study_path).get_trials()
    assert len(trials) == 40
    for trial in trials:
        assert ("margin" in trial.params) == (trial.params["loss"] == "bpr")
        assert ("temperature" in trial.params) == (trial.params["loss"] == "softmax")
        assert trial.distributions.keys() == trial.params.keys()
    assert {t.params["loss"] for t in trials} == {"bpr", "softmax"}


def test_states_in_the_storage_seen_by_a_fresh_process(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=1, budget=8)
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
    code = f"""
import json
from pathlib import Path
from search.study import open_study
study = open_study(Path({str(study_path)!r}))
print(json.dumps([[t.state.name, t.value, t.intermediate_values, t.user_attrs.get("error")]
                  for t in study.get_trials()]))
"""
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
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


def test_what_a_last_report_means() -> None:
    assert outcome({"objective": 0.5, "stop": "patience"}).state == "COMPLETE"
    assert outcome({"objective": 0.5, "stop": None}).state == "PRUNED"
    assert outcome({"objective": 0.5, "stop": "epochs"}, error=True).state == "FAILED"
    assert outcome({"objective": -math.inf, "stop": "epochs"}).state == "FAILED"
    assert outcome({"objective": 0.5, "stop": "error", "cause": "c"}).cause == "c"
    assert outcome(None, error=True).state == "FAILED"


def test_a_retried_trial_reports_its_epochs_again(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=1, budget=1)
    search.suggest("x")
    for epoch in (4, 12, 4, 12, 36):
        search.on_trial_result("x", {"epoch": epoch, "objective": epoch / 100})
    search.on_trial_complete("x", {"epoch": 40, "objective": 0.5, "stop": "epochs"})
    search.on_trial_complete("x", {"epoch": 40, "objective": 0.9, "stop": "epochs"})
    (trial,) = records(search.study)
    assert trial.steps == ((4, 0.04), (12, 0.12), (36, 0.36), (40, 0.5))
    assert (trial.state, trial.value) == ("COMPLETE", 0.5)


def test_same_seed_same_sequence(spec: SearchSpec, tmp_path: Path) -> None:
    def sequence(name: str, seed: int) -> list[dict[str, Any]]:
        (tmp_path / name).mkdir()
        return run(StudySearch(spec, tmp_path / name / "study.journal", seed=seed, budget=25))

    assert sequence("a", 5) == sequence("b", 5)
    assert sequence("c", 6) != sequence("d", 5)


def best_of(spec: SearchSpec, folder: Path, searcher: str, seed: int, noise: float) -> float:
    """The true value of the config that a search of 40 trials finds best."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    chosen = override(spec, [f"searcher={searcher}", "trials=40", "enqueue=[]"])
    search = StudySearch(chosen, folder / "study.journal", seed=seed)
    run(search, lambda params: objective(params) + noise * float(rng.standard_normal()))
    return objective(search.study.best_params)


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_tpe_finds_the_known_optimum_better_than_chance(
    spec: SearchSpec, tmp_path: Path, noise: float
) -> None:
    # 12 pairs; at chance TPE wins 6 of them, and 10 or more with probability 0.02
    pairs = [
        [best_of(spec, tmp_path / f"{name}{seed}", name, seed, noise) for name in ("tpe", "random")]
        for seed in range(12)
    ]
    wins = sum(tpe > chance for tpe, chance in pairs)
    assert wins >= 10, pairs
    assert np.mean([tpe for tpe, _ in pairs]) > np.mean([chance for _, chance in pairs]) + 0.05
    assert np.median([tpe for tpe, _ in pairs]) > 0.6


def test_failing_and_pruned_trials_do_not_mislead(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=0, budget=60)
    for n in range(60):
        config = search.suggest(f"x{n}")
        assert isinstance(config, dict)
        value = objective(config["params"])
        if config["params"]["lr"] > 0.3:
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


def test_random_depends_on_seed_and_number_alone(spec: SearchSpec, tmp_path: Path) -> None:
    chosen = override(spec, ["searcher=random", "enqueue=[]"])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = StudySearch(chosen, tmp_path / "a" / "study.journal", seed=4, budget=10)
    two = StudySearch(chosen, tmp_path / "b" / "study.journal", seed=4, budget=10)
    first = run(one)
    second = [two.suggest(f"p{n}") for n in range(10)]  # all at once, as in parallel
    assert first == second
    assert len({str(config["params"]) for config in first}) == 10


def test_grid_is_every_config_once_in_order(study_path: Path, tmp_path: Path) -> None:
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
    search = StudySearch(spec, study_path, seed=0, budget=100)
    configs = [config["params"] for config in run(search, lambda params: 0.5)]
    first = {"loss": "bpr", "margin": 1.0, "lr": 0.1}
    assert configs == [first, *(c for c in spec.grid() if c != first)]
    assert [t.params for t in open_study(study_path).get_trials()] == configs


def test_grid_stops_at_its_budget(study_path: Path) -> None:
    search = StudySearch(load_spec("report_table"), study_path, seed=0, budget=3)
    assert len(run(search, lambda params: 0.5)) == 3


@pytest.mark.parametrize("cut", [1, 14, 24])
def test_a_resumed_search_goes_on_as_an_uninterrupted_one(
    spec: SearchSpec, tmp_path: Path, cut: int
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run(StudySearch(spec, tmp_path / "whole" / "study.journal", seed=9, budget=26))
    path = tmp_path / "cut" / "study.journal"
    first = StudySearch(spec, path, seed=9, budget=26)
    run(first, most=cut)
    lost = first.suggest("lost")
    assert isinstance(lost, dict)
    first.on_trial_result("lost", {"epoch": 4, "objective": 0.1})
    before = records(first.study)
    path.write_bytes(path.read_bytes()[:-9])  # torn in the middle of a line
    rebuild(path, spec, before)
    journaled: list[int] = []
    second = StudySearch(
        spec, path, seed=9, budget=26, on_new=lambda number, params: journaled.append(number)
    )
    assert second.next_id() == f"t{cut:04d}"
    rest = run(second)
    assert rest[0] == lost == whole[cut]
    assert rest == whole[cut:]
    assert journaled == list(range(cut + 1, 26)), "what runs again is in the journal already"
    after = records(open_study(path))
    assert [t.number for t in after] == list(range(26))
    assert [t.params for t in after] == [config["params"] for config in whole]
    assert all(t.state == "COMPLETE" for t in after)
    assert after[:cut] == before[:cut]


def test_rebuild_keeps_everything(spec: SearchSpec, study_path: Path) -> None:
    params = dict(spec.enqueue[0])
    trials = [
        StudyTrial(0, params, "COMPLETE", 0.7, ((4, 0.2), (12, 0.7))),
        StudyTrial(1, params, "PRUNED", 0.3, ((4, 0.3),)),
        StudyTrial(2, params, "FAILED", None, ((4, 0.1),), "diverged"),
        StudyTrial(3, params, "RUNNING", None, ((4, 0.1),)),
        StudyTrial(4, params, "RUNNING"),
        StudyTrial(5, params, "PRUNED"),
    ]
    study_path.write_text("whatever was here")
    rebuild(study_path, spec, reversed(trials))
    expected = [*trials[:3], StudyTrial(3, params, "RUNNING"), *trials[4:]]
    assert records(open_study(study_path)) == expected
    assert [p.name for p in study_path.parent.iterdir()] == ["study.journal"]
    search = StudySearch(spec, study_path, seed=1, budget=7)
    handed = []
    for n in range(3):
        config = search.suggest(f"x{n}")
        assert isinstance(config, dict)
        handed.append(config["number"])
        finish(search, f"x{n}", 0.5)
    assert handed == [3, 4, 6]
    assert search.suggest("x") == Searcher.FINISHED
    steps = records(search.study)[3].steps
    assert [epoch for epoch, _ in steps] == [4, 12, 36, 40], "it ran afresh"


def test_rebuild_refuses_what_does_not_fit(spec: SearchSpec, study_path: Path) -> None:
    params = dict(spec.enqueue[0])
    study_path.write_text("before")
    for bad, part in (
        (StudyTrial(1, params, "COMPLETE", 0.1), "trial 0 is missing"),
        (StudyTrial(0, params | {"lr": 5.0}, "COMPLETE", 0.1), "does not fit"),
        (StudyTrial(0, params | {"margin": 1.0}, "COMPLETE", 0.1), "no effect"),
        (StudyTrial(0, {}, "COMPLETE", 0.1), "is missing"),
    ):
        with pytest.raises(ConfigError, match=part):
            rebuild(study_path, spec, [bad])
        assert study_path.read_text() == "before"
        assert len(list(study_path.parent.iterdir())) == 1


def test_extending_goes_on_in_the_same_study(spec: SearchSpec, study_path: Path) -> None:
    run(StudySearch(spec, study_path, seed=2, budget=5))
    more = run(StudySearch(spec, study_path, seed=2, budget=8))
    assert [config["number"] for config in more] == [5, 6, 7]
    assert len(records(open_study(study_path))) == 8


def test_finish_and_pause(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=2, budget=9)
    for n in range(3):
        search.suggest(f"x{n}")
    search.finish()
    assert search.suggest("x3") == Searcher.FINISHED
    search.on_trial_complete("x0", {"epoch": 4, "objective": 0.1, "stop": None})
    search.pause()
    search.on_trial_complete("x1", {"epoch": 4, "objective": 0.1, "stop": None})
    search.on_trial_complete("x2", {"epoch": 40, "objective": 0.1, "stop": "epochs"})
    assert [t.state for t in records(search.study)] == ["PRUNED", "RUNNING", "COMPLETE"]


def test_pickle_and_copies_do_no_harm(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=2, budget=9, on_new=lambda number, params: None)
    run(search, most=3)
    assert copy.deepcopy(search) is search
    search.save_to_dir(str(study_path.parent))
    assert [p.name for p in study_path.parent.iterdir()] == ["study.journal"]
    before = study_path.read_bytes()
    again = pickle.loads(pickle.dumps(search))
    assert study_path.read_bytes() == before
    assert records(again.study) == records(search.study)
    assert again.next_id() == "t0003"
    with pytest.raises(NotImplementedError, match="journal"):
        search.restore(str(study_path))


def test_a_torn_study_file_can_be_gone_on_with(spec: SearchSpec, study_path: Path) -> None:
    run(StudySearch(spec, study_path, seed=2, budget=3))
    study_path.write_bytes(study_path.read_bytes() + b'{"op_code": 4, "stu')
    assert [c["number"] for c in run(StudySearch(spec, study_path, seed=2, budget=5))] == [3, 4]
    assert len(records(open_study(study_path))) == 5


def test_a_hook_that_fails_stops_the_search(spec: SearchSpec, study_path: Path) -> None:
    def full(number: int, params: dict[str, Any]) -> None:
        raise OSError("disk full")

    search = StudySearch(spec, study_path, seed=2, budget=9, on_new=full)
    with pytest.raises(OSError, match="disk full"):
        search.suggest("x")


def test_importance_finds_the_parameter_that_matters(spec: SearchSpec, study_path: Path) -> None:
    chosen = override(spec, ["searcher=random", "enqueue=[]"])
    search = StudySearch(chosen, study_path, seed=0, budget=60)
    run(search, lambda params: -abs(math.log(params["lr"] / 0.05)), most=7)
    assert importance(search.study) == {}  # too few to say anything
    run(search, lambda params: -abs(math.log(params["lr"] / 0.05)))
    found = importance(search.study)
    assert next(iter(found)) == "lr"
    assert found["lr"] > 0.5
    assert math.isclose(sum(found.values()), 1)
    assert {"margin", "temperature"} <= found.keys()


def test_importance_of_equal_trials_is_unknown(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=0, budget=20)
    run(search, lambda params: 0.5)
    assert importance(search.study) == {}


def test_no_study_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such study"):
        open_study(tmp_path / "study.journal")
