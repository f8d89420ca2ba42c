"""What MLflow has of a run, as remembered in the run's delivery.json."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from search.records import RunState, TrialRecord
from search.tracking import DELIVERY


@dataclass
class Child:
    """What MLflow has of a trial: rows delivered of which attempt, its end, its traceback."""

    run_id: str
    attempt: int
    rows: int = 0
    ended: bool = False
    traceback: bool = False


def is_whole(child: Child | None, trial: TrialRecord) -> bool:
    """Whether MLflow has all of a trial that there is so far; one that never began is nothing."""
    if trial.attempt == 0:
        return True
    return child is not None and (child.attempt, child.rows, child.ended) == (
        trial.attempt,
        len(trial.rows),
        trial.finished,
    )


@dataclass
class Delivered:
    """The content of delivery.json. `offset`: bytes of the journal that arrived in full."""

    uri: str
    experiment: str
    uid: str = ""
    experiment_id: str = ""
    run_id: str = ""
    parent_sent: str = ""  # the parent's tags, values and status as sent, in JSON
    offset: int = 0
    complete: bool = False
    error: str | None = None
    children: dict[str, Child] = field(default_factory=dict)
    artifacts: dict[str, list[Any]] = field(default_factory=dict)  # name -> size, mtime, digest
    model: list[Any] = field(default_factory=list)  # digest of the weights, name, version
    problems: dict[str, str] = field(default_factory=dict)
    time: float = 0.0

    @staticmethod
    def load(run_dir: Path, uri: str, experiment: str) -> Delivered:
        """Read delivery.json; a fresh one where it is missing, damaged or of another store."""
        loaded = Delivered.read(run_dir)
        if loaded is None or (loaded.uri, loaded.experiment) != (uri, experiment):
            return Delivered(uri, experiment)
        return loaded

    @staticmethod
    def read(run_dir: Path) -> Delivered | None:
        """Read delivery.json, of whatever store; None where it is missing or damaged."""
        try:
            values = json.loads((run_dir / DELIVERY).read_bytes())
            values["children"] = {k: Child(**v) for k, v in values["children"].items()}
            return Delivered(**{k: v for k, v in values.items() if k != "pending"})
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def lacking(self, state: RunState) -> list[str]:
        """Ids of the trials that MLflow does not have in full."""
        return [
            t.id
            for t in state.in_order()
            if t.id in self.problems or not is_whole(self.children.get(t.id), t)
        ]

    def save(self, run_dir: Path) -> None:
        """Replace delivery.json. Not synced: what a power cut takes is found again by tags."""
        self.time = time.time()
        temp = run_dir / f".{DELIVERY}.{os.getpid()}.tmp"
        temp.write_text(json.dumps(asdict(self)), encoding="utf-8")
        temp.replace(run_dir / DELIVERY)
