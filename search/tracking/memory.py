"""What MLflow has of a run, as remembered in the run's delivery.json."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from recsys.safe_files import replace_content
from search.paste import command
from search.record.folder import JOURNAL
from search.record.journal import read_events, read_state
from search.record.settings import known_settings
from search.record.state import RunState, TrialRecord
from search.tracking.address import (
    sqlite_file,
)
from search.tracking.where import _STORE, DELIVERY, default_tracking_uri, is_local_default
from search.words import hide_password


@dataclass
class Child:
    """What MLflow has of a trial. rows: how many epochs of `attempt` were delivered. ended,
    traceback: whether these were. name: of its run.
    """

    run_id: str
    attempt: int
    rows: int = 0
    ended: bool = False
    traceback: bool = False
    name: str = ""


@dataclass(frozen=True)
class Registration:
    """The version of a run's model in MLflow's registry, as it was when it was registered.

    digest: of the weights, hex digits. name: of the registered model. version: its number there.
    leads: whether it became the champion. why: the reason, in one line; empty where an earlier
    version of the code registered the model. may_lead: whether the user may make it the champion.
    """

    digest: str
    name: str
    version: str
    leads: bool = False
    why: str = ""
    may_lead: bool = False

    @staticmethod
    def read(stored: Sequence[Any]) -> Registration | None:
        """Read the values that `stored` wrote, now or, with fewer of them, in an earlier version of
        the code; None where nothing was registered. Raises TypeError for anything else.
        """
        return Registration(*stored) if stored else None

    @property
    def stored(self) -> list[str | bool]:
        """The values, in the order that delivery.json has always had."""
        return [self.digest, self.name, self.version, self.leads, self.why, self.may_lead]


def is_whole(child: Child | None, trial: TrialRecord) -> bool:
    """Whether MLflow has all of a trial so far; a trial that never began has nothing to deliver."""
    if trial.attempt == 0:
        return True
    return child is not None and (child.attempt, child.rows, child.ended, child.name) == (
        trial.attempt,
        len(trial.rows),
        trial.finished,
        trial.title,
    )


@dataclass
class Delivered:
    """The content of delivery.json. uri, experiment: of the store. offset: bytes of the journal
    that have arrived completely. complete: whether all of a finished run has. error: why the last
    pass failed. problems: by trial or part, what the store refused for good.
    """

    uri: str
    experiment: str
    uid: str = ""
    experiment_id: str = ""
    run_id: str = ""
    parent_sent: str = ""  # the parent's tags, values, status and name as sent, in JSON
    around_sent: str = ""  # the experiment's tags and the parent's data sets as sent, in JSON
    offset: int = 0
    complete: bool = False
    error: str | None = None
    children: dict[str, Child] = field(default_factory=dict)
    # by name: size, time and digest of a file, or size and digest of a table, which is not a file
    artifacts: dict[str, list[Any]] = field(default_factory=dict)
    model: Registration | None = None  # None where none is registered
    problems: dict[str, str] = field(default_factory=dict)
    time: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)  # by other store, why it has nothing

    @staticmethod
    def load(run_dir: Path, uri: str, experiment: str) -> Delivered:
        """Read delivery.json; a new one where it is missing, damaged or about another store."""
        loaded = Delivered.read(run_dir)
        if loaded is None or (loaded.uri, loaded.experiment) != (uri, experiment):
            return Delivered(uri, experiment)
        return loaded

    @staticmethod
    def read(run_dir: Path) -> Delivered | None:
        """Read delivery.json, whatever store it is about; None where it is missing or damaged."""
        try:
            values = json.loads((run_dir / DELIVERY).read_bytes())
            values["children"] = {k: Child(**v) for k, v in values["children"].items()}
            values["model"] = Registration.read(values.get("model", ()))
            return Delivered(**{k: v for k, v in values.items() if k != "pending"})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def registered(self, run_dir: Path) -> str | None:
        """A line on the version in MLflow's registry: whether it is the champion, and why."""
        model = self.model
        if model is None or not model.why:
            return None
        line = f"registered as {model.name}, version {model.version}: {model.why}"
        if model.leads or not model.may_lead:
            return line
        return f"{line}; to make it the champion: {command('sync', run_dir, '--champion')}"

    def lacking(self, state: RunState) -> list[str]:
        """The ids of the trials that MLflow does not have completely."""
        return [
            t.id
            for t in state.in_order()
            if t.id in self.problems or not is_whole(self.children.get(t.id), t)
        ]

    def save(self, run_dir: Path) -> None:
        """Replace delivery.json, without waiting for the disk: what a power cut takes is found
        again by its tags.

        As long as nothing has arrived in this store, the memory of another one is kept.
        """
        kept = self if self.run_id else self._of_another_store(run_dir) or self
        kept.time = time.time()
        stored = asdict(kept) | {"model": kept.model.stored if kept.model else []}
        content = json.dumps(stored).encode()
        replace_content(run_dir / DELIVERY, content, durable=False)

    def _of_another_store(self, run_dir: Path) -> Delivered | None:
        """The memory of another store, which has the run, with the reason why this one does not."""
        known = Delivered.read(run_dir)
        if known is None or not known.run_id or known.uri == self.uri:
            return None
        known.refused = {self.uri: self.error} if self.error else {}
        return known


@dataclass(frozen=True)
class DeliveryStatus:
    """How much of a run MLflow has. pending: trials, and the search itself, that it does not have
    completely. reason: why, if known. trials: how many trials of the run have begun. registered: a
    line on its model.
    """

    delivered: bool
    pending: int
    reason: str | None
    uri: str
    run_dir: Path
    run_id: str | None = None
    experiment_id: str | None = None
    trials: int = 0
    registered: str | None = None

    def sentence(self) -> str:
        """One line for a person."""
        where = hide_password(self.uri)
        if self.delivered:
            return f"MLflow has everything ({where})"
        why = f" ({hide_password(self.reason)})" if self.reason else ""
        return (
            f"MLflow lacks {self.lacks()}{why}; nothing is lost: the next run delivers it, "
            f"or: {command('sync', self.run_dir)}"
        )

    def lacks(self) -> str:
        """What MLflow does not have, in words."""
        if self.run_id is None:
            return "all of this run"
        if self.pending > 1:
            return f"{self.pending - 1:,} of this run's {self.trials:,} trials"
        return "the latest of this run" if self.trials == 0 else "the end of this run"


def is_delivered(run_dir: Path, uri: str) -> bool:
    """Whether MLflow has everything in the journal, as far as delivery.json knows."""
    return _is_delivered(run_dir, _memory(run_dir, uri))


def delivery_status(run_dir: Path, uri: str) -> DeliveryStatus:
    """How much of the journal was delivered, by delivery.json."""
    record = _memory(run_dir, uri)
    delivered = _is_delivered(run_dir, record)
    state = read_state(run_dir / JOURNAL)
    lacking = record.lacking(state)
    return DeliveryStatus(
        delivered,
        0 if delivered else len(lacking) + 1,  # and the search itself
        None if delivered else record.error or "not all of it was sent yet",
        uri,
        run_dir,
        record.run_id or None,
        record.experiment_id or None,
        sum(t.attempt > 0 for t in state.trials.values()),
        record.registered(run_dir),
    )


def _memory(run_dir: Path, uri: str) -> Delivered:
    """What was delivered to this store: nothing if delivery.json is about another, or missing."""

    record = Delivered.read(run_dir)
    if record is not None and record.uri == uri:
        return record
    return Delivered(uri, "", error=record.refused.get(uri) if record else None)


def _is_delivered(run_dir: Path, record: Delivered) -> bool:
    if not record.complete:
        return False
    try:
        return not any(True for _ in read_events(run_dir / JOURNAL, record.offset))
    except FileNotFoundError:
        return True


def known_uri(run_dir: Path) -> str:
    """The store that a run's records went to, or if none have arrived yet, the one meant for them.

    The local store is the one of the project where the run is now, not where it was before.
    """
    settings = known_settings(read_state(run_dir / JOURNAL))
    used = meant = None if settings is None else settings.tracking_uri
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads((run_dir / DELIVERY).read_bytes())
        used = str(record["uri"]) if record["run_id"] else meant
    if used is None or is_local_default(used):
        return default_tracking_uri()
    file = sqlite_file(used)
    # They were meant for the local store, and sent to that of the project that this is a copy of.
    copied = meant is None and file is not None and str(file).endswith(_STORE)
    return default_tracking_uri() if copied else used
