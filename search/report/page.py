"""report.html: one file that explains a run, offline, to someone who did not watch it.

Charts are drawn as inline SVG (`charts.py`); `render.py` makes the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from recsys.data.facts import histogram
from recsys.models import Size, leaky
from search import summary, words
from search.paste import command
from search.record.events import Status
from search.record.handed import SUBMISSION
from search.record.result import BlendMember
from search.record.standing import ByValue, by_value, leader
from search.report import charts, maps, tables
from search.report.bounds import Pressed, pressed
from search.report.files import RunFiles, baselines, read_run
from search.report.render import rendered
from search.report.timeline import ends, timeline_chart, timeline_words
from search.space.domains import Value
from search.stats import explained_share

IMPORTANCE_OF_SPACE = 2  # the version of result.json since which importance is of the whole space
TO_EXPLAIN = 12  # the most charts of single parameters
KEYS = (
    ("winner", "the winner"),
    ("complete", "completed"),
    ("pruned", "pruned"),
    ("running", "running"),
    ("failed", "failed"),
    ("leaky", "leaky"),
)
STATUS = {
    Status.DONE: "finished",
    Status.FAILED: "failed",
    Status.INTERRUPTED: "interrupted",
    Status.RUNNING: "not finished",
}


def render_report(run_dir: Path | str) -> str:
    """The report of a run folder as one HTML page, at most about 1 MB.

    This also works for a run that is under way or failed: the page says what is not known yet.
    Raises InputError where the folder has no run or a file of it can't be read.
    """
    return rendered("report.html.j2", _context(read_run(Path(run_dir))))


def _context(run: RunFiles) -> dict[str, Any]:
    result = run.result
    leak_table = tables.leak_table(run)
    pressing, winner = _pressing(run), _winner(run)
    mattered = _mattered(run)
    names = _by_importance(run, mattered)
    kinds = {charts.kind_of(t, run.winner) for t in run.trials if t.value is not None}
    return {
        "run": run,
        "result": run.shown,
        "keys": [(kind, name) for kind, name in KEYS if kind in kinds],
        "metric": run.metric,
        "status": result.status,
        "status_words": STATUS[result.status],
        "headline": summary.headline(run.shown),
        "gains": summary.gain_words(result),
        "orders": summary.order_words(result),
        "measured_orders": len(result.split_orders or {}) > 1,
        "newcomers": [summary.newcomer_words(one) for one in result.newcomers],
        "blend": result.blend,
        "blend_words": summary.blend_words(result),
        "blended": _blended(run),
        "data_name": tables.data_name(run),
        "leaky": result.leaky or run.state.leaky,
        "leak_words": words.LEAK,
        "title": run.state.run.space or run.name,
        "label": "" if run.is_table or winner is None else summary.winner_label(run.shown),
        "test_interval": words.interval(result.test_ci),
        "counts_words": _counts_words(run),
        "thinned": _thinned(run),
        "winner": winner,
        "commands": _commands(run, pressing),
        "pressing": [one.words for one in pressing],
        "charts": _charts(run, mattered),
        "by_value": _by_value(run),
        "parallel": _parallel(run, names),
        "scatters": _scatters(run, names),
        "race_rows": tables.race_rows(run),
        "race_crossed": any(row.crossed for row in run.state.race.values()),
        "baselines": baselines(result),
        "fails": summary.fails_words(result),
        "groups": tables.group_tables(run),
        "group_charts": _group_charts(run),
        "leak_table": leak_table,
        "leak_effect": tables.leak_words(leak_table),
        "ways": [way for way in ("train", "all") if any(row[way] for row in leak_table)],
        "table": tables.trial_table(run),
        "failures": tables.failures(run),
        "facts": tables.facts(run),
        "sessions": run.provenance.sessions,
    }


def _counts_words(run: RunFiles) -> str:
    counts = run.state.counts()
    return ", ".join(f"{n:,} {state.word}" for state, n in counts.items() if n) or "none yet"


def _thinned(run: RunFiles) -> str:
    if sum(t.value is not None for t in run.trials) <= charts.MOST_SMALL:
        return ""
    return (
        "With many trials the charts show the best ones and an even selection of the others: "
        f"at most {charts.MOST_DOTS} points, {charts.MOST_CURVES} curves, and {charts.MOST_SMALL} "
        "points per parameter."
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
    config = run.result.best_config if run.result.best_trial == trial.id else None
    config = trial.params | (config or {})
    if leaky(config):
        return None
    config.pop("epochs", None)  # the limit; the learned number is shown separately
    return Winner(
        id=trial.id,
        value=trial.value,
        best_epoch=trial.best_epoch,
        epochs=run.result.best_epoch,
        decided=bool(run.result.race.finalists),
        config=config,
        searched=set(trial.params),
    )


def _blended(run: RunFiles) -> list[tuple[BlendMember, str]]:
    """The members of the blend, each with its config as a line."""
    members = run.result.blend.members if run.result.blend is not None else ()
    params = {t.id: t.params for t in run.trials}
    return [(member, words.config_line(params.get(member.id))) for member in members]


def _pressing(run: RunFiles) -> list[Pressed]:
    """The bounds that the best trials press against, if the run can have more trials."""
    if run.is_table or run.result.refit_of is not None or run.spec is None:
        return []
    return pressed(run.spec, run.trials)


def _commands(run: RunFiles, pressing: Sequence[Pressed]) -> list[tuple[str, str]]:
    """(purpose, command) pairs."""
    made_by = run.provenance.command
    rows = []
    if made_by:
        program = made_by if made_by.startswith("python") else f"python {made_by}"
        rows.append(("the command that made this run", program))
    if run.is_table and run.result.status == Status.DONE:
        pass  # no winner to export, and a grid has no more trials
    elif run.result.status != Status.DONE:
        rows.append(("resume it", command("--resume", "--run", run.path, lasting=True)))
    else:
        export = command("export", run.path, "-o", SUBMISSION, lasting=True)
        rows.append(("the winner's recommendations", export))
        if run.result.may_extend:
            more = command("--run", run.path, "--extend", "20", lasting=True)
            rows.append(("20 more trials", more))
    if pressing:
        settings = [word for one in pressing for word in ("--set", one.setting)]
        wider = command("--run", run.path, "--extend", "50", *settings, lasting=True)
        rows.append(("50 more trials, in wider ranges", wider))
    rows.append(("browse the trials", command("ui", run.path, lasting=True)))
    return rows


def _charts(run: RunFiles, mattered: Mattered) -> list[tuple[str, str, Markup]]:
    """(title, explanation, svg) of the large charts."""
    found = [] if run.result.refit_of is not None else _charts_of_trials(run, mattered)
    if run.counts is not None:
        users, items = map(histogram, run.counts)
        found += [
            ("Items of a user", "All of the data: how many users have how many items.",
             charts.histogram_chart(users, "Items of a user", "users")),
            ("Users of an item", "All of the data: how many items have how many users.",
             charts.histogram_chart(items, "Users of an item", "items")),
        ]  # fmt: skip
    return [(title, text, svg) for title, text, svg in found if svg is not None]


def _charts_of_trials(run: RunFiles, mattered: Mattered) -> list[tuple[str, str, Markup | None]]:
    """The charts that show how a search went."""
    winner, metric = run.winner, run.metric
    lines = {name: valid for name, valid, _, _ in baselines(run.result) if valid is not None}
    return [
        ("Validation and test", "Blue: honest. Red: leaky. The dot is validation, the bar test; a "
         "search sees the dots.", charts.leak_chart(tables.leak_table(run), metric)),
        (f"What mattered for {mattered.within}" if mattered.within else "What mattered",
         mattered.words, charts.importance_chart(mattered.shares, mattered.intervals)),
        ("Best value so far", "Every trial by number; the line is the best honest value so far, "
         "dashed lines are baselines on the same validation items.",
         None if run.is_table else charts.progress_chart(run.trials, metric, winner, lines)),
        ("Best value by time", "The same, by the time at which each trial ended, without pauses.",
         None if run.is_table else charts.progress_by_time_chart(
             run.trials, ends(run.trials), metric, winner, lines)),
        ("Learning curves", "One line per trial. Grey ones were stopped early.",
         charts.curves_chart(run.trials, run.curves, metric, winner)),
        ("Race", "The finalists trained again on fresh splits: dots are splits, the bar is their "
         "mean, which decides.", charts.race_chart(tables.race_values(run), metric, winner)),
        ("The winner's lead", "Over each rival, paired over users. An interval that includes "
         "zero proves nothing.", charts.gains_chart(run.result.race.comparisons, metric)),
        ("Hard negatives", "M of N candidates are kept: the better a trial, the darker its dot.",
         None if run.is_table else maps.negatives_map(run.trials, winner)),
        ("Quality by seconds", "The line is the best value for at most so many seconds of a trial.",
         None if run.is_table else maps.cost_chart(run.trials, metric, winner)),
        ("Quality by size", "The line is the best value for at most so much memory, as estimated "
         "from a config; --prefer small decides the race by that.",
         None if run.is_table else maps.size_chart(run.trials, _sizes(run), metric, winner)),
        ("Workers", timeline_words(run.trials), timeline_chart(run.trials, winner)),
    ]  # fmt: skip


def _sizes(run: RunFiles) -> dict[str, int]:
    """Bytes of each trial's model; empty if the size of the data is not known."""
    data = run.provenance.data
    if data.users is None or data.items is None or data.positives is None:
        return {}
    return maps.sizes_of(run.trials, Size(data.users, data.items, data.positives))


def _group_charts(run: RunFiles) -> list[tuple[str, str, Markup]]:
    """The charts of the test by groups of users and of items, as in `_charts`."""
    groups = run.result.groups
    if groups is None:
        return []
    tested = {name: test for name, _, test, _ in baselines(run.result) if test is not None}
    known = list(dict.fromkeys(n for one in groups.by_user for n in one.rivals))
    rivals = sorted(known, key=lambda name: -tested.get(name, 0.0))  # the best first
    said = f"Blue: the {groups.model}, with its 95% interval."
    for mark, name in zip(("Bar", "Grey dot"), rivals, strict=False):
        said += f" {mark}: {words.baseline_name(name)}."
    found = [
        ("By user", f"Users by how many items of train + validation they have. {said}",
         charts.groups_chart(groups.by_user, "user", f"{run.metric} on test", rivals[:2])),
        ("By item", f"Items by how many users they have. {said}",
         charts.groups_chart(
             groups.by_item, "item", f"share of test items in the lists of {groups.k}", rivals[:2]
         )),
    ]  # fmt: skip
    return [(title, text, svg) for title, text, svg in found if svg is not None]


@dataclass(frozen=True)
class Mattered:
    """How much parameters matter, in the words below the title. within: the value of the parameter
    that decides which others exist, where they were compared; empty where there is none.
    """

    shares: Mapping[str, float]
    intervals: Mapping[str, tuple[float | None, float | None]]
    within: str
    words: str


def _mattered(run: RunFiles) -> Mattered:
    result, decided = run.result, _deciding(run)
    if result.importance and result.version >= IMPORTANCE_OF_SPACE:
        said = (
            "How much configs differ where only this parameter does, as a share of how much they "
            "differ at all"
        )
        if result.importance_ci:
            said += "; the line is the 90% interval"
        within = result.deciding.winner if result.deciding is not None else ""
        none = charts.unimportant(result.importance, result.importance_ci)
        said += f". No effect seen: {', '.join(none)}." if none else "."
        return Mattered(result.importance, result.importance_ci, within, said)
    trials = [t for t in run.trials if t.value is not None and not t.leaky]
    within = ""
    if decided is not None and (best := leader(trials)) is not None:
        within = str(best.params.get(decided, ""))
        trials = [t for t in trials if str(t.params.get(decided, "")) == within]
    shares = {}
    for name in tables.param_names(run):
        having = [t for t in trials if name in t.params]
        share = explained_share([t.params[name] for t in having], [t.value or 0.0 for t in having])
        if share is not None:
            shares[name] = share
    return Mattered(shares, {}, within, (
        "How much of the ranking of the trials each parameter explains on its own, 0 to 1. Trials "
        "were chosen to be good, not to be compared: a hint, not a measurement."
    ))  # fmt: skip


def _deciding(run: RunFiles) -> str | None:
    """The parameter that decides which others exist; None where none does, or none is known to."""
    param = run.spec.deciding() if run.spec is not None else None
    return None if param is None else param.name


def _by_importance(run: RunFiles, mattered: Mattered) -> list[str]:
    """The parameters: that which decides which others exist, then the most important first."""
    shares, first = mattered.shares, _deciding(run)
    names = tables.param_names(run)
    return sorted(names, key=lambda name: (name != first, -shares.get(name, 0.0)))


@dataclass(frozen=True)
class Values:
    """The honest trials by the parameter that decides which others exist. winner: its value in the
    winner. rows: of a table, best first.
    """

    name: str
    winner: str
    rows: Mapping[Value, ByValue]
    chart: Markup


def _by_value(run: RunFiles) -> Values | None:
    name = _deciding(run)
    if run.is_table or run.result.refit_of is not None or name is None:
        return None
    honest = [t for t in run.trials if name in t.params and not t.leaky]
    rows = by_value(name, honest)
    chart = charts.by_value_chart(honest, name, rows, run.metric, run.winner)
    if chart is None:
        return None
    won = next((str(t.params[name]) for t in honest if t.id == run.winner), "")
    return Values(name, won, rows, chart)


def _parallel(run: RunFiles, names: Sequence[str]) -> Markup | None:
    """The parallel coordinates; None for a table of listed configs, and without a search."""
    if run.is_table or run.result.refit_of is not None:
        return None
    return maps.parallel_chart(run.trials, names, run.metric, run.winner)


def _scatters(run: RunFiles, names: Sequence[str]) -> list[Markup]:
    if run.is_table or run.result.refit_of is not None:
        return []
    found = (charts.scatter_chart(run.trials, n, run.metric, run.winner) for n in names)
    return [svg for svg in found if svg is not None][:TO_EXPLAIN]
