"""What a journal says, as records: sessions, trials with their epochs, stages, race results.

`RunState.apply` takes one event after another, so that a reader that follows a live run (the
MLflow courier) and one that reads a finished run arrive at the same state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from recsys.errors import ConfigError
from recsys.models import ModelConfig, config_from_flat, leaky
from search.record.events import (
    SECONDS,
    EpochsReported,
    Event,
    MachineSeen,
    Other,
    PaceSet,
    RacePlanned,
    Reason,
    ReplicateRaced,
    RivalChosen,
    SessionBegan,
    SessionEnded,
    StageMarked,
    StageState,
    State,
    Status,
    TrialBegan,
    TrialEnded,
    TrialMade,
    write,
)


@dataclass
class TrialRecord:
    """One trial. rows: one list per reported epoch, aligned with `columns`. busy_s: seconds of
    training and evaluation. Times are Unix seconds. Other fields are as in the events.

    nth: how many trials of the run had ended before it, by the journal; None while it runs.

    node, device: where its last attempt ran, as far as that is recorded: on a cluster, or another
    device than the CPU.

    When a trial runs again (its worker or the driver died), the rows of the new attempt replace
    those of the old one, and `attempt`, from 1, counts up.
    """

    id: str
    number: int
    params: dict[str, Any]
    config: dict[str, Any]
    seed: int
    created: float
    state: State = State.RUNNING
    reason: Reason | None = None
    value: float | None = None
    best_epoch: int | None = None
    epochs: int = 0
    busy_s: float = 0.0
    started: float | None = None
    ended: float | None = None
    nth: int | None = None
    error: str | None = None
    cause: str | None = None
    test: Mapping[str, float] | None = None
    attempt: int = 0
    node: str | None = None
    device: str | None = None
    columns: tuple[str, ...] = ()
    rows: list[Sequence[float | None]] = field(default_factory=list)
    _mark: tuple[int, Any] | None = None  # (session, the driver's own attempt number)
    _earlier: frozenset[tuple[float | None, ...]] = frozenset()  # the rows of earlier attempts

    def begin(self, mark: tuple[int, Any], time: float) -> None:
        """A new attempt begins: nothing of the last one counts. mark: (session, attempt in it)."""
        self._mark = mark
        self._earlier |= frozenset(map(tuple, self.rows))
        self.attempt += 1
        self.started, self.ended, self.nth = time, None, None
        self.state, self.reason, self.error, self.cause = State.RUNNING, None, None, None
        self.value, self.best_epoch, self.test = None, None, None
        self.node, self.device = None, None
        self.epochs, self.busy_s, self.rows = 0, 0.0, []

    def column(self, name: str) -> list[float | None]:
        """One column of the rows, in order of epochs."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    @cached_property
    def training(self) -> ModelConfig:
        """The config of its training. Raises ConfigError where this version does not know it."""
        return config_from_flat(self.config)

    @property
    def label(self) -> str:
        """`bpr-hard d=256 N=47 M=10 K=2`; empty for a config of another version."""
        try:
            return self.training.label()
        except ConfigError:
            return ""

    @property
    def title(self) -> str:
        """`t0029 bpr-hard d=256 N=47 M=10 K=2`; only the id for a config of another version."""
        return f"{self.id} {self.label}".rstrip()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metric columns."""
        return tuple(c for c in self.columns if c not in ("epoch", "loss", *SECONDS))

    @property
    def leaky(self) -> bool:
        """Whether its training knows which items are held out."""
        return leaky(self.config)

    @property
    def finished(self) -> bool:
        """Whether it has ended in any way; also False where its session died first."""
        return self.state != State.RUNNING

    @property
    def cut_off(self) -> bool:
        """Whether it was still running when the time of the search was up."""
        return self.state == State.PRUNED and self.reason == Reason.TIME

    @property
    def may_win(self) -> bool:
        """Whether it completed or was cut off by the clock, rather than stopped as a weak one."""
        return may_win(self.state, self.reason)


def may_win(state: State, reason: Reason | None) -> bool:
    """Whether a trial completed or was cut off by the clock, rather than stopped as a weak one.

    Those that the clock cuts off may well win: their searcher knew the most when it proposed them.
    """
    return state == State.COMPLETE or (state == State.PRUNED and reason == Reason.TIME)


@dataclass
class SessionRecord:
    """One start or resume. busy_s: seconds in training and evaluation, of all trials. first, last:
    when the first trial started, and when the last one reported or ended, in Unix seconds.
    """

    number: int
    started: float
    event: SessionBegan
    seen: float = 0.0  # when the last line of this session was written
    busy_s: float = 0.0
    first: float | None = None
    last: float | None = None

    @property
    def trials_s(self) -> float:
        """Seconds from the first trial's start to the last trial's end."""
        return 0.0 if self.first is None or self.last is None else self.last - self.first


@dataclass
class Stage:
    """A stage of the run: search, race, blend, test or refit. data: what it found."""

    name: str
    state: StageState
    data: dict[str, Any]
    started: float
    ended: float | None = None


@dataclass
class RunState:
    """Everything a journal says, up to byte `offset`."""

    offset: int = 0
    uid: str = ""  # 16 hex digits that no other run has
    sessions: list[SessionRecord] = field(default_factory=list)
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    stages: dict[str, Stage] = field(default_factory=dict)
    race: dict[tuple[str, int], ReplicateRaced] = field(default_factory=dict)
    grid: RacePlanned | None = None  # of the last race that began
    rivals: dict[str, RivalChosen] = field(default_factory=dict)
    machine: list[MachineSeen] = field(default_factory=list)
    status: Status = Status.RUNNING
    finished: float | None = None
    run: SessionBegan = field(default_factory=SessionBegan)  # of all sessions; the latest win
    pace: PaceSet | None = None  # how long trials may be, where that was decided; the last counts
    paced_from: int = 0  # the number of the first trial that it is for
    to_pace: bool = True  # the run, or its extension, has neither a pace nor a trial yet
    others: list[Other] = field(default_factory=list)  # lines of kinds not known here
    _ends: int = 0  # lines that say how a trial ended

    def apply(self, event: Event, offset: int) -> None:
        """Take in an event whose line ends at byte `offset`. Raises KeyError if it has no trial."""
        time = event.time or 0.0
        if not self.uid:
            canonical = json.dumps(write(event), sort_keys=True).encode()
            self.uid = hashlib.sha256(canonical).hexdigest()[:16]
        match event:
            case SessionBegan():
                self._begin(event, time)
            case PaceSet():
                self.pace, self.paced_from, self.to_pace = event, len(self.trials), False
            case TrialMade():
                self.to_pace = False
                # A repeated line (the driver died right after writing it) changes nothing.
                self.trials.setdefault(event.id, _new_trial(event, time))
            case TrialBegan():
                self.trials[event.id].begin((len(self.sessions), event.attempt), time)
                self.trials[event.id].node = event.node
                session = self._session(time)
                session.first = time if session.first is None else session.first
            case EpochsReported():
                self._report(event, time)
            case TrialEnded():
                self._end_trial(event, time)
            case StageMarked():
                self._mark(event, time)
            case RacePlanned():
                self.grid = event
            case ReplicateRaced():
                self.race[event.config_id, event.replicate] = event
            case RivalChosen():
                self.rivals[event.name] = event
            case MachineSeen():
                self.machine.append(event)
            case SessionEnded():
                self.status, self.finished = event.status, time
            case Other():
                self.others.append(event)
            case _:
                raise AssertionError(event)
        if self.sessions:
            self.sessions[-1].seen = max(self.sessions[-1].seen, time)
        self.offset = offset

    def _begin(self, event: SessionBegan, time: float) -> None:
        self.sessions.append(SessionRecord(len(self.sessions) + 1, time, event, time))
        said = {name: value for name, value in vars(event).items() if value is not None}
        self.run = replace(self.run, **said)
        self.status, self.finished = Status.RUNNING, None
        if event.extends:
            self.to_pace = True
            for name in [name for name in self.stages if self.stage_done(name)]:
                self._mark(StageMarked(name=name, state=StageState.START), time)

    def _report(self, event: EpochsReported, time: float) -> None:
        trial = self.trials[event.id]
        mark = (len(self.sessions), event.attempt)
        if trial._mark != mark:
            trial.begin(mark, time)
        trial.columns = tuple(event.columns)
        trial.rows.extend(event.rows)
        at = [i for i, name in enumerate(trial.columns) if name in SECONDS]

        def taken(rows: Iterable[Sequence[float | None]]) -> float:
            return sum(row[i] or 0.0 for row in rows for i in at)

        seconds = taken(event.rows)
        trial.busy_s += seconds
        if trial._earlier:
            # what a trial repeats from its checkpoint, to the last digit, was trained before
            seconds = taken(row for row in event.rows if tuple(row) not in trial._earlier)
        if event.rows:
            trial.epochs = int(event.rows[-1][trial.columns.index("epoch")] or 0)
        session = self._session(time)
        session.busy_s += seconds
        session.first = time - seconds if session.first is None else session.first
        session.last = time

    def _end_trial(self, event: TrialEnded, time: float) -> None:
        trial = self.trials[event.id]
        if trial.attempt == 0:
            trial.begin((len(self.sessions), None), time)
        trial.state, trial.reason, trial.ended = event.state, event.reason, time
        trial.value, trial.best_epoch = event.value, event.best_epoch
        trial.epochs = event.epochs or trial.epochs
        trial.busy_s = event.busy_s or trial.busy_s
        trial.error, trial.cause, trial.test = event.error, event.cause, event.test
        trial.device = event.device
        trial.nth, self._ends = self._ends, self._ends + 1
        self._session(time).last = time

    def _mark(self, event: StageMarked, time: float) -> None:
        if event.name == "search" and event.state == StageState.START:
            self.grid = None  # the next race may have other racers, and other time
            self.race = {key: row for key, row in self.race.items() if not row.failed}
        stage = self.stages.get(event.name)
        if stage is None or event.state == StageState.START:
            self.stages[event.name] = stage = Stage(event.name, event.state, {}, time)
        stage.state = event.state
        stage.data |= event.data or {}
        stage.ended = time if event.state == StageState.DONE else None

    def _session(self, time: float) -> SessionRecord:
        if not self.sessions:
            self.sessions.append(SessionRecord(1, time, SessionBegan(), time))
        return self.sessions[-1]

    # --- what is asked most -----------------------------------------------------------------

    @property
    def leaky(self) -> bool:
        """Whether any trial is leaky."""
        return any(t.leaky for t in self.trials.values())

    def in_order(self) -> list[TrialRecord]:
        """Trials by number."""
        return sorted(self.trials.values(), key=lambda t: t.number)

    def counts(self) -> dict[State, int]:
        """How many trials are in each state."""
        states = [t.state for t in self.trials.values()]
        return {state: states.count(state) for state in State}

    def stage_done(self, name: str) -> bool:
        """Whether a stage is done; False where it never began."""
        return name in self.stages and self.stages[name].state == StageState.DONE

    def wall_s(self) -> float:
        """Seconds of all sessions, each from its first line to its last."""
        return sum(max(0.0, s.seen - s.started) for s in self.sessions)

    def busy_fraction(self, cores: int) -> float | None:
        """Time in training and evaluation / (cores x time from first start to last end).

        It is summed over sessions, so that the pause between a crash and its resume does not count.
        None before any trial ran.
        """
        span = sum(s.trials_s for s in self.sessions)
        return sum(s.busy_s for s in self.sessions) / (cores * span) if span > 0 else None


def _new_trial(event: TrialMade, time: float) -> TrialRecord:
    return TrialRecord(
        id=event.id,
        number=event.number,
        params=dict(event.params),
        config=dict(event.config),
        seed=event.seed,
        created=time,
    )
