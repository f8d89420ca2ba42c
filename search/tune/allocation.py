"""Which method the next trial is of, where a space holds several.

A sampler that draws the method with everything else learns slowly which methods are good, since
each has parameters of its own. Here every method is searched on its own, and the trials are dealt
out among them: most to the one that is ahead, fewer to one that has stopped getting better, some
to all. Nothing is random: the same results give the same next method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FIRST = 3  # trials of each method before any is preferred
STALE = 8  # trials without a better one that halve a method's share
MOST_HALVINGS = 6  # nobody's share falls to nothing


def next_method(
    methods: Sequence[str],
    ended: Mapping[str, Sequence[float | None]],
    running: Mapping[str, int],
) -> str:
    """The method that is furthest behind its share of the trials; of equals the first.

    ended: for each method the values of its trials that have ended, in order of their numbers,
    None for one that failed. running: how many of its trials run now. Method number r by its best
    value (from 0) has a share of 2^-r, halved for every `STALE` trials since its best one.
    """
    begun = {name: len(ended.get(name, ())) + running.get(name, 0) for name in methods}
    if min(begun.values()) < FIRST:
        return min(methods, key=lambda name: begun[name])
    share = shares(methods, ended)
    total, trials = sum(share.values()), sum(begun.values()) + 1
    return max(methods, key=lambda name: share[name] / total * trials - begun[name])


def shares(methods: Sequence[str], ended: Mapping[str, Sequence[float | None]]) -> dict[str, float]:
    """What each method is worth compared with the others; see `next_method`."""
    best: dict[str, float] = {}
    waited: dict[str, int] = {}
    for name in methods:
        found = [-float("inf") if value is None else value for value in ended.get(name, ())]
        best[name] = max(found, default=-float("inf"))
        waited[name] = len(found) - 1 - found.index(best[name]) if found else 0
    ranked = sorted(methods, key=lambda name: -best[name])  # stable: of equals the first
    return {
        name: 2.0 ** -min(ranked.index(name) + waited[name] // STALE, MOST_HALVINGS)
        for name in methods
    }
