"""The trials of a run under Ray Tune; every event is written to the journal as it happens."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pyarrow.fs import LocalFileSystem
from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator

from recsys.models.base import Size
from search.machine.cluster import Resources, bundle
from search.machine.lean import without_bookkeeping, without_counting_callbacks
from search.machine.node_watch import NodeWatch
from search.machine.room import Room
from search.machine.storage import is_local
from search.machine.workers import GpuNotes, Patience, cause_of
from search.record.events import EpochsReported, Reason, State, TrialBegan, TrialEnded
from search.record.journal import Journal
from search.tune.checkpoints import FROM, Shelf
from search.tune.controller import sturdy
from search.tune.need import task_bytes
from search.tune.outcome import Brief, Outcome, Report, judge, trial_of
from search.tune.reserve import Reserve
from search.tune.settled import Settling
from search.tune.worker import TrialData, run_trial

WORKER_RETRIES = 2
HARD_STOP_GRACE_S = 120.0
MOST_WAITING = 1000  # trials that may wait for workers at once, on a cluster


class Events(Protocol):
    """The events of trials that a display is told of."""

    def trial_started(self, trial_id: str, params: dict[str, Any], leaky: bool) -> None:
        """A worker has begun the trial, for the first time or again.

        params: its parameters, by their names in the space. leaky: whether its config knows
        held-out items.
        """

    def trial_progress(self, trial_id: str, epoch: int, best: float) -> None:
        """The trial has trained `epoch` epochs; best: its best value so far, NaN without one."""

    def trial_ended(self, end: TrialEnded) -> None:
        """The trial is over. end: the event of the journal that says how."""


class NamedTrials(SearchGenerator):
    """Ray's generator with our trial ids, the same in Tune, Optuna, the journal and MLflow.

    One trial is kept ready for the next free worker; more would be proposals made before the latest
    results. Where several workers are free, as at the start, one is made for each: Ray ends a
    worker that becomes free while no trial waits for one.
    """

    def __init__(
        self,
        searcher: Searcher,
        started: Callable[[], int],
        room: Callable[[], int],
    ) -> None:
        """started: the number of trials that no longer wait, including those that ended without a
        start. room: how many trials would fit beside those that run now.
        """
        super().__init__(searcher)
        self._started = started
        self._room = room

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        """Ray's next trial, under the searcher's name for it; None while enough trials wait."""
        if self.waiting() >= self.most_waiting():
            return None
        original = Trial.generate_id
        name = self.searcher.next_id()
        Trial.generate_id = classmethod(lambda _cls: name)
        try:
            return super().create_trial_if_possible(experiment_spec)
        finally:
            Trial.generate_id = original

    def waiting(self) -> int:
        """How many trials were made and have neither started nor ended."""
        return self._counter - self._started()

    def most_waiting(self) -> int:
        """How many may wait now."""
        return max(1, self._room())

    def __getstate__(self) -> dict[str, Any]:
        return {}


@dataclass
class Watch(Stopper):
    """Stops the trials rather than the experiment once the run should end, so that nothing is lost.

    A stopped trial goes through the ordinary end of a trial. Only if that takes longer than `grace`
    (an epoch of minutes) is the whole experiment stopped.
    """

    deadline: Callable[[], float]  # by `time.monotonic`, which setting the clock does not move
    close: Callable[[], None]
    grace: Callable[[], float] = lambda: HARD_STOP_GRACE_S  # in seconds
    reason: Reason | None = None
    closed_at: float | None = None
    settled: bool = False  # no more trials, since they would gain too little
    stuck: str | None = None  # why nothing could run, in one line

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles stoppers and callbacks for a restore that is never done

    def stop(self, reason: Reason) -> None:
        """Make no new trials, and end the running ones at their next report."""
        if self.reason is None:
            self.reason = reason
            self.closed_at = time.monotonic()
            self.close()

    def settle(self) -> None:
        """Make no new trials; those that are running continue as usual."""
        if not self.settled:
            self.settled = True
            self.close()

    def give_up(self, why: str) -> None:
        """End the experiment now: no worker starts."""
        self.stuck = why
        self.stop(Reason.WORKERS)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether this trial is to end with the report it has just made."""
        if time.monotonic() > self.deadline():
            self.stop(Reason.TIME)
        return self.reason is not None

    def stop_all(self) -> bool:
        """Whether to end all trials now: no worker starts, or the ordinary end takes too long."""
        if time.monotonic() > self.deadline():
            self.stop(Reason.TIME)
        if self.stuck is not None:
            return True
        closed = self.closed_at
        return closed is not None and time.monotonic() > closed + self.grace()


@dataclass
class Recorder(Callback):
    """Writes what happens to trials into the journal and tells the display."""

    journal: Journal
    events: Events
    watch: Watch
    metrics: tuple[str, ...]
    fail_after: int | None
    patience: Patience
    lost: Callable[[], str | None] = lambda: None
    settling: Settling | None = None  # of a search that decides itself when to end
    reserve: Reserve | None = None  # of a run with a time budget
    shelf: Shelf | None = None  # where long trials keep their checkpoints
    ends_for: Reason = Reason.STOPPED  # the reason noted for a trial that the scheduler stopped
    gpus: GpuNotes | None = None  # told what trials train on
    begun: set[str] = field(default_factory=set)  # started, or ended without a start
    running: set[str] = field(default_factory=set)
    deaths: dict[str, list[Exception]] = field(default_factory=dict)
    told: set[tuple[str, str | None]] = field(default_factory=set)
    nodes: dict[str, str | None] = field(default_factory=dict)  # of trials that run, on a cluster
    devices: dict[str, str] = field(default_factory=dict)
    attempts: Counter[str] = field(default_factory=Counter)
    busy: defaultdict[str, float] = field(default_factory=lambda: defaultdict(int))
    ended: Counter[State] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial got a worker: a new attempt, whose reports replace those of the one before."""
        name = trial.trial_id
        self.attempts[name] += 1
        self.begun.add(name)
        self.running.add(name)
        self.busy[name] = 0
        node = self.nodes.get(name)
        self.journal.append(TrialBegan(id=name, attempt=self.attempts[name], node=node))
        made = trial_of(trial.config)
        self.events.trial_started(name, made.params, made.train.leaky)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """An attempt failed, and another follows: from the last checkpoint, where there is one."""
        self.running.discard(trial.trial_id)
        if self.shelf is not None:  # Tune starts it again with the config as changed here
            trial.config.update(self.shelf.handed(trial.trial_id))

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """In each turn of Ray's loop: give up if nothing has run for too long."""
        waiting = (room_of(trial) for trial in trials if trial.status == Trial.PENDING)
        if (why := self.patience.look(bool(self.running), waiting)) is not None:
            self.watch.give_up(why)

    def placed(self, trial: Trial, node: str | None) -> None:
        """A worker is about to begin the trial. node: its title, on a cluster."""
        self.nodes[trial.trial_id] = node

    def died(self, trial: Trial, exception: Exception, node: str | None) -> None:
        """An attempt of a trial failed; Tune decides whether there is another one. node: the title
        of the one that it failed on, on a cluster.
        """
        self.deaths.setdefault(trial.trial_id, []).append(exception)
        again = f"a trial is tried {WORKER_RETRIES} times more"
        self._tell(trial.trial_id, exception, node, again)

    def died_early(self, exception: Exception, node: str | None) -> None:
        """A worker died that no trial had."""
        self._tell("a worker without a trial", exception, node, "another one is started")

    def _tell(self, what: str, exception: Exception, node: str | None, then: str) -> None:
        """Say why a worker died: on a cluster at once, since new attempts may take minutes to fail,
        and each cause once for each node.
        """
        cause = cause_of(exception)
        if self.patience.joined and (cause, node) not in self.told:
            self.told.add((cause, node))
            where = "" if node is None else f" on {node}"
            self.patience.note(f"note: {what}{where}: {cause}; {then}")

    def _trains_on(self, name: str, device: str) -> None:
        """A worker has said what it trains on."""
        self.devices[name] = device
        if self.gpus is not None:
            self.gpus.trained(device, self.nodes.get(name))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """Epochs go into the journal, a checkpoint on the shelf, the best value to the display."""
        name = trial.trial_id
        release(trial)  # its worker has read the checkpoint
        report = Report.taken(result)
        if rows := report.rows:
            self.busy[name] += sum(row.eval_seconds + row.train_seconds for row in rows)
            self.journal.append(EpochsReported.of(name, self.attempts[name], self.metrics, rows))
        if report.checkpoint is not None and self.shelf is not None:
            self.shelf.keep(name, report.checkpoint)
        if report.device is not None:
            self._trains_on(name, report.device)
        assert report.objective is not None
        if self.reserve is not None:
            made, taken = trial_of(trial.config), self.busy[name]
            self.reserve.foresee(made.number, report.objective, taken, report.epoch, made.train)
        self.events.trial_progress(name, report.epoch, report.objective)

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        """A trial ended normally: of its own accord, or stopped by the scheduler or the run."""
        self._end(trial, judge(Report.of(trial.last_result), self.watch.reason or self.ends_for))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial failed in each of its attempts."""
        if self.lost() is not None:
            return  # not the trial's failure: all of Ray is gone, and the trial will run again
        deaths = self.deaths.get(trial.trial_id, [])
        last = deaths[-1] if deaths else trial.get_pickled_error()
        cause = "the worker died" if last is None else cause_of(last)
        times = max(1, len(deaths))
        text = f"the worker died in each of {times} attempts, the last time with: {last}"
        how = judge(Report.of(trial.last_result), death=cause)
        self._end(trial, replace(how, error=text))

    def _end(self, trial: Trial, how: Outcome) -> None:
        release(trial)
        name, last = trial.trial_id, Report.of(trial.last_result) or Report()
        self.begun.add(name)
        self.running.discard(name)
        node, device = self.nodes.pop(name, None), self.devices.pop(name, None)
        end = TrialEnded(
            id=name,
            state=how.state,
            reason=how.reason,
            value=how.value,
            best_epoch=last.best_epoch,
            epochs=last.epoch,
            busy_s=self.busy[name],
            error=how.error,
            cause=how.cause,
            test=last.test,
            device=None if node is None and device == "cpu" else device,
        )
        self.journal.append(end, sync=True)
        if self.shelf is not None:
            self.shelf.drop(name)
        self.ended[how.state] += 1
        self.events.trial_ended(end)
        if how.cause is not None:
            self.causes[how.cause] += 1
        if self.reserve is not None:
            made = trial_of(trial.config)
            self.reserve.add(made.number, how.state, how.value, self.busy[name], made.train)
        if self.settling is not None:
            self.settling.add(how.state, how.value)
            if self.settling.reached:
                self.watch.settle()
        failed = self.ended[State.FAILED]
        most = self.fail_after
        if most is not None and failed >= most and failed == self.ended.total():
            self.watch.stop(Reason.FAILURES)


def release(trial: Trial) -> None:
    """Let go of the checkpoint that a trial was handed: Tune keeps all trials until the search
    ends, and with them whatever of the object store their configs name.
    """
    for known in (trial.config, trial.evaluated_params):
        known.pop(FROM, None)


def asked(resources: Resources, memory: int = 0) -> dict[str, float] | tune.PlacementGroupFactory:
    """What a trial asks of Ray: cores, GPUs and `memory` bytes."""
    if not memory:
        return {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    return tune.PlacementGroupFactory([bundle(resources, memory)])


def room_of(trial: Trial) -> Room:
    """What a trial asks of a node."""
    return Room.of(trial.placement_group_factory.required_resources)


def asked_by(resources: Resources, data: TrialData) -> Any:
    """What trials ask of Ray, in Tune's form: one answer for all, or a function of a trial's config
    where each asks for the memory that it takes.
    """
    if resources.largest is None:
        return asked(resources)
    size = Size.of(data.train)
    made: dict[int, Any] = {}  # Ray compares by contents what is not the same object

    def of(config: dict[str, Any]) -> Any:
        memory = task_bytes(resources, [trial_of(config).train], size)
        if memory not in made:
            made[memory] = asked(resources, memory)
        return made[memory]

    return of


def run_trials(
    resources: Resources,
    data: TrialData,
    searcher: Searcher,
    scheduler: Any,
    budget: int,
    recorder: Recorder,
    storage: str | Path,
    name: str,
    slots: Callable[[], int] | None = None,
    nodes: NodeWatch | None = None,
) -> None:
    """Run trials until the searcher has no more or the watch stops them.

    resources: what each trial gets. data: what all trials share. searcher: proposes them.
    scheduler: Ray's, which ends weak ones early. budget: the most trials that this call may make.
    recorder: hears of every event; its watch stops the run. storage: where Ray keeps its own
    records, under `name`; nothing of ours is ever read from there. slots: on a cluster, how many
    trials fit at once now; None where Ray was started for this run. nodes: those of the cluster.
    """
    most = resources.concurrent if slots is None else MOST_WAITING
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(most)
    fit = slots or (lambda: resources.concurrent)
    trainable = tune.with_parameters(run_trial, data=data)
    trainable.__mixins__ = (Brief,)
    trainable = tune.with_resources(trainable, asked_by(resources, data))
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=NamedTrials(
                searcher,
                lambda: len(recorder.begun),
                lambda: fit() - len(recorder.running),
            ),
            scheduler=scheduler,
            num_samples=budget,
            reuse_actors=True,
            max_concurrent_trials=None,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            # A path is taken literally: read as a URI, one with a %, # or ? would change.
            storage_filesystem=LocalFileSystem() if is_local(str(storage)) else None,
            verbose=0,
            stop=recorder.watch,
            callbacks=[recorder],
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            log_to_file=False,
        ),
    )
    with (
        sturdy(recorder, keeps_starting=slots is not None, nodes=nodes),
        without_counting_callbacks(),
        without_bookkeeping(),
    ):
        tuner.fit()
