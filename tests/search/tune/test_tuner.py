"""What the driver makes of trials whose workers do not start, die, or wait: without Ray running."""

from __future__ import annotations

import errno
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recsys.models.ease import EaseConfig
from search.machine.cluster import Resources
from search.machine.room import Room
from search.machine.workers import GIVE_UP_S, Patience
from search.record.events import TrialEnded
from search.record.journal import Journal, StorageError, read_events
from search.run.session import disk_error, full_place
from search.space.trial import TrialConfig
from search.tune.outcome import Report, judge
from search.tune.tuner import NamedTrials, Recorder, Watch, asked


class Events:
    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


@dataclass(eq=False)
class Trial:
    trial_id: str
    config: dict[str, Any] = field(
        default_factory=lambda: {"trial": TrialConfig((), EaseConfig(), 0)}
    )
    last_result: dict[str, Any] = field(default_factory=dict)
    evaluated_params: dict[str, Any] = field(default_factory=dict)

    def get_pickled_error(self) -> Exception | None:
        return None


class ActorDiedError(Exception):
    pass


@pytest.fixture
def watch() -> Watch:
    return Watch(lambda: float("inf"), lambda: None)


@pytest.fixture
def recorder(tmp_path: Path, watch: Watch) -> Recorder:
    patience = Patience(lambda _line: None, lambda: None)
    return Recorder(Journal(tmp_path / "journal.jsonl"), Events(), watch, (), 5, patience)  # type: ignore[arg-type]


def fail(recorder: Recorder, name: str, error: Exception, attempts: int = 3) -> None:
    trial: Any = Trial(name)
    for _ in range(attempts):
        recorder.died(trial, error, None)
    recorder.on_trial_error(0, [], trial)


def ends(recorder: Recorder) -> list[TrialEnded]:
    events = (event for event, _ in read_events(recorder.journal.path))
    return [event for event in events if isinstance(event, TrialEnded)]


class Made:
    """Stands for Ray's generator: makes a trial whenever it is asked to."""

    def __init__(self, recorder: Recorder, concurrent: int) -> None:
        self.trials = NamedTrials.__new__(NamedTrials)
        self.trials._started = lambda: len(recorder.begun)
        self.trials._counter = 0
        self.trials._room = lambda: concurrent - len(recorder.running)

    def may(self) -> bool:
        """Whether another trial would be made now; it then is."""
        waiting = self.trials.waiting()
        made = waiting < self.trials.most_waiting()
        self.trials._counter += made
        return made


@pytest.mark.parametrize("concurrent", [1, 2, 8])
def test_trials_that_end_without_a_start_do_not_hold_up_the_next(
    recorder: Recorder, watch: Watch, concurrent: int
) -> None:
    """However few the workers: five failures, the common cause, and the end."""
    made = Made(recorder, concurrent)
    number = 0
    while watch.reason is None:
        assert number < 20
        while made.may():
            pass
        fail(recorder, f"t{number:04d}", ActorDiedError("x"))
        number += 1
    assert watch.reason == "failures"
    assert number == 5
    assert recorder.causes.most_common(1) == [("the worker died", 5)]


def test_each_worker_that_is_free_has_a_trial_that_waits_for_it(recorder: Recorder) -> None:
    """Ray ends a worker that becomes free while none waits, and then starts another one."""
    made, trials = Made(recorder, 4), [Trial(f"t{n}") for n in range(4)]
    assert [made.may() for _ in range(5)] == [True] * 4 + [False]
    for trial in trials:
        recorder.on_trial_start(0, [], trial)  # type: ignore[arg-type]
    assert [made.may() for _ in range(2)] == [True, False]  # all are busy: one is kept ready
    for trial in trials[:3]:  # these end before the ready one has begun
        fail(recorder, trial.trial_id, ActorDiedError("x"))
    assert [made.may() for _ in range(3)] == [True, True, False]


def test_on_a_cluster_as_many_wait_as_have_room(recorder: Recorder) -> None:
    made, slots = Made(recorder, 2), [2]
    made.trials._room = lambda: slots[0] - len(recorder.running)

    def go() -> int:
        """Trials that are made now; all that wait start."""
        new = 0
        while made.may():
            new += 1
        return new

    assert go() == 2
    for name in ("t0", "t1"):
        recorder.on_trial_start(0, [], Trial(name))  # type: ignore[arg-type]
    assert go() == 1  # the cluster is full: one waits
    slots[0] = 5  # a node with three cores joined
    assert go() == 2
    slots[0] = 1  # and one was lost
    assert go() == 0


def test_on_a_cluster_a_death_is_said_at_once_and_a_cause_once_a_node(recorder: Recorder) -> None:
    said: list[str] = []
    recorder.patience = Patience(said.append, lambda: None, joined=True)
    trial: Any = Trial("t0003")
    for node in ("w1", "w1", "w2"):
        error = ActorDiedError("creation task\nModuleNotFoundError: No module 'x'")
        recorder.died(trial, error, node)
    what = "the worker could not start: ModuleNotFoundError: No module 'x'"
    assert said == [
        f"note: t0003 on {node}: {what}; a trial is tried 2 times more" for node in ("w1", "w2")
    ]
    recorder.died(trial, ActorDiedError("gone"), "w1")
    assert len(said) == 3


def test_a_worker_that_dies_before_a_trial_is_said_with_its_node(recorder: Recorder) -> None:
    said: list[str] = []
    recorder.died_early(ActorDiedError("gone"), None)  # a Ray of our own says it in other ways
    recorder.patience = Patience(said.append, lambda: None, joined=True)
    for _ in range(2):
        recorder.died_early(ActorDiedError("gone"), "w1 (10.0.0.2)")
    assert said == [
        "note: a worker without a trial on w1 (10.0.0.2): the worker died; another one is started"
    ]


def test_a_trial_that_fits_on_no_node_is_said_with_what_is_lacking(recorder: Recorder) -> None:
    said, seconds = list[str](), iter(range(0, 300, 5))
    recorder.patience = Patience(
        *(said.append, lambda: None, True, lambda: float(next(seconds))),
        nodes=lambda: [Room(1, 0, 3e8)],
        what="trial",
    )
    waits: Any = Trial("t0001")
    waits.status = "PENDING"
    waits.placement_group_factory = asked(Resources(1, 0.0, 1, 1), 10**9)
    runs: Any = Trial("t0000")
    runs.status = "RUNNING"
    for turn in range(6):
        recorder.on_step_end(turn, [runs, waits])
    why = "1 trial asks for 1 core and 1.0 GB of memory, and the node with the most memory offers "
    assert said == [f"no worker has started for 20 s: {why}0.3 GB"]
    recorder.running.add("t0000")
    for turn in range(10):
        recorder.on_step_end(turn, [runs, waits])
    assert said[1:] == [f"waiting for a node for {n} s: {why}0.3 GB" for n in (45, 70)]


def test_every_attempt_counts_also_one_that_never_began(recorder: Recorder) -> None:
    said = "the node running low on memory\nexceeded threshold of 1900B (95.0% of 2000B limit)"
    fail(recorder, "t0000", ActorDiedError(said))
    (end,) = ends(recorder)
    assert end.state == "FAILED"
    assert end.cause == "the worker was ended by Ray: this machine's memory use is above 95%"
    assert "in each of 3 attempts, the last time with: the node running low" in end.error


def test_a_failure_that_ray_keeps_no_error_of_has_a_cause_all_the_same(recorder: Recorder) -> None:
    recorder.on_trial_error(0, [], Trial("t0000"))  # type: ignore[arg-type]
    (end,) = ends(recorder)
    assert end.cause == "the worker died"


@pytest.mark.parametrize(
    "report",
    [
        {"epoch": 3, "objective": 0.5, "stop": "patience"},
        {"epoch": 3, "objective": 0.5, "stop": None},
        {"epoch": 3, "objective": float("-inf"), "stop": "epochs"},
        {"epoch": 3, "objective": 0.5, "error": "Traceback", "cause": "c"},
    ],
)
def test_the_journal_has_what_optuna_is_told(recorder: Recorder, report: dict[str, Any]) -> None:
    recorder.on_trial_complete(0, [], Trial("t0000", last_result=report))  # type: ignore[arg-type]
    (end,) = ends(recorder)
    told = judge(Report.of(report))
    assert (end.state, end.reason, end.value) == (told.state, told.reason, told.value)
    assert (end.cause, end.error, end.epochs) == (told.cause, told.error, 3)


def test_a_search_in_which_nothing_runs_is_given_up(recorder: Recorder, watch: Watch) -> None:
    now = [0.0]
    recorder.patience.clock = lambda: now[0]
    trial: Any = Trial("t0000")
    recorder.on_step_end(0, [])
    recorder.on_trial_start(0, [], trial)
    now[0] = 10 * GIVE_UP_S
    recorder.on_step_end(0, [])
    assert not watch.stop_all()  # an epoch may take hours
    recorder.on_trial_recover(0, [], trial)  # its worker died, and no other one starts
    recorder.on_step_end(0, [])
    now[0] += GIVE_UP_S + 1
    recorder.on_step_end(0, [])
    assert watch.stop_all()
    assert watch.reason == "workers"
    assert "no worker could be started" in (watch.stuck or "")


@pytest.mark.parametrize("jump", [-(10**9), 10**9])
def test_the_clock_of_the_wall_moves_no_deadline(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    end = time.monotonic() + 1000
    watch.deadline = lambda: end
    before = time.time()
    monkeypatch.setattr(time, "time", lambda: before + jump)
    assert not watch.stop_all()
    assert not watch("t0000", {})
    watch.deadline = lambda: time.monotonic() - 1
    assert watch("t0000", {})
    assert watch.reason == "time"
    assert not watch.stop_all()  # the grace is not over, whatever the clock says


# --- a disk that is full --------------------------------------------------------------------------


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path


def test_the_place_that_is_full_is_named_and_not_the_run_folder(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/tmp/ray/session_1/x")
    wrapped = RuntimeError("inside Ray")
    wrapped.__cause__ = error
    found = disk_error(wrapped, Folder(tmp_path))  # type: ignore[arg-type]
    assert isinstance(found, StorageError)
    assert str(found).startswith("/tmp/ray/session_1/x: cannot be written (No space left")
    assert str(tmp_path) not in str(found)


def test_an_error_without_a_name_is_looked_for(tmp_path: Path) -> None:
    nameless = OSError(errno.ENOSPC, "No space left on device")
    assert full_place(nameless, tmp_path) == tmp_path  # no place is full any more
    (tmp_path / "file").touch()
    assert full_place(nameless, tmp_path / "file") == tmp_path / "file"


def test_other_errors_are_our_bugs(tmp_path: Path) -> None:
    folder: Any = Folder(tmp_path)
    assert disk_error(KeyError("x"), folder) is None
    assert disk_error(json.JSONDecodeError("x", "y", 0), folder) is None
    assert disk_error(FileNotFoundError(errno.ENOENT, "gone", "x"), folder) is None
