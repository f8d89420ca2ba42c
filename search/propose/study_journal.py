"""A study as the text of `study.journal`, which Optuna's own tools open."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial

from search.propose.study import quiet


class _Lines(BaseJournalBackend):
    """The lines of Optuna's journal format, kept in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for line in self.lines[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]


def as_journal(trials: Sequence[FrozenTrial], name: str) -> str:
    """A study of these trials, called `name`, as the text of a journal file.

    `optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(path)))`
    opens such a file, as does Optuna's dashboard.
    """
    lines = _Lines()
    quiet()
    study = optuna.create_study(
        study_name=name, storage=JournalStorage(lines), direction="maximize"
    )
    study.add_trials(trials)
    return "".join(lines.lines)
