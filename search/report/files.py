"""What the report reads: the files of a run folder as plain records.

Any file may be missing, because a run that is under way, was interrupted or failed has a report
too; one that is there and can't be read is an `InputError` with its name and line.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys.errors import InputError
from recsys.yamlio import load_yaml
from search.record.events import Status
from search.record.journal import read_state
from search.words import of_metric

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class TrialRow:
    """One trial of trials.csv. `params`: those it has; `tests`: metric -> value (tables only)."""

    id: str
    number: int
    state: str
    reason: str
    value: float | None
    best_epoch: int | None
    epochs: int
    busy_s: float
    error: str
    params: dict[str, Any]
    tests: dict[str, float]
    leaky: bool


@dataclass(frozen=True)
class RaceRun:
    """One finalist on one fresh split."""

    config_id: str
    replicate: int
    value: float | None


@dataclass
class RunFiles:
    """A run folder, read. `curves`: trial id -> (epoch, value of the run's metric)."""

    name: str
    path: Path
    result: dict[str, Any]
    spec: dict[str, Any]
    provenance: dict[str, Any]
    trials: list[TrialRow] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)
    race: list[RaceRun] = field(default_factory=list)
    test_read_at: str | None = None

    @property
    def metric(self) -> str:
        return str(self.result.get("metric") or self.spec.get("metric") or "value")

    @property
    def is_table(self) -> bool:
        return (self.result.get("purpose") or self.spec.get("purpose")) == "table"

    @cached_property
    def winner(self) -> str | None:
        """Id of the winner, or of the best trial so far; never a leaky one."""
        known = self.result.get("best_trial")
        if isinstance(known, str) and not any(t.leaky for t in self.trials if t.id == known):
            return known
        return self.best.id if self.best is not None and not self.is_table else None

    @cached_property
    def best(self) -> TrialRow | None:
        """The honest trial with the highest validation value."""
        found = [t for t in self.trials if t.value is not None and not t.leaky]
        found = [t for t in found if t.state == "COMPLETE"] or found
        return max(found, key=lambda t: (t.value or 0.0, -t.number), default=None)


def read_run(path: Path) -> RunFiles:
    """Read a run folder. Raises `InputError` where it holds neither trials nor a result."""
    if not any((path / name).is_file() for name in ("trials.csv", "result.json", "spec.yaml")):
        raise InputError(f"{path}: no run here, expected trials.csv, result.json or spec.yaml")
    files = RunFiles(
        name=path.name,
        path=path,
        result=_json(path / "result.json"),
        spec=_spec(path / "spec.yaml"),
        provenance=_json(path / "provenance.json"),
    )
    files.trials = [_trial(row, files.spec) for row in _rows(path / "trials.csv")]
    metric_column = files.metric
    for row in _rows(path / "epochs.csv"):
        value, epoch = _float(row.get(metric_column)), _float(row.get("epoch"))
        if value is not None and epoch is not None:
            files.curves.setdefault(row["id"] or "", []).append((int(epoch), value))
    files.race = [
        RaceRun(
            row["config_id"] or "", int(_float(row.get("replicate")) or 0), _float(row["value"])
        )
        for row in _rows(path / "race.csv")
    ]
    if (path / "journal.jsonl").is_file():
        _from_journal(files, path / "journal.jsonl")
    return files


def _from_journal(files: RunFiles, path: Path) -> None:
    """When the test was read; and how the run ended where result.json does not say."""
    state = read_state(path)
    stage = state.stages.get("test")
    if stage is not None and stage.ended is not None and stage.data.get("values"):
        when = datetime.fromtimestamp(stage.ended, UTC)
        files.test_read_at = when.strftime("%Y-%m-%d %H:%M:%S UTC")
    if not files.result:
        files.result = {"status": "unfinished" if state.status == Status.RUNNING else state.status}


def _trial(row: Mapping[str, str | None], spec: Mapping[str, Any]) -> TrialRow:
    params = {k[6:]: _value(v) for k, v in row.items() if k.startswith("param.") and v}
    tests = {k[5:]: _float(v) for k, v in row.items() if k.startswith("test.")}
    return TrialRow(
        id=row.get("id") or "",
        number=int(_float(row.get("number")) or 0),
        state=row.get("state") or "RUNNING",
        reason=row.get("reason") or "",
        value=_float(row.get("value")),
        best_epoch=_int(row.get("best_epoch")),
        epochs=_int(row.get("epochs")) or 0,
        busy_s=_float(row.get("busy_s")) or 0.0,
        error=row.get("error") or "",
        params=params,
        tests={k: v for k, v in tests.items() if v is not None},
        leaky=negatives_exclude(params, spec) == "all",
    )


def negatives_exclude(params: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """What a trial's negatives exclude: its own parameter, its named set's, or the space's."""
    if "negatives_exclude" in params:
        return str(params["negatives_exclude"])
    space = spec.get("params")
    for name, domain in (space if isinstance(space, Mapping) else {}).items():
        if name == "negatives_exclude":
            return str(domain.get("value") if isinstance(domain, Mapping) else domain)
        sets = domain.get("choice") if isinstance(domain, Mapping) else None
        chosen = sets.get(str(params.get(name))) if isinstance(sets, Mapping) else None
        if isinstance(chosen, Mapping) and "negatives_exclude" in chosen:
            return str(chosen["negatives_exclude"])
    return "train"


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: a {type(value).__name__}, expected an object")
    return value


def _spec(path: Path) -> dict[str, Any]:
    value = load_yaml(path) if path.is_file() else {}
    return value if isinstance(value, dict) else {}


def _rows(path: Path) -> Iterator[dict[str, str | None]]:
    if not path.is_file():
        return
    csv.field_size_limit(2**31 - 1)  # an error message may be long
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        try:
            for row in reader:
                row.pop(None, None)  # the cells beyond the last column
                yield row
        except csv.Error as error:
            raise InputError(f"{path}:{reader.line_num}: {error}") from None


def _float(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _int(text: Any) -> int | None:
    value = _float(text)
    return None if value is None else int(value)


def _value(text: str | None) -> Any:
    """A cell as int or float where it is one, else as text."""
    for kind in (int, float):
        try:
            return kind(text or "")
        except ValueError:
            continue
    return text


def baselines(result: Mapping[str, Any]) -> list[tuple[str, float | None, float | None, str]]:
    """(name, validation, test, remark) of every baseline."""
    metric = str(result.get("metric", ""))
    rows = []
    for name, row in (result.get("baselines") or {}).items():
        if isinstance(row, Mapping):
            others = {k: v for k, v in row.items() if k not in ("valid", "test")}
            remark = ", ".join(f"{k}: {v}" for k, v in others.items())
            rows.append(
                (
                    name,
                    of_metric(row.get("valid"), metric),
                    of_metric(row.get("test"), metric),
                    remark,
                )
            )
    return rows
