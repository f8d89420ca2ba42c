"""Whom the model fails: its test by how much is known of a user, and by how popular an item is.

A mean over all users hides both. Groups have about the same number of users, or of held-out pairs,
so that their intervals are about equally wide; users and items with no interactions are a group of
their own.

Shapes: U users, I items, V users who are measured, E held-out pairs, N counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation import Evaluation
from recsys.interactions import CSR
from recsys.metrics import parse_metric
from search.record.result import Beside, Group, Groups
from search.stats import LEAST_USERS, PROVEN, mean_interval, of_ratio

MOST = 5  # groups of users, and of items, beside the one of count 0
LEAST = 20  # users, or pairs, in a group on average; with fewer there are fewer groups


def groups(
    model: str,
    metric: str,
    mine: Evaluation,
    rivals: Mapping[str, Evaluation],
    seen: CSR,
    test: CSR,
) -> Groups:
    """The test of a model and of its rivals, all over the same users, by group.

    model: its name in the result. mine, rivals: with `found` and with values of `metric` per user;
    rivals by name. seen, test: U x I, what the model was trained on and what it was asked for.
    """
    for one in rivals.values():
        assert np.array_equal(one.users, mine.users)
    by_user = _by_user(metric, mine, rivals, seen, test)
    by_item = _by_item(mine, rivals, seen, test)
    return Groups(
        model=model, k=parse_metric(metric).k, by_user=tuple(by_user), by_item=tuple(by_item)
    )


def ranges(counts_N: NDArray[np.int64]) -> list[tuple[int, int]]:
    """(lowest, highest) count of each group, ascending; equal counts are in the same group.

    >>> ranges(np.repeat([0, 1, 2, 3], [5, 30, 20, 20]))
    [(0, 0), (1, 1), (2, 2), (3, 3)]
    """
    known = np.sort(counts_N[counts_N > 0])
    none = [(0, 0)] if len(known) < len(counts_N) else []
    if not len(known):
        return none
    return [*none, *_cut(known)]


def _cut(known: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """(lowest, highest) of groups of ascending counts, of about equal size and at least `LEAST`."""
    left = max(1, min(MOST, len(known) // LEAST))
    begin = 0
    while begin < len(known):
        rest = len(known) - begin
        size = max(LEAST, -(-rest // left))
        end = int(np.searchsorted(known, known[min(begin + size, len(known)) - 1], side="right"))
        if len(known) - end < LEAST:
            end = len(known)
        yield int(known[begin]), int(known[end - 1])
        begin, left = end, left - 1


def _by_user(
    metric: str, mine: Evaluation, rivals: Mapping[str, Evaluation], seen: CSR, test: CSR
) -> Iterator[Group]:
    """Users by how many items they have, with the mean of the metric."""
    history_V = seen.degrees()[mine.users]
    tested_V = test.degrees()[mine.users]
    found = ranges(history_V)
    for low, high in found:
        there = (history_V >= low) & (history_V <= high)
        ours = mine.per_user[metric][there]
        theirs = {name: one.per_user[metric][there] for name, one in rivals.items()}
        yield Group(
            low=low,
            high=high,
            users=int(there.sum()),
            pairs=int(tested_V[there].sum()),
            value=float(ours.mean()),
            ci=_within_0_and_1(ours),
            rivals={
                name: _beside(value, ours - value, len(rivals) * len(found))
                for name, value in theirs.items()
            },
        )


def _by_item(
    mine: Evaluation, rivals: Mapping[str, Evaluation], seen: CSR, test: CSR
) -> Iterator[Group]:
    """Items by how many users they have, with the share of their held-out pairs that is found."""
    asked_U = np.zeros(test.n_users, np.bool_)
    asked_U[mine.users] = True
    asked_E = asked_U[test.users()]  # pairs of users who have a list
    users_E = test.users()[asked_E]
    popular_I = seen.item_counts()
    popular_E = popular_I[test.indices[asked_E]]
    cuts = ranges(popular_E)
    for low, high in cuts:
        there = (popular_E >= low) & (popular_E <= high)
        ours = _share(users_E[there], _found(mine)[asked_E][there])
        theirs = {
            name: _share(users_E[there], _found(one)[asked_E][there])
            for name, one in rivals.items()
        }
        yield Group(
            low=low,
            high=high,
            users=len(ours),
            items=int(((popular_I >= low) & (popular_I <= high)).sum()),
            pairs=int(there.sum()),
            value=float(ours.mean()),
            ci=_within_0_and_1(ours),
            # the difference of two ratios over the same pairs is itself one
            rivals={
                name: _beside(value, ours - value, len(rivals) * len(cuts))
                for name, value in theirs.items()
            },
        )


def _found(one: Evaluation) -> NDArray[np.bool_]:
    assert one.found is not None, "evaluated without `pairs`"
    return one.found


def _share(users_E: NDArray[np.int32], found_E: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of pairs that are found, as a value for each user (see `of_ratio`)."""
    _, at_E = np.unique(users_E, return_inverse=True)
    return of_ratio(np.bincount(at_E, found_E), np.bincount(at_E))


def _within_0_and_1(x_V: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of a mean of values between 0 and 1, cut to that range."""
    low, high = mean_interval(x_V)
    return float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def _beside(theirs_V: NDArray[np.float64], lead_V: NDArray[np.float64], asked: int) -> Beside:
    """A rival with the model's lead over it; asked: how many such leads are tested in all."""
    low, high = mean_interval(lead_V, 1 - PROVEN / asked)
    return Beside(
        value=float(theirs_V.mean()),
        gain=float(lead_V.mean()),
        ci=mean_interval(lead_V),
        proven=len(lead_V) >= LEAST_USERS and (low > 0 or high < 0),
    )
