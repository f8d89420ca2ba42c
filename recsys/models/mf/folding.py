"""Factors of people whom a factorization was not trained on, computed from the items they like.

The item factors do not change. The user vector p is the one that makes the n items of a list most
likely, with the distribution of the known users' vectors, N(mean, S), as its prior. It maximises

    a * sum over the list of [b_i + p . q_i - log(sum over all j of exp(b_j + p . q_j))] + log N(p)

where a is the weight of the list: 4 for a model that was trained on hard negatives, otherwise 1.
Such a model has told positives from the items next to them, which counts for more than telling them
from all items at once. One Newton step from the mean is as good as several; docs/adr/0140 has the
experiments for both. In this step the softmax over the items is the same for everybody, and so is
the curvature, C = Cov(q) under that softmax, except for the factor n. With M M' = S and
M' C M = V diag(w) V' the step is

    p = mean + a T diag(1 / (a n w + 1)) T' (sum over the list of q_i - n E(q)),    T = M V,

which takes d x d operations for a list. Shapes: U users, I items, d factors, L lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.linear import matrix

# This share of the mean variance is added to the variance of every factor, because a few users span
# only a few directions.
RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Folding:
    """What is the same for all lists, in the symbols of the module's docstring.

    items: float32 (I, d). weight: a. mean: float32 (d,), of the known users. expected: E(q),
    float32 (d,), the mean of the items under the softmax. turn: T, float32 (d, d). curvature: w,
    float32 (d,).
    """

    items: NDArray[np.float32]
    weight: float
    mean: NDArray[np.float32]
    expected: NDArray[np.float32]
    turn: NDArray[np.float32]
    curvature: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        users: NDArray[np.float32],
        items: NDArray[np.float32],
        bias: NDArray[np.float32],
        weight: float = 1.0,
    ) -> Self:
        """Prepare for lists: users float32 (U, d), items float32 (I, d), bias float32 (I,).

        weight: a, how much an item of a list counts.
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
        single = (mean, expected, lower @ turned, np.maximum(curvature, 0.0))
        return cls(items, weight, *(np.ascontiguousarray(part, np.float32) for part in single))

    def users(self, lists: CSR) -> NDArray[np.float32]:
        """The user vector for each of L lists, CSR of L x I; float32 (L, d).

        For an empty list it is the mean.
        """
        n = lists.degrees().astype(np.float32)[:, None]
        liked = matrix(lists) @ self.items
        turned = self.weight * ((liked - n * self.expected) @ self.turn)
        step = turned / (self.weight * n * self.curvature + 1)
        return np.asarray(self.mean + step @ self.turn.T, np.float32)


def unit_rows(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows of `factors`, float32 (L, d), scaled to length 1; none may be all zeros."""
    return factors / np.linalg.norm(factors, axis=1, keepdims=True)
