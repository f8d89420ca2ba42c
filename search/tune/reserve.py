"""How much of a time budget is kept for what follows the search: race, blend, test and refit."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from recsys.rivals import Needed
from search.record.events import State
from search.record.state import TrialRecord
from search.space.spec import RaceSpec

SPARE, SPARE_S = 1.3, 15.0
LATE_SHARE = 0.85  # of the time that is left after the search, which is given away


@dataclass
class Reserve:
    """Follows a search's trials as they end; fast enough to be asked after every report.

    race: of the space. concurrent: trainings at once. members: of the space's blend. rivals: the
    time that the rivals take, from the seconds of a training by model, as far as these are known.
    """

    race: RaceSpec
    concurrent: int
    members: int = 0
    rivals: Callable[[Mapping[str, float]], Needed] = lambda _: Needed()
    _best: list[tuple[float, int, float]] = field(default_factory=list)  # -value, number, seconds
    _taken: dict[str, list[float]] = field(default_factory=dict)  # by model, ascending
    _known: tuple[float, Needed] | None = None  # what `seconds` and `rivals_need` are

    def add_all(self, trials: Iterable[TrialRecord]) -> Reserve:
        """Take in those trials of the journal that came to their end; returns itself."""
        for trial in trials:
            if trial.state == State.COMPLETE:
                model = trial.training.model
                self.add(trial.number, trial.state, trial.value, trial.busy_s, model)
        return self

    def add(
        self, number: int, state: State, value: float | None, busy_s: float, model: str
    ) -> None:
        """Take in a trial that ended, of model `model` after `busy_s` seconds of training.

        Only a completed one says how long a training takes.
        """
        if state != State.COMPLETE:
            return
        insort(self._best, (-(value or 0.0), number, busy_s))
        del self._best[max(1, self.race.finalists) :]
        if busy_s > 0:
            insort(self._taken.setdefault(model, []), busy_s)
        self._known = None

    def seconds(self) -> float:
        """How many seconds the stages after the search will take, with a margin.

        A training is taken to last as long as the best trials did on average. The race trains the
        finalists and the default, `concurrent` at a time, while the rivals are chosen; test and
        refit train one model each, or the members of a blend.
        """
        return self._reckoned()[0]

    def rivals_need(self) -> Needed:
        """About how long the rivals take."""
        return self._reckoned()[1]

    def _reckoned(self) -> tuple[float, Needed]:
        if self._known is None:
            rivals = self.rivals({model: _middle(taken) for model, taken in self._taken.items()})
            self._known = self._seconds(rivals), rivals
        return self._known

    def _seconds(self, rivals: Needed) -> float:
        seconds = float(np.mean([taken for *_, taken in self._best])) if self._best else 0.0
        raced = seconds * (self.race.finalists + 1) * self.race.replicates
        race = beside(raced, rivals.choosing, self.concurrent)
        members = self.members * seconds / self.concurrent
        after = after_race(seconds, members, rivals, self.concurrent)
        return (race + after) * SPARE + SPARE_S


def beside(work: float, other: float, concurrent: int) -> float:
    """Seconds until trainings of `work` seconds and a task of `other` are done, `concurrent` at
    once; the task cannot be divided.
    """
    return max(other, (work + other) / concurrent)


def after_race(winner: float, members: float, rivals: Needed, concurrent: int) -> float:
    """Seconds of test and refit. winner: of its training. members: of training a blend's members,
    side by side.

    The rivals are trained beside the winner's test, whose model also serves as the winner's part
    of the blend; then the blend or the winner is trained once more, on all data.
    """
    tested = max(winner, beside(winner, rivals.training, concurrent))
    return tested + members + max(members, winner)


def _middle(ascending: list[float]) -> float:
    """The median of sorted values."""
    half = len(ascending) // 2
    return ascending[half] if len(ascending) % 2 else (ascending[half - 1] + ascending[half]) / 2
