"""The ranking of trials: which of them can win, and which is ahead.

The race, a warm start, the tables, `runs`, MLflow, the screen and the report all use it, so that
they name the same trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from search.record.events import State
from search.record.state import TrialRecord
from search.space.domains import Value


def standing(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The honest trials with a value, best first; of equals the earliest comes first.

    Pruned trials come after all that may win, whatever their value: they were stopped at an epoch
    at which others of their method (or model) were better.
    """
    able = [t for t in trials if t.value is not None and not t.leaky and _ended_well(t)]
    return sorted(able, key=lambda t: (not t.may_win, -(t.value or 0.0), t.number))


def contenders(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials of `standing` that may win, or the pruned ones if none may."""
    ranked = standing(trials)
    return [t for t in ranked if t.may_win] or ranked


def leader(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The first of `standing`, or None."""
    return next(iter(standing(trials)), None)


def leads(trials: Iterable[TrialRecord]) -> Iterator[tuple[TrialRecord, float]]:
    """Each trial that was better than all before it in `trials`, with its value.

    Pruned trials do not count.
    """
    best = float("-inf")
    for trial in trials:
        if trial.may_win and not trial.leaky and trial.value is not None and trial.value > best:
            best = trial.value
            yield trial, best


@dataclass(frozen=True)
class ByValue:
    """The trials of one value of a parameter. best, median: of their values; None without any."""

    trials: int
    best: float | None
    median: float | None


def by_value(name: str, trials: Iterable[TrialRecord]) -> dict[Value, ByValue]:
    """The trials by the value that they have of the parameter `name`, which all have; the value
    with the best trial first. Trials that were stopped early count with what they had reached.
    """
    groups: dict[Value, list[float | None]] = {}
    for trial in trials:
        groups.setdefault(trial.params[name], []).append(trial.value)
    found = {}
    for value, group in groups.items():
        known = [one for one in group if one is not None and math.isfinite(one)]
        middle = median(known) if known else None
        found[value] = ByValue(len(group), max(known, default=None), middle)

    def best_first(pair: tuple[Value, ByValue]) -> float:
        return math.inf if pair[1].best is None else -pair[1].best

    return dict(sorted(found.items(), key=best_first))


def _ended_well(trial: TrialRecord) -> bool:
    return trial.may_win or trial.state == State.PRUNED
