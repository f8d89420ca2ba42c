"""A small conditional space with a known optimum, and a search on it driven by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from ray.tune.search import Searcher

from search.space.load import SearchSpec, load_spec
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
