"""report.html: one file that explains a run, offline, to somebody who did not see it.

Charts are drawn here as inline SVG (`charts.py`); the page holds one small script for sorting,
copying and linking a trial across charts. Jinja2 escapes everything, and a content security
policy allows that one script by its hash and nothing else, no network included.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from search import charts, words
from search.report_data import RunFiles, TrialRow, baselines, negatives_exclude, read_run
from search.stats import explained_share, rank_by_mean

TEMPLATES = Path(__file__).resolve().parent / "templates"
MOST_ROWS = 300
TO_EXPLAIN = 12  # charts of single parameters
SHOWN = ("valid", "test", "test_ci", "test_reads", "test_metrics", "split", "split_digest", "seed")
KEYS = (
    ("winner", "the winner"),
    ("complete", "completed"),
    ("pruned", "pruned"),
    ("running", "running"),
    ("leaky", "leaky"),
)
STATUS = {
    "done": "finished",
    "failed": "failed",
    "interrupted": "interrupted",
    "running": "not finished",
    "unfinished": "not finished",
}


def render_report(run_dir: Path | str) -> str:
    """The report of a run folder as one HTML page, at most about 1 MB.

    Works for a run that is under way or failed: what is not known yet is said. Raises `InputError`
    where the folder holds no run or a file of it can't be read.
    """
    run = read_run(Path(run_dir))
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "duration": words.duration,
        "short": words.short,
    }
    # Both are files of ours, which hold no value of the run.
    return environment.get_template("report.html.j2").render(
        script=Markup(script),
        script_digest=digest,
        style=Markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        **_context(run),
    )


def _context(run: RunFiles) -> dict[str, Any]:
    result = run.result
    status = str(result.get("status") or "unfinished")
    split = run.provenance.get("split") or {}
    known = {"split": split.get("name"), "split_digest": split.get("digest")}
    known["seed"] = run.provenance.get("seed")
    kinds = {charts.kind_of(t, run.winner) for t in run.trials if t.value is not None}
    return {
        "run": run,
        "result": dict.fromkeys(SHOWN) | known | result,
        "keys": [(kind, name) for kind, name in KEYS if kind in kinds],
        "metric": run.metric,
        "status": status,
        "status_words": STATUS.get(status, status),
        "headline": _headline(run),
        "gains": words.gain_words(result),
        "data_name": _data_name(run),
        "leaky": words.leaky_result(result) or any(t.leaky for t in run.trials),
        "leak_words": words.LEAK,
        "title": run.spec.get("name") or run.name,
        "tested": words.test_words(result),
        "test_interval": words.interval(result.get("test_ci")),
        "counts_words": _counts_words(run),
        "thinned": _thinned(run),
        "winner": _winner(run),
        "commands": _commands(run),
        "charts": _charts(run),
        "scatters": _scatters(run),
        "race_rows": _race_rows(run),
        "baselines": baselines(result),
        "leak_table": leak_table(run),
        "leak_effect": leak_words(leak_table(run)),
        "table": _trial_table(run),
        "failures": _failures(run),
        "facts": _facts(run),
        "sessions": run.provenance.get("sessions") or [],
    }


def _headline(run: RunFiles) -> str:
    known = dict(run.result)
    known.setdefault("metric", run.metric)
    known.setdefault("purpose", run.spec.get("purpose"))
    best = run.best
    if known.get("best_trial") is None and best is not None:
        known |= {"best_trial": best.id, "valid": best.value}
    return words.headline(known)


def _data_name(run: RunFiles) -> str:
    data = run.provenance.get("data")
    name = run.result.get("data") or (data.get("name") if isinstance(data, Mapping) else data)
    return str(name or "unnamed data")


def _counts_words(run: RunFiles) -> str:
    found = Counter(t.state for t in run.trials)
    names = {
        "COMPLETE": "completed",
        "PRUNED": "pruned",
        "FAILED": "failed",
        "RUNNING": "not ended",
    }
    return ", ".join(f"{found[s]:,} {name}" for s, name in names.items() if found[s]) or "none yet"


def _thinned(run: RunFiles) -> str:
    if sum(t.value is not None for t in run.trials) <= charts.MOST_SMALL:
        return ""
    return (
        f"Of many trials the pictures show the best ones and an even choice of the others: at most "
        f"{charts.MOST_DOTS} points, {charts.MOST_CURVES} curves, and {charts.MOST_SMALL} points a "
        "parameter."
    )


@dataclass(frozen=True)
class Winner:
    """The winner, or the best trial so far."""

    id: str
    value: float | None
    best_epoch: int | None  # in the search
    epochs: int | None  # learned for the final training
    decided: bool
    config: dict[str, Any]
    searched: set[str]


def _winner(run: RunFiles) -> Winner | None:
    trial = next((t for t in run.trials if t.id == run.winner), None)
    if run.is_table or trial is None:
        return None
    config = run.result.get("best_config") if run.result.get("best_trial") == trial.id else None
    config = trial.params | (dict(config) if isinstance(config, Mapping) else {})
    if config.get("negatives_exclude") == "all":
        return None
    config.pop("epochs", None)  # the limit; the number learned is shown beside it
    finalists = (run.result.get("race") or {}).get("finalists")
    return Winner(
        id=trial.id,
        value=trial.value,
        best_epoch=trial.best_epoch,
        epochs=run.result.get("best_epoch"),
        decided=bool(finalists),
        config=config,
        searched=set(trial.params),
    )


def _commands(run: RunFiles) -> list[tuple[str, str]]:
    """(what for, command)."""
    name = words.run_option(run.path)
    command = run.provenance.get("command")
    rows = []
    if isinstance(command, str) and command:
        program = command if command.startswith("python") else f"python {command}"
        rows.append(("the command that made this run", program))
    if run.is_table and run.result.get("status") == "done":
        pass  # no winner to export, and a grid has no more trials
    elif run.result.get("status") != "done":
        rows.append(("go on with it", f"python run_search.py --resume --run {name}"))
    else:
        export = f"python run_search.py export {name} -o submission.csv"
        rows.append(("the winner's recommendations", export))
        rows.append(("20 more trials", f"python run_search.py --run {name} --extend 20"))
    rows.append(("browse the trials", "python run_search.py ui"))
    return rows


def _race_values(run: RunFiles) -> dict[str, list[float]]:
    """Finalist -> values by replicate, best mean first; from race.csv while it is under way."""
    found: dict[str, list[float]] = {}
    for row in (run.result.get("race") or {}).get("finalists") or []:
        found[str(row.get("id"))] = [v for v in row.get("values") or [] if v is not None]
    if not found:
        for one in sorted(run.race, key=lambda r: r.replicate):
            if one.value is not None:
                found.setdefault(one.config_id, []).append(one.value)
    found = {name: values for name, values in found.items() if values}
    return {name: found[name] for name in rank_by_mean(found)}


def _race_rows(run: RunFiles) -> list[dict[str, Any]]:
    said = {str(c.get("against")): c for c in words.comparisons(run.result)}
    values = {t.id: t.value for t in run.trials}
    replicates = max((len(v) for v in _race_values(run).values()), default=0)
    return [
        {
            "id": name,
            "mean": sum(one) / len(one),
            "low": min(one),
            "high": max(one),
            "replicates": len(one),
            "complete": len(one) == replicates,
            "search": values.get(name),
            "words": said.get(name, {}).get("words", ""),
            "proven": bool(said.get(name, {}).get("proven")),
        }
        for name, one in _race_values(run).items()
    ]


def _charts(run: RunFiles) -> list[tuple[str, str, Markup]]:
    """(title, explanation, svg) of the large charts."""
    winner, metric = run.winner, run.metric
    lines = {name: valid for name, valid, _, _ in baselines(run.result) if valid is not None}
    shares, source = _importance(run)
    found = [
        ("Validation and test", "Blue: honest. Red: leaky. The dot is validation, the bar test; a "
         "search sees the dots.", charts.leak_chart(leak_table(run), metric)),
        ("Best value so far", "Every trial by number; the line is the best honest value so far, "
         "dashed lines are baselines on the same validation items.",
         None if run.is_table else charts.progress_chart(run.trials, metric, winner, lines)),
        ("Learning curves", "One line a trial. Grey ones were stopped early.",
         charts.curves_chart(run.trials, run.curves, metric, winner)),
        ("Race", "The finalists trained again on fresh splits: dots are splits, the bar is their "
         "mean, which decides.", charts.race_chart(_race_values(run), metric, winner)),
        ("The winner's lead", "Over each rival, paired over users. An interval across zero proves "
         "nothing.", charts.gains_chart(words.comparisons(run.result), metric)),
        ("What mattered", source, charts.importance_chart(shares)),
    ]  # fmt: skip
    return [(title, text, svg) for title, text, svg in found if svg is not None]


def _importance(run: RunFiles) -> tuple[dict[str, float], str]:
    given = run.result.get("importance")
    if isinstance(given, Mapping) and given:
        known = {str(k): float(v) for k, v in given.items() if words.number(v) != "-"}
        return known, "Share of each parameter in what separates good trials from bad ones."
    trials = [t for t in run.trials if t.value is not None and not t.leaky]
    shares = {}
    for name in _param_names(run):
        having = [t for t in trials if name in t.params]
        share = explained_share([t.params[name] for t in having], [t.value or 0.0 for t in having])
        if share is not None:
            shares[name] = share
    return shares, (
        "How much of the order of the trials each parameter explains on its own, 0 to 1. Trials "
        "were chosen to be good, not to be compared: a hint, not a measurement."
    )


def _param_names(run: RunFiles) -> list[str]:
    return list(dict.fromkeys(name for t in run.trials for name in t.params))


def _scatters(run: RunFiles) -> list[Markup]:
    names = _param_names(run)
    shares, _ = _importance(run)
    names.sort(key=lambda name: -shares.get(name, 0.0))
    found = (charts.scatter_chart(run.trials, n, run.metric, run.winner) for n in names)
    return [svg for svg in found if svg is not None][:TO_EXPLAIN] if not run.is_table else []


def leak_table(run: RunFiles) -> list[dict[str, Any]]:
    """Rows for runs that measure configs both ways: validation and test, leaky and honest.

    One row a config without `negatives_exclude`; `all` and `train` hold (validation, test).
    """
    if not run.is_table:
        return []
    rows: dict[str, dict[str, Any]] = {}
    for trial in run.trials:
        rest = {k: v for k, v in trial.params.items() if k != "negatives_exclude"}
        name = str(next(iter(rest.values()))) if len(rest) == 1 else words.config_line(rest)
        name = name or trial.id
        test = trial.tests.get(run.metric)
        rows.setdefault(name, {"name": name, "all": None, "train": None})
        rows[name][negatives_exclude(trial.params, run.spec)] = (trial.value, test, trial.state)
    return list(rows.values())


def leak_words(rows: list[dict[str, Any]]) -> str:
    """What keeping validation items out of the negatives did here, on average."""
    both = [(row["all"], row["train"]) for row in rows if row["all"] and row["train"]]
    shifts = []
    for at, what in enumerate(("validation", "test")):
        known = [a[at] - t[at] for a, t in both if a[at] is not None and t[at] is not None]
        if known:
            shifts.append(f"{what} changes by {sum(known) / len(known):+.4f}")
    return f"Here, on average over {len(both)} configs, {' and '.join(shifts)}." if shifts else ""


def _trial_table(run: RunFiles) -> dict[str, Any]:
    """The trials by value; of thousands the best and the failed ones."""
    ranked = sorted(run.trials, key=lambda t: (t.value is None, -(t.value or 0.0), t.number))
    shown = ranked
    if len(ranked) > MOST_ROWS:
        tail = [t for t in ranked if t.state in ("FAILED", "RUNNING")][: MOST_ROWS // 6]
        ids = {t.id for t in tail}
        shown = [t for t in ranked if t.id not in ids][: MOST_ROWS - len(tail)] + tail
    names = _param_names(run)
    constant = {n for n in names if len({str(t.params.get(n)) for t in run.trials}) == 1}
    metrics = list(dict.fromkeys(m for t in run.trials for m in t.tests if m == run.metric))
    return {
        "rows": [(t, charts.kind_of(t, run.winner)) for t in shown],
        "total": len(ranked),
        "params": [n for n in names if n not in constant or len(run.trials) == 1],
        "tests": metrics,
    }


def _failures(run: RunFiles) -> list[tuple[str, int, list[str]]]:
    """(an example of the cause, how often, some trials), the most frequent first."""
    by_cause: dict[str, list[TrialRow]] = {}
    for trial in run.trials:
        if trial.state == "FAILED":
            by_cause.setdefault(_kind_of_cause(trial), []).append(trial)
    found = sorted(by_cause.values(), key=lambda some: -len(some))
    return [
        (
            (some[0].error or some[0].reason or "no cause known")[:600],
            len(some),
            [t.id for t in some[:8]],
        )
        for some in found[:20]
    ]


def _kind_of_cause(trial: TrialRow) -> str:
    """A cause without its numbers and its config, in which every trial differs."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", (trial.error or trial.reason).split("{")[0])


def _facts(run: RunFiles) -> list[tuple[str, str]]:
    """Where the run comes from, as (name, text)."""
    known = run.provenance
    code, machine = known.get("code") or {}, known.get("machine") or {}
    data, split = known.get("data") or {}, known.get("split") or {}
    commit = str(code.get("commit") or "unknown")
    sizes = [
        f"{data[k]:,} {k}" for k in ("users", "items", "positives") if isinstance(data.get(k), int)
    ]
    busy = run.result.get("busy_fraction")
    rows = [
        ("started", known.get("time")),
        (
            "wall time",
            words.duration(run.result.get("wall_s")) if run.result.get("wall_s") else None,
        ),
        ("cores busy", f"{busy:.0%} of the time, training and evaluating" if busy else None),
        ("data", ", ".join([_data_name(run), *sizes])),
        ("data digest", data.get("digest")),
        ("split", run.result.get("split") or split.get("name")),
        ("split digest", run.result.get("split_digest") or split.get("digest")),
        ("seed of the run", run.result.get("seed", known.get("seed"))),
        ("code", commit + (", with local changes" if code.get("modified") else "")),
        ("python", known.get("python")),
        ("packages", ", ".join(f"{k} {v}" for k, v in (known.get("packages") or {}).items() if v)),
        ("processor", machine.get("cpu")),
        ("cores", machine.get("cores")),
        ("memory", f"{machine['memory_gib']} GiB" if machine.get("memory_gib") else None),
        ("system", machine.get("system")),
    ]
    return [(name, str(value)) for name, value in rows if value not in (None, "")]
