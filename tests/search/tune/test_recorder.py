"""What the recorder writes of trials that start, report, die and end: without Ray running."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.models.ease import EaseConfig
from search.machine.workers import GpuNotes, Patience
from search.record.events import EpochRow, Reason, SessionBegan, State, TrialEnded, TrialMade
from search.record.journal import Journal, read_state
from search.record.state import TrialRecord
from search.space.trial import TrialConfig
from search.tune.outcome import Report
from search.tune.scheduler import EpochASHA, ToTheEnd
from search.tune.settled import LEAST_TRIALS, Settling
from search.tune.tuner import Recorder, Watch


@dataclass
class Screen:
    """What the display is told."""

    said: list[tuple[Any, ...]] = field(default_factory=list)

    def trial_started(self, *words: Any) -> None:
        self.said.append(("started", *words))

    def trial_progress(self, *words: Any) -> None:
        self.said.append(("progress", *words))

    def trial_ended(self, end: TrialEnded) -> None:
        self.said.append(("ended", end.id, end.state, end.value, end.reason, end.cause))


@dataclass(eq=False)
class Trial:
    """One of Tune's trials, as far as the recorder looks at it."""

    number: int
    last_result: dict[str, Any] = field(default_factory=dict)
    evaluated_params: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        return {"trial": TrialConfig((("lr", 0.5),), EaseConfig(), 7, self.number)}

    @property
    def trial_id(self) -> str:
        return self.config["trial"].id

    def get_pickled_error(self) -> Exception | None:
        return None


@dataclass
class Search:
    """A recorder of the trials of one journal, driven as Tune would."""

    folder: Path
    closed: int = 0

    def __post_init__(self) -> None:
        self.screen = Screen()
        self.watch = Watch(lambda: float("inf"), self._close)
        patience = Patience(lambda _: None, lambda: None)
        self.journal = Journal(self.folder / "journal.jsonl")
        self.journal.append(SessionBegan(name="one", settings={}))
        self.recorder = Recorder(self.journal, self.screen, self.watch, ("map@50",), 3, patience)

    def _close(self) -> None:
        self.closed += 1

    def begin(self, number: int) -> Any:
        trial: Any = Trial(number)
        if self.recorder.attempts[trial.trial_id] == 0:
            flat, params = EaseConfig().to_flat(), {"lr": 0.5}
            self.journal.append(
                TrialMade(id=trial.trial_id, number=number, params=params, config=flat, seed=7)
            )
        self.recorder.on_trial_start(0, [], trial)
        return trial

    def report(self, trial: Any, *rows: list[float], **result: Any) -> None:
        made = [EpochRow(int(epoch), loss, (value,), *took) for epoch, loss, value, *took in rows]
        said = Report(made[-1].epoch, rows=made, **result)
        trial.last_result = said.flat()
        self.recorder.on_trial_result(0, [], trial, trial.last_result)
        assert "rows" not in trial.last_result  # Tune keeps the last result of each trial

    def complete(self, trial: Any) -> None:
        self.recorder.on_trial_complete(0, [], trial)

    def record(self, trial: Any) -> TrialRecord:
        return read_state(self.journal.path).trials[trial.trial_id]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path)


def test_what_a_trial_will_take_is_foreseen_from_its_reports(search: Search) -> None:
    """Until one has completed: the stages after the search have to fit too."""
    asked: list[tuple[Any, ...]] = []
    reserve: Any = SimpleNamespace(
        foresee=lambda *words: asked.append(words),
        add=lambda *words: asked.append(words),
    )
    search.recorder.reserve = reserve
    trial = search.begin(4)
    search.report(trial, [1, 0.7, 0.1, 0.5, 0.25], objective=0.1, best_epoch=1)
    search.report(trial, [2, 0.6, 0.3, 1.0, 0.25], objective=0.3, best_epoch=2)
    assert asked == [(4, 0.1, 0.75, 1, EaseConfig()), (4, 0.3, 2.0, 2, EaseConfig())]
    search.complete(trial)
    assert len(asked) == 3 and asked[2][0] == 4


def test_a_trial_that_comes_to_its_end(search: Search) -> None:
    trial = search.begin(4)
    search.report(trial, [1, 0.7, 0.1, 0.5, 0.25], objective=0.1, best_epoch=1)
    search.report(
        trial,
        *([2, 0.6, 0.3, 0.5, 0.25], [3, 0.5, 0.2, 1.0, 0.25]),
        objective=0.3,
        best_epoch=2,
        stop="patience",
    )
    search.complete(trial)
    record = search.record(trial)
    assert (record.state, record.reason) == (State.COMPLETE, Reason.PATIENCE)
    assert (record.value, record.best_epoch, record.epochs) == (0.3, 2, 3)
    assert record.busy_s == 0.75 + 0.75 + 1.25  # training and evaluation
    assert record.column("map@50") == [0.1, 0.3, 0.2]
    assert search.screen.said == [
        ("started", "t0004", {"lr": 0.5}, False),
        ("progress", "t0004", 1, 0.1),
        ("progress", "t0004", 3, 0.3),
        ("ended", "t0004", State.COMPLETE, 0.3, Reason.PATIENCE, None),
    ]


def test_a_search_that_settled_has_no_more_trials_and_ends_those_it_has(search: Search) -> None:
    search.recorder.settling = Settling(users=900, splits=5)
    running = search.begin(99)
    for number in range(LEAST_TRIALS):
        assert search.closed == 0
        trial = search.begin(number)
        search.report(trial, [1, 0.7, 0.2, 1.0, 0.5], objective=0.2, best_epoch=1, stop="epochs")
        search.complete(trial)
    assert search.closed == 1
    assert search.watch.settled
    search.report(running, [1, 0.7, 0.1, 1.0, 0.5], objective=0.1, best_epoch=1)
    assert not search.watch(running.trial_id, {})  # it is not stopped
    search.report(running, [2, 0.7, 0.3, 1.0, 0.5], objective=0.3, best_epoch=2, stop="epochs")
    search.complete(running)
    assert search.record(running).state == State.COMPLETE
    assert search.closed == 1


def test_a_second_attempt_starts_from_nothing(search: Search) -> None:
    trial = search.begin(0)
    search.report(trial, [1, 0.7, 0.4, 8.0, 8.0], objective=0.4, best_epoch=1)
    search.recorder.on_trial_recover(0, [], trial)
    assert search.recorder.running == set()
    search.recorder.on_trial_start(0, [], trial)
    search.report(trial, [1, 0.7, 0.2, 1.0, 0.5], objective=0.2, best_epoch=1, stop="epochs")
    search.complete(trial)
    record = search.record(trial)
    assert (record.attempt, record.rows) == (2, [[1, 0.7, 0.2, 1.0, 0.5]])
    assert (record.value, record.busy_s) == (0.2, 1.5)


@pytest.mark.parametrize(
    ("stopped_by", "scheduler", "reason"),
    [
        (None, EpochASHA, Reason.ASHA),
        (None, ToTheEnd, Reason.STOPPED),
        (Reason.TIME, EpochASHA, Reason.TIME),
    ],
)
def test_a_trial_that_is_stopped_is_pruned(
    search: Search, stopped_by: Reason | None, scheduler: type[ToTheEnd], reason: Reason
) -> None:
    search.recorder.ends_for = scheduler.ends_for
    trial = search.begin(0)
    search.report(trial, [1, 0.7, 0.4, 1.0, 0.5], objective=0.4, best_epoch=1)
    if stopped_by is not None:
        search.watch.stop(stopped_by)
    search.complete(trial)
    record = search.record(trial)
    assert (record.state, record.reason, record.value) == (State.PRUNED, reason, 0.4)


def failing(search: Search, number: int, cause: str) -> Any:
    trial = search.begin(number)
    search.report(
        trial,
        [1, 0.7, 0.4, 1.0, 0.5],
        objective=0.4,
        error=f"Traceback\n{cause}",
        cause=cause,
    )
    search.complete(trial)
    return trial


def test_a_training_that_failed(search: Search) -> None:
    record = search.record(failing(search, 0, "MemoryError: 3 GiB"))
    assert (record.state, record.reason) == (State.FAILED, Reason.ERROR)
    assert (record.cause, record.error) == ("MemoryError: 3 GiB", "Traceback\nMemoryError: 3 GiB")
    said = ("ended", "t0000", State.FAILED, 0.4, Reason.ERROR, "MemoryError: 3 GiB")
    assert search.screen.said[-1] == said


def test_the_search_ends_where_the_first_trials_all_fail(search: Search) -> None:
    for number in range(3):
        assert search.watch.reason is None
        failing(search, number, "x" if number else "y")
    assert (search.watch.reason, search.closed) == (Reason.FAILURES, 1)
    assert search.recorder.causes.most_common() == [("x", 2), ("y", 1)]


def test_failures_beside_a_trial_that_worked_end_nothing(search: Search) -> None:
    trial = search.begin(9)
    search.report(trial, [1, 0.7, 0.4, 1.0, 0.5], objective=0.4, stop="epochs")
    search.complete(trial)
    for number in range(5):
        failing(search, number, "x")
    assert search.watch.reason is None


def test_where_ray_itself_is_lost_no_trial_has_failed(search: Search) -> None:
    trial = search.begin(0)
    search.recorder.lost = lambda: "raylet"
    search.recorder.on_trial_error(0, [], trial)
    assert search.record(trial).state == State.RUNNING


def test_the_first_reason_to_stop_is_the_one_that_counts(search: Search) -> None:
    search.watch.stop(Reason.TIME)
    search.watch.stop(Reason.FAILURES)
    assert (search.watch.reason, search.closed) == (Reason.TIME, 1)
    assert search.watch("t0000", {})


# --- where a trial ran ----------------------------------------------------------------------------


def lines(search: Search, kind: str) -> list[dict[str, Any]]:
    text = search.journal.path.read_text().splitlines()
    return [line for line in map(json.loads, text) if line["t"] == kind]


def trained(search: Search, number: int, device: str, node: str | None = None) -> Any:
    search.recorder.placed(Trial(number), node)  # type: ignore[arg-type]
    trial = search.begin(number)
    row = [1, 0.7, 0.2, 1.0, 0.5]
    search.report(trial, row, objective=0.2, best_epoch=1, stop="epochs", device=device)
    search.complete(trial)
    return trial


def test_node_and_device_are_recorded_where_they_say_something(search: Search) -> None:
    here = search.record(trained(search, 0, "cpu"))
    assert (here.node, here.device) == (None, None)
    assert "node" not in lines(search, "start")[0]
    assert "device" not in lines(search, "end")[0]
    gpu = search.record(trained(search, 1, "cuda"))
    assert (gpu.node, gpu.device) == (None, "cuda")
    there = search.record(trained(search, 2, "cpu", "w1 (10.0.0.2)"))
    assert (there.node, there.device) == ("w1 (10.0.0.2)", "cpu")


def test_the_last_attempt_says_where_a_trial_ran(search: Search) -> None:
    search.recorder.placed(Trial(0), "w1")  # type: ignore[arg-type]
    trial = search.begin(0)
    search.report(trial, [1, 0.7, 0.2, 1.0, 0.5], objective=0.2, best_epoch=1, device="cuda")
    search.recorder.on_trial_recover(0, [], trial)
    trained(search, 0, "cpu", "w2")
    record = search.record(trial)
    assert (record.attempt, record.node, record.device) == (2, "w2", "cpu")


def test_a_gpu_that_a_worker_does_not_see_is_said_once_a_node(search: Search) -> None:
    said: list[str] = []
    search.recorder.gpus = GpuNotes(said.append, given=False)
    trained(search, 0, "cpu", "w1")  # no trial asks for a GPU
    search.recorder.gpus = GpuNotes(said.append, given=True)
    for number, (device, node) in enumerate(
        [("cpu", "w1"), ("cpu", "w1"), ("cuda", "w2"), ("cpu", "w3")], 1
    ):
        trained(search, number, device, node)
    assert [line.partition(": ")[2].partition(":")[0] for line in said] == [
        f"torch sees no GPU in a worker on {node} that got one" for node in ("w1", "w3")
    ]
