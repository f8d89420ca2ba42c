"""Choosing the weights of a blend from its members' lists on held-out items.

Weights are found by adding one member at a time, with repetition, as long as the metric rises
(Caruana et al. 2004, "Ensemble Selection from Libraries of Models"): they are few, never negative,
and coarse enough not to fit noise. Shapes: V users, T items of a list, M members, W items that any
list of a user has, k places.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, contested
from recsys.metrics import parse_metric, user_values
from recsys.models.blend import DEPTH, TopLists

STEPS = 12  # at most: weights are multiples of 1 / STEPS, or of a larger fraction
USERS = 2_000  # of a part, to choose the weights; more would cost time and change little
MOST_USERS = 5_000  # of a part, to measure the blend on: more users than that prove smaller gains


@dataclass(frozen=True, eq=False)
class Ballots:
    """The lists of all members for some users of one held-out part, ready to be added up.

    users int32 (V,); items int32 (V, W), ascending, -1 pads at the end; scores float32 (M, V, W);
    hits bool (V, W): held out; held int64 (V,): held-out items of each user.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    held: NDArray[np.int64]

    @property
    def members(self) -> int:
        """M, the number of models that vote."""
        return self.scores.shape[0]

    def some(self, most: int) -> Ballots:
        """The ballots of at most `most` of the users, spread evenly."""
        if len(self.users) <= most:
            return self
        at = np.linspace(0, len(self.users) - 1, most).astype(np.int64)
        return Ballots(
            self.users[at], self.items[at], self.scores[:, at], self.hits[at], self.held[at]
        )


def depth_of(metric: str) -> int:
    """How long the members' lists have to be for a blend that is measured by this metric."""
    return max(DEPTH, parse_metric(metric).k)


def voters(train: CSR, valid: CSR, seed: int) -> np.ndarray:
    """The users of a fresh split that a blend is measured on, int32 (V,): all, or a sample.

    Those without items in `train` get the most popular ones from any model, and do not vote.
    """
    degrees = train.degrees()
    users = np.flatnonzero(contested(degrees, valid.degrees(), train.n_items) & (degrees > 0))
    if len(users) > MOST_USERS:
        users = np.sort(np.random.default_rng([seed, 11]).choice(users, MOST_USERS, replace=False))
    return users.astype(np.int32)


def ballots(users: NDArray[np.int32], lists: Sequence[TopLists], held_out: CSR) -> Ballots:
    """Merge the lists of all members. users: int32 (V,), the same for each; all of them have
    held-out items. held_out: U x I.
    """
    rows = np.arange(len(users))[:, None]
    n_items = held_out.n_items
    there = [one.items >= 0 for one in lists]
    # a pair of a user and an item as one number, which sorts by user, then by item
    keys = [(rows * n_items + one.items)[ok] for one, ok in zip(lists, there, strict=True)]
    merged = np.unique(np.concatenate(keys))
    v, item = np.divmod(merged, n_items)
    first = np.searchsorted(merged, rows[:, 0] * n_items)
    at = np.arange(len(merged)) - first[v]
    width = int(at.max(initial=-1)) + 1
    items = np.full((len(users), width), -1, np.int32)
    items[v, at] = item
    scores = np.zeros((len(lists), len(users), width), np.float32)
    for m, (one, ok) in enumerate(zip(lists, there, strict=True)):
        found = np.searchsorted(merged, keys[m])
        scores[m, v[found], at[found]] = one.scores[ok]
    hits = np.zeros((len(users), width), np.bool_)
    liked = [np.int64(row) * n_items + held_out.row(int(user)) for row, user in enumerate(users)]
    hits[v, at] = np.isin(merged, np.concatenate(liked)) if liked else False
    held = held_out.degrees()[users]
    return Ballots(np.asarray(users, np.int32), items, scores, hits, held)


def values_of(weights: NDArray[np.float64], cast: Ballots, metric: str) -> NDArray[np.float64]:
    """The metric of each user, float64 (V,), under the blend with these weights (M,)."""
    from recsys.kernels.topk import best_unseen

    wanted = parse_metric(metric)
    total = np.zeros(cast.items.shape, np.float32)
    for m in np.flatnonzero(weights):
        total += np.float32(weights[m]) * cast.scores[m]
    total[cast.items < 0] = -np.inf
    hits = cast.hits
    if (missing := wanted.k - cast.items.shape[1]) > 0:
        total = np.pad(total, ((0, 0), (0, missing)), constant_values=-np.inf)
        hits = np.pad(hits, ((0, 0), (0, missing)))
    width = max(cast.items.shape[1], wanted.k)
    rows = np.arange(len(total), dtype=np.int32)
    nothing = CSR(np.zeros(len(total) + 1, np.int64), np.empty(0, np.int32), width)
    best = np.empty((len(total), wanted.k), np.int32)
    # at equal scores the lower item comes first, as everywhere
    nan = best_unseen(
        np.ascontiguousarray(total), rows, nothing.indptr, nothing.indices, best, 0, len(total)
    )
    assert nan < 0, nan
    return user_values(wanted, np.take_along_axis(hits, best, axis=1), cast.held)


class Means:
    """The mean of a metric under many weights, each computed only once. pool: shares the work."""

    def __init__(
        self, parts: Sequence[Ballots], metric: str, pool: ThreadPoolExecutor | None = None
    ) -> None:
        self.parts, self._metric = parts, metric
        self._known: dict[tuple[int, tuple[int, ...]], float] = {}
        self._map = map if pool is None else pool.map

    def of(self, tried: Sequence[NDArray[np.int64]], chosen: Sequence[int]) -> list[float]:
        """The mean for each of `tried`, counts of steps per member (M,), whose shares are the
        weights, over the parts with the numbers in `chosen`.
        """
        keys = [tuple((counts // np.gcd.reduce(counts)).tolist()) for counts in tried]
        asked = [(part, key) for key in dict.fromkeys(keys) for part in chosen]
        missing = [one for one in asked if one not in self._known]
        self._known |= zip(missing, self._map(self._value, missing), strict=True)
        return [float(np.mean([self._known[part, key] for part in chosen])) for key in keys]

    def _value(self, asked: tuple[int, tuple[int, ...]]) -> float:
        part, key = asked
        weights = np.array(key) / sum(key)
        return float(values_of(weights, self.parts[part], self._metric).mean())


def choose_weights(means: Means, chosen: Sequence[int], most: int) -> NDArray[np.float64]:
    """Weights (M,), summing to 1, of at most `most` members; the mean over `chosen` parts decides.

    Members are added one at a time, even if that is a step down (a third of a member may help where
    half of it does not). The best sum on the way is taken, among equal ones that with the fewest
    steps. Ties between members go to the earlier one.
    """
    assert most > 0
    counts = np.zeros(means.parts[0].members, np.int64)
    best, best_counts = -np.inf, counts
    for _ in range(STEPS):
        tried = [
            counts + (np.arange(len(counts)) == m)
            for m in range(len(counts))
            if counts[m] or np.count_nonzero(counts) < most
        ]
        values = means.of(tried, chosen)
        at = int(np.argmax(values))
        counts = tried[at]
        if values[at] > best:
            best, best_counts = values[at], counts
    return best_counts / best_counts.sum()


def cross_fitted(
    parts: Sequence[Ballots], metric: str, most: int, threads: int = 1
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """The values per user (V,) of each part, under weights that `USERS` of each of the *other*
    parts chose; and the weights (M,) that all parts choose, for the model that is handed over.

    parts: at least two, so that no part is measured under weights that it has chosen. most: the
    members that may have a weight.
    """
    assert len(parts) > 1
    numbers = range(len(parts))
    with ThreadPoolExecutor(threads) as pool:
        means = Means([part.some(USERS) for part in parts], metric, pool)
        measured = []
        for at in numbers:
            others = [number for number in numbers if number != at]
            weights = choose_weights(means, others, most)
            measured.append(values_of(weights, parts[at], metric))
        return measured, choose_weights(means, numbers, most)
