"""When a search has found what it will find: `--time-budget auto`.

A search gains ever less: as many trials again as it has made bring less than the last doubling of
their number did. It ends where that was a small part of what the race after it could tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from search.record.events import State
from search.record.state import TrialRecord

LEAST_TRIALS = 32  # the listed configs, the searcher's first random ones, and as many again
PART = 0.25  # of what the race tells apart
# How much users differ in a metric of mean m, as a part of sqrt(m (1 - m)); how much less they do
# in the difference of two good models, as a part of the variance; and for how many independent
# sets of users R splits count. With these a gap on MovieLens-100K (m = .14, 876 users, 5 splits)
# is told apart from .0058 on; its race said .006 to .007.
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
        """After those of some trials that have ended, in the order of their ends."""
        made = Settling(users, splits)
        for trial in sorted((t for t in trials if t.finished), key=lambda t: t.ended or 0.0):
            made.add(trial.state, trial.value)
        return made

    def add(self, state: State | None, value: float | None) -> None:
        """A trial ended; only a completed one can be the best, a failed one is no trial."""
        if state == State.FAILED:
            return
        best = self.best[-1] if self.best else -math.inf
        if state == State.COMPLETE and value is not None:
            best = max(best, value)
        self.best.append(best)

    def gain(self) -> float:
        """What the second half of the trials has added to the best of the first."""
        count = len(self.best)
        return self.best[-1] - self.best[count // 2 - 1] if count >= 2 else math.inf

    def words(self) -> str:
        """Why there are no more trials, in one line."""
        apart = told_apart(self.best[-1], self.users, self.splits)
        return (
            f"the last {len(self.best) - len(self.best) // 2} of {len(self.best)} trials gained "
            f"{max(self.gain(), 0.0):.4f}, and the race tells gaps of about {apart:.4f} apart: no "
            "more trials (--extend N makes more)"
        )

    @property
    def reached(self) -> bool:
        """Whether more trials are not worth their time."""
        if len(self.best) < LEAST_TRIALS:
            return False
        gain = self.gain()
        return math.isfinite(gain) and gain < PART * told_apart(
            self.best[-1], self.users, self.splits
        )
