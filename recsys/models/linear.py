"""What models share that score by `histories x item weights`. Shapes: U users, I items, B users of
a block.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.base import ClosedForm, ListScorer

GRAM_CELLS = 1 << 22  # of the product of two sparse matrices at a time, of 12 bytes each


def matrix(csr: CSR, weights: NDArray[np.float32] | None = None) -> scipy.sparse.csr_matrix:
    """The interactions as a sparse matrix, float32 (U, I), of ones or of `weights` (E,)."""
    data = np.ones(csr.nnz, np.float32) if weights is None else weights
    return scipy.sparse.csr_matrix(
        (data, csr.indices, csr.indptr), shape=(csr.n_users, csr.n_items)
    )


def histories(arrays: dict[str, NDArray], n_items: int) -> scipy.sparse.csr_matrix:
    """The histories of a saved model: see `saved_histories`."""
    pairs = CSR(arrays["indptr"], arrays["indices"], n_items)
    return matrix(pairs, arrays.get("values"))


def saved_histories(x: scipy.sparse.csr_matrix) -> dict[str, NDArray]:
    """Histories (U, I) as `indptr` int64 (U+1,), `indices` int32 and, unless all of them are 1,
    `values` float32.
    """
    arrays: dict[str, NDArray] = {
        "indptr": np.asarray(x.indptr, np.int64),
        "indices": np.asarray(x.indices, np.int32),
    }
    values = np.asarray(x.data, np.float32)
    return arrays if (values == 1).all() else arrays | {"values": values}


def sums_of_rows(lists: CSR, table: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of the rows of `table` for the items of each of L lists, float32 (L, d).

    lists: CSR of L x I. table: float32 (I, d), contiguous.
    """
    from recsys.models.kernels.lists import add_rows

    sums = np.zeros((lists.n_users, table.shape[1]), np.float32)
    add_rows(lists.indptr, lists.indices, table, sums)
    return sums


def gram(x: scipy.sparse.csr_matrix, dtype: type) -> NDArray:
    """X'X, dense (I, I), of float32 or float64. Counts are exact in both up to 2^24.

    Memory: little more than the result, as the sparse product is made for some rows at a time.
    """
    n_items = x.shape[1]
    found = np.empty((n_items, n_items), dtype)
    by_item = x.T.tocsr()
    rows = max(1, GRAM_CELLS // max(n_items, 1))
    for low in range(0, n_items, rows):
        found[low : low + rows] = (by_item[low : low + rows] @ x).toarray()
    return found


class LinearModel(ClosedForm):
    """A user's scores are the sum of the rows of an item-item matrix for the items of the user's
    history. A subclass sets `_x` and `_weights`.
    """

    _x: scipy.sparse.csr_matrix  # (U, I) histories
    _weights: NDArray[np.float32]  # (I, I)

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """Histories times weights, float32 (B, I): one product of a sparse and a dense matrix."""
        return np.asarray(self._x[users] @ self._weights, np.float32)

    def score_few(self, users: NDArray) -> NDArray[np.float32]:
        """See `Model.score_few`: a sparse product goes row by row."""
        return self.score_users(users)

    def list_scorer(self, config: Any, seen: CSR) -> ListScorer:  # noqa: ARG002
        """A list is scored like the history of a user whose items all have the weight 1; all scores
        of an empty one are 0.
        """
        weights = np.ascontiguousarray(self._weights, np.float32)
        return lambda lists: sums_of_rows(lists, weights)

    def arrays(self) -> dict[str, NDArray]:
        """The histories, see `saved_histories`; `weights` float32 (I, I)."""
        return saved_histories(self._x) | {"weights": self._weights}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """The model that returned these `arrays`; it can score, but not be solved again."""
        model = cls.__new__(cls)
        weights = arrays["weights"]
        model._x = histories(arrays, len(weights))
        model._weights = weights
        return model


class SparseLinear(ClosedForm):
    """`LinearModel` with few weights per item, so that a catalogue can be of any size."""

    _x: scipy.sparse.csr_matrix  # (U, I) histories
    _weights: scipy.sparse.csr_matrix  # (I, I), float32

    def become(self, x: scipy.sparse.csr_matrix, weights: scipy.sparse.csr_matrix) -> None:
        """Set the histories, float32 (U, I), and the weights, float32 (I, I)."""
        self._x, self._weights = x, weights

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """Histories times weights, float32 (B, I); only the result is dense."""
        return np.asarray((self._x[users] @ self._weights).toarray(), np.float32)

    def score_few(self, users: NDArray) -> NDArray[np.float32]:
        """See `Model.score_few`: a sparse product goes row by row."""
        return self.score_users(users)

    def list_scorer(self, config: Any, seen: CSR) -> ListScorer:  # noqa: ARG002
        """As in `LinearModel`."""
        from recsys.models.kernels.lists import add_sparse_rows

        table = (
            np.ascontiguousarray(self._weights.indptr, np.int64),
            np.ascontiguousarray(self._weights.indices, np.int32),
            np.ascontiguousarray(self._weights.data, np.float32),
        )

        def scores(lists: CSR) -> NDArray[np.float32]:
            sums = np.zeros((lists.n_users, lists.n_items), np.float32)
            add_sparse_rows(lists.indptr, lists.indices, *table, sums)
            return sums

        return scores

    def arrays(self) -> dict[str, NDArray]:
        """As in `LinearModel`, but with the weights in compressed rows: `weights` float32,
        `weights_indices` int32 and `weights_indptr` int64 (I+1,).
        """
        return saved_histories(self._x) | {
            "weights": np.asarray(self._weights.data, np.float32),
            "weights_indices": np.asarray(self._weights.indices, np.int32),
            "weights_indptr": np.asarray(self._weights.indptr, np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Self:
        """The model that returned these `arrays`; it can score, but not be solved again."""
        model = cls.__new__(cls)
        n_items = len(arrays["weights_indptr"]) - 1
        weights = (arrays["weights"], arrays["weights_indices"], arrays["weights_indptr"])
        model.become(
            histories(arrays, n_items),
            scipy.sparse.csr_matrix(weights, shape=(n_items, n_items)),
        )
        return model
