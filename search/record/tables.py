"""The tables of a run folder, made from its journal: trials, epochs, race, the best trial."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from search.record.events import epoch_columns
from search.record.standing import leader
from search.record.state import RunState, TrialRecord
from search.words import utc

RACE_COLUMNS = ("config_id", "replicate", "split_seed", "value", "best_epoch", "seconds", "cause")


class Table(NamedTuple):
    """Columns, and rows of typed cells: text, numbers, or None for an empty cell."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def csv(self) -> str:
        """The table as a CSV file."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return buffer.getvalue()


def tables(state: RunState) -> dict[str, str]:
    """The contents of the files, by name. best.json is among them once a trial has a value."""
    found = {
        "trials.csv": trials_table(state).csv(),
        "epochs.csv": epochs_table(state).csv(),
        "race.csv": race_table(state).csv(),
    }
    if (best := leader(state.in_order())) is not None:
        found["best.json"] = json.dumps(best_dict(best), indent=2) + "\n"
    return found


def trials_table(state: RunState) -> Table:
    """One row per trial, by number.

    `error` is the cause in one line (the traceback is in the journal and in MLflow). `node` and
    `device` are there where a trial ran on a cluster, or on another device than the CPU. The last
    columns are a `test.NAME` for each test metric (report tables only) and a `param.NAME` for each
    parameter of the space, empty where a trial does not have it.
    """
    trials = state.in_order()
    params = _union(t.params for t in trials)
    tests = _union(t.test or {} for t in trials)
    head = ["id", "number", "state", "reason", "value", "best_epoch", "epochs", "busy_s"]
    head += ["started", "ended", "error", "seed", "attempt"]
    where = [name for name in ("node", "device") if any(getattr(t, name) for t in trials)]
    rows = [
        [
            t.id,
            t.number,
            t.state,
            t.reason,
            t.value,
            t.best_epoch,
            t.epochs,
            round(t.busy_s, 6),
            utc(t.started),
            utc(t.ended),
            one_line_cause(t),
            t.seed,
            t.attempt,
            *(getattr(t, name) for name in where),
            *((t.test or {}).get(name) for name in tests),
            *(t.params.get(name) for name in params),
        ]
        for t in trials
    ]
    head += [*where, *(f"test.{name}" for name in tests)] + [f"param.{name}" for name in params]
    return Table(head, rows)


def epochs_table(state: RunState) -> Table:
    """One row per epoch of a trial: id, epoch, loss, the metrics, seconds."""
    trials = state.in_order()
    metrics = _union(dict.fromkeys(t.metrics) for t in trials)
    columns = epoch_columns(metrics)
    rows: list[list[Any]] = []
    for trial in trials:
        at = [trial.columns.index(c) if c in trial.columns else -1 for c in columns]
        rows += [[trial.id, *(row[i] if i >= 0 else None for i in at)] for row in trial.rows]
    return Table(["id", *columns], rows)


def race_table(state: RunState) -> Table:
    """One row per finalist and replicate."""
    raced = [state.race[key] for key in sorted(state.race)]
    return Table(RACE_COLUMNS, [[getattr(row, c) for c in RACE_COLUMNS] for row in raced])


def best_dict(trial: TrialRecord) -> dict[str, Any]:
    """The best trial of the search so far (before any race)."""
    return {
        "id": trial.id,
        "number": trial.number,
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "seed": trial.seed,
        "params": trial.params,
        "config": trial.config,
        "ended": utc(trial.ended),
    }


def one_line_cause(trial: TrialRecord) -> str | None:
    """Why a trial failed, in one line."""
    if trial.cause:
        return " ".join(trial.cause.split())
    lines = (trial.error or "").strip().splitlines()
    return lines[-1].strip() if lines else None


def _union(names: Iterable[Iterable[str]]) -> list[str]:
    """Every name once, in order of first appearance."""
    return list(dict.fromkeys(name for some in names for name in some))
