"""The trials of a run, as what proposes knows them, and which of very many it looks at."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.record.events import State
from search.record.state import TrialRecord
from search.space.domains import Value


@dataclass(frozen=True)
class StudyTrial:
    """A trial as the study knows it.

    value: best objective. steps: pairs of epoch and best objective so far, by ascending epoch.
    error: why it failed. nth: its place among the ends of the run's trials, which is not the order
    of their numbers where several run at once; None counts as that order.
    """

    number: int
    params: dict[str, Value]
    state: State
    value: float | None = None
    steps: tuple[tuple[int, float], ...] = ()
    error: str | None = None
    nth: int | None = None


def in_order_of_ends(trials: Iterable[StudyTrial]) -> list[StudyTrial]:
    """Ended trials as they ended one after the other."""
    return sorted(trials, key=lambda t: (t.number if t.nth is None else t.nth, t.number))


def from_journal(trial: TrialRecord, metric: str) -> StudyTrial:
    """A trial of the journal, with the best value of `metric` so far at each of its epochs."""
    best, steps = -math.inf, []
    if trial.rows:
        for epoch, value in zip(trial.column("epoch"), trial.column(metric), strict=True):
            assert epoch is not None
            best = max(best, -math.inf if value is None else value)
            if math.isfinite(best):
                steps.append((int(epoch), best))
    error = trial.cause or trial.error
    return StudyTrial(
        trial.number,
        dict(trial.params),
        trial.state,
        trial.value,
        tuple(steps),
        error,
        trial.nth,
    )


def best_and_even(order: NDArray[np.intp], most: int, best: int) -> NDArray[np.intp]:
    """`most` places, ascending, of those in `order` (n,), best first: its first `best`, and the
    others spread evenly over the remaining places. n is above `most`.
    """
    rest, count = np.sort(order[best:]), most - best
    return np.sort(np.concatenate([order[:best], rest[np.arange(count) * len(rest) // count]]))
