"""The stages of a run and the first of them, the search; the others are in the files beside it.

A stage that the journal has as done is not run again.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from recsys.data import Dataset
from recsys.rivals import Needed, seconds_for
from recsys.split import Split, SplitPlan
from search.machine.cluster import Cluster, Resources
from search.record.events import Reason, StageMarked, StageState, State, TrialEnded, TrialMade
from search.record.folder import STUDY, RunFolder
from search.record.journal import Journal, RunState
from search.record.result import ResultPart, Searched, SearchEnd
from search.record.settings import Settings
from search.screen.display import Display
from search.space.load import SearchSpec
from search.space.strategies import SCHEDULERS
from search.space.trial import TrialConfig
from search.tune.allocation import Terms, terms_of
from search.tune.checkpoints import Shelf
from search.tune.pace import (
    SEARCH_SHARE,
    Pace,
    sample_users,
    search_seconds,
    size_of,
    watched_users,
)
from search.tune.probe import measure
from search.tune.reserve import Reserve
from search.tune.scheduler import make_scheduler, rungs
from search.tune.searcher import StudySearch
from search.tune.settled import Settling
from search.tune.study import Study, StudyTrial, from_journal, frozen, remake
from search.tune.study_journal import as_journal
from search.tune.tuner import Recorder, Watch, run_trials
from search.tune.worker import TrialData, report_every_s
from search.words import counted

METRICS = ("recall@20", "ndcg@20", "recall@50", "ndcg@50", "map@50")
FAIL_AFTER = 5


def shown_metrics(spec: SearchSpec, n_items: int) -> tuple[str, ...]:
    """The metric of a space first, then those of every table that so many items allow."""
    others = [m for m in METRICS if m != spec.metric]
    return (spec.metric, *(m for m in others if int(m.split("@")[1]) <= n_items))


class RunFailedError(Exception):
    """The run cannot continue; the message is one line for the user. Exit code 1."""


def search_end(stopped: Reason | None, exhausted: bool, settled: bool = False) -> SearchEnd:
    """Why the search ended: what stopped it, if anything did, or whether it ran out of configs."""
    match stopped:
        case None if settled:
            return SearchEnd.SETTLED
        case None:
            return SearchEnd.SPACE if exhausted else SearchEnd.TRIALS
        case Reason.TIME:
            return SearchEnd.TIME
        case _:
            raise AssertionError(stopped)  # with any other reason the run failed


@dataclass
class Stages:
    """What every stage needs, and the stages themselves."""

    spec: SearchSpec
    settings: Settings
    dataset: Dataset
    split: Split
    plan: SplitPlan
    folder: RunFolder
    journal: Journal
    display: Display
    cluster: Cluster
    resources: Resources
    deadline: float | None  # of `time.monotonic`
    state: RunState = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.folder.state()

    # --- shared ----------------------------------------------------------------------------

    @property
    def metrics(self) -> tuple[str, ...]:
        """The run's metric first, then what every table shows."""
        return shown_metrics(self.spec, self.dataset.interactions.n_items)

    @property
    def data(self) -> TrialData:
        """What all trials share, sent once, by Ray's object store; test items for a table only."""
        table = self.spec.purpose == "table"
        return TrialData(
            train=self.split.train,
            valid=self.split.valid,
            test=self.split.test if table else None,
            metric=self.spec.metric,
            metrics=self.metrics,
            rungs=tuple(rungs(self.spec)),
            threads=self.resources.cpus_per_trial,
            device=self.settings.device,
            blend=bool(self.spec.blend),
            report_every_s=report_every_s(self.resources.concurrent),
        )

    @property
    def trial_data(self) -> TrialData:
        """The same for the trials of the search, whose length may have been decided."""
        if (pace := self.pace) is None:
            return self.data
        early = SCHEDULERS[self.spec.scheduler].early
        parts = self.spec.reduction_factor if early else None
        watched = None
        if pace.users is not None:
            rng = np.random.default_rng([self.settings.seed, 0xACE])
            watched = sample_users(self.split.valid, self.split.train, pace.users, rng)
        return replace(self.data, watched=watched, parts=parts)

    @property
    def pace(self) -> Pace | None:
        """How long its trials may be, where that was decided."""
        return Pace.from_event(self.state.pace, self.split.train)

    def run(self, name: str, stage: Callable[[], ResultPart]) -> None:
        """One stage, marked in the journal before and after, unless it is done already."""
        if self.state.stage_done(name):
            return
        self.display.stage(name)
        self.journal.append(StageMarked(name=name, state=StageState.START), sync=True)
        data = stage().plain()
        self.journal.append(StageMarked(name=name, state=StageState.DONE, data=data), sync=True)
        self.refresh()

    def refresh(self) -> None:
        """Read the journal again and bring the tables of the folder up to date."""
        self.state = self.folder.state()
        self.folder.write_tables(self.state)

    # --- search ----------------------------------------------------------------------------

    def search(self) -> Searched:
        """Trials until the budget is spent."""
        spec = self.spec
        self.decide_pace()
        state, pace = self.state, self.pace
        known = self._known()
        shelf = Shelf(
            self.folder.checkpoints, self.cluster.fetch, self.cluster.put, self.display.note
        )
        searcher = StudySearch(
            spec,
            known,
            seed=self.settings.seed,
            budget=spec.trials,
            on_new=self._journal_trial,
            where=str(self.folder.path),
            pace=pace,
            terms=self._terms(pace),
            handed=shelf.handed,
        )
        scheduler = make_scheduler(spec, paced=pace is not None)
        for trial, told in zip(state.in_order(), known, strict=True):
            # What was decided on the last report of a trial that has not ended is not known:
            # it may be the one that the trial was about to be stopped on.
            steps = told.steps if trial.finished else told.steps[:-1]
            scheduler.replay(trial.id, steps, trial.training)
        watch = Watch(self.search_deadline, searcher.finish)
        recorder = Recorder(
            self.journal,
            self.display,
            watch,
            tuple(self.metrics),
            FAIL_AFTER,
            self.cluster.patience(),
            self.cluster.lost,
            self._settling(),
            self.reserve,
            shelf,
        )
        todo = spec.trials - sum(t.finished for t in state.trials.values())
        if recorder.settling is not None and recorder.settling.reached:  # before a resume
            watch.settled, todo = True, 0
        if todo > 0:
            run_trials(
                self.resources,
                self.trial_data,
                searcher,
                scheduler,
                todo,
                recorder,
                self.settings.storage or self.folder.ray,
                self.folder.name,
                self.cluster.slots(self.resources),
            )
        if self.settings.storage is None:  # also what a session that was killed has left
            shutil.rmtree(self.folder.ray, ignore_errors=True)  # nothing reads Tune's records
        self.refresh()
        if watch.stuck is not None:
            raise RunFailedError(watch.stuck)
        if searcher.exhausted:
            self.display.note(
                f"{counted(len(self.state.trials), 'trial')} made: the space has no config left "
                "that was not tried"
            )
        self.end_leftovers(watch.reason)
        shelf.clear()
        self.write_study()
        counts = self.state.counts()
        if watch.reason == Reason.FAILURES:
            cause, times = recorder.causes.most_common(1)[0]
            raise RunFailedError(
                f"the first {recorder.ended.total()} trials all failed, {times} of them "
                f"with: {cause} (tracebacks in {self.folder.path / 'trials.csv'})"
            )
        if counts[State.COMPLETE] == 0 and counts[State.PRUNED] == 0:
            why = recorder.causes.most_common(1)
            words = f", {why[0][1]} of them with: {why[0][0]}" if why else ""
            raise RunFailedError(f"no trial finished, {counts[State.FAILED]} failed{words}")
        if watch.settled and watch.reason is None and recorder.settling is not None:
            self.display.note(recorder.settling.words())
        end = search_end(watch.reason, searcher.exhausted, watch.settled)
        return Searched(stopped_by=end, planned=spec.trials, **counts)

    def decide_pace(self) -> None:
        """Before the first trial: say what a trial costs, and fit its length to the time budget."""
        budget = self.settings.time_budget
        if self.state.pace or self.state.trials:
            return
        cost = measure(self.cluster, self.resources, self.spec, self.data, budget)
        if cost is None:
            return
        self.display.note(cost.words())
        if (pace := cost.pace()) is None or self.spec.purpose == "table":
            return
        for line in cost.pace_words(pace):
            self.display.note(line)
        self.journal.append(pace.to_event(), sync=True)
        self.refresh()

    def _terms(self, pace: Pace | None) -> Terms:
        """How trials are dealt out among the methods of a space."""
        budget = self.settings.time_budget
        if pace is None or budget is None:
            return terms_of(self.spec)
        return pace.terms(self.spec, search_seconds(budget, self.resources.concurrent))

    def _settling(self) -> Settling | None:
        """What follows the trials of a search that ends by itself."""
        if not self.settings.settles:
            return None
        sampled = None if (pace := self.pace) is None else pace.users
        users = sampled or watched_users(self.split.train, self.split.valid)
        return Settling.of(self.state.in_order(), users, self.spec.race.replicates)

    def _known(self) -> list[StudyTrial]:
        return [from_journal(t, self.spec.metric) for t in self.state.in_order()]

    def study(self) -> Study:
        """The Optuna study of all trials so far."""
        return remake(self.spec, self._known(), str(self.folder.path))

    def write_study(self) -> None:
        """Bring the study's file in the run folder up to date."""
        trials = frozen(self.spec, self._known(), str(self.folder.path))
        self.folder.write(STUDY, as_journal(trials, self.folder.name))

    def _journal_trial(self, trial: TrialConfig) -> None:
        self.journal.append(
            TrialMade(
                id=trial.id,
                number=trial.number,
                params=trial.params,
                config=trial.train.to_flat(),
                seed=trial.seed,
            )
        )

    def search_deadline(self) -> float:
        """When the search has to end, of `time.monotonic`, for the rest to fit into the budget.

        What follows gets as much of it as it needs, at most what `SEARCH_SHARE` leaves.
        """
        budget = self.settings.time_budget
        if self.deadline is None or budget is None:
            return math.inf
        return self.deadline - min(self.reserve.seconds(), (1 - SEARCH_SHARE) * budget)

    @cached_property
    def reserve(self) -> Reserve:
        """What the stages after the search will take; it follows the trials as they end."""
        race, blend = self.spec.race, self.spec.blend
        reserve = Reserve(race, self.resources.concurrent, blend, self._rivals_need)
        return reserve.add_all(self.state.trials.values())

    def _rivals_need(self, measured: Mapping[str, float]) -> Needed:
        """About how long the rivals take, from the seconds that a training of each model took;
        nothing without a test or a time budget.
        """
        budget = self.settings.time_budget
        if budget is None or self.split.test is None:
            return Needed()
        return seconds_for(size_of(self.split.train), budget, measured)

    def end_leftovers(self, reason: Reason | None) -> None:
        """Trials cut off by the hard end of a time budget end as pruned, in every record."""
        left = [t for t in self.state.in_order() if not t.finished]
        for trial in left:
            steps = from_journal(trial, self.spec.metric).steps
            best_epoch = max(steps, key=lambda step: step[1])[0] if steps else None
            end = TrialEnded(
                id=trial.id,
                state=State.PRUNED,
                reason=reason or Reason.STOPPED,
                value=steps[-1][1] if steps else None,
                best_epoch=best_epoch,
                epochs=trial.epochs,
                busy_s=trial.busy_s,
            )
            self.journal.append(end, sync=True)
        if left:
            self.refresh()
