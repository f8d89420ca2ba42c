"""Which parameters mattered: by how much configs differ where only one parameter does.

A search that learns has tried good configs more often than bad ones, so what separates its good
trials from its bad ones is not what matters in the space: a method that won early is in good and
bad trials alike. Therefore trials are not compared with each other. A Gaussian process learns from
them what every config of the space reaches, and is uncertain where few were tried; what is asked of
it is over configs drawn evenly from the space, however the trials were chosen (ADR 197).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from search.propose.surrogate.cube import Cube
from search.propose.surrogate.gaussian import GaussianProcess, Seen, plausible
from search.propose.surrogate.proposer import (
    FITTED_ON,
    LEARNED_FROM,
    part_done,
    scaled,
    spread,
)
from search.propose.trials import from_journal
from search.record.events import State
from search.record.state import TrialRecord
from search.space.spec import SearchSpec

MIN_TRIALS = 8
PROCESSES, EACH = 10, 40  # and functions drawn from each; each two of all these are compared
CONFIGS = 1_600  # rows at which they are drawn
DOUBLINGS = 6  # of its epochs, before the end of a training, at which a trial is looked at
MIDDLE = (0.05, 0.95)  # the ends of the intervals


@dataclass(frozen=True)
class Shares:
    """How much each parameter matters, largest first: the part of the variance of values over a
    space that is left where all other parameters are fixed. A parameter that only matters together
    with another one has its whole share with both, so the shares may add up to more than 1.

    intervals: the middle nine tenths of what each share may be, as far as the trials tell; the
    shares are the medians.
    """

    shares: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


def importance(spec: SearchSpec, trials: Sequence[TrialRecord], rng: np.random.Generator) -> Shares:
    """Which parameters of a space mattered, learned from its trials.

    A trial that was stopped tells what it had reached after a part of its training, a failed one
    that it was worse than others. Empty with fewer than 8 trials that have a value, or where all
    of these are equal.
    """
    ended = [trial for trial in trials if trial.state != State.RUNNING]
    values = [t.value for t in ended if t.value is not None and math.isfinite(t.value)]
    cube = Cube(spec)
    if len(values) < MIN_TRIALS or len(set(values)) < 2 or not cube.width:
        return Shares()
    processes = _learned(cube, [point for t in ended for point in _points(t, spec.metric)], rng)
    names = cube.names()
    rows = cube.exchanged(max(CONFIGS // (1 + len(names)), 2), rng)
    flat = rows.reshape(-1, cube.width)
    drawn = np.stack([one.drawn_at_end(flat, EACH, rng) for one in processes], axis=1)
    shares = _shares(drawn.reshape(-1, *rows.shape[:2]))
    lows, middles, highs = np.quantile(shares, (MIDDLE[0], 0.5, MIDDLE[1]), axis=0)
    order = sorted(range(len(names)), key=lambda n: (-middles[n], names[n]))
    return Shares(
        {names[n]: float(middles[n]) for n in order},
        {names[n]: (float(lows[n]), float(highs[n])) for n in order},
    )


@dataclass(frozen=True)
class _Point:
    """What a trial had reached (NaN: it failed) after a part of its training."""

    trial: TrialRecord
    part: float
    value: float


def _points(trial: TrialRecord, metric: str) -> list[_Point]:
    """What is known of an ended trial: at its end, or where it was stopped, and whenever its epochs
    had doubled before.
    """
    if trial.state == State.FAILED:
        return [_Point(trial, 1.0, math.nan)]
    longest = int(trial.config.get("epochs", 1))
    steps = dict(from_journal(trial, metric).steps)
    last = max(steps, default=0)
    looks = {math.ceil(longest / 2**n) for n in range(1, DOUBLINGS + 1)} - {last}
    found = {part_done(epoch, longest): steps[epoch] for epoch in looks & steps.keys()}
    if trial.state == State.COMPLETE and trial.value is not None:
        found[1.0] = trial.value
    elif last:
        found[part_done(last, longest)] = steps[last]
    return [_Point(trial, part, value) for part, value in sorted(found.items())]


def _learned(
    cube: Cube, points: Sequence[_Point], rng: np.random.Generator
) -> list[GaussianProcess]:
    """Processes that `points` may be seen of: with the most likely lengths and variances alone,
    what is chance would often pass for an effect.
    """
    values = np.array([point.value for point in points])

    def seen(most: int) -> Seen:
        chosen = spread(np.where(np.isnan(values), -math.inf, values), most)
        return Seen(
            cube.rows(points[n].trial.params for n in chosen),
            np.array([points[n].part for n in chosen]),
            scaled(values[chosen]),
        )

    known = seen(LEARNED_FROM)
    return [GaussianProcess(known, logs) for logs in plausible(seen(FITTED_ON), PROCESSES, rng)]


def _shares(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shares (pairs, parameters) in each pair of functions. drawn (2 pairs, 1 + parameters,
    configs): their values, first of the configs, then with one parameter drawn again.

    Each is half the mean product of the changes that a parameter makes in both functions of a pair.
    In one function alone it would be a square, above 0 even where the trials know of no change;
    two functions agree on what the trials know, and above or below 0 by chance on what they do not.
    """
    changes = drawn[:, 1:] - drawn[:, :1]
    together = np.mean(changes[::2] * changes[1::2], axis=2) / 2
    spread = np.sqrt(drawn[:, 0].var(axis=1)) + 1e-12
    shares: NDArray[np.float64] = together / (spread[::2] * spread[1::2])[:, None]
    return np.clip(shares, 0.0, 1.0)
