"""Factors of people whom a factorization was not trained on, by the items they like.

The item factors stay as they are. Looked for is the user vector p that makes the n items of a list
likely, p ~ N(mean, S) as the known users' vectors are spread:

    a * sum over the list of [b_i + p . q_i - log(sum over all j of exp(b_j + p . q_j))] + log N(p)

where a, the weight of the evidence, is 1, or 4 for a model that was trained on hard negatives: it
has told positives from the items that are next to them, which counts for more than all at once.
One Newton step from the mean solves it as well as several do (docs/adr/0140): the softmax is then
the same for everybody, and so is the curvature C = Cov(q) under it, but for the factor n. With
M M' = S and M' C M = V diag(w) V' the step is

    p = mean + a T diag(1 / (a n w + 1)) T' (sum over the list of q_i - n E(q)),    T = M V,

d x d work for a list. Shapes: U users, I items, d factors, L lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.linear import matrix

# Of the mean variance, added to that of every factor: few users span few directions only.
RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Folding:
    """What is the same for every list. items: (I, d). weight: a. mean, expected: (d,), of the known
    users, and of the items under the softmax. turn: T, (d, d). curvature: w, (d,)."""

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
        """users: (U, d). bias: (I,)."""
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
        """The vectors of the people of L lists, float32 (L, d); the mean for an empty list."""
        n = lists.degrees().astype(np.float32)[:, None]
        liked = matrix(lists) @ self.items
        turned = self.weight * ((liked - n * self.expected) @ self.turn)
        step = turned / (self.weight * n * self.curvature + 1)
        return np.asarray(self.mean + step @ self.turn.T, np.float32)


def unit_rows(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1, (L, d)."""
    return factors / np.linalg.norm(factors, axis=1, keepdims=True)
