"""What every stage of a run needs; the stages are in the files beside it.

A stage that the journal has as done is not run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from recsys.data import Dataset
from recsys.models.base import Size
from recsys.rivals import Needed, seconds_for
from recsys.split import Split, SplitPlan
from search.machine.cluster import Cluster, Resources
from search.machine.workers import GpuNotes
from search.propose.study import frozen
from search.propose.study_journal import as_journal
from search.propose.trials import StudyTrial, from_journal
from search.record.events import StageMarked, StageState
from search.record.folder import STUDY, RunFolder
from search.record.journal import Journal
from search.record.result import ResultPart
from search.record.settings import Settings
from search.record.state import RunState
from search.screen.display import Display
from search.space.spec import SearchSpec
from search.space.strategies import SCHEDULERS
from search.tune.need import allowed_rival
from search.tune.pace import Pace
from search.tune.reserve import Reserve
from search.tune.sampling import sample_users
from search.tune.scheduler import rungs
from search.tune.worker import TrialData

METRICS = ("recall@20", "ndcg@20", "recall@50", "ndcg@50", "map@50")


def shown_metrics(spec: SearchSpec, n_items: int) -> tuple[str, ...]:
    """The metric of a space, then those of every table, where there are items enough for them."""
    others = [m for m in METRICS if m != spec.metric]
    return (spec.metric, *(m for m in others if int(m.split("@")[1]) <= n_items))


def time_until(deadline: float | None) -> float | None:
    """Seconds until a `deadline` of `time.monotonic`, below 0 once it has passed; None without."""
    return None if deadline is None else deadline - time.monotonic()


class RunFailedError(Exception):
    """The run cannot continue; the message is one line for the user. Exit code 1."""


class TaskFailedError(RunFailedError):
    """A task of a stage failed, or its worker kept dying. why: what failed and of what, which a
    stage that can do without the task says in a note.
    """

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; --resume tries again")
        self.why = why


@dataclass
class Stages:
    """What every stage needs; `state` is the journal as last read."""

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

    @property
    def metrics(self) -> tuple[str, ...]:
        """The run's metric first, then what every table shows."""
        return shown_metrics(self.spec, self.dataset.interactions.n_items)

    @property
    def data(self) -> TrialData:
        """What all trials share, sent once through Ray's object store; with test items only for a
        table.
        """
        table = self.spec.is_table
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
            sampled=None if self.pace is None else self.pace.users,
            joined=self.settings.address is not None,
        )

    @cached_property
    def slots(self) -> Callable[[], int] | None:
        """Says how many trials fit at once on the nodes of a cluster now; None where Ray was
        started here.
        """
        return self.cluster.slots(self.resources)

    def fit(self) -> int:
        """How many trials fit at once now."""
        return self.resources.concurrent if self.slots is None else self.slots()

    @property
    def trial_data(self) -> TrialData:
        """The same for the trials of the search, with what was decided about their length."""
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
        """How long the trials may be; None where that was not decided."""
        return Pace.from_event(self.state.pace, self.split.train)

    def stage(self, name: str, work: Callable[[], ResultPart]) -> None:
        """Run a stage, marked in the journal before and after, unless it is done already."""
        if self.state.stage_done(name):
            return
        self.display.stage(name)
        self.journal.append(StageMarked(name=name, state=StageState.START), sync=True)
        data = work().plain()
        self.journal.append(StageMarked(name=name, state=StageState.DONE, data=data), sync=True)
        self.refresh()

    @cached_property
    def gpus(self) -> GpuNotes:
        """Told what workers train on, where they get GPUs."""
        given = self.resources.gpus_per_trial > 0 and self.settings.device != "cpu"
        return GpuNotes(self.display.note, given)

    def trained_on(self, device: str) -> str | None:
        """What the records keep of the `device` that a worker of a stage trained on: nothing where
        a CPU was all that it could have chosen. Says where it got a GPU and torch saw none.
        """
        if self.settings.device == "cpu":
            return None
        self.gpus.trained(device)
        return device

    def refresh(self) -> None:
        """Read the journal again and bring the tables of the folder up to date."""
        self.state = self.folder.state()
        self.folder.write_tables(self.state)

    def known(self) -> list[StudyTrial]:
        """The trials so far, as the study knows them."""
        return [from_journal(t, self.spec.metric) for t in self.state.in_order()]

    def write_study(self) -> None:
        """Bring the study's file in the run folder up to date."""
        trials = frozen(self.spec, self.known(), str(self.folder.path))
        self.folder.write(STUDY, as_journal(trials, self.folder.name))

    @cached_property
    def reserve(self) -> Reserve:
        """The time that the stages after the search will take; follows the trials as they end."""
        spec, concurrent = self.spec, self.resources.concurrent
        reserve = Reserve(spec.race, concurrent, spec.racers(), spec.blend, self._rivals_need)
        return reserve.add_all(self.state.trials.values())

    def _rivals_need(self, measured: Mapping[str, float]) -> Needed:
        """About how long the rivals take, from the seconds that a training of each model took;
        nothing without a test or a time budget.
        """
        budget = self.settings.time_budget
        if budget is None or self.split.test is None:
            return Needed()
        allowed = allowed_rival(self.resources, budget)
        return seconds_for(Size.of(self.split.train), budget, measured, allowed)
