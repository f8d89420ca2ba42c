"""Charts of many parameters at once: parallel coordinates, N x M, and what quality costs in seconds
and in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from recsys.errors import ConfigError
from recsys.models import Size, bytes_of
from recsys.models.mf.config import Hard, TrainConfig
from search.record.state import TrialRecord
from search.report.charts import MOST_BESIDE, brief_hint, drawn, kind_of
from search.report.svg import Plot, Scale, label, padded
from search.words import number, short

MOST_AXES = 9  # including that of the metric
MOST_LINES = 200
MOST_LETTERS = 16  # of a word at a tick, to fit between two axes
NONE_AT, LOWEST = 0.0, 0.12  # heights on an axis: of "no such parameter", of the least value
FIFTHS = 5


@dataclass(frozen=True)
class Axis:
    """A parameter as an axis of height 0 to 1. words: its values, if they are not numbers. absent:
    whether any trial lacks it.
    """

    name: str
    scale: Scale
    words: tuple[str, ...]
    absent: bool

    @staticmethod
    def of(name: str, trials: Sequence[TrialRecord]) -> Axis | None:
        """The axis of a parameter; None if it never differs, or has too many words to show."""
        values = [t.params[name] for t in trials if t.params.get(name) not in (None, "")]
        absent = len(values) < len(trials)
        if len({str(v) for v in values}) < (1 if absent else 2):
            return None
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        if not numeric:
            words = tuple(sorted({str(v) for v in values}))
            if len(words) > 12:
                return None
            return Axis(name, Scale(0, len(words) - 1, LOWEST, 1), words, absent)
        low, high = float(min(values)), float(max(values))
        log = low > 0 and high / low > 30
        return Axis(name, Scale(low, high, LOWEST, 1, log), (), absent)

    def height(self, value: Any) -> float:
        """Where a value lies, from 0 to 1; for None, at the tick for trials that lack it."""
        if value is None or value == "":
            return NONE_AT
        return self.scale(self.words.index(str(value)) if self.words else float(value))

    def marks(self) -> list[tuple[float, str]]:
        """The ticks, as (height, text)."""
        if self.words:
            found = [(self.scale(n), clipped(word)) for n, word in enumerate(self.words)]
        else:
            low, high = self.scale.low, self.scale.high
            ends = {low, high} if low != high else {low}
            found = [(self.scale(v), f"{v:.3g}") for v in sorted(ends)]
            inner = [v for v in self.scale.ticks(4) if v not in ends]
            taken = [at for at, _ in found]
            found += [
                (self.scale(v), label(v))
                for v in inner
                if all(abs(self.scale(v) - at) > 0.1 for at in taken)
            ]
        return [*found, (NONE_AT, "none")] if self.absent else found


def clipped(word: str) -> str:
    """A word cut to fit between two axes; a cut one ends in an ellipsis."""
    return word if len(word) <= MOST_LETTERS else f"{word[: MOST_LETTERS - 1]}…"


def parallel_chart(
    trials: Sequence[TrialRecord], names: Sequence[str], metric: str, winner: str | None
) -> Markup | None:
    """One line per trial through its parameters to its value, the best fifth in colour.

    A trial that lacks a parameter passes through the tick `none`. names: of the parameters.
    """
    known = drawn(trials, winner, MOST_LINES)
    axes = [axis for name in names if (axis := Axis.of(name, known)) is not None]
    axes = axes[: MOST_AXES - 1]
    if len(axes) < 2 or len(known) < 2:
        return None
    values = [t.value or 0.0 for t in known]
    last = Axis(metric, Scale(*padded(values, 0.02), LOWEST, 1), (), absent=False)
    lowest = 0.0 if any(axis.absent for axis in axes) else LOWEST
    longest = max(len(text) for _, text in axes[0].marks())
    plot = Plot.area("Parallel coordinates", (0, len(axes)), (lowest, 1), width=1120, height=400,
                     left=max(90, 9 * longest + 10), bottom=74)  # fmt: skip
    good = sorted(values)[-max(1, len(values) // 5)]

    def order(trial: TrialRecord) -> tuple[bool, float]:
        return trial.id == winner, trial.value or 0.0

    for trial in sorted(known, key=order):
        heights = [axis.height(trial.params.get(axis.name)) for axis in axes]
        line = list(enumerate([*heights, last.height(trial.value)]))
        kind = kind_of(trial, winner)
        if kind not in ("winner", "leaky"):
            kind = "complete" if (trial.value or 0.0) >= good else "pruned"
        plot.curve(line, kind, f"{trial.id}: {number(trial.value)}", trial.id)
    for at, axis in enumerate([*axes, last]):
        plot.segment((at, 0 if axis.absent else LOWEST), (at, 1), "axis")
        for height, text in axis.marks():
            plot.text(plot.x(at) - 6, plot.y(height) + 5, text, "tick end halo")
        below = plot.height - (34 if at % 2 == 0 else 10)  # long names, in two rows
        plot.text(plot.x(at), below, axis.name, "name end" if axis is last else "name mid")
    return plot.markup()


def negatives_map(trials: Sequence[TrialRecord], winner: str | None) -> Markup | None:
    """Trials by N candidates and M kept of them, better ones darker; None for other negatives."""
    found = [
        (negatives.candidates, negatives.hard, trial)
        for trial in drawn(trials, winner, MOST_BESIDE)
        if (negatives := _hard(trial)) is not None
    ]
    if len({(n, m) for n, m, _ in found}) < 3:
        return None
    ranked = sorted(found, key=lambda one: one[2].value or 0.0)
    ns, ms = [n for n, _, _ in found], [m for _, m, _ in found]
    plot = Plot.area("N x M", (min(ns) / 1.15, max(ns) * 1.15), (min(ms) / 1.3, max(ms) * 1.3),
                     log_x=max(ns) / min(ns) > 3, log_y=max(ms) / min(ms) > 3)  # fmt: skip
    plot.axes("N: candidates drawn", "M: hardest kept")
    for place, (n, m, trial) in enumerate(ranked):
        fifth = place * FIFTHS // len(ranked)
        kind = kind_of(trial, winner)
        kind = kind if kind in ("winner", "leaky") else f"fifth{fifth}"
        said = f"{trial.id}: {number(trial.value)}, N {short(n)}, M {short(m)}"
        plot.dot(n, m, kind, said, trial.id)
    return plot.markup()


def _hard(trial: TrialRecord) -> Hard | None:
    """The negatives of a trial, where they are hard; None for a config of another version."""
    with suppress(ConfigError):
        config = trial.training
        if isinstance(config, TrainConfig) and isinstance(config.negatives, Hard):
            return config.negatives
    return None


def cost_chart(trials: Sequence[TrialRecord], metric: str, winner: str | None) -> Markup | None:
    """The value by seconds of training; the line is the best value for at most so many seconds."""
    seconds = {t.id: t.busy_s for t in trials if t.busy_s > 0}
    return _front(
        "Quality by seconds", trials, seconds, "seconds of training and evaluation", metric, winner
    )


def size_chart(
    trials: Sequence[TrialRecord], sizes: Mapping[str, int], metric: str, winner: str | None
) -> Markup | None:
    """The value by size; the line is the best value for at most so much memory.

    sizes: bytes that a model takes in training, by trial.
    """
    mb = {name: size / 1e6 for name, size in sizes.items() if size > 0}
    return _front("Quality by size", trials, mb, "MB of the model in training", metric, winner)


def sizes_of(trials: Sequence[TrialRecord], data: Size) -> dict[str, int]:
    """Bytes that the model of each trial takes, roughly, as a race with `prefer: small` compares
    them; without trials whose config is from another version.
    """
    found = {}
    for trial in trials:
        with suppress(ConfigError):
            found[trial.id] = bytes_of(trial.training, data)
    return found


def _front(
    title: str,
    trials: Sequence[TrialRecord],
    costs: Mapping[str, float],
    x_name: str,
    metric: str,
    winner: str | None,
) -> Markup | None:
    """The value by cost, and a line of the best value at no higher cost. None if all cost the same.

    costs: by trial.
    """
    known = [t for t in trials if t.value is not None and t.id in costs]
    spent = [costs[t.id] for t in known]
    if len(set(spent)) < 2:
        return None
    low, high = min(spent), max(spent)
    log = high / low > 30
    x = (low / 1.15, high * 1.15) if log else padded(spent)
    plot = Plot.area(title, x, padded(t.value or 0.0 for t in known), log_x=log)
    plot.axes(x_name, metric)
    unit = x_name.partition(" ")[0]
    steps = _best_by_cost([t for t in known if not t.leaky], costs)
    front: list[tuple[float, float]] = []
    for trial in steps:
        if front:
            front.append((costs[trial.id], front[-1][1]))
        front.append((costs[trial.id], trial.value or 0.0))
    if front:
        plot.curve([*front, (x[1], front[-1][1])], "best")
    dots = {t.id for t in (*drawn(known, winner, MOST_BESIDE), *steps)}
    for trial in sorted((t for t in known if t.id in dots), key=lambda t: t.id == winner):
        kind = kind_of(trial, winner)
        said = f"{brief_hint(trial)}, {short(costs[trial.id])} {unit}"
        plot.dot(costs[trial.id], trial.value or 0.0, kind, said, trial.id)
    return plot.markup()


def _best_by_cost(trials: Iterable[TrialRecord], costs: Mapping[str, float]) -> list[TrialRecord]:
    """The trials that no other one beats at no higher cost, cheapest first. costs: by trial."""
    found: list[TrialRecord] = []
    # at equal costs the best first, so that lower values there make no step
    for trial in sorted(trials, key=lambda t: (costs[t.id], -(t.value or 0.0))):
        if not found or (trial.value or 0.0) > (found[-1].value or 0.0):
            found.append(trial)
    return found
