"""The benchmark of the driver: it measures what ships, and nothing is written anew a trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import scale
from benchmarks.played import Played, Sleep
from benchmarks.scale import Cost, measure, missed, table
from benchmarks.scale_ray import ANCHORS, Delivered, Load, Measured, lines, loads, waited
from search.record.events import State
from search.record.folder import JOURNAL
from search.record.journal import read_state
from search.space.load import load_spec
from search.tune.outcome import Report

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


def sleep(**changed: Any) -> list[tuple[float, dict[str, Any]]]:
    """What a trial does that lasts 30 s, with epochs of half a second and a report every 2.5 s."""
    trial: Any = SimpleNamespace(seed=7)
    return list(replace(Sleep(30.0, 0.0, 0.5, 2.5, metrics=2), **changed)(trial))


def test_trials_that_sleep_report_as_trials_do() -> None:
    found = sleep()
    assert sum(seconds for seconds, _ in found) == pytest.approx(30.0)
    reports = [Report.of(told) for _, told in found]
    assert [len(one.rows) for one in reports if one is not None] == [5] * 12
    assert [one.stop for one in reports if one is not None] == [None] * 11 + ["epochs"]
    longer = sum(seconds for seconds, _ in sleep(spread=0.5))
    assert longer != 30.0 and 15.0 <= longer <= 45.0
    assert longer == sum(seconds for seconds, _ in sleep(spread=0.5))  # by the trial's seed
    assert len(sleep(seconds=1.0, epoch_s=1.0)) == 1


def test_a_played_worker_answers_as_one_of_rays() -> None:
    trial: Any = SimpleNamespace(seed=7)
    script = Sleep(1.0, 0.0, 0.5, 0.5, metrics=1)
    worker = Played({"trial": trial})
    worker.play(script)
    told = []
    for _ in range(3):
        worker.pause()
        told.append(worker.train())
    assert [one.get("epoch") for one in told] == [1, 2, None]
    assert [one.get("training_iteration") for one in told] == [1, 2, None]
    assert "__duplicate__" in told[2]
    assert worker.reset({"trial": trial})
    worker.play(script)
    assert worker.pause() == 0.5
    assert worker.train()["epoch"] == 1


MEASURED = Measured(1000, 900, 12_000, 30.0, 24.0, 200.0, 100.0, 0.01, 95.0, 70.0, 700.0)


def test_each_target_is_met_or_missed() -> None:
    first, idle = lines(Load(1000, 3000), MEASURED)
    assert first.startswith("1,000 workers: 30.0 trials and 400 reports a second for 30 s")
    assert "0.80 of a core (at most 1: met); memory 700 MB" in first
    assert "26.7 ms a trial with its reports" in idle
    assert "200 ms, rest of a trial 100 ms: 1.0% of a worker's time (at most 2%: met)" in idle
    slow = replace(MEASURED, cpu_s=33.0, idle=0.05, whole_s=850.0)
    first, idle, anchor = lines(ANCHORS["bookkeeping"], slow)
    assert "1.10 of a core (at most 1: MISSED)" in first
    assert "5.0% of a worker's time (at most 2%: MISSED)" in idle
    assert "all 10,000 trials took 850 s (at most 800: MISSED; without a driver 625)" in anchor
    sent = replace(MEASURED, idle=float("nan"), delivered=Delivered(2600, 12.0, 30.0))
    _, mlflow = lines(Load(1000, 3000), sent)
    assert "2,600 of 3,000 trials at the end, all 12 s later; courier 10.0 ms" in mlflow


def test_an_anchor_of_fewer_trials_may_take_its_part_of_the_time() -> None:
    options: Any = SimpleNamespace(anchor="bookkeeping", trials=1000, real=False)
    (load,) = loads(options)
    assert (load.trials, load.limit_s, load.workers) == (1000, 80.0, 16)


def test_what_workers_waited_is_of_trials_that_began_later() -> None:
    def one(number: int, began: float, ended: float) -> Any:
        return SimpleNamespace(started=began, ended=ended, busy_s=ended - began - 1.0)

    trials = [one(0, 0.0, 10.0), one(1, 1.0, 12.0), one(2, 10.5, 20.5), one(3, 13.5, 20.0)]
    state: Any = SimpleNamespace(in_order=lambda: trials)
    assert waited(state, 1.0) == pytest.approx((1.0, 1.0, 7.25))
    assert all(value != value for value in waited(state, 14.0))
