"""What ran when: the trials as bars over time, in as many rows as trials ran side by side; on a
cluster, as many for each machine as it ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from markupsafe import Markup

from search.record.state import TrialRecord
from search.report.charts import kind_of, time_unit
from search.report.svg import Plot
from search.words import counted, duration

MOST_BARS, MOST_ROWS = 1500, 64
# If nothing ran for so long, the run was interrupted, and that time is not drawn.
PAUSE_S = 60.0


@dataclass(frozen=True)
class Bar:
    """A trial in `row`. start, end: in seconds since the first trial began, without pauses."""

    trial: TrialRecord
    row: int
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The bars, by their start, and the pauses as (where, how long), in seconds."""

    bars: tuple[Bar, ...]
    pauses: tuple[tuple[float, float], ...]

    @property
    def rows(self) -> int:
        """The most trials that ran side by side."""
        return max((bar.row for bar in self.bars), default=-1) + 1

    @property
    def length(self) -> float:
        """Seconds from the first start to the last end, without pauses."""
        return max((bar.end for bar in self.bars), default=0.0)

    def between(self) -> list[int]:
        """The first row of each machine but the first."""
        node = {bar.row: bar.trial.node for bar in self.bars}
        return [row for row in range(1, self.rows) if node[row] != node[row - 1]]

    @property
    def filled(self) -> float:
        """The share of rows x length in which a trial ran."""
        area = self.rows * self.length
        return sum(bar.end - bar.start for bar in self.bars) / area if area else 0.0


def timeline(trials: Sequence[TrialRecord]) -> Timeline:
    """The ended trials, each in the first row that is free when it begins; the rows of a machine
    lie together, those of the one that began first on top.

    A trial that began again has only its last attempt.
    """
    known = [
        (t.started, max(t.ended, t.started), t)
        for t in trials
        if t.started is not None and t.ended is not None
    ]
    known.sort(key=lambda one: one[:2])
    free: dict[str | None, list[float]] = {}  # when each row of a machine becomes free, Unix time
    bars: list[Bar] = []  # with rows that count those of their own machine
    pauses: list[tuple[float, float]] = []
    shift = latest = known[0][0] if known else 0.0
    for start, end, trial in known:
        if start - latest > PAUSE_S:
            pauses.append((latest - shift, start - latest))
            shift += start - latest
        latest = max(latest, end)
        rows = free.setdefault(trial.node, [])
        row = next((n for n, time in enumerate(rows) if time <= start), len(rows))
        rows[row : row + 1] = [end]
        bars.append(Bar(trial, row, start - shift, end - shift))
    above = dict(zip(free, accumulate(map(len, free.values()), initial=0), strict=False))
    moved = (replace(bar, row=bar.row + above[bar.trial.node]) for bar in bars)
    return Timeline(tuple(moved), tuple(pauses))


def ends(trials: Sequence[TrialRecord]) -> dict[str, float]:
    """When each trial ended, in seconds since the first trial began, without pauses."""
    return {bar.trial.id: bar.end for bar in timeline(trials).bars}


def timeline_chart(trials: Sequence[TrialRecord], winner: str | None) -> Markup | None:
    """The bars as a chart, without any if they are `too_many`; None if there are too few to show
    anything.
    """
    found = timeline(trials)
    if len(found.bars) < 2:
        return None
    if too_many(found):
        return Markup()
    unit, name = time_unit(found.length)
    thick = 18 if found.rows <= 8 else 8
    height = 72 + (thick + 6) * found.rows
    x = (0.0, found.length / unit or 1.0)
    plot = Plot.area("Workers", x, (found.rows - 0.5, -0.5), height=height, left=40)
    plot.axes(f"{name} of the search", "")
    for bar in found.bars:
        trial = bar.trial
        words = f"{trial.id}: {trial.state.lower()}, {duration(bar.end - bar.start)}"
        words += f", on {trial.node}" if trial.node else ""
        ends = bar.start / unit, bar.end / unit
        plot.stretch(ends, bar.row, f"run {kind_of(trial, winner)}", words, trial.id, thick)
    for row in found.between():
        plot.segment((0.0, row - 0.5), (x[1], row - 0.5), "machines")
    for at, _ in found.pauses:
        plot.segment((at / unit, -0.5), (at / unit, found.rows - 0.5), "pause")
    return plot.markup()


def too_many(found: Timeline) -> bool:
    """Whether there are more bars or rows than a page has room for."""
    return len(found.bars) > MOST_BARS or found.rows > MOST_ROWS


def timeline_words(trials: Sequence[TrialRecord]) -> str:
    """The text under the chart, or in its place where there are too many bars."""
    found = timeline(trials)
    rows = "in as many rows as trials ran side by side"
    if machines := len({bar.trial.node for bar in found.bars} - {None}):
        rows += f", machine by machine ({counted(machines, 'machine')})"
    said = f"One bar per trial, {rows}; they fill {found.filled:.0%} of the area."
    if too_many(found):
        said = (
            f"{counted(len(found.bars), 'trial')}, up to {found.rows:,} side by side, are more "
            "than can be drawn; in rows of one trial after another they would fill "
            f"{found.filled:.0%}."
        )
    if found.pauses:
        lost = duration(sum(length for _, length in found.pauses))
        said += f" At the dashed lines the run was interrupted, for {lost} in all."
    return said
