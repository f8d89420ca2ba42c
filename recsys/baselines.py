"""What a tuned model must beat: popularity, item neighbours and EASE.

All of them are `Scorer`s. Shapes: U users, I items, B users of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from recsys.evaluate import evaluate
from recsys.interactions import CSR

# A dense I x I solve: 12,000 items are 0.6 GB in float32 and about a minute a lambda.
MAX_ITEMS = 12_000
# From here on the solve is in float32: half the memory and time, and an error far below what
# moves a ranking, as lambda keeps the matrix well conditioned.
_SINGLE_FROM = 4_000
EASE_GRID = (30.0, 60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0)


class Popularity:
    """Every user gets the items with most training users first."""

    def __init__(self, train: CSR) -> None:
        self._counts = train.item_counts().astype(np.float32)

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        return np.broadcast_to(self._counts, (len(users), len(self._counts)))


class EASE:
    """Linear item-item model with a zero diagonal, in closed form (Steck 2019, equation 8).

    With G = X'X + l2 I and P = G^-1, the weights are -P_ij / P_jj off the diagonal. Memory is
    twice I x I while solving.
    """

    def __init__(self, train: CSR, l2: float) -> None:
        self._x = _matrix(train)
        self._weights = _ease_weights(_gram(self._x), l2)

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        return np.asarray(self._x[users] @ self._weights, np.float32)


class ItemKNN:
    """Cosine similarity between items, the `neighbours` nearest of each kept; dense I x I."""

    def __init__(self, train: CSR, neighbours: int = 100, shrink: float = 10.0) -> None:
        self._x = _matrix(train)
        similar = _gram(self._x)
        norm = np.sqrt(similar.diagonal())
        np.fill_diagonal(similar, 0.0)
        similar /= np.outer(norm, norm) + shrink
        if neighbours < len(similar):
            cut = np.partition(similar, -neighbours, axis=1)[:, -neighbours]
            similar[similar < cut[:, None]] = 0.0
        self._weights = similar.T.astype(np.float32)

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        return np.asarray(self._x[users] @ self._weights, np.float32)


@dataclass(frozen=True)
class EaseChoice:
    """The lambda that validation chose. l2 and value are None where EASE was not tried: `reason`
    then says why. tried: (l2, value) of the whole grid."""

    l2: float | None
    value: float | None
    reason: str | None
    tried: tuple[tuple[float, float], ...] = ()

    def fit(self, items: CSR) -> EASE:
        """EASE with the chosen lambda on other items, such as train + valid."""
        assert self.l2 is not None
        return EASE(items, self.l2)


def best_ease(
    train: CSR,
    valid: CSR,
    metric: str,
    grid: Sequence[float] = EASE_GRID,
    *,
    threads: int = 1,
    max_items: int = MAX_ITEMS,
) -> EaseChoice:
    """Choose EASE's lambda by `metric` on `valid`; the smaller of equals.

    Above `max_items` items it is not tried, and the choice says so. Errors as in `evaluate`.
    """
    if train.n_items > max_items:
        reason = (
            f"EASE needs a dense {train.n_items:,} x {train.n_items:,} solve; "
            f"not done above {max_items:,} items"
        )
        return EaseChoice(None, None, reason)
    model = EASE.__new__(EASE)
    model._x = _matrix(train)
    gram = _gram(model._x)
    tried = []
    for l2 in sorted(grid):
        model._weights = _ease_weights(gram.copy(), l2)
        tried.append((l2, evaluate(model, train, valid, [metric], threads=threads).values[metric]))
    l2, value = max(tried, key=lambda pair: pair[1])
    return EaseChoice(l2, value, None, tuple(tried))


def _matrix(csr: CSR) -> scipy.sparse.csr_matrix:
    ones = np.ones(csr.nnz, np.float32)
    shape = (csr.n_users, csr.n_items)
    return scipy.sparse.csr_matrix((ones, csr.indices, csr.indptr), shape=shape)


def _gram(x: scipy.sparse.csr_matrix) -> NDArray:
    """X'X, dense (I, I), float64 or float32 by size."""
    dtype = np.float64 if x.shape[1] < _SINGLE_FROM else np.float32
    return np.asarray((x.T @ x).toarray(), dtype=dtype)


def _ease_weights(gram_II: NDArray, l2: float) -> NDArray[np.float32]:
    """EASE's weights, float32 (I, I); overwrites the Gram matrix."""
    assert l2 > 0, l2
    gram_II[np.diag_indices_from(gram_II)] += gram_II.dtype.type(l2)
    factor, low = scipy.linalg.cho_factor(gram_II.T, lower=True, overwrite_a=True)
    (potri,) = scipy.linalg.get_lapack_funcs(("potri",), (factor,))
    inverse, info = potri(factor, lower=low, overwrite_c=True)
    assert info == 0, info
    # potri fills one triangle; the other still holds the input
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return np.ascontiguousarray(weights, np.float32)
