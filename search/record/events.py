"""The events of a run's journal, one class per kind: the only place that knows their lines.

`write` turns an event into the object of its line, `read` does the reverse. Fields that an event's
class does not know are kept in `more`; a line of an unknown kind is an `Other`. Fields that lines
of earlier versions lack get the defaults below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple


class State(StrEnum):
    """Where a trial is."""

    COMPLETE = "COMPLETE"
    PRUNED = "PRUNED"
    FAILED = "FAILED"
    RUNNING = "RUNNING"

    @property
    def word(self) -> str:
        """The word for it in messages."""
        return _WORDS[self]


_WORDS = {
    State.COMPLETE: "completed",
    State.PRUNED: "pruned",
    State.FAILED: "failed",
    State.RUNNING: "not ended",
}
STAGES = ("search", "race", "blend", "test", "refit")  # of a run, in order


def stages_of(table: bool, blend: bool) -> tuple[str, ...]:
    """The stages of a run, in order. table: whether it compares named configs, without a winner;
    blend: whether the space asks for one.
    """
    if table:
        return STAGES[:1]
    return tuple(name for name in STAGES if name != "blend" or blend)


class Reason(StrEnum):
    """Why a trial ended.

    By itself: `EPOCHS` (all of them), `PATIENCE`, `TIME` (its own limit, or the run's when it is
    pruned), `ERROR` (it raised). From outside: `ASHA` (the scheduler of that name), `WORKER` (it
    died in every attempt), and why the search stopped: `FAILURES` (the first trials all failed),
    `WORKERS` (none starts), `STOPPED` (no other reason is known).
    """

    EPOCHS = "epochs"
    PATIENCE = "patience"
    TIME = "time"
    ERROR = "error"
    ASHA = "asha"
    WORKER = "worker"
    FAILURES = "failures"
    WORKERS = "workers"
    STOPPED = "stopped"


class Status(StrEnum):
    """Where a run is, and how its last session ended."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class StageState(StrEnum):
    """What a line says of a stage."""

    START = "start"
    DONE = "done"


def _as(convert: Callable[[Any], Any]) -> dict[str, Any]:
    """Metadata of a field that is read with `convert`, which raises for anything else."""
    return {"read": convert}


def _reason(value: Any) -> Reason | None:
    return None if value is None else Reason(value)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What all kinds have. `time`: Unix seconds, by default when the line is written."""

    kind: ClassVar[str]
    brief: ClassVar[bool] = False  # whether fields that are None are left out of the line
    time: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SessionBegan(Event):
    """The first line of a start or resume. A field counts as the last session gave it.

    `settings` are those of `search.record.settings`, `newcomers` those of `search.record.result`,
    as plain values: the uid of a run is a digest of its first line, so what another version of the
    code wrote stays as it is, key by key.
    """

    kind, brief = "run", True
    name: str | None = None
    space: str | None = None
    spec_digest: str | None = None
    settings: Mapping[str, Any] | None = field(default=None, metadata=_as(dict))
    dataset: str | None = None
    metric: str | None = None
    purpose: str | None = None
    split: str | None = None
    split_digest: str | None = None
    device: str | None = None
    seed: int | None = None
    newcomers: Sequence[Mapping[str, Any]] | None = field(default=None, metadata=_as(list))


@dataclass(frozen=True, kw_only=True)
class PaceSet(Event):
    """How long the trials of a run may be (`search.tune.pace`), decided before the first of them.

    rates: seconds an operation of training, by kind of config. trial_seconds: of the longest
    training; eval_seconds: of one evaluation, on `users` users (None: all).
    """

    kind, brief = "pace", True
    rates: Mapping[str, float] = field(metadata=_as(dict))
    trial_seconds: float
    eval_seconds: float
    users: int | None = None


@dataclass(frozen=True, kw_only=True)
class TrialMade(Event):
    """A trial is proposed. `params`: flat, of the space; `config`: flat, of the training."""

    kind = "trial"
    id: str
    number: int
    params: Mapping[str, Any] = field(metadata=_as(dict))
    config: Mapping[str, Any] = field(metadata=_as(dict))
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrialBegan(Event):
    """A trial begins, again if `attempt` is above 1: what it reported before no longer counts."""

    kind = "start"
    id: str
    attempt: int | None = None


SECONDS = ("train_seconds", "eval_seconds")  # columns of an epoch row, besides epoch and loss


class EpochRow(NamedTuple):
    """One epoch of a trial; `values`: of the run's metrics, in their order."""

    epoch: int
    loss: float | None
    values: tuple[float, ...]
    train_seconds: float
    eval_seconds: float


def epoch_columns(metrics: Iterable[str]) -> list[str]:
    """What the columns of an epoch's row are called, in the journal and in epochs.csv."""
    return ["epoch", "loss", *metrics, *SECONDS]


@dataclass(frozen=True, kw_only=True)
class EpochsReported(Event):
    """Epochs of a trial. Each row has the values of `columns`: epoch, loss, metrics, seconds."""

    kind = "epochs"
    id: str
    attempt: int | None = None
    columns: Sequence[str] = field(metadata=_as(tuple))
    rows: Sequence[Sequence[float | None]] = field(metadata=_as(list))

    @staticmethod
    def of(
        trial: str, attempt: int, metrics: Iterable[str], rows: Iterable[EpochRow]
    ) -> EpochsReported:
        """Rows whose `values` are of these metrics."""
        return EpochsReported(
            id=trial,
            attempt=attempt,
            columns=epoch_columns(metrics),
            rows=[[r.epoch, r.loss, *r.values, r.train_seconds, r.eval_seconds] for r in rows],
        )


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial is over. `value`: its best; `error`: the traceback; `cause`: the same in one line.

    `test`: values on the test items by metric, in report tables only.
    """

    kind = "end"
    id: str
    state: State = field(metadata=_as(State))
    reason: Reason | None = field(default=None, metadata=_as(_reason))
    value: float | None = None
    best_epoch: int | None = None
    epochs: int | None = None
    busy_s: float | None = None
    error: str | None = None
    cause: str | None = None
    test: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class StageMarked(Event):
    """A stage (search, race, blend, test, refit) begins or is done; `data` is what it found."""

    kind, brief = "stage", True
    name: str
    state: StageState = field(metadata=_as(StageState))
    data: Mapping[str, Any] | None = field(default=None, metadata=_as(dict))


@dataclass(frozen=True, kw_only=True)
class RacePlanned(Event):
    """Who races on how many fresh splits, decided before the first result.

    asked: the finalists. racers: those that there is time for, by trial. planned: of `replicates`
    the splits that were reckoned with; the others are of time that was left.
    """

    kind = "grid"
    asked: tuple[str, ...] = field(metadata=_as(tuple))
    racers: tuple[str, ...] = field(metadata=_as(tuple))
    planned: int
    replicates: int


@dataclass(frozen=True, kw_only=True)
class ReplicateRaced(Event):
    """A finalist was trained on one fresh split: `value` and `best_epoch`, or why it failed.

    crossed: `value` is of epochs that other users chose; None in runs from before ADR 169.
    """

    kind, brief = "race", True
    config_id: str
    replicate: int
    seed: int | None = None
    split_seed: int | None = None
    error: str | None = None
    cause: str | None = None
    value: float | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    crossed: bool | None = None

    @property
    def failed(self) -> bool:
        """Whether there is no value, whether or not a traceback (`error`) came with the cause."""
        return self.error is not None or self.cause is not None


@dataclass(frozen=True, kw_only=True)
class RivalChosen(Event):
    """Validation chose a rival's config, flat; `metrics`: its values there, by name."""

    kind = "rival"
    name: str
    config: Mapping[str, Any] = field(metadata=_as(dict))
    metrics: Mapping[str, float] = field(metadata=_as(dict))


@dataclass(frozen=True, kw_only=True)
class MachineSeen(Event):
    """How busy the driver's machine is, all programs together; written where it was asked for."""

    kind = "machine"
    cpu_percent: float
    memory_mb: float
    memory_percent: float


@dataclass(frozen=True, kw_only=True)
class SessionEnded(Event):
    """The last line of a session that ended in order."""

    kind = "finish"
    status: Status = field(metadata=_as(Status))


@dataclass(frozen=True, kw_only=True)
class Other(Event):
    """A line of a kind that is not known here; `more` has its fields."""

    t: str


_KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        *(SessionBegan, PaceSet, TrialMade, TrialBegan, EpochsReported, TrialEnded),
        *(StageMarked, RacePlanned, ReplicateRaced, RivalChosen, MachineSeen),
        SessionEnded,
    )
}
_EVERY_KIND = {f.name for f in fields(Event)}


def write(event: Event) -> dict[str, Any]:
    """The object of an event's line; `time` is left out where it is None."""
    line: dict[str, Any] = {"t": event.t if isinstance(event, Other) else event.kind}
    for one in fields(event):
        value = getattr(event, one.name)
        if one.name not in (*_EVERY_KIND, "t") and not (event.brief and value is None):
            line[one.name] = value
    line |= event.more
    return line if event.time is None else line | {"time": event.time}


def read(line: Mapping[str, Any]) -> Event:
    """The event of a line that has a kind `t`.

    Raises KeyError for a field that is missing, TypeError or ValueError for one of a wrong type.
    """
    left = {name: value for name, value in line.items() if name != "t"}
    time = left.pop("time", None)
    common = {"time": None if time is None else float(time)}
    cls = _KINDS.get(line["t"])
    if cls is None:
        return Other(t=line["t"], more=left, **common)
    known = {}
    for one in fields(cls):
        if one.name in _EVERY_KIND:
            continue
        if one.name in left and not (cls.brief and left[one.name] is None):
            known[one.name] = one.metadata.get("read", _as_it_is)(left.pop(one.name))
        elif _required(one):
            raise KeyError(one.name)
    return cls(**known, more=left, **common)


def _as_it_is(value: Any) -> Any:
    return value


def _required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING
