"""What the report reads: the journal of a run, its result.json and its provenance.json.

A run that is under way, was interrupted or failed has a report too, so its result may be missing;
that of a finished run may not, since a report without it would not show what was found. The
provenance may be missing or damaged.
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
from search.record.result import Baseline, RunResult, decided, result_of, tested
from search.record.standing import leader
from search.record.state import RunState, TrialRecord
from search.space.kept import Purpose
from search.space.load import load_run_spec
from search.space.spec import SearchSpec
from search.words import short

Curve = list[tuple[int, float]]


@dataclass
class RunFiles:
    """The contents of a run folder. result: empty where there is none yet."""

    name: str
    path: Path
    state: RunState
    result: RunResult
    provenance: Provenance

    @property
    def metric(self) -> str:
        """The metric that the run maximises; "value" where an old journal does not name it."""
        return self.result.metric or self.state.run.metric or "value"

    @property
    def is_table(self) -> bool:
        """As `RunResult.is_table`, but known before there is a result."""
        return (self.result.purpose or self.state.run.purpose) == Purpose.TABLE

    @cached_property
    def trials(self) -> list[TrialRecord]:
        """All trials, by their numbers."""
        return self.state.in_order()

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """By trial, its (epoch, value of the run's metric) pairs."""
        found: dict[str, Curve] = {}
        for trial in self.trials:
            if self.metric in trial.columns:
                pairs = zip(trial.column("epoch"), trial.column(self.metric), strict=True)
                found[trial.id] = [(int(e or 0), v) for e, v in pairs if v is not None]
        return found

    @cached_property
    def winner(self) -> str | None:
        """The id of the winner, or of the best trial so far; never of a leaky one."""
        known = self.result.best_trial
        if known is None and (race := decided(self.state)) is not None:
            known = race.winner  # of a run that was cut off after its race
        if known is not None and not any(t.leaky for t in self.trials if t.id == known):
            return known
        return self.best.id if self.best is not None and not self.is_table else None

    @cached_property
    def best(self) -> TrialRecord | None:
        """The trial that is ahead."""
        return leader(self.trials)

    @cached_property
    def shown(self) -> RunResult:
        """The result as the page shows it: for an unfinished run, what is known so far."""
        split = self.provenance.split
        told = self.winner is not None and self.winner == self.result.best_trial
        so_far = next((t for t in self.trials if t.id == self.winner), None)
        known: dict[str, Any] = {
            "metric": self.metric,
            "purpose": Purpose.TABLE if self.is_table else Purpose.SEARCH,
            "split": self.result.split or split.name,
            "split_digest": self.result.split_digest or split.digest,
            "seed": self.provenance.seed if self.result.seed is None else self.result.seed,
            "best_trial": self.winner,
            "valid": self.result.valid if told else so_far and so_far.value,
            "best_config": self.result.best_config if told else so_far and so_far.config,
        }
        test = tested(self.state)
        if self.result.test is None and test is not None and test.values and not self.is_table:
            known |= {"test": test.values.get(self.metric), "test_ci": test.ci}
            known |= {"test_metrics": test.values, "test_users": test.users}
        return self.result.model_copy(update=known)

    @cached_property
    def spec(self) -> SearchSpec | None:
        """The space; None where this version cannot read it, or an early version left none."""
        try:
            return load_run_spec(self.path)
        except (ConfigError, OSError):
            return None

    @cached_property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The number of items of each user (U,) and of users of each item (I,), in all data; None
        before there is a model.
        """
        try:
            return load_counts(self.path / MODEL)
        except InputError:
            return None

    @property
    def test_read_at(self) -> str | None:
        """When the test items were read, as text; None if they were not."""
        test = tested(self.state)
        if test is None or not test.values:
            return None
        when = datetime.fromtimestamp(self.state.stages["test"].ended or 0.0, UTC)
        return when.strftime("%Y-%m-%d %H:%M:%S UTC")


def read_run(path: Path) -> RunFiles:
    """Read a run folder. Raises InputError where it has no run or a file can't be read."""
    if not (path / JOURNAL).is_file():
        raise InputError(f"{path}: no run here, expected a folder with a {JOURNAL}")
    state = read_state(path / JOURNAL)
    result = result_of(path, state) or RunResult(status=state.status)
    return RunFiles(path.name, path, state, result, read_provenance(path))


def baselines(result: RunResult) -> list[tuple[str, float | None, float | None, str]]:
    """(name, validation, test, remark) of every baseline."""
    return [(name, one.valid, one.test, _remark(one)) for name, one in result.baselines.items()]


def _remark(one: Baseline) -> str:
    remarks = [f"{key}: {short(value)}" for key, value in one.remarks.items()]
    return ", ".join([*remarks, f"not tested: {one.skipped}"] if one.skipped else remarks)
