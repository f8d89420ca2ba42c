"""What the report reads: the journal of a run, its result.json and its provenance.json.

The result may be missing where a run is under way, was interrupted or failed, for it has a report
too; without that of a finished run a report would deny what was found. The provenance may be
missing or damaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError, InputError
from recsys.models.catalogue import load_counts
from search.record.folder import JOURNAL
from search.record.handed import MODEL
from search.record.journal import read_state
from search.record.provenance import Provenance, read_provenance
from search.record.result import RunResult, decided, result_of, tested
from search.record.standing import leader
from search.record.state import RunState, TrialRecord
from search.space.kept import Purpose
from search.space.load import load_run_spec
from search.space.spec import SearchSpec

Curve = list[tuple[int, float]]


@dataclass
class RunFiles:
    """A run folder, read. `result` is empty where there is none yet."""

    name: str
    path: Path
    state: RunState
    result: RunResult
    provenance: Provenance

    @property
    def metric(self) -> str:
        """What the run maximises; "value" where a file as old as its journal does not say."""
        return self.result.metric or self.state.run.metric or "value"

    @property
    def is_table(self) -> bool:
        """As `RunResult.is_table`, known before there is a result."""
        return (self.result.purpose or self.state.run.purpose) == Purpose.TABLE

    @cached_property
    def trials(self) -> list[TrialRecord]:
        """All trials, by their numbers."""
        return self.state.in_order()

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Trial -> (epoch, value of the run's metric)."""
        found: dict[str, Curve] = {}
        for trial in self.trials:
            if self.metric in trial.columns:
                pairs = zip(trial.column("epoch"), trial.column(self.metric), strict=True)
                found[trial.id] = [(int(e or 0), v) for e, v in pairs if v is not None]
        return found

    @cached_property
    def winner(self) -> str | None:
        """Id of the winner, or of the best trial so far; never a leaky one."""
        known = self.result.best_trial
        if known is None and (race := decided(self.state)) is not None:
            known = race.winner  # of a run that was cut off behind its race
        if known is not None and not any(t.leaky for t in self.trials if t.id == known):
            return known
        return self.best.id if self.best is not None and not self.is_table else None

    @cached_property
    def best(self) -> TrialRecord | None:
        """The trial that is ahead."""
        return leader(self.trials)

    @cached_property
    def shown(self) -> RunResult:
        """The result as the page shows it: of a run that is not finished, what is known so far."""
        split = self.provenance.split
        told = self.winner is not None and self.winner == self.result.best_trial
        so_far = next((t.value for t in self.trials if t.id == self.winner), None)
        known: dict[str, Any] = {
            "metric": self.metric,
            "purpose": Purpose.TABLE if self.is_table else Purpose.SEARCH,
            "split": self.result.split or split.name,
            "split_digest": self.result.split_digest or split.digest,
            "seed": self.provenance.seed if self.result.seed is None else self.result.seed,
            "best_trial": self.winner,
            "valid": self.result.valid if told else so_far,
        }
        test = tested(self.state)
        if self.result.test is None and test is not None and test.values and not self.is_table:
            known |= {"test": test.values.get(self.metric), "test_ci": test.ci}
            known |= {"test_metrics": test.values, "test_users": test.users}
        return self.result.model_copy(update=known)

    @cached_property
    def spec(self) -> SearchSpec | None:
        """The space; None where this version cannot read it, or an early one left none."""
        try:
            return load_run_spec(self.path)
        except (ConfigError, OSError):
            return None

    @cached_property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Items of each user (U,) and users of each item (I,) in all of the data; None before there
        is a model."""
        try:
            return load_counts(self.path / MODEL)
        except InputError:
            return None

    @property
    def test_read_at(self) -> str | None:
        """When the test items were looked at."""
        test = tested(self.state)
        if test is None or not test.values:
            return None
        when = datetime.fromtimestamp(self.state.stages["test"].ended or 0.0, UTC)
        return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def read_run(path: Path) -> RunFiles:
    """Read a run folder. Raises `InputError` where it holds no run or a file can't be read."""
    if not (path / JOURNAL).is_file():
        raise InputError(f"{path}: no run here, expected a folder with a {JOURNAL}")
    state = read_state(path / JOURNAL)
    result = result_of(path, state) or RunResult(status=state.status)
    return RunFiles(path.name, path, state, result, read_provenance(path))


def baselines(result: RunResult) -> list[tuple[str, float | None, float | None, str]]:
    """(name, validation, test, remark) of every baseline."""
    return [
        (name, one.valid, one.test, ", ".join(f"{k}: {v}" for k, v in one.remarks.items()))
        for name, one in result.baselines.items()
    ]
