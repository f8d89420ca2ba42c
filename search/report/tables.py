"""The tables of the report, as plain rows for the template."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from search import summary, words
from search.record.events import Reason, State
from search.record.result import Beside, Group, Interval
from search.record.state import TrialRecord
from search.record.tables import one_line_cause
from search.report import charts
from search.report.files import RunFiles
from search.stats import rank_by_mean

MOST_ROWS = 300
# Why a trial ended, beside its state.
ENDINGS = {
    Reason.EPOCHS: "all epochs",
    Reason.PATIENCE: "no longer better",
    Reason.TIME: "time was up",
    Reason.ERROR: "error",
    Reason.ASHA: "others ahead",
    Reason.WORKER: "worker died",
    Reason.FAILURES: "search stopped",
    Reason.WORKERS: "search stopped",
    Reason.STOPPED: "search stopped",
}


def data_name(run: RunFiles) -> str:
    """The name of the data, from whichever file of the run has it."""
    named = (run.result.data, run.provenance.data.name, run.state.run.dataset)
    return next(filter(None, named), "unnamed data")


def race_values(run: RunFiles) -> dict[str, list[float]]:
    """By finalist, its values on the splits, best mean first; from the journal while the race is
    under way.
    """
    found = {f.id: [v for v in f.values if v is not None] for f in run.result.race.finalists}
    if not found:
        for (name, _), one in sorted(run.state.race.items()):
            if one.value is not None:
                found.setdefault(name, []).append(one.value)
    found = {name: values for name, values in found.items() if values}
    return {name: found[name] for name in rank_by_mean(found)}


def race_rows(run: RunFiles) -> list[dict[str, Any]]:
    """A row for each finalist, best mean first, with its comparison if the race has made one.

    `complete` in a row: whether the finalist was trained on as many splits as any other.
    """
    said = {c.against: c for c in run.result.race.comparisons}
    values = {t.id: t.value for t in run.trials}
    replicates = max((len(v) for v in race_values(run).values()), default=0)
    return [
        {
            "id": name,
            "mean": sum(one) / len(one),
            "low": min(one),
            "high": max(one),
            "replicates": len(one),
            "complete": len(one) == replicates,
            "search": values.get(name),
            "words": said[name].words if name in said else "",
            "proven": name in said and said[name].proven,
        }
        for name, one in race_values(run).items()
    ]


@dataclass(frozen=True)
class Cell:
    """A number as text. below: its interval. strong: whether it is proven."""

    text: str
    below: str = ""
    strong: bool = False


@dataclass(frozen=True)
class GroupTable:
    """The test by groups: the heads of the columns, and for each group its name and its cells."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def group_tables(run: RunFiles) -> list[GroupTable]:
    """The test by groups of users and of items, if it is known."""
    groups = run.result.groups
    if groups is None:
        return []
    found = [
        _group_table("user", groups.by_user, f"{groups.model}: {run.metric}", words.number),
        _group_table(
            "item", groups.by_item, f"{groups.model}: in lists of {groups.k}", words.percent
        ),
    ]
    return [one for one in found if one.rows]


def _group_table(
    kind: str, groups: Sequence[Group], what: str, shown: Callable[[Any], str]
) -> GroupTable:
    """The table of groups of one kind, `user` or `item`. what: the head of a group's value; shown:
    turns that into text.
    """
    rivals = list(dict.fromkeys(name for one in groups for name in one.rivals))
    heads = [what]
    for name in rivals:
        heads += [words.baseline_name(name), "lead over it"]
    heads += ["users", "test items", *(["items"] if kind == "item" else [])]
    rows = []
    for one in groups:
        cells = [Cell(shown(one.value), _between(one.ci, shown))]
        for name in rivals:
            beside = one.rivals.get(name, Beside())
            sign = "+" if (beside.gain or 0.0) > 0 else ""
            lead = Cell(f"{sign}{shown(beside.gain)}", _between(beside.ci, shown), beside.proven)
            cells += [Cell(shown(beside.value)), lead]
        counts = [one.users, one.pairs, *([one.items or 0] if kind == "item" else [])]
        cells += [Cell(f"{count:,}") for count in counts]
        rows.append((summary.group_name(kind, one), tuple(cells)))
    return GroupTable(tuple(heads), tuple(rows))


def _between(ci: Interval | None, shown: Callable[[Any], str]) -> str:
    """`0.0012 to 0.0234`; empty if there is no interval."""
    return f"{shown(ci[0])} to {shown(ci[1])}" if ci is not None and words.is_interval(ci) else ""


def param_names(run: RunFiles) -> list[str]:
    """The parameters that any trial has, in the order in which they first appear."""
    return list(dict.fromkeys(name for t in run.trials for name in t.params))


def leak_table(run: RunFiles) -> list[dict[str, Any]]:
    """Rows for runs that measure configs both ways, leaky and honest, on validation and test.

    There is one row per config, apart from its `negatives_exclude`; for either value of that, `all`
    and `train` in a row are (validation, test, state), or None. `label` is a short name.
    """
    if not run.is_table:
        return []
    rows: dict[str, dict[str, Any]] = {}
    for trial in run.trials:
        rest = {k: v for k, v in trial.params.items() if k != "negatives_exclude"}
        label = " ".join(words.short(v) for v in rest.values()) or trial.id
        name = words.config_line(rest) if len(rest) > 1 else label
        test = (trial.test or {}).get(run.metric)
        rows.setdefault(name, {"name": name, "label": label, "all": None, "train": None})
        rows[name]["all" if trial.leaky else "train"] = (trial.value, test, trial.state)
    return list(rows.values())


def leak_lines(run: RunFiles) -> list[words.Row]:
    """The same rows as lines for the terminal: validation and test side by side, both ways."""

    def pair(cell: tuple[Any, Any, str] | None) -> str:
        return "-" if cell is None else f"{words.number(cell[0])} / {words.number(cell[1])}"

    rows = leak_table(run)
    width = max((len(row["name"]) for row in rows), default=0)
    head = f"{'validation / test, negatives exclude':<{width}}  {'train':<17}  all (leaky)"
    width = max(width, len("validation / test, negatives exclude"))
    lines = [
        f"{row['name']:<{width}}  {pair(row['train']):<17}  {pair(row['all'])}" for row in rows
    ]
    return [("table", line) for line in ([head, *lines] if rows else [])]


def leak_words(rows: list[dict[str, Any]]) -> str:
    """What leaving validation items out of the negatives changed here, on average."""
    both = [(row["all"], row["train"]) for row in rows if row["all"] and row["train"]]
    shifts = []
    for at, what in enumerate(("validation", "test")):
        known = [a[at] - t[at] for a, t in both if a[at] is not None and t[at] is not None]
        if known:
            shift = sum(known) / len(known)
            change = "does not change" if words.level(shift) else f"changes by {shift:+.4f}"
            shifts.append(f"{what} {change}")
    return f"Here, on average over {len(both)} configs, {' and '.join(shifts)}." if shifts else ""


def trial_table(run: RunFiles) -> dict[str, Any]:
    """The trials by value; of thousands, only the best and some failed ones."""
    ranked = sorted(run.trials, key=lambda t: (t.value is None, -(t.value or 0.0), t.number))
    shown = ranked
    if len(ranked) > MOST_ROWS:
        tail = [t for t in ranked if t.state in (State.FAILED, State.RUNNING)][: MOST_ROWS // 6]
        ids = {t.id for t in tail}
        shown = [t for t in ranked if t.id not in ids][: MOST_ROWS - len(tail)] + tail
    names = param_names(run)
    constant = {n for n in names if len({str(t.params.get(n)) for t in run.trials}) == 1}
    tests = [run.metric] if any(run.metric in (t.test or {}) for t in run.trials) else []
    return {
        "rows": [(t, charts.kind_of(t, run.winner), _ended(t)) for t in shown],
        "total": len(ranked),
        "params": [n for n in names if n not in constant or len(run.trials) == 1],
        "tests": tests,
    }


def _ended(trial: TrialRecord) -> str:
    """The state of a trial and why it ended; causes of failures have a table of their own."""
    state = "leaky" if trial.leaky else trial.state.lower()
    why = trial.reason if trial.state != State.FAILED else None
    return state if why is None else f"{state} ({ENDINGS[why]})"


def failures(run: RunFiles) -> list[tuple[str, int, list[str]]]:
    """(an example of the cause, how often it occurred, some of the trials), most frequent first."""
    by_cause: dict[str, list[TrialRecord]] = {}
    for trial in run.trials:
        if trial.state == State.FAILED:
            by_cause.setdefault(_kind_of_cause(trial), []).append(trial)
    found = sorted(by_cause.values(), key=lambda some: -len(some))
    return [
        (
            _cause(some[0])[:600],
            len(some),
            [t.id for t in some[:8]],
        )
        for some in found[:20]
    ]


def _kind_of_cause(trial: TrialRecord) -> str:
    """A cause without its numbers and its config, which differ from trial to trial."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", _cause(trial).split("{")[0])


def _cause(trial: TrialRecord) -> str:
    return one_line_cause(trial) or trial.reason or "no cause known"


def facts(run: RunFiles) -> list[tuple[str, str]]:
    """The origin of the run, as (name, text)."""
    known = run.provenance
    code, machine, data = known.code, known.machine, known.data
    sizes = [
        f"{count:,} {name}"
        for name, count in (
            ("users", data.users),
            ("items", data.items),
            ("positives", data.positives),
        )
        if count is not None
    ]
    busy, wall = run.result.busy_fraction, run.result.wall_s
    rows = [
        ("started", words.instant(known.time)),
        ("wall time", words.duration(wall) if wall else None),
        ("cores busy", f"{busy:.0%} of the time, training and evaluating" if busy else None),
        ("data", ", ".join([data_name(run), *sizes])),
        ("data digest", data.digest),
        ("split", run.shown.split),
        ("split digest", run.shown.split_digest),
        ("seed of the run", run.shown.seed),
        ("code", (code.commit or "unknown") + (", with local changes" if code.modified else "")),
        ("python", known.python),
        ("packages", ", ".join(f"{k} {v}" for k, v in known.packages.items() if v)),
        ("processor", machine.cpu),
        ("cores", machine.cores),
        ("memory", words.gigabytes(machine.memory_gib * 2**30) if machine.memory_gib else None),
        ("system", machine.system),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]
