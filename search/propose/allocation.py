"""Which method the next trial uses, where a space holds several.

A sampler that draws the method with everything else learns slowly which methods are good, since
each has parameters of its own. Here every method is searched on its own, and the trials are dealt
out among them: most to the one that is ahead, fewer to one that has stopped getting better, some
to all. Where time limits a search, the shares are of its time rather than of its trials, so that a
method whose trials take seconds is not kept waiting by one whose trials take minutes. Nothing is
random and nothing depends on a clock: the same results give the same next method.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from search.space.spec import SearchSpec

FIRST = 3  # trials of each method before any is preferred
STALE = 8  # trials without a better one that halve a method's share
PLACES, PLACES_OF_BLEND = 1, 2  # places lost that halve a share; a blend wants several good methods
BEHIND = 0.05  # part of the best value: a method that far below it has half a share
MOST_HALVINGS = 8  # nobody's share falls to nothing


@dataclass(frozen=True)
class Terms:
    """What a search can afford and what it is after.

    first: trials of each method before any is preferred. places: how many places further down, by
    best value, halve a method's share. costs: what one trial of each method costs, in any unit; 1
    for every method where the number of trials is the limit.
    """

    first: int = FIRST
    places: int = PLACES
    costs: Mapping[str, float] = field(default_factory=dict)

    def cost(self, name: str) -> float:
        """What one trial of the method `name` costs, in the unit of `costs`."""
        return self.costs.get(name, 1.0)


def terms_of(spec: SearchSpec) -> Terms:
    """The terms of a space whose trials no time budget limits."""
    return Terms(places=PLACES_OF_BLEND if spec.blend else PLACES)


@dataclass
class MethodTrials:
    """The ended trials of a method, ordered by number and not by when they ended."""

    _numbers: list[int] = field(default_factory=list)
    # value, -number: the first of equals; whether it was trained to its end
    _best: tuple[float, int, bool] = (-math.inf, 0, False)

    @staticmethod
    def of(values: Iterable[float | None]) -> MethodTrials:
        """From the values of trials 0, 1, 2, ..., None for a failed one."""
        made = MethodTrials()
        for number, value in enumerate(values):
            made.add(number, value)
        return made

    def add(self, number: int, value: float | None, whole: bool = True) -> None:
        """Trial `number` of the run ended with this value, None if it failed.

        whole: whether it was trained to its end; not where it was stopped on the way.
        """
        insort(self._numbers, number)
        this = -math.inf if value is None else value, -number, whole
        self._best = this if len(self._numbers) == 1 else max(self._best, this)

    def __len__(self) -> int:
        return len(self._numbers)

    @property
    def best(self) -> float:
        """The highest value; -inf where there is none."""
        return self._best[0]

    @property
    def settled(self) -> bool:
        """Whether the best one was trained to its end. Of those that were stopped on the way, one
        that was ahead of them is still running, or failed.
        """
        return self._best[2]

    @property
    def waited(self) -> int:
        """How many trials came after the best one."""
        return len(self) - bisect_right(self._numbers, -self._best[1])


NOTHING = MethodTrials()


def next_method(
    methods: Sequence[str],
    ended: Mapping[str, MethodTrials],
    running: Mapping[str, int],
    terms: Terms = Terms(),  # it cannot be changed
) -> str:
    """The method that is furthest behind its share of what was spent; the first of equals.

    methods: their names. ended: by name, the ended trials of each. running: by name, how many
    trials are running now. The method ranked r by its best value (from 0) has a share of
    2^(-r / places), halved for every `STALE` trials since its best one, and for every `BEHIND` that
    its best value is below the best of all.

    Values are compared as they are at the end of a training, since methods do not learn at the same
    speed: while the best trials of a method are still running, it counts as level with the best.
    """
    begun = {name: len(ended.get(name, NOTHING)) + running.get(name, 0) for name in methods}
    if min(begun.values()) < terms.first:
        return min(methods, key=lambda name: begun[name])
    share = shares(methods, ended, terms.places, running)
    spent = {name: begun[name] * terms.cost(name) for name in methods}
    total, so_far = sum(share.values()), sum(spent.values())

    def behind(name: str) -> float:
        return share[name] / total * (so_far + terms.cost(name)) - spent[name]

    return max(methods, key=behind)


def shares(
    methods: Sequence[str],
    ended: Mapping[str, MethodTrials],
    places: int = PLACES,
    running: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, float]:
    """What each method is worth compared with the others; see `next_method`."""
    found = {name: ended.get(name, NOTHING) for name in methods}
    top = max(one.best for one in found.values())
    level = {
        name: top if running.get(name) and not one.settled else one.best
        for name, one in found.items()
    }
    ranked = sorted(methods, key=lambda name: -level[name])  # stable: the first of equals

    def halvings(name: str) -> float:
        behind = (top - level[name]) / (BEHIND * top) if top > 0 and level[name] < top else 0.0
        place = ranked.index(name) / places
        return min(place + found[name].waited // STALE + behind, MOST_HALVINGS)

    return {name: 2.0 ** -halvings(name) for name in methods}
