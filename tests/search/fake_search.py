"""A small conditional space with a known optimum, and a search on it driven by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.search import Searcher

from search.propose.trials import StudyTrial
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig
from search.tune.searcher import StudySearch

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


STATES = {"COMPLETE": "COMPLETE", "PRUNED": "PRUNED", "FAIL": "FAILED", "RUNNING": "RUNNING"}


def records(study: optuna.Study) -> list[StudyTrial]:
    """All trials of a study, by number."""
    return [
        StudyTrial(
            trial.number,
            dict(trial.params),
            STATES[trial.state.name],
            trial.value if trial.state.is_finished() else None,
            tuple(sorted(trial.intermediate_values.items())),
            trial.user_attrs.get("error"),
        )
        for trial in study.get_trials(deepcopy=False)
    ]


def open_study(path: Path) -> optuna.Study:
    """The study of a run (`runs/NAME/study.journal`), by Optuna's own means alone."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=path.resolve().parent.name, storage=storage)


def objective(params: dict[str, Any]) -> float:
    """Best is 1: bpr, margin 2, lr 0.05, 32 factors."""
    off = abs(math.log(params["lr"] / 0.05)) + abs(params["latent_factors"] - 32) / 32
    off += abs(params["margin"] - 2) if params["loss"] == "bpr" else 3.0
    return 1 / (1 + off)


def suggest(search: StudySearch, name: str) -> TrialConfig | None:
    """The next trial; None where there is none."""
    suggestion = search.suggest(name)
    if isinstance(suggestion, str):
        assert suggestion == Searcher.FINISHED
        return None
    return suggestion["trial"]


def finish(search: StudySearch, name: str, value: float, stop: str | None = "epochs") -> None:
    for epoch in (4, 12, 36):
        search.on_trial_result(name, {"epoch": epoch, "objective": value * epoch / 40})
    search.on_trial_complete(name, {"epoch": 40, "objective": value, "stop": stop})


def run(
    search: StudySearch, value: Callable[[dict[str, Any]], float] = objective, most: int = 10**6
) -> list[TrialConfig]:
    """One trial after another until the searcher has no more."""
    trials: list[TrialConfig] = []
    while len(trials) < most:
        name = f"tune{len(trials)}"
        trial = suggest(search, name)
        if trial is None:
            break
        finish(search, name, value(trial.params))
        trials.append(trial)
    return trials
