"""Ranking metrics at k, computed for every user from the places of the hits.

Shapes: V users with at least one held-out item, K places of the recommended lists.

| name | value of one user with c held-out items, h hits among the first k |
|---|---|
| map | average precision: sum over hits of precision at the hit, over min(c, k) |
| ndcg | sum over hits of 1/log2(place + 1), over the same for min(c, k) hits on top |
| recall | h / c |
| precision | h / k |
| hit | 1 if h > 0 |
| coverage | not per user: share of all items that are among the first k of any user |

map divides by min(c, k), as Kaggle does, so that a perfect list scores 1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError

PER_USER = ("map", "ndcg", "recall", "precision", "hit")
KINDS = (*PER_USER, "coverage")
_NAME = re.compile(r"([a-z]+)@([1-9][0-9]{0,8})", re.ASCII)


@dataclass(frozen=True)
class Metric:
    """A metric: one of `KINDS`, over the first `k` items of a list."""

    kind: str
    k: int

    @property
    def name(self) -> str:
        """The name that `parse_metric` reads: `map@50`."""
        return f"{self.kind}@{self.k}"


def parse_metric(name: str) -> Metric:
    """The metric of a name such as "map@50". Raises ConfigError with the known names otherwise."""
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None or match[1] not in KINDS:
        known = ", ".join(f"{kind}@K" for kind in KINDS)
        raise ConfigError(f"metric {name!r} is unknown: expected one of {known}, such as map@50")
    return Metric(match[1], int(match[2]))


def check_metric(name: str, n_items: int) -> Metric:
    """`parse_metric`; also raises ConfigError if k is larger than the catalogue."""
    metric = parse_metric(name)
    if metric.k > n_items:
        raise ConfigError(
            f"metric {name} looks at {metric.k} places, but the data has only {n_items} items: "
            f"expected a k of at most {n_items}"
        )
    return metric


def user_values(
    metric: Metric, hits_VK: NDArray[np.bool_], held_V: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The metric of every user, float64 (V,).

    hits_VK: whether the item at each place is held out; K >= metric.k. held_V: held-out items of
    each user, all >= 1.
    """
    k = metric.k
    assert hits_VK.shape[1] >= k
    hits = hits_VK[:, :k]
    place_k = np.arange(1, k + 1)
    most_V = np.minimum(held_V, k)
    match metric.kind:
        case "map":
            # summed over the few hits, not over all V x k places
            found = np.cumsum(hits, axis=1, dtype=np.int32)
            row, column = np.nonzero(hits)
            precision = found[row, column] / place_k[column]
            return np.asarray(np.bincount(row, precision, minlength=len(hits)) / most_V)
        case "ndcg":
            gain_k = 1.0 / np.log2(place_k + 1)
            row, column = np.nonzero(hits)
            total = np.bincount(row, gain_k[column], minlength=len(hits))
            return np.asarray(total / np.cumsum(gain_k)[most_V - 1])
        case "recall":
            return np.asarray(hits.sum(1) / held_V)
        case "precision":
            return np.asarray(hits.sum(1) / k)
        case "hit":
            return np.asarray(hits.any(1), np.float64)
    raise AssertionError(metric)


def same_in_every_order(
    metric: Metric, free_U: NDArray[np.int64], held_U: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether a user's value is the same in every order of the items, bool (U,).

    free_U: how many items are ranked for each user. held_U: how many of these are held out: at
    least 1, and not all.
    """
    match metric.kind:
        case "recall" | "precision":
            return np.asarray(free_U <= metric.k)
        case "hit":
            return np.asarray(free_U - held_U < metric.k)
        case "map" | "ndcg" | "coverage":
            return np.zeros(len(free_U), bool)
    raise AssertionError(metric)


def coverage(items_VK: NDArray[np.int32], k: int, n_items: int) -> float:
    """The share of the n_items that appear in the first k places of any list (-1 is padding)."""
    shown = np.zeros(n_items + 1, bool)
    shown[items_VK[:, :k]] = True  # padding lands in the last slot
    return float(shown[:-1].sum() / n_items)
