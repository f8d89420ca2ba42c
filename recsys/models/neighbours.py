"""The most similar items of each item, without a matrix of I x I in memory.

Shapes: U users, I items, k nearest items of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.base import Cost, Size
from recsys.models.weighted import in_order_of_items, item_totals

ITEMS = 64  # of one compiled call: Ctrl-C never waits for more than that

T = TypeVar("T")


def transposed(csr: CSR) -> CSR:
    """The same pairs with users and items exchanged: a CSR of I x U.

    By counting, as scipy does it: it takes a third of the memory of `CSR.from_pairs`, which sorts.
    """
    ones = np.ones(csr.nnz, np.int8)
    shape = (csr.n_users, csr.n_items)
    columns = scipy.sparse.csr_matrix((ones, csr.indices, csr.indptr), shape).tocsc()
    return CSR(columns.indptr, columns.indices, csr.n_users)


def side_by_side(work: Callable[[int], T], parts: Iterable[int], threads: int) -> list[T]:
    """The results of `work` for each part, in order, computed by up to `threads` threads."""
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
    pairs: NDArray[np.float32] | None = None,
    threads: int = 1,
) -> scipy.sparse.csr_matrix:
    """The similarities of each item to its k nearest items, sparse float32 (I, I).

    Row i has the k items j most similar to i, columns ascending. Their similarity is the sum of
    `weight`, float32 (U,) and above 0, over the users who have both, divided by
    left[i] x right[j] + shrink, where left and right are float32 (I,). pairs: float32 (E,), above
    0, aligned with `by_user`; each weight in the sum is multiplied by those of the user's two
    pairs. Only items with a common user are listed; ties go to the lower item. by_user: CSR of
    U x I. The number of threads does not change the result. Memory: I x k, besides the pairs.
    """
    from recsys.models.kernels.neighbours import nearest, nearest_weighted

    by_item = transposed(by_user)
    of_pairs = None if pairs is None else (in_order_of_items(by_user, pairs), pairs)
    n_items = by_user.n_items
    k = min(k, n_items)
    chosen, values = np.empty((n_items, k), np.int32), np.empty((n_items, k), np.float32)
    counts = np.zeros(n_items, np.int32)

    def work(thread: int) -> None:
        sums, touched = np.zeros(n_items, np.float32), np.empty(n_items, np.int32)
        # dealt out in turn: popular items, which take longest, may be next to each other
        for first in range(thread * ITEMS, n_items, threads * ITEMS):
            rows = (by_item.indptr, by_item.indices, by_user.indptr, by_user.indices)
            rest = (
                *(weight, left, right, np.float32(shrink), chosen, values, counts),
                *(sums, touched, first, min(first + ITEMS, n_items)),
            )
            if of_pairs is None:
                nearest(*rows, *rest)
            else:
                nearest_weighted(*rows, *of_pairs, *rest)

    side_by_side(work, range(threads), threads)
    kept = np.arange(k) < counts[:, None]
    indptr = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    found = scipy.sparse.csr_matrix((values[kept], chosen[kept], indptr), shape=(n_items, n_items))
    found.sort_indices()
    return found


def nearest_by_cosine(
    by_user: CSR,
    k: int,
    *,
    shrink: float,
    pairs: NDArray[np.float32] | None = None,
    threads: int = 1,
) -> scipy.sparse.csr_matrix:
    """`nearest_items` by the cosine between the columns of items, with `shrink` added to its
    denominator. pairs: the entries of the columns, float32 (E,); None: ones.
    """
    squares = None if pairs is None else pairs.astype(np.float64) ** 2
    norm = np.sqrt(item_totals(by_user, squares)).astype(np.float32)
    weight = np.ones(by_user.n_users, np.float32)
    return nearest_items(
        by_user,
        k,
        weight=weight,
        left=norm,
        right=norm,
        shrink=shrink,
        pairs=pairs,
        threads=threads,
    )


def nearest_cost(k: int, size: Size, *, weighted: bool = False) -> Cost:
    """The cost of `nearest_items`, including the weights that are made from its result. weighted:
    whether it is given weights of pairs.

    The work is that of counting pairs of items, of which one user with a long history may have more
    than all others.
    """
    pairs = (24 if weighted else 12) * size.positives
    memory = 24 * size.items * min(k, size.items) + pairs + 32 * size.items
    return Cost(memory=memory, work=8 * size.meetings)
