"""The charts of the report. Each takes plain records and returns an inline <svg>, or None if there
is nothing to draw. Sizes are limited for any number of trials: see `MOST_*`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from recsys.data.facts import Bin
from search.record.result import Comparison, Group
from search.record.standing import ByValue, leads
from search.record.state import TrialRecord
from search.report.files import Curve
from search.report.svg import Plot, padded
from search.space.domains import Value
from search.summary import group_name
from search.words import baseline_name, config_line, duration, number, short

MOST_DOTS = 600  # points in the main chart of trials
MOST_BESIDE = 400  # ... in one of the others
MOST_SMALL = 200  # ... and in each of the many small ones
MOST_CURVES = 120
MOST_POINTS = 60  # points in one curve
MOST_SHARES = 16  # rows
LEAST_SHARE = 0.01  # a parameter with a smaller share of importance has no row
FEW_EPOCHS = 16  # with more epochs, their axis is logarithmic


def thinned(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, evenly spread, including the first and the last."""
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / (most - 1)
    return [items[round(i * step)] for i in range(most)]


def thinned_log(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, denser towards the first, for a logarithmic axis."""
    if len(items) <= most:
        return list(items)
    ratio = len(items) ** (1 / (most - 1))
    return [items[i] for i in dict.fromkeys(round(ratio**n) - 1 for n in range(most))]


def hint(trial: TrialRecord) -> str:
    """The text that hovering over a trial shows."""
    at = f" at epoch {trial.best_epoch}" if trial.best_epoch else ""
    leak = ", LEAKY" if trial.leaky else ""
    return (
        f"{trial.id}: {trial.state.lower()}{leak}, {number(trial.value)}{at}, "
        f"{trial.epochs} epochs, {duration(trial.busy_s)}\n{config_line(trial.params)}"
    )


def brief_hint(trial: TrialRecord) -> str:
    """The same in few words, for charts other than the main one."""
    return f"{trial.id}: {number(trial.value)}{', LEAKY' if trial.leaky else ''}"


def kind_of(trial: TrialRecord, winner: str | None = None) -> str:
    """The CSS class of a trial."""
    if trial.leaky:
        return "leaky"
    return "winner" if trial.id == winner else trial.state.lower()


def drawn(trials: Sequence[TrialRecord], winner: str | None, most: int) -> list[TrialRecord]:
    """The trials that a chart shows: all, or `most` of them, a third of these the best ones, the
    others spread evenly.
    """
    known = [t for t in trials if t.value is not None]
    if len(known) <= most:
        return known
    best = sorted(known, key=lambda t: -(t.value or 0.0))[: most // 3]
    ids = {t.id for t in best} | {t.id for t in thinned(known, most * 2 // 3)} | {winner}
    return [t for t in known if t.id in ids]


def progress_chart(
    trials: Sequence[TrialRecord],
    metric: str,
    winner: str | None,
    lines: Mapping[str, float],
) -> Markup | None:
    """The value of every trial, and the best so far. lines: the baselines' validation values."""
    at = {t.id: float(t.number) for t in trials}
    last = max((t.number for t in trials), default=0)
    x = (-0.5, last + 0.5)
    return _progress("Best value so far", trials, at, x, "trial", metric, winner, lines)


def progress_by_time_chart(
    trials: Sequence[TrialRecord],
    ends: Mapping[str, float],
    metric: str,
    winner: str | None,
    lines: Mapping[str, float],
) -> Markup | None:
    """The same by the time at which each trial ended. ends: by trial, in seconds since the search
    began. None if all ended at once.
    """
    known = [t for t in trials if t.id in ends and t.value is not None]
    if len({ends[t.id] for t in known}) < 2:
        return None
    unit, name = time_unit(max(ends.values()))
    at = {t.id: ends[t.id] / unit for t in known}
    x = (0.0, max(at.values()) * 1.02)
    what = f"{name} since the search began"
    return _progress("Best value by time", known, at, x, what, metric, winner, lines)


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit for an axis of `seconds`: its length in seconds, and its name."""
    if seconds >= 3 * 3600:
        return 3600.0, "hours"
    return (60.0, "minutes") if seconds >= 180 else (1.0, "seconds")


def _progress(
    title: str,
    trials: Sequence[TrialRecord],
    at: Mapping[str, float],
    x: tuple[float, float],
    x_name: str,
    metric: str,
    winner: str | None,
    lines: Mapping[str, float],
) -> Markup | None:
    """The values of trials over their places `at` (by trial, in the range `x`), and a line of the
    best so far in that order.
    """
    known = sorted((t for t in trials if t.value is not None), key=lambda t: (at[t.id], t.number))
    if not known:
        return None
    low, high = padded([t.value or 0.0 for t in known] + list(lines.values()))
    plot = Plot.area(title, x, (low, high))
    plot.axes(x_name, f"{metric} on validation", whole=x_name == "trial")
    for name, value in lines.items():
        plot.segment((x[0], value), (x[1], value), "baseline", f"{name} {number(value)}")
    steps: list[tuple[float, float]] = []
    for trial, value in leads(known):
        if steps:
            steps.append((at[trial.id], steps[-1][1]))
        steps.append((at[trial.id], value))
    if steps:
        plot.curve([*steps, (x[1], steps[-1][1])], "best")
    most = MOST_DOTS if x_name == "trial" else MOST_BESIDE
    for trial in drawn(known, winner, most):
        kind, said = kind_of(trial, winner), hint(trial)
        if x_name != "trial":
            said = f"{brief_hint(trial)}, {short(at[trial.id])} {x_name.partition(' ')[0]}"
        plot.dot(at[trial.id], trial.value or 0.0, kind, said, trial.id)
    for name, value in lines.items():  # on top of the dots, which would hide them
        plot.text(plot.x.end, plot.y(value) - 6, baseline_name(name), "note end halo")
    return plot.markup()


def curves_chart(
    trials: Sequence[TrialRecord], curves: Mapping[str, Curve], metric: str, winner: str | None
) -> Markup | None:
    """The validation value by epoch, with the winner on top of all others. The axis is logarithmic
    for more than `FEW_EPOCHS` epochs, since most happens early.

    curves: (epoch, value) pairs by trial.
    """
    by_id = {t.id: t for t in trials}
    known = [t for t in curves if t in by_id and curves[t]]
    if not known:
        return None
    good = sorted(known, key=lambda t: -(by_id[t].value or 0.0))
    chosen = [*good[: MOST_CURVES // 2], *thinned(good[MOST_CURVES // 2 :], MOST_CURVES // 2)]
    chosen += [winner] if winner in known and winner not in chosen else []
    points = [p for t in chosen for p in curves[t]]
    last = max(e for e, _ in points)
    log = last > FEW_EPOCHS
    x = (0.95, last * 1.05) if log else (0, last + 0.5)
    plot = Plot.area("Learning curves", x, padded(v for _, v in points), log_x=log)
    plot.axes("epoch", f"{metric} on validation", whole=True)
    order = {"pruned": 0, "failed": 0, "running": 1, "complete": 2, "leaky": 3, "winner": 4}
    for name in sorted(chosen, key=lambda t: order[kind_of(by_id[t], winner)]):
        trial = by_id[name]
        shown = thinned_log(curves[name], MOST_POINTS) if log else curves[name]
        plot.curve(thinned(shown, MOST_POINTS), kind_of(trial, winner), hint(trial), name)
        if len(curves[name]) == 1:
            plot.dot(*curves[name][0], kind_of(trial, winner), hint(trial), name, r=2)
    return plot.markup()


def race_chart(
    finalists: Mapping[str, Sequence[float]], metric: str, winner: str | None
) -> Markup | None:
    """Each finalist's value on every fresh split, and the mean, with the best on top."""
    finalists = {name: values for name, values in finalists.items() if values}
    if not finalists:
        return None
    rows = len(finalists)
    low, high = padded(v for values in finalists.values() for v in values)
    height = 72 + 34 * rows
    plot = Plot.area("Race", (low, high), (rows - 0.5, -0.5), height=height, left=110)
    plot.axes(f"{metric} on fresh splits", "")
    for row, (name, values) in enumerate(finalists.items()):
        kind = "winner" if name == winner else "complete"
        plot.text(plot.x.start - 10, plot.y(row) + 5, name, "tick end")
        plot.segment((min(values), row), (max(values), row), "span")
        for replicate, value in enumerate(values):
            plot.dot(value, row, kind, f"{name}, split {replicate}: {number(value)}", name)
        mean = sum(values) / len(values)
        edge = 0.32
        plot.segment((mean, row - edge), (mean, row + edge), f"mean {kind}",
                     f"{name}: mean {number(mean)}")  # fmt: skip
    return plot.markup()


def gains_chart(comparisons: Sequence[Comparison], metric: str) -> Markup | None:
    """The winner's lead over each rival, with its interval and a line at no difference."""
    known = [(c, c.measured) for c in comparisons if c.measured is not None]
    if not known:
        return None
    rows = len(known)
    low, high = padded([0.0, *(v for _, values in known for v in values)])
    plot = Plot.area("Gain of the winner", (low, high), (rows - 0.5, -0.5),
                     height=72 + 34 * rows, left=110)  # fmt: skip
    plot.axes(f"lead in {metric}, 95% interval over users", "")
    plot.segment((0, -0.5), (0, rows - 0.5), "zero")
    for row, (c, (gain, start, end)) in enumerate(known):
        kind = "winner" if c.proven else "pruned"
        plot.text(plot.x.start - 10, plot.y(row) + 5, c.against, "tick end")
        plot.segment((start, row), (end, row), f"whisker {kind}", c.words)
        plot.dot(gain, row, kind, c.words, c.against, r=5)
    return plot.markup()


def groups_chart(
    groups: Sequence[Group], kind: str, x_name: str, rivals: Sequence[str]
) -> Markup | None:
    """Each group's value with its interval, and the values of rivals: the first as a bar, others as
    grey dots. None if there is only one group. kind: what groups consist of, `user` or `item`.
    """
    known = [one for one in groups if one.value is not None]
    if len(known) < 2:
        return None
    values = [0.0, *(one.value or 0.0 for one in known)]
    values += [end for one in known for end in one.ci or () if end is not None]
    values += [b.value for one in known for b in one.rivals.values() if b.value is not None]
    low, high = padded(values)
    rows = len(known)
    plot = Plot.area(f"By {kind}", (max(low, 0.0), high), (rows - 0.5, -0.5),
                     height=72 + 34 * rows, left=110)  # fmt: skip
    plot.axes(x_name, "", most_x=4)
    for row, one in enumerate(known):
        name = group_name(kind, one)
        many = f"{one.low:,}" if one.low == one.high else f"{one.low:,}-{one.high:,}"
        plot.text(plot.x.start - 10, plot.y(row) + 5, many if one.high else "new", "tick end")
        said = f"{name}: {number(one.value)}, {one.users:,} users"
        ends = [end for end in one.ci or () if end is not None]
        if len(ends) == 2:
            plot.segment((ends[0], row), (ends[1], row), "whisker winner", said)
        for at, rival in enumerate(rivals):
            beside = one.rivals.get(rival)
            if beside is None or beside.value is None:
                continue
            hint = f"{name}, {baseline_name(rival)}: {number(beside.value)}"
            if at == 0:
                bar = (beside.value, row - 0.3), (beside.value, row + 0.3)
                plot.segment(*bar, "mean complete", hint)
            else:
                plot.dot(beside.value, row, "pruned", hint, r=5)
        plot.dot(one.value or 0.0, row, "winner", said, r=5)
    return plot.markup()


def tests_chart(
    tests: Sequence[tuple[str, str, float, tuple[float | None, float | None] | None]], metric: str
) -> Markup | None:
    """The tests of several runs, one below the other. tests: (letter, name, test value, its
    interval) of each.
    """
    if not tests:
        return None
    ends = [end for *_, ci in tests for end in (ci or ()) if end is not None]
    low, high = padded([*(value for _, _, value, _ in tests), *ends])
    rows = len(tests)
    plot = Plot.area("Test", (low, high), (rows - 0.5, -0.5), height=72 + 34 * rows, left=60)
    plot.axes(f"{metric} on the test items", "")
    for row, (letter, name, value, ci) in enumerate(tests):
        kind = "winner" if row == 0 else "complete"
        said = f"{name}: {number(value)}"
        plot.text(plot.x.start - 10, plot.y(row) + 5, letter, "tick end")
        if ci is not None and ci[0] is not None and ci[1] is not None:
            plot.segment((ci[0], row), (ci[1], row), f"whisker {kind}", said)
        plot.segment((value, row - 0.32), (value, row + 0.32), f"mean {kind}", said)
    return plot.markup()


def pace_chart(curves: Mapping[str, Sequence[tuple[float, float]]], metric: str) -> Markup | None:
    """The best value so far by seconds: one line per run, with its letter at the end.

    curves: (seconds, value) pairs by letter.
    """
    known = {name: points for name, points in curves.items() if points}
    if not known:
        return None
    xs = [x for points in known.values() for x, _ in points]
    ys = [y for points in known.values() for _, y in points]
    plot = Plot.area("Best value by time", (0, max(*xs, 1.0) * 1.06), padded(ys))
    plot.axes("seconds", f"{metric} on validation")
    for row, (name, points) in enumerate(known.items()):
        steps = [points[0]]
        for before, (x, y) in pairwise(points):
            steps += [(x, before[1]), (x, y)]
        plot.curve(steps, "winner" if row == 0 else "other", name, name)
        x, y = steps[-1]
        plot.text(plot.x(x) + 6, plot.y(y) + 5, name, "name")
    return plot.markup()


def leak_chart(rows: Sequence[Mapping[str, Any]], metric: str) -> Markup | None:
    """Validation (dot) and test (bar) of each config, the honest row above the leaky one: the gap
    between dot and bar is the leak.
    """
    values = [v for row in rows for way in ("train", "all") for v in (row[way] or ())[:2]]
    known = [v for v in values if isinstance(v, float)]
    if not known:
        return None
    height = 72 + 44 * len(rows)
    plot = Plot.area("Validation and test", padded([0.0, *known], 0.03), (len(rows) - 0.5, -0.5),
                     height=height, left=250)  # fmt: skip
    plot.axes(metric, "")
    for at, row in enumerate(rows):
        plot.text(plot.x.start - 10, plot.y(at) + 5, str(row["label"])[:30], "tick end")
        for way, shift in (("train", -0.17), ("all", 0.17)):
            valid, test = (row[way] or (None, None))[:2]
            kind = "winner" if way == "train" else "leaky"
            y = at + shift
            if valid is not None and test is not None:
                plot.segment((valid, y), (test, y), f"whisker {kind}")
            if test is not None:
                said = f"{row['name']}, {way}: test {number(test)}"
                plot.segment((test, y - 0.13), (test, y + 0.13), f"mean {kind}", said)
            if valid is not None:
                plot.dot(valid, y, kind, f"{row['name']}, {way}: validation {number(valid)}")
    return plot.markup()


def by_value_chart(
    trials: Sequence[TrialRecord],
    name: str,
    rows: Mapping[Value, ByValue],
    metric: str,
    winner: str | None,
) -> Markup | None:
    """Every trial's value by its value of the parameter `name`, in the order of `rows`, with a bar
    at the median. None where fewer than two of these have trials with a value.
    """
    shown = [t for t in drawn(trials, winner, MOST_BESIDE) if t.params.get(name) in rows]
    if len({t.params[name] for t in shown}) < 2:
        return None
    area = padded(t.value or 0.0 for t in shown)
    plot = Plot.area(f"Trials by {name}", area, (len(rows) - 0.5, -0.5),
                     height=66 + 34 * len(rows), left=160)  # fmt: skip
    plot.axes(f"{metric} on validation", "")
    for row, (value, known) in enumerate(rows.items()):
        plot.text(plot.x.start - 10, plot.y(row) + 5, str(value), "tick end")
        for trial in sorted(shown, key=lambda t: t.id == winner):
            if trial.params[name] == value:
                kind = kind_of(trial, winner)
                plot.dot(trial.value or 0.0, row, kind, brief_hint(trial), trial.id)
        if known.median is not None:
            ends = (known.median, row - 0.3), (known.median, row + 0.3)
            plot.segment(*ends, "mean complete", f"median {number(known.median)}")
    return plot.markup()


def importance_chart(
    shares: Mapping[str, float], intervals: Mapping[str, tuple[float | None, float | None]] = {}
) -> Markup | None:
    """The importance of parameters as horizontal bars with intervals, the largest on top, without
    those of `unimportant`.
    """
    none = unimportant(shares, intervals)
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    known = [pair for pair in ranked if pair[0] not in none][:MOST_SHARES]
    if not known:
        return None
    rows = len(known)
    ends = {
        name: (low, high)
        for name, (low, high) in intervals.items()
        if low is not None and high is not None
    }
    most = max(known[0][1], *(ends.get(name, (0.0, 0.0))[1] for name, _ in known))
    plot = Plot.area("Importance of the parameters", (0, most * 1.05), (rows - 0.5, -0.5),
                     height=66 + 28 * rows, left=304)  # fmt: skip
    plot.axes("share", "", most_x=4)
    for row, (name, share) in enumerate(known):
        plot.text(plot.x.start - 10, plot.y(row) + 5, name, "tick end")
        hint = f"{name}: {share:.2f}"
        if between := ends.get(name):
            hint += f" ({between[0]:.2f} to {between[1]:.2f})"
        plot.bar(row, share, hint)
        if between:
            plot.segment((between[0], row), (between[1], row), "whisker")
    return plot.markup()


def unimportant(
    shares: Mapping[str, float], intervals: Mapping[str, tuple[float | None, float | None]] = {}
) -> list[str]:
    """The parameters whose share is next to 0, and cannot be proven to be above it."""
    return [
        name
        for name, share in shares.items()
        if share < LEAST_SHARE and (intervals.get(name, (0.0, 0.0))[0] or 0.0) < LEAST_SHARE
    ]


def histogram_chart(bins: Sequence[Bin], title: str, who: str) -> Markup | None:
    """How many users (or items) have how many items (or users), in bins of doubling width, the
    smallest counts on top. who: `users` or `items`.
    """
    if not bins:
        return None
    rows = len(bins)
    most = max(one.count for one in bins)
    plot = Plot.area(title, (0, most * 1.05), (rows - 0.5, -0.5), height=66 + 24 * rows, left=110)
    plot.axes(who, "", most_x=4, whole=True)
    for row, one in enumerate(bins):
        plot.text(plot.x.start - 10, plot.y(row) + 5, one.label, "tick end")
        if one.count:
            plot.bar(row, one.count, f"{one.label}: {one.count:,} {who}", thick=15)
    return plot.markup()


def scatter_chart(
    trials: Sequence[TrialRecord], name: str, metric: str, winner: str | None
) -> Markup | None:
    """The value by the parameter `name`, on a logarithmic axis if that spans a factor of 30."""
    known = [t for t in drawn(trials, winner, MOST_SMALL) if t.params.get(name) not in (None, "")]
    values = [t.params[name] for t in known]
    if len(set(map(str, values))) < 2:
        return None
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    words = [] if numeric else sorted({str(v) for v in values})
    if len(words) > 8:
        return None
    xs = [float(v) if numeric else float(words.index(str(v))) for v in values]
    log = numeric and min(xs) > 0 and max(xs) / min(xs) > 30
    x = (min(xs) / 1.15, max(xs) * 1.15) if log else padded(xs)
    x = x if numeric else (-0.5, len(words) - 0.5)
    plot = Plot.area(f"{metric} by {name}", x, padded(t.value or 0.0 for t in known),
                     width=420, height=270, log_x=log)  # fmt: skip
    plot.axes(name, metric, most_x=4, words=words)
    order = sorted(zip(xs, known, strict=True), key=lambda pair: pair[1].id == winner)
    for at, trial in order:
        said = f"{trial.id}: {number(trial.value)}, {name} {short(trial.params[name])}"
        plot.dot(at, trial.value or 0.0, kind_of(trial, winner), said, trial.id)
    return plot.markup()
