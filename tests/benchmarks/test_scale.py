"""The benchmark of the driver: it measures what ships, and nothing is written anew a trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import scale
from benchmarks.scale import Cost, measure, missed, table
from benchmarks.scale_ray import Played, each_ms, lines
from search.record.events import State
from search.record.folder import JOURNAL
from search.record.journal import read_state
from search.space.load import load_spec

SPEC = replace(load_spec("bpr_hard"), max_epochs=20, grace_epochs=3)
COST = Cost(1000, 30.0, 0.1, 0.2, 1.0, 5000.0, 1.0, 2.0, 600.0, 9.0, 2.0, 100.0)


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Cost, Path]]:
    folders = {ended: tmp_path_factory.mktemp("scale") for ended in (20, 400)}
    return {n: (measure(SPEC, n, 4, 16, path), path / "scale") for n, path in folders.items()}


def test_a_trial_writes_no_more_after_400_than_after_20(costs: Any) -> None:
    (few, _), (many, _) = costs[20], costs[400]
    assert 0.8 * few.bytes_a_trial < many.bytes_a_trial < 1.3 * few.bytes_a_trial
    assert many.folder_mb > 5 * few.folder_mb


def test_the_run_that_it_leaves_is_a_run(costs: Any) -> None:
    _, path = costs[20]
    state = read_state(path / JOURNAL)
    assert len(state.trials) == 36
    assert all(trial.finished and trial.rows for trial in state.trials.values())
    counts = state.counts()
    assert counts[State.COMPLETE] > 0 and counts[State.PRUNED] > 0 and not counts[State.FAILED]
    assert (path / "trials.csv").exists() and (path / "study.journal").exists()


def test_every_number_is_measured(costs: Any) -> None:
    for cost, _ in costs.values():
        assert min(vars(cost).values()) > 0


def test_the_table_and_what_it_misses() -> None:
    larger = replace(COST, ended=10_000, proposal_ms=60.0, memory_mb=1200.0, bytes_a_trial=50_000.0)
    lines = table([COST, larger])
    assert lines[0] == "| ended trials | 1,000 | 10,000 |"
    assert lines[2] == "| a proposal (target <= 50 ms) | 30.0 ms | 60.0 ms |"
    assert len(lines) == 2 + len(scale.ROWS)
    assert missed([COST, COST]) == []
    assert missed([COST, larger]) == [
        "a proposal takes 60 ms",
        "the driver takes 1200 MB",
        "a trial writes 10.0 times as much",
    ]


def test_what_a_trial_and_a_report_cost_follows_from_two_searches() -> None:
    few = Played(
        10,
        100,
        200,
        20.0,
        cpu_s=100 * 0.03 + 200 * 0.001,
        handover_ms=20.0,
        rest_ms=40.0,
        memory_mb=600.0,
    )
    many = replace(few, reports=2000, cpu_s=100 * 0.03 + 2000 * 0.001)
    assert each_ms(few, many) == pytest.approx((30.0, 1.0))
    first, idle, thousand = lines(few, many)
    assert first.startswith("10 workers: a trial 30.0 ms of the driver, a report 1.00 ms")
    assert "100 reports a second: 0.25 of a core" in first
    assert "0.2% of 30 s idle" in idle
    assert "33 trials and 400 reports a second: 1.40 cores" in thousand  # 33 x 30 + 400 x 1 ms
