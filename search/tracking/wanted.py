"""What MLflow shows of a run: pure functions from its journal and folder to plain values.

The courier delivers what these functions return, and `verify.py` compares a store with it.
Timestamps come from the journal, so a value that is sent twice is the same and stored once.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recsys.errors import InputError
from search.paths import NAME
from search.record.events import SECONDS, State, Status
from search.record.folder import FIRST_FILES, REPORT
from search.record.handed import SUBMISSION
from search.record.measured import TEST_VALUES
from search.record.result import RESULT, RunResult, read_result, refit_of
from search.record.settings import known_settings
from search.record.standing import leads
from search.record.state import RunState, TrialRecord
from search.record.tables import Table, one_line_cause, race_table, trials_table
from search.words import utc

UID_TAG, ROLE_TAG, TRIAL_TAG, ATTEMPT_TAG = (
    f"recsearch.{name}" for name in ("uid", "role", "trial", "attempt")
)
PARENT_TAG = "mlflow.parentRunId"
CHILD_STATUS = {
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",  # as intended, which a red cross would not say; `state` tells it
    State.FAILED: "FAILED",
    State.RUNNING: "RUNNING",
}
PARENT_STATUS = {
    Status.DONE: "FINISHED",
    Status.FAILED: "FAILED",
    Status.INTERRUPTED: "KILLED",
    Status.RUNNING: "RUNNING",
}
LAST_ARTIFACTS = (
    *("trials.csv", "epochs.csv", "race.csv", "best.json"),
    *(RESULT, REPORT, SUBMISSION, TEST_VALUES),
)
# Settings that --resume may change (which MLflow's parameters can't), or that are private.
_NO_PARAMS = {"trials", "time_budget", "tracking_uri", "address", "storage", "system_metrics"}
_MADE_UP = re.compile(r"-\d{8}-\d{6}(-\d+)?$")  # see `record.folder.default_names`
_NO_NUMBERS = {"version", "best_config", "best_params"}
# The numbers of result.json that people compare searches by; MLflow draws a chart for each.
_COMPARED = re.compile(
    r"valid|test|test_ci\.(low|high)|test_metrics\..+|baselines\.[^.]+\.test|blend\.test"
    r"|best_epoch|wall_s"
)
# What was handed over on the test: `test` or `blend.test`. Not in result.json, but named after a
# field of it, so that it is withdrawn like one.
HANDED_TEST = "handed.test"
_MAX_TAG, _MAX_PARAM = 7_000, 5_000


# MLflow's own prefix: its page of a run has a tab for names that begin with it.
_SYSTEM = {
    "system/cpu_utilization_percentage": "cpu_percent",
    "system/system_memory_usage_megabytes": "memory_mb",
    "system/system_memory_usage_percentage": "memory_percent",
}


class Point(NamedTuple):
    """One value of a metric; `time` in Unix milliseconds."""

    key: str
    value: float
    time: int
    step: int


def clean(name: str) -> str:
    """A name MLflow accepts: `map@50` is `map_at_50`."""
    return re.sub(r"[^\w.\-/]", "_", name.replace("@", "_at_"))[:200]


def ms(time: float | None) -> int:
    """Unix seconds as Unix milliseconds."""
    return round(1000 * (time or 0.0))


def text(value: Any, limit: int = _MAX_TAG) -> str:
    """A value as a tag or parameter; one that is too long is cut at its beginning, since the end of
    a traceback is the error.
    """
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    # A path that is not UTF-8 has characters that no store accepts.
    shown = shown.encode(errors="backslashreplace").decode()
    return shown if len(shown) <= limit else "... " + shown[4 - limit :]


# --- a trial ----------------------------------------------------------------------------------


def trial_params(trial: TrialRecord) -> dict[str, str]:
    """The flat training config, and parameters of the space that are not in it (hard_fraction)."""
    values = {**trial.params, **trial.config, "trial_seed": trial.seed}
    return {clean(name): text(value, _MAX_PARAM) for name, value in values.items()}


def trial_points(trial: TrialRecord, first_row: int = 0) -> list[Point]:
    """Every value of every epoch from row `first_row` on: loss, metrics, seconds; step = epoch."""
    names = [(i, clean(c)) for i, c in enumerate(trial.columns) if c != "epoch"]
    if not trial.rows:
        return []
    epoch_at = trial.columns.index("epoch")
    seconds_at = [i for i, c in enumerate(trial.columns) if c in SECONDS]
    points, clock = [], trial.started or trial.created
    for number, row in enumerate(trial.rows):
        clock += sum(row[i] or 0.0 for i in seconds_at)
        if number >= first_row:
            step = int(row[epoch_at] or 0)
            for i, name in names:
                value = row[i]
                if value is not None:
                    points.append(Point(name, float(value), ms(clock), step))
    return points


def row_values(trial: TrialRecord, number: int) -> dict[str, float]:
    """The values of one reported epoch under MLflow's names."""
    row = zip(trial.columns, trial.rows[number], strict=True)
    return {clean(c): float(value) for c, value in row if c != "epoch" and value is not None}


def trial_results(trial: TrialRecord) -> list[Point]:
    """The values at a trial's end: best value and epoch, epochs, seconds, test (tables only)."""
    values: dict[str, float | None] = {
        "best_value": trial.value,
        "best_epoch": trial.best_epoch,
        "epochs": trial.epochs,
        "busy_seconds": trial.busy_s,
        **{f"test.{name}": value for name, value in (trial.test or {}).items()},
    }
    time = ms(trial.ended)
    return [Point(clean(k), float(v), time, 0) for k, v in values.items() if v is not None]


def trial_tags(trial: TrialRecord, state: RunState) -> dict[str, str]:
    """Tags of a trial as it is now; a failed one has its traceback among them."""
    settings = known_settings(state)
    tags = {
        UID_TAG: state.uid,
        ROLE_TAG: "trial",
        TRIAL_TAG: trial.id,
        ATTEMPT_TAG: str(trial.attempt),
        "state": trial.state,
        "seed": str(trial.seed),
        "dataset": dataset_name(state),
    }
    more = {
        "stop_reason": trial.reason,
        "node": trial.node,
        "device": trial.device or (settings and settings.device),
        "split_digest": _split_digest(state),
        "cause": one_line_cause(trial) if trial.state == State.FAILED else None,
        "traceback": trial.error,
    }
    return tags | {name: text(value) for name, value in more.items() if value is not None}


# --- the search -------------------------------------------------------------------------------


def run_name(state: RunState) -> str:
    """`bpr_hard · ml-100k · 2026-11-25 18:22` (UTC), after the name of the run if the user gave it
    one.
    """
    dataset = str(state.run.dataset or dataset_name(state)).partition(" (rating")[0]
    began = utc(state.sessions[0].started if state.sessions else None) or ""
    parts = [state.run.space, dataset, began.replace("T", " ")[:16]]
    given = state.run.name or ""
    if not _MADE_UP.search(given):
        parts.insert(0, given)
    return " · ".join(part for part in parts if part)


def run_params(state: RunState) -> dict[str, str]:
    """The settings that hold for the whole run, all those in its first line, whichever version
    wrote it: a parameter in MLflow cannot be changed.
    """
    settings = dict(state.sessions[0].event.settings or {}) if state.sessions else {}
    kept = {k: v for k, v in settings.items() if k not in _NO_PARAMS and v is not None}
    return {clean(name): text(value, _MAX_PARAM) for name, value in list(kept.items())[:90]}


def run_points(state: RunState) -> list[Point]:
    """The best value so far after each ended trial, and the machine's load."""
    points: list[Point] = []
    over = [t for t in state.trials.values() if t.ended is not None]
    over.sort(key=lambda t: (t.ended or 0.0, t.number))
    lead = {trial.id: value for trial, value in leads(over)}
    best = None
    for count, trial in enumerate(over, 1):
        best = lead.get(trial.id, best)
        if best is not None:
            points.append(Point("best_so_far", best, ms(trial.ended or 0.0), count))
    for count, seen in enumerate(state.machine):
        for name, known in _SYSTEM.items():
            points.append(Point(name, getattr(seen, known), ms(seen.time), count))
    return points


def numbers(result: RunResult) -> list[tuple[str, float]]:
    """Every number of result.json under a name of its own: `test`, `test_metrics.map@50` and so on,
    except the winner's config, which is a tag.
    """
    kept = {name: value for name, value in result.plain().items() if name not in _NO_NUMBERS}
    return list(_numbers("", kept))


def run_results(state: RunState, result: RunResult | None) -> list[Point]:
    """The numbers of result.json that searches are compared by, as metrics, and which of them is of
    what was handed over; the others are in the table `NUMBERS`.
    """
    if result is None:
        return []
    known = [(name, value) for name, value in numbers(result) if _COMPARED.fullmatch(name)]
    if (test := result.handed_over.test) is not None:
        known.append((HANDED_TEST, test))
    return [Point(clean(name), value, ms(state.finished), 0) for name, value in known]


def withdrawn(there: Mapping[str, float], state: RunState, result: RunResult | None) -> list[Point]:
    """Values that withdraw numbers of an earlier result.json that the present one does not have.

    there: the latest value of every metric of the search in the store. No store deletes a metric,
    so its latest value becomes NaN; the earlier ones stay in its history, with their times. Metrics
    that others have logged are left alone, and so is everything while there is no result, and what
    an earlier version of the code has sent and still holds: it sent every number and the race.
    """
    if result is None:
        return []
    sent = {point.key for point in (*run_points(state), *run_results(state, result))}
    holds = {clean(name): value for name, value in numbers(result)}
    for (config_id, _), row in sorted(state.race.items()):
        if row.value is not None:
            holds[clean(f"race.{config_id}")] = row.value
    return [
        Point(key, math.nan, ms(state.finished), 0)
        for key, value in sorted(there.items())
        if key.partition(".")[0] in RunResult.model_fields
        and key not in sent
        and not math.isnan(value)
        and holds.get(key) != value
    ]


def run_tags(state: RunState, result: RunResult | None) -> dict[str, str]:
    """Tags of the search: what was searched, whether held-out items leaked, how it ended."""
    settings = known_settings(state)
    tags = {
        UID_TAG: state.uid,
        ROLE_TAG: "search",
        "dataset": dataset_name(state),
        "status": state.status,
        "leaky": str(state.leaky),
        "sessions": str(len(state.sessions)),
        "mlflow.source.name": NAME,
        "stages_done": " ".join(name for name in state.stages if state.stage_done(name)),
        "mlflow.source.type": "LOCAL",
    }
    more = {
        "device": settings and settings.device,
        "seed": settings and settings.seed,
        "trials": settings and settings.trials,
        "split_digest": _split_digest(state),
        "spec_digest": state.run.spec_digest,
        "space": state.run.space,
        "split": (result and result.split) or state.run.split,
        "negatives_exclude": result and result.negatives_exclude,
        "metric": (result and result.metric) or state.run.metric,
        "best_config": result and result.best_config,
        "winner": result and (result.handed_over.name or winner_name(state, result)),
        "run": state.run.name,
    }
    listed = [{"path": name, "type": "table"} for name in tables(state, result)]
    more[TABLES_TAG] = json.dumps(listed) if listed else None
    return tags | {name: text(value) for name, value in more.items() if value is not None}


def winner_name(state: RunState, result: RunResult) -> str | None:
    """The name of the winner's trial; None where there is no winner."""
    trial = state.trials.get(result.best_trial or "")
    if trial is None or result.is_table or result.won_by_leak:
        return None
    return trial.title


class Data(NamedTuple):
    """A part of the data, as a dataset of MLflow. digest: differs for any other data. profile: its
    size, as JSON; empty where it is not known. context: what it was used for.
    """

    name: str
    digest: str
    source: str
    profile: str
    context: str


_CONTEXTS = {"train": "training", "valid": "validation", "test": "test"}


def data_parts(state: RunState) -> list[Data]:
    """The data that the search was trained, validated and tested on; empty if no split is known.

    They are described as in the first session. A run is resumed on the same data only, but another
    version may describe them anew, and MLflow can't take a data set back.
    """
    digest = _split_digest(state)
    if digest is None:
        return []
    first = state.sessions[0].event if state.sessions else state.run
    name, settings = str(first.dataset or dataset_name(state)), known_settings(state)
    source = "" if settings is None else settings.data
    # runs of earlier versions say nothing of parts
    parts = first.parts or {part: {} for part in _CONTEXTS}
    return [
        Data(
            f"{text(name, 400)}, {part}",
            str(facts.get("digest", digest)),
            text(source, 2000),
            _profile(facts),
            _CONTEXTS[part],
        )
        for part, facts in parts.items()
        if part in _CONTEXTS
    ]


def _profile(facts: Mapping[str, Any]) -> str:
    known = {key: value for key, value in facts.items() if key != "digest"}
    return json.dumps(known) if known else ""


def trial_data(state: RunState) -> list[Data]:
    """The data of a trial, which is neither trained nor measured on test items."""
    return [part for part in data_parts(state) if part.context != "test"]


# Tables that MLflow compares across runs: the same as the CSV files of these names, and all numbers
# of result.json.
TABLES = {"trials.json": trials_table, "race.json": race_table}
NUMBERS = "numbers.json"
TABLES_TAG = "mlflow.loggedArtifacts"


def tables(state: RunState, result: RunResult | None) -> dict[str, str]:
    """The contents of the tables in MLflow's form, by name; none before a session has ended."""
    if state.status == Status.RUNNING:
        return {}
    made = {name: _table(table(state)) for name, table in TABLES.items()}
    if result is not None:
        made[NUMBERS] = _table(Table(("name", "value"), numbers(result)))
    return made


def _table(table: Table) -> str:
    rows = [[_cell(value) for value in row] for row in table.rows]
    return json.dumps({"columns": list(table.columns), "data": rows})


def _cell(value: Any) -> Any:
    """A cell as a value that JSON has; whole numbers of any size keep all digits."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def dataset_name(state: RunState) -> str:
    """The name of the data set, or the stem of a user's file."""
    settings = known_settings(state)
    name = str(state.run.dataset or (settings and settings.data) or "data")
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(name).name.split(".")[0]) or "data"


def model_name(state: RunState) -> str:
    """The name of the registered model. There is one per data set, whose versions can replace each
    other. A refit on newer data is a version of the model that it comes from.
    """
    of = refit_of(state)
    return of.model if of is not None and of.model else f"recsearch-{dataset_name(state)}"


def won_by_leak(state: RunState, result: RunResult | None) -> bool:
    """Whether the winner's training knew held-out items, so that it cannot be a champion; without a
    result that can be read, whether any trial's did.
    """
    return state.leaky if result is None else result.won_by_leak


def known_result(run_dir: Path) -> RunResult | None:
    """result.json, or None if it is missing or cannot be read: MLflow gets what there is."""
    try:
        return read_result(run_dir)
    except InputError:
        return None


def artifacts(run_dir: Path, state: RunState) -> dict[str, Path]:
    """Files of the search to keep in MLflow now; tables only once a session has ended."""
    names = FIRST_FILES + (LAST_ARTIFACTS if state.status != Status.RUNNING else ())
    return {name: run_dir / name for name in names if (run_dir / name).is_file()}


def _split_digest(state: RunState) -> str | None:
    settings = known_settings(state)
    return state.run.split_digest or (settings.split_digest if settings else "") or None


# The names of a pair's two numbers, by the end of the key that holds it, or of the key above.
_PAIRS = {"ci": ("low", "high"), "split_orders": ("winner", "popularity")}
_NAMES = ("against", "id")  # the keys that name an object in a list


def _numbers(prefix: str, value: Any) -> Iterator[tuple[str, float]]:
    """The numbers in nested objects, under dotted names: ends of intervals as `.low` and `.high`,
    objects in a list under their name (`race.finalists.t0007.mean`), others under their place.
    """
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield prefix, float(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(f"{prefix}.{key}" if prefix else str(key), inner)
    elif isinstance(value, list):
        names: list[str] = []
        for place, inner in enumerate(value):
            name = _name_in_list(prefix, place, inner, len(value))
            names.append(name if name not in names else f"{name}.{place}")
            yield from _numbers(f"{prefix}.{names[-1]}", inner)


def _name_in_list(prefix: str, place: int, value: Any, length: int) -> str:
    if isinstance(value, dict):
        known = [str(value[key]) for key in _NAMES if value.get(key)]
        return known[0] if known else str(place)
    parts = prefix.split(".")
    for end, pair in _PAIRS.items():
        if length == 2 and any(part.endswith(end) for part in (parts[0], parts[-1])):
            return pair[place]
    return str(place)
