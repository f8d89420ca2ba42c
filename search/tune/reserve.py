"""How much of a time budget is kept for what follows the search: race, blend, test and refit."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapreplace, nsmallest
from typing import NamedTuple

import numpy as np

from recsys.models import ModelConfig
from recsys.rivals import Needed
from search.record.events import State
from search.record.state import TrialRecord
from search.space.spec import RaceSpec

SPARE, SPARE_S = 1.3, 15.0
LATE_SHARE = 0.85  # of the time that is left after the search, which is given away


class Ended(NamedTuple):
    """A trial that ended, or what is foreseen of one; the better sorts first, then the earlier."""

    worth: float  # -value
    number: int
    seconds: float
    kind: str


@dataclass
class Reserve:
    """Follows a search's trials as they end; fast enough to be asked after every report.

    race: of the space. concurrent: trainings at once. racers: how many configs will race, about.
    members: of the space's blend. rivals: the time that the rivals take, from the seconds of a
    training by model, as far as these are known.
    """

    race: RaceSpec
    concurrent: int
    racers: int
    members: int = 0
    rivals: Callable[[Mapping[str, float]], Needed] = lambda _: Needed()
    _best: list[Ended] = field(default_factory=list)  # the finalists so far, best first
    _best_of: dict[str, Ended] = field(default_factory=dict)  # the best one, by kind of config
    _foreseen: dict[int, Ended] = field(default_factory=dict)  # until a trial has completed
    _taken: dict[str, list[float]] = field(default_factory=dict)  # by model, ascending
    _known: float | None = None  # what `seconds` is
    _rivals: Needed | None = None  # what `rivals_need` is, until another trial completes

    def add_all(self, trials: Iterable[TrialRecord]) -> Reserve:
        """Take in those trials of the journal that came to their end; returns itself."""
        for trial in trials:
            if trial.state == State.COMPLETE:
                self.add(trial.number, trial.state, trial.value, trial.busy_s, trial.training)
            elif trial.state == State.PRUNED:
                self.foresee(trial.number, trial.value, trial.busy_s, trial.epochs, trial.training)
        return self

    def add(
        self, number: int, state: State, value: float | None, busy_s: float, config: ModelConfig
    ) -> None:
        """Take in a trial of `config` that ended after `busy_s` seconds of training.

        Only a completed one says how long a training takes.
        """
        if state == State.FAILED and self._foreseen.pop(number, None) is not None:
            self._known = None
        if state != State.COMPLETE:
            return
        self._foreseen.clear()
        ended = Ended(-(value or 0.0), number, busy_s, config.kind)
        insort(self._best, ended)
        del self._best[self._finalists :]
        self._best_of[config.kind] = min(ended, self._best_of.get(config.kind, ended))
        if busy_s > 0:
            insort(self._taken.setdefault(config.model, []), busy_s)
        self._known = self._rivals = None

    def foresee(
        self, number: int, value: float | None, busy_s: float, epochs: int, config: ModelConfig
    ) -> None:
        """Take in what a trial has reported, its best `value` so far after `epochs` epochs that
        took `busy_s` seconds.

        As long as none has completed, such trials are what the later stages would have, and their
        epochs say how long a training takes.
        """
        if self._best or value is None or not epochs:
            return
        seconds = in_full(busy_s, epochs, config)
        self._foreseen[number] = Ended(-value, number, seconds, config.kind)
        self._known = None

    def seconds(self) -> float:
        """How many seconds the stages after the search will take, with a margin.

        The race trains the finalists, the default, and for a blend the best of the other methods,
        `concurrent` at a time, while the rivals are chosen; of whom nothing is known yet is taken
        to last as long as the finalists do on average, and so is what test and refit train: a model
        each, or the members of a blend.
        """
        if self._known is None:
            self._known = self._seconds()
        return self._known

    def rivals_need(self) -> Needed:
        """About how long the rivals take."""
        if self._rivals is None:
            taken = {model: _middle(seconds) for model, seconds in self._taken.items()}
            self._rivals = self.rivals(taken)
        return self._rivals

    @property
    def _finalists(self) -> int:
        return max(1, self.race.finalists)

    def _seconds(self) -> float:
        rivals = self.rivals_need()
        best = self._best or nsmallest(self._finalists, self._foreseen.values())
        seconds = float(np.mean([one.seconds for one in best])) if best else 0.0
        raced = self._raced(best, seconds) if self.racers else []
        race = beside(raced, rivals.choosing, self.concurrent, self.race.replicates)
        members = together([seconds] * self.members, self.concurrent)
        after = after_race(seconds, members, rivals, self.concurrent)
        return (race + after) * SPARE + SPARE_S

    def _raced(self, best: list[Ended], mean: float) -> list[float]:
        """Seconds of a training of each config that would race now."""
        there = {one.kind for one in best}
        others = [one for one in self._best_of.values() if self.members and one.kind not in there]
        found = [one.seconds for one in [*best, *others]]
        return found + [mean] * (self.racers - len(found))


def in_full(busy_s: float, epochs: int, config: ModelConfig) -> float:
    """About how many seconds all epochs of a config take, if `epochs` of them took `busy_s`."""
    planned = config.most_epochs
    return busy_s if planned is None else busy_s * planned / epochs


def together(trainings: Sequence[float], concurrent: int, times: int = 1) -> float:
    """Seconds until these trainings, each `times` times, are done, `concurrent` at once.

    trainings: seconds of each. None can be divided: however many workers there are, the longest
    takes as long as it does.
    """
    return max(max(trainings, default=0.0), sum(trainings) * times / concurrent)


def in_turns(trainings: Iterable[float], concurrent: int) -> float:
    """Seconds until trainings of these seconds are done that are begun in this order, each by the
    first of `concurrent` workers that is free.
    """
    busy = [0.0] * concurrent
    for seconds in trainings:
        heapreplace(busy, busy[0] + seconds)
    return max(busy)


def beside(trainings: Sequence[float], other: float, concurrent: int, times: int = 1) -> float:
    """Seconds until trainings, as `together` has them, and a task of `other` are done. The task
    cannot be divided either.
    """
    work = sum(trainings) * times + other
    return max(other, together(trainings, concurrent, times), work / concurrent)


def after_race(winner: float, members: float, rivals: Needed, concurrent: int) -> float:
    """Seconds of test and refit. winner: of its training. members: until a blend's members are
    trained, side by side.

    The rivals are trained beside the winner's test, whose model also serves as the winner's part
    of the blend; then the blend or the winner is trained once more, on all data.
    """
    tested = beside([winner], rivals.training, concurrent)
    return tested + members + max(members, winner)


def _middle(ascending: list[float]) -> float:
    """The median of sorted values."""
    half = len(ascending) // 2
    return ascending[half] if len(ascending) % 2 else (ascending[half - 1] + ascending[half]) / 2
