"""The most similar items of each item, without ever holding I x I. U users, I items, k kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.base import Cost, Size

ITEMS = 64  # of one compiled call: Ctrl-C and other threads' Python wait no longer than that

T = TypeVar("T")


def transposed(csr: CSR) -> CSR:
    """The same pairs, items by users."""
    return CSR.from_pairs(csr.indices, csr.users(), csr.n_items, csr.n_users)


def side_by_side(work: Callable[[int], T], parts: Iterable[int], threads: int) -> list[T]:
    """`work` on each part, by several threads; the results in order."""
    if threads == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def nearest_items(
    by_user: CSR,
    k: int,
    *,
    weight: NDArray[np.float32],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    shrink: float = 0.0,
    threads: int = 1,
) -> scipy.sparse.csr_matrix:
    """Row i: the k items j most similar to i, float32 (I, I), columns ascending.

    The similarity is the sum of `weight` (U,), above 0, over the users of both, divided by
    left[i] x right[j] + shrink, both (I,). Ties go to the lower item; the same with any number
    of threads. Memory: I x k besides the pairs.
    """
    from recsys.models.kernels.neighbours import nearest

    by_item = transposed(by_user)
    n_items = by_user.n_items
    k = min(k, n_items)
    chosen, values = np.empty((n_items, k), np.int32), np.empty((n_items, k), np.float32)
    counts = np.zeros(n_items, np.int32)

    def work(thread: int) -> None:
        sums, touched = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
        # in turns: popular items, which take longest, may stand side by side
        for first in range(thread * ITEMS, n_items, threads * ITEMS):
            nearest(
                *(by_item.indptr, by_item.indices, by_user.indptr, by_user.indices),
                *(weight, left, right, np.float32(shrink), chosen, values, counts),
                *(sums, touched, first, min(first + ITEMS, n_items)),
            )

    side_by_side(work, range(threads), threads)
    kept = np.arange(k) < counts[:, None]
    indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    found = scipy.sparse.csr_matrix((values[kept], chosen[kept], indptr), shape=(n_items, n_items))
    found.sort_indices()
    return found


def nearest_by_cosine(
    by_user: CSR, k: int, *, shrink: float, threads: int = 1
) -> scipy.sparse.csr_matrix:
    """`nearest_items` by the cosine between items, `shrink` added to its denominator."""
    norm = np.sqrt(by_user.item_counts()).astype(np.float32)
    weight = np.ones(by_user.n_users, np.float32)
    return nearest_items(
        by_user, k, weight=weight, left=norm, right=norm, shrink=shrink, threads=threads
    )


def nearest_cost(k: int, size: Size) -> Cost:
    """The cost of `nearest_items`, including the weights that are made from it.

    How many pairs of items the counting meets is a guess, histories being uneven.
    """
    met = 2.0 * size.positives * size.positives / max(size.users, 1)
    return Cost(memory=24 * size.items * min(k, size.items) + 12 * size.positives, work=4 * met)
