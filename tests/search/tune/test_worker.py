"""What a worker reports of one trial, and when: trainings and clock by hand, no Ray."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray.tune

from recsys.errors import DivergedError
from recsys.interactions import CSR
from recsys.models import EpochReport
from recsys.models.ease import EaseConfig
from recsys.models.progress import Stop
from search.machine.workers import NodeUnfitError
from search.record.events import EpochRow
from search.space.trial import TrialConfig
from search.tune import worker
from search.tune.outcome import Report
from search.tune.worker import TrialData, report_every_s, run_trial

NOTHING = CSR(np.zeros(3, np.int64), np.zeros(0, np.int32), 4)


@dataclass
class Training:
    """A training that was thought up: `values` and `seconds` by epoch, then `error` if any."""

    values: Sequence[float]
    seconds: Sequence[float]
    stop: Stop = "epochs"
    error: Exception | None = None
    now: float = 100.0
    seen: list[tuple[Any, int, TrialData]] = field(default_factory=list)
    device: str = "cpu"

    def __call__(self, config: Any, seed: int, data: TrialData) -> Training:
        self.seen.append((config, seed, data))
        return self

    def epochs(self, checkpoints: Any = None) -> Iterator[EpochReport]:
        best = 0
        for n, (value, seconds) in enumerate(zip(self.values, self.seconds, strict=True)):
            self.now += seconds
            best = n if value > self.values[best] else best
            last = n + 1 == len(self.values) and self.error is None
            yield EpochReport(
                epoch=n + 1,
                loss=1 / (n + 1),
                metrics={"map@5": value, "recall@5": 2 * value},
                best_epoch=best + 1,
                best_value=self.values[best],
                train_seconds=seconds,
                eval_seconds=0.0,
                stop=self.stop if last else None,
            )
        if self.error is not None:
            raise self.error

    def test(self) -> dict[str, float]:
        return {"map@5": 0.125}


def data_of(*rungs: int, test: CSR | None = None) -> TrialData:
    return TrialData(NOTHING, NOTHING, test, "map@5", ("map@5", "recall@5"), rungs, 1, "cpu")


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a `Training` in the place of the real one; returns what makes it and runs the trial."""
    told: list[Report | None] = []
    monkeypatch.setattr(worker, "limit_threads", lambda threads: None)
    monkeypatch.setattr(ray.tune, "report", lambda result: told.append(Report.of(result)))

    def place(training: Training) -> None:
        monkeypatch.setattr(worker, "Trial", training)
        clock = SimpleNamespace(monotonic=lambda: training.now)
        monkeypatch.setattr(worker, "time", clock)

    def run(training: Training, data: TrialData, at_once: int = 1) -> list[Report | None]:
        place(training)
        run_trial({"trial": TrialConfig((), EaseConfig(), 7), "at_once": at_once}, data)
        return told

    run.place = place  # type: ignore[attr-defined]
    return run


def said(report: Report) -> tuple[Any, ...]:
    return report.epoch, report.objective, report.best_epoch, report.stop


def epochs_of(report: Report) -> list[int]:
    return [row.epoch for row in report.rows]


def test_every_rung_is_reported_and_the_end(train: Any) -> None:
    training = Training([0.1, 0.3, 0.2, 0.25], [0.01] * 4)
    first, last = train(training, data_of(2))
    assert said(first) == (2, 0.3, 2, None)
    assert first.rows == [
        EpochRow(1, 1.0, (0.1, 0.2), 0.01, 0.0),
        EpochRow(2, 0.5, (0.3, 0.6), 0.01, 0.0),
    ]
    assert said(last) == (4, 0.3, 2, "epochs")  # the best so far, not the last value
    assert epochs_of(last) == [3, 4]
    assert last.test is None
    assert training.seen[0][:2] == (EaseConfig(), 7)


def test_between_rungs_it_reports_every_half_second(train: Any) -> None:
    # at 0.3, 0.6, 0.9, 1.2 and 1.5 seconds
    reports = train(Training([0.1] * 5, [0.3] * 5, stop="patience"), data_of())
    assert [epochs_of(report) for report in reports] == [[1, 2], [3, 4], [5]]
    assert [report.stop for report in reports] == [None, None, "patience"]


def test_the_more_run_at_once_the_fewer_reports_between_rungs(train: Any) -> None:
    assert [report_every_s(n) for n in (1, 100, 400, 1000)] == [0.5, 0.5, 2.0, 5.0]
    reports = train(Training([0.1] * 11, [1.0] * 11), data_of(4), at_once=1000)
    assert [epochs_of(report) for report in reports] == [[1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]


def test_the_more_run_at_once_the_fewer_checkpoints(
    train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    before = worker.Keeper

    def keeper(*given: Any, trials: int, **more: Any) -> Any:
        made.append(trials)
        return before(*given, trials=trials, **more)

    monkeypatch.setattr(worker, "Keeper", keeper)
    train(Training([0.1], [1.0]), data_of(4), at_once=1000)
    assert made == [1000]


def test_the_end_is_reported_once_also_on_a_rung(train: Any) -> None:
    (only,) = train(Training([0.1, 0.2], [0.01, 9.0]), data_of(2))
    assert epochs_of(only) == [1, 2]


def test_a_training_that_fails_reports_why_and_what_it_had(train: Any) -> None:
    error = DivergedError(3, "{}")
    first, last = train(Training([0.1, 0.4, 0.2], [0.01] * 3, error=error), data_of(2))
    assert epochs_of(first) == [1, 2]
    assert last.cause == f"DivergedError: {error}"
    assert last.error.startswith("Traceback")
    assert (last.stop, last.objective, epochs_of(last)) == (None, 0.4, [3])


def test_one_that_fails_before_its_first_epoch_has_no_value(train: Any) -> None:
    (only,) = train(Training([], [], error=MemoryError("3 GiB")), data_of(1))
    assert (only.epoch, only.objective, only.rows) == (0, -math.inf, [])
    assert only.cause == "MemoryError: 3 GiB"


@pytest.mark.parametrize("error", [NodeUnfitError("no GPU"), ImportError("libx.so")])
def test_what_a_node_lacks_is_raised_where_there_are_other_nodes(
    train: Any, error: Exception
) -> None:
    lacking = Training([0.1], [0.01], error=error)
    with pytest.raises(type(error), match=str(error)):
        train(lacking, replace(data_of(2), joined=True))
    (only,) = train(lacking, data_of(2))  # on this machine alone there is nothing else to try
    assert only.cause == f"{type(error).__name__}: {error}"


def test_every_report_says_what_the_worker_trains_on(train: Any) -> None:
    first, last = train(Training([0.1, 0.2], [0.01] * 2, device="cuda"), data_of(1))
    assert (first.device, last.device) == ("cuda", "cuda")
    *_, failed = train(Training([], [], device="cuda", error=DivergedError(1, "{}")), data_of(1))
    assert (failed.device, failed.epoch) == ("cuda", 0)


def test_on_a_cluster_one_worker_of_a_node_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the driver has done it before the first trial."""
    compiled: list[Any] = []
    monkeypatch.setattr(worker, "warm_up_machine", lambda *asked, **_: compiled.append(asked))
    worker.Trial(EaseConfig(), 7, data_of())
    assert compiled == []
    worker.Trial(EaseConfig(), 7, replace(data_of(), joined=True))
    assert compiled == [(EaseConfig(),)]


def test_only_a_table_is_measured_on_test(train: Any) -> None:
    *_, last = train(Training([0.1], [0.01]), data_of(test=NOTHING))
    assert last.test == {"map@5": 0.125}


def test_a_report_has_a_short_text() -> None:
    """Ray writes each report into messages twice, with all its epochs."""
    rows = [EpochRow(n, 0.5, (0.1,), 0.2, 0.1) for n in range(100)]
    flat = Report(100, 0.1, 100, rows=rows).flat()
    assert len(repr(flat)) < 100
    again = pickle.loads(pickle.dumps(flat))
    assert list(Report.of(again).rows) == rows  # type: ignore[union-attr]
