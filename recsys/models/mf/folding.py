"""Factors of people whom a factorization was not trained on, computed from the items they like.

The item factors do not change. The user vector p is the one that makes the n items of a list most
likely, with the distribution of the known users' vectors, N(mean, S), as its prior. It maximises

    a * sum over the list of [b_i + p . q_i - log(sum over all j of exp(b_j + p . q_j))] + log N(p)

where a is the weight of the list. It makes up for what the softmax does not know: the loss of the
training, its negatives, and how far its users have come from where they began, on which S depends.
So it is learned: the weight with which hidden items of known users are ranked best, when some of
their other items are folded in. One Newton step from the mean is as good as several (docs/adr/0140
and 0185 have the experiments). In this step the softmax over the items is the same for everybody,
and so is the curvature, C = Cov(q) under that softmax, except for the factor n. With M M' = S and
M' C M = V diag(w) V' the step is

    p = mean + a T diag(1 / (a n w + 1)) T' (sum over the list of q_i - n E(q)),    T = M V,

which takes d x d operations for a list. Shapes: U users, I items, d factors, L lists, N users with
hidden items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from recsys.errors import InputError
from recsys.evaluation import evaluate
from recsys.interactions import CSR, rows_of, subset
from recsys.models.base import ListScorer
from recsys.models.linear import sums_of_rows
from recsys.scoring import Product, product_with

# This share of the mean variance is added to the variance of every factor, because a few users span
# only a few directions.
RIDGE = 1e-3

# What is tried as the weight of a list. The items of a known user have shaped the items they are
# hidden among, so that heavy lists look better than they are for somebody new: nothing heavier is
# tried, and the lightest is taken that reaches NEARLY the value of the best.
WEIGHTS = (1.0, 2.0, 4.0, 8.0)
NEARLY = 0.98
UNKNOWN = 4.0  # where there is nobody to learn from
HIDDEN_USERS = 500  # at most so many users are asked
GIVEN = 5  # items of each are folded in, at most half of what the user has
PLACES = 50  # of the ranked lists that are looked at


@dataclass(frozen=True, eq=False)
class Folding:
    """What is the same for all lists, in the symbols of the module's docstring.

    items: float32 (I, d). mean: float32 (d,), of the known users. expected: E(q),
    float32 (d,), the mean of the items under the softmax. turn: T, float32 (d, d). curvature: w,
    float32 (d,).
    """

    items: NDArray[np.float32]
    mean: NDArray[np.float32]
    expected: NDArray[np.float32]
    turn: NDArray[np.float32]
    curvature: NDArray[np.float32]

    @cached_property
    def _turning(self) -> tuple[Product, Product]:
        """Products with T and with T'."""
        return product_with(np.ascontiguousarray(self.turn.T)), product_with(self.turn)

    @classmethod
    def of(
        cls,
        users: NDArray[np.float32],
        items: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> Self:
        """Prepare for lists: users float32 (U, d), those with items in the training; items float32
        (I, d), bias float32 (I,).
        """
        mean = users.mean(axis=0, dtype=np.float64)
        apart = users - mean
        spread = apart.T @ apart / len(users)
        ridge = RIDGE * np.trace(spread) / len(spread) + np.finfo(np.float32).tiny
        lower = np.linalg.cholesky(spread + ridge * np.eye(len(spread)))
        scores = bias + items @ mean
        share = np.exp(scores - scores.max())
        share /= share.sum()
        expected = share @ items
        off = items - expected
        covariance = (off * share[:, None]).T @ off
        curvature, turned = scipy.linalg.eigh(lower.T @ covariance @ lower)
        single = (items, mean, expected, lower @ turned, np.maximum(curvature, 0.0))
        return cls(*(np.ascontiguousarray(part, np.float32) for part in single))

    def users(self, lists: CSR, weight: float) -> NDArray[np.float32]:
        """The user vector for each of L lists, CSR of L x I; float32 (L, d).

        For an empty list it is the mean. weight: a, how much an item of a list counts.
        """
        n = lists.degrees().astype(np.float32)[:, None]
        liked = sums_of_rows(lists, self.items)
        turn, back = self._turning
        turned = weight * turn(liked - n * self.expected)
        step = turned / (weight * n * self.curvature + 1)
        return np.asarray(self.mean + back(step), np.float32)


@dataclass(frozen=True, eq=False)
class Listed:
    """Rows of `lists`, CSR (N, I), as users to evaluate."""

    score: ListScorer
    lists: CSR

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """float32 (len(users), I)."""
        return self.score(rows_of(self.lists, users))


def hidden(seen: CSR) -> tuple[CSR, CSR]:
    """Some items of some users, as if nothing else were known of them, and their others.

    seen: CSR of U x I. Both parts are CSR of N x I, the same each time.
    """
    rng = np.random.default_rng(0)
    able = rng.permutation(np.flatnonzero(seen.degrees() >= 2))
    some = rows_of(seen, np.sort(able[:HIDDEN_USERS]))
    users, place = some.users(), np.empty(some.nnz, np.int64)
    shuffled = np.lexsort((rng.random(some.nnz), users))
    place[shuffled] = np.arange(some.nnz) - some.indptr[users]
    given = place < np.minimum(GIVEN, some.degrees() // 2)[users]
    return subset(some, given), subset(some, ~given)


def learned_weight(weighing: Callable[[float], ListScorer], seen: CSR) -> float:
    """The weight of a list for people like the known ones: the lightest of `WEIGHTS` that is nearly
    the best at ranking their hidden items.

    weighing: the scores of lists with a weight. seen: what the model was trained on, CSR of U x I.
    FloatingPointError for a NaN score.
    """
    given, others = hidden(seen)
    metric = f"map@{min(PLACES, seen.n_items)}"
    try:
        values = [
            evaluate(Listed(weighing(weight), given), given, others, [metric]).values[metric]
            for weight in WEIGHTS
        ]
    except InputError:  # nobody has items to hide
        return UNKNOWN
    enough = NEARLY * max(values)
    return next(weight for weight, value in zip(WEIGHTS, values, strict=True) if value >= enough)


def unit_rows(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of `factors`, float32 (L, d), scaled to length 1; none may be all zeros."""
    return factors / np.linalg.norm(factors, axis=1, keepdims=True)
