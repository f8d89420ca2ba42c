"""The trials of a run under Ray Tune, every event written to the journal as it happens."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.experiment import Trial
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator

from search.cluster import Resources
from search.controller import sturdy
from search.journal import Journal
from search.trainable import TrialData, run_trial

ENDED_BY_ITSELF = ("epochs", "patience", "time")
WORKER_RETRIES = 2
HARD_STOP_GRACE_S = 120.0


class Events(Protocol):
    """What a display wants to know."""

    def trial_started(self, trial_id: str, params: dict[str, Any]) -> None: ...
    def trial_progress(self, trial_id: str, epoch: int, best: float) -> None: ...
    def trial_ended(
        self, trial_id: str, state: str, value: float | None, reason: str | None
    ) -> None: ...


class NamedTrials(SearchGenerator):
    """Ray's generator with our trial ids, the same in Tune, Optuna, the journal and MLflow.

    One trial waits ready for the next free worker. Only at the start as many are made as there
    are workers, so that these start side by side; later that would mean proposals that know one
    result less.
    """

    def __init__(self, searcher: Searcher, concurrent: int, started: Callable[[], int]) -> None:
        super().__init__(searcher)
        self._concurrent = concurrent
        self._started = started

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        waiting = self._counter - self._started()
        if waiting >= (1 if self._started() >= self._concurrent else self._concurrent):
            return None
        original = Trial.generate_id
        name = self.searcher.next_id()
        Trial.generate_id = classmethod(lambda _cls: name)
        try:
            return super().create_trial_if_possible(experiment_spec)
        finally:
            Trial.generate_id = original

    def __getstate__(self) -> dict[str, Any]:
        return {}


@dataclass
class Watch(Stopper):
    """Stops trials, not the experiment, once the run should end; so nothing is lost.

    A stopped trial passes through the ordinary end of a trial. Only if that takes too long
    (an epoch of minutes) the whole experiment is stopped.
    """

    deadline: Callable[[], float]
    close: Callable[[], None]
    reason: str | None = None
    closed_at: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles stoppers and callbacks for a restore that is never done

    def stop(self, reason: str) -> None:
        """No new trials, and running ones end at their next report."""
        if self.reason is None:
            self.reason = reason
            self.closed_at = time.time()
            self.close()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if time.time() > self.deadline():
            self.stop("time")
        return self.reason is not None

    def stop_all(self) -> bool:
        if time.time() > self.deadline():
            self.stop("time")
        return self.closed_at is not None and time.time() > self.closed_at + HARD_STOP_GRACE_S


@dataclass
class Recorder(Callback):
    """Writes what happens to trials into the journal and tells the display."""

    journal: Journal
    events: Events
    watch: Watch
    columns: list[str]
    fail_after: int
    lost: Callable[[], str | None] = lambda: None
    attempts: Counter[str] = field(default_factory=Counter)
    busy: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    causes: Counter[str] = field(default_factory=Counter)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        name = trial.trial_id
        self.attempts[name] += 1
        self.busy[name] = 0
        self.journal.append("start", id=name, attempt=self.attempts[name], time=time.time())
        self.events.trial_started(name, trial.config["params"])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        name = trial.trial_id
        rows = result.pop("rows", None) or []
        if rows:
            self.busy[name] += sum(row[-1] + row[-2] for row in rows)
            self.journal.append(
                "epochs",
                id=name,
                attempt=self.attempts[name],
                columns=self.columns,
                rows=rows,
                time=time.time(),
            )
        self.events.trial_progress(name, result["epoch"], result["objective"])

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **_: Any
    ) -> None:
        result = trial.last_result or {}
        stop = result.get("stop")
        if result.get("error"):
            self._end(trial, result, "FAILED", "error", result["error"], result["cause"])
        elif stop in ENDED_BY_ITSELF:
            self._end(trial, result, "COMPLETE", stop)
        else:
            self._end(trial, result, "PRUNED", self.watch.reason or "asha")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        if self.lost() is not None:
            return  # not the trial's failure: all of Ray is gone, and the trial runs again
        error = trial.get_pickled_error() or trial.get_error()
        times = max(1, self.attempts[trial.trial_id])
        text = f"the worker died in each of {times} attempts, the last time with: {error}"
        self._end(trial, trial.last_result or {}, "FAILED", "worker", text, "the worker died")

    def _end(
        self,
        trial: Trial,
        result: dict[str, Any],
        state: str,
        reason: str,
        error: str | None = None,
        cause: str | None = None,
    ) -> None:
        name = trial.trial_id
        value = result.get("objective")
        value = None if value is None or value == float("-inf") else float(value)
        self.journal.append(
            "end",
            sync=True,
            id=name,
            state=state,
            reason=reason,
            value=value,
            best_epoch=result.get("best_epoch"),
            epochs=result.get("epoch", 0),
            busy_s=self.busy[name],
            error=error,
            cause=cause,
            test=result.get("test"),
            time=time.time(),
        )
        self.ended[state] += 1
        self.events.trial_ended(name, state, value, reason if cause is None else cause)
        if cause is not None:
            self.causes[cause] += 1
        if self.ended["FAILED"] >= self.fail_after and self.ended["FAILED"] == sum(
            self.ended.values()
        ):
            self.watch.stop("failures")


def run_trials(
    resources: Resources,
    data: TrialData,
    searcher: Searcher,
    scheduler: Any,
    budget: int,
    recorder: Recorder,
    storage: str | Path,
    name: str,
) -> None:
    """Run trials until the searcher has no more or the watch stops them.

    `budget` is an upper bound on the number of trials of this call. Ray's own records go under
    `storage`; nothing of ours is ever read from there.
    """
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(resources.concurrent)
    trainable = tune.with_resources(
        tune.with_parameters(run_trial, data=data),
        {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=NamedTrials(searcher, resources.concurrent, lambda: len(recorder.attempts)),
            scheduler=scheduler,
            num_samples=budget,
            reuse_actors=True,
            max_concurrent_trials=None,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(storage),
            verbose=0,
            stop=recorder.watch,
            callbacks=[recorder],
            failure_config=tune.FailureConfig(max_failures=WORKER_RETRIES),
            log_to_file=False,
        ),
    )
    with sturdy():
        tuner.fit()
