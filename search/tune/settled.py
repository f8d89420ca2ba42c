"""When a search has found what it will find: `--time-budget auto`.

A search gains less and less: doubling the number of its trials brings less each time. It ends where
the last doubling brought only a small part of the gap that the race after it can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from search.record.events import State
from search.record.state import TrialRecord

LEAST_TRIALS = 32  # the listed configs, the searcher's first random ones, and as many again
PART = 0.25  # of the gap that the race tells apart
# SPREAD: how much users differ in a metric of mean m, as a part of sqrt(m (1 - m)). UNSHARED: how
# much of that variance is left in the difference of two good models. SPLITS_SHARE: how much each
# of R splits counts, as a part of an independent set of users. By these, a gap on MovieLens-100K
# (m = .14, 876 users, 5 splits) is told apart from .0058 upwards; its race gave .006 to .007.
SPREAD, UNSHARED, SPLITS_SHARE = 0.7, 0.3, 1 / 2.2


def told_apart(mean: float, users: int, splits: int) -> float:
    """About the smallest gap between two configs that a race proves.

    mean: of the metric, over the users. users: of one split. splits: of the race; 0 counts as one.
    """
    spread = SPREAD * math.sqrt(max(mean * (1 - mean), 0.0))
    people = users * max(1.0, splits * SPLITS_SHARE)
    return 1.96 * spread * math.sqrt(UNSHARED / people)


@dataclass
class Settling:
    """Follows a search's trials as they end. users, splits: as in `told_apart`."""

    users: int
    splits: int
    best: list[float] = field(default_factory=list)  # after each trial; -inf before the first

    @staticmethod
    def of(trials: Iterable[TrialRecord], users: int, splits: int) -> Settling:
        """The state after those of `trials` that have ended, in the order in which they ended."""
        made = Settling(users, splits)
        for trial in sorted((t for t in trials if t.finished), key=lambda t: t.ended or 0.0):
            made.add(trial.state, trial.value)
        return made

    def add(self, state: State | None, value: float | None) -> None:
        """Take in a trial that ended; only a completed one can be the best, a failed one does not
        count.
        """
        if state == State.FAILED:
            return
        best = self.best[-1] if self.best else -math.inf
        if state == State.COMPLETE and value is not None:
            best = max(best, value)
        self.best.append(best)

    def gain(self) -> float:
        """By how much the second half of the trials improved on the best of the first half."""
        count = len(self.best)
        return self.best[-1] - self.best[count // 2 - 1] if count >= 2 else math.inf

    def words(self) -> str:
        """Why there are no more trials, in one line."""
        apart = told_apart(self.best[-1], self.users, self.splits)
        return (
            f"the last {len(self.best) - len(self.best) // 2} of {len(self.best)} trials gained "
            f"{max(self.gain(), 0.0):.4f}, and the race needs a gap of about {apart:.4f}: no more "
            "trials (--extend N makes more)"
        )

    @property
    def reached(self) -> bool:
        """Whether the search has settled: more trials are not worth their time."""
        if len(self.best) < LEAST_TRIALS:
            return False
        gain, apart = self.gain(), told_apart(self.best[-1], self.users, self.splits)
        at_ceiling = apart == 0 < self.best[-1]
        return math.isfinite(gain) and (gain < PART * apart or (at_ceiling and gain == 0))
