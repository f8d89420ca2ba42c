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
    """The state of a trial."""

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
STAGES = ("search", "race", "blend", "test", "refit")  # all that a run can have, in order


def stages_of(table: bool, blend: bool) -> tuple[str, ...]:
    """The stages of a run, in order. table: whether the run compares listed configs, without a
    winner. blend: whether the space asks for a blend.
    """
    if table:
        return STAGES[:1]
    return tuple(name for name in STAGES if name != "blend" or blend)


class Reason(StrEnum):
    """Why a trial ended.

    Of its own accord: `EPOCHS` (all were trained), `PATIENCE` (it had stopped getting better),
    `TIME` (its own limit, or the run's if it is pruned), `ERROR` (it raised). From outside: `ASHA`
    (by that scheduler), `WORKER` (its worker died in every attempt), or because the search stopped:
    `FAILURES` (the first trials all failed), `WORKERS` (none starts), `STOPPED` (no other reason is
    known).
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
    """The status of a run: that it is running, or how its last session ended."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class StageState(StrEnum):
    """Whether a stage starts or is done."""

    START = "start"
    DONE = "done"


def _as(convert: Callable[[Any], Any]) -> dict[str, Any]:
    """Metadata of a field that is read with `convert`, which raises for anything else."""
    return {"read": convert}


_BRIEF = {"brief": True}  # metadata of a field that is left out of the line where it is None


def _reason(value: Any) -> Reason | None:
    return None if value is None else Reason(value)


@dataclass(frozen=True, kw_only=True)
class Event:
    """What all kinds of events have. time: Unix seconds; None: when the line is written. more:
    fields that this version does not know.
    """

    kind: ClassVar[str]
    brief: ClassVar[bool] = False  # whether fields that are None are left out of the line
    time: float | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SessionBegan(Event):
    """The first line of a start or resume; the fields of the last session count.

    settings, newcomers: of `search.record.settings` and `search.record.result`, as plain values:
    the uid of a run is a digest of its first line, so what another version of the code wrote must
    be kept as it is, key by key. parts: of the split (`train`, `valid`, `test`), each with its
    `digest` and how many `users`, `items` and `pairs` it has. deciding: the name of
    `SearchSpec.deciding`. extends: whether trials are added: then no stage is done any more.
    """

    kind, brief = "run", True
    name: str | None = None
    space: str | None = None
    spec_digest: str | None = None
    settings: Mapping[str, Any] | None = field(default=None, metadata=_as(dict))
    dataset: str | None = None
    metric: str | None = None
    purpose: str | None = None
    deciding: str | None = None
    split: str | None = None
    split_digest: str | None = None
    device: str | None = None
    seed: int | None = None
    newcomers: Sequence[Mapping[str, Any]] | None = field(default=None, metadata=_as(list))
    parts: Mapping[str, Mapping[str, Any]] | None = field(default=None, metadata=_as(dict))
    extends: bool | None = None


@dataclass(frozen=True, kw_only=True)
class PaceSet(Event):
    """How long the trials of a run may be (`search.tune.pace`), decided before the first of them,
    and anew before the first of an extension.

    rates: seconds per operation of training, by kind of config. trial_seconds: of the longest
    training. eval_seconds: of one evaluation, on `users` users (None: all). growths: by kind, the
    bytes of a small and of a large model, and how many times longer an operation takes with the
    large one, where both were measured.
    """

    kind, brief = "pace", True
    rates: Mapping[str, float] = field(metadata=_as(dict))
    trial_seconds: float
    eval_seconds: float
    users: int | None = None
    growths: Mapping[str, Sequence[float]] | None = field(default=None, metadata=_as(dict))


@dataclass(frozen=True, kw_only=True)
class TrialMade(Event):
    """A trial was proposed. params: its parameters of the space, flat. config: of its training,
    flat. seed: of its training.
    """

    kind = "trial"
    id: str
    number: int
    params: Mapping[str, Any] = field(metadata=_as(dict))
    config: Mapping[str, Any] = field(metadata=_as(dict))
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrialBegan(Event):
    """A trial begins. attempt: above 1 where it begins again, and its earlier reports are void.
    node: the machine that it runs on, on a cluster.
    """

    kind = "start"
    id: str
    attempt: int | None = None
    node: str | None = field(default=None, metadata=_BRIEF)


SECONDS = ("train_seconds", "eval_seconds")  # columns of an epoch row, besides epoch and loss


class EpochRow(NamedTuple):
    """One epoch of a trial. values: of the run's metrics, in the order of these."""

    epoch: int
    loss: float | None
    values: tuple[float, ...]
    train_seconds: float
    eval_seconds: float


def epoch_columns(metrics: Iterable[str]) -> list[str]:
    """The names of the columns of an epoch's row, in the journal and in epochs.csv."""
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
        """The event for epochs of a trial. metrics: those that the `values` of the rows are of."""
        return EpochsReported(
            id=trial,
            attempt=attempt,
            columns=epoch_columns(metrics),
            rows=[[r.epoch, r.loss, *r.values, r.train_seconds, r.eval_seconds] for r in rows],
        )


@dataclass(frozen=True, kw_only=True)
class TrialEnded(Event):
    """A trial is over. value: its best, reached at `best_epoch`. epochs: how many it trained.
    busy_s: seconds of training and evaluation. error: the traceback. cause: the same in one line.
    test: values on the test items by metric, in report tables only. device: what its worker chose
    to train on; None for the CPU of a machine without a cluster.
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
    device: str | None = field(default=None, metadata=_BRIEF)


@dataclass(frozen=True, kw_only=True)
class StageMarked(Event):
    """A stage (search, race, blend, test, refit) begins or is done. data: what it found."""

    kind, brief = "stage", True
    name: str
    state: StageState = field(metadata=_as(StageState))
    data: Mapping[str, Any] | None = field(default=None, metadata=_as(dict))


@dataclass(frozen=True, kw_only=True)
class RacePlanned(Event):
    """Who races on how many fresh splits, decided by the time there is; a race that goes on because
    there is more has another line.

    asked: ids of the finalists. racers: ids of those that there is time for. replicates: splits.
    planned: how many of these were planned; the others were added because there was time.
    joining: ids of the racers for whom there was no time at first, and who begin with this line.
    epochs: by id, the most epochs of those that have more than in the search.
    """

    kind = "grid"
    asked: tuple[str, ...] = field(metadata=_as(tuple))
    racers: tuple[str, ...] = field(metadata=_as(tuple))
    planned: int
    replicates: int
    joining: tuple[str, ...] | None = field(default=None, metadata={**_as(tuple), **_BRIEF})
    epochs: Mapping[str, int] | None = field(default=None, metadata={**_as(dict), **_BRIEF})

    def epochs_of(self, trial: str) -> int | None:
        """The most epochs of a finalist, by its id; None where it has those of the search."""
        return None if self.epochs is None else self.epochs.get(trial)


@dataclass(frozen=True, kw_only=True)
class ReplicateRaced(Event):
    """A finalist was trained on one fresh split, with `value` and `best_epoch`, or it failed.

    config_id: the finalist's trial. replicate: the number of the split. seed: of the training.
    crossed: whether `value` is measured at epochs that other users chose; None before ADR 169.
    sampled: how many users choose and are evaluated after every epoch of a model that has epochs;
    None for all. epochs: the most it might have, where these are more than in the search.
    device: that it was trained on, where that was for the worker to choose.
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
    sampled: int | None = None
    epochs: int | None = None
    device: str | None = None

    @property
    def failed(self) -> bool:
        """Whether the training failed, with a traceback (`error`) or only with a cause."""
        return self.error is not None or self.cause is not None


@dataclass(frozen=True, kw_only=True)
class RivalChosen(Event):
    """The config of a rival was chosen on validation. config: flat. metrics: its values there."""

    kind = "rival"
    name: str
    config: Mapping[str, Any] = field(metadata=_as(dict))
    metrics: Mapping[str, float] = field(metadata=_as(dict))


@dataclass(frozen=True, kw_only=True)
class MachineSeen(Event):
    """How busy the driver's machine is with all its programs; written only on request."""

    kind = "machine"
    cpu_percent: float
    memory_mb: float
    memory_percent: float


@dataclass(frozen=True, kw_only=True)
class SessionEnded(Event):
    """The last line of a session that ended properly."""

    kind = "finish"
    status: Status = field(metadata=_as(Status))


@dataclass(frozen=True, kw_only=True)
class Other(Event):
    """A line of a kind `t` that this version does not know; `more` has its fields."""

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
    """The JSON object of an event's line; without `time` where that is None."""
    line: dict[str, Any] = {"t": event.t if isinstance(event, Other) else event.kind}
    for one in fields(event):
        value = getattr(event, one.name)
        brief = event.brief or "brief" in one.metadata
        if one.name not in (*_EVERY_KIND, "t") and not (brief and value is None):
            line[one.name] = value
    line |= event.more
    return line if event.time is None else line | {"time": event.time}


def read(line: Mapping[str, Any]) -> Event:
    """The event of a line that has a kind `t`.

    Raises KeyError for a missing field, TypeError or ValueError for one of the wrong type.
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
