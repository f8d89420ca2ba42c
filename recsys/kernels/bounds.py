"""Compiled selection of users' best unseen items, where bounds of the scores rule most items out.

Shapes: B users of a tile, W items of a chunk, U users, I items, d factors, k places. The caller
sorts items in any order; `order` has the item at each place of it. A user's best items so far are a
heap with the worst of them at the root: the one with the lowest score, or the highest of equal
ones.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from recsys.kernels.jit import F32R, F32R2, F32W2, I32R, I32W2, I64R, I64W, exact, kernel
from recsys.kernels.lookup import holds

GROUP = 32  # bounds that are compared at once


@kernel(inline=True)
def _score(users, user, items, place, bias):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for c in range(users.shape[1]):
        total += users[user, c] * items[place, c]
    return total + bias[place]


@kernel(inline=True)
def _worse(score, item, than_score, than_item):  # type: ignore[no-untyped-def]
    return score < than_score or (score == than_score and item > than_item)


@kernel(inline=True)
def _sink(scores, items, row, size, score, item):  # type: ignore[no-untyped-def]
    """Replace the root by an entry and let it sink to its place."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        if child + 1 < size and _worse(
            scores[row, child + 1], items[row, child + 1], scores[row, child], items[row, child]
        ):
            child += 1
        if not _worse(scores[row, child], items[row, child], score, item):
            break
        scores[row, at], items[row, at] = scores[row, child], items[row, child]
        at = child
    scores[row, at], items[row, at] = score, item


@kernel(inline=True)
def _rise(scores, items, row, size, score, item):  # type: ignore[no-untyped-def]
    """Add an entry after the last one and let it rise to its place."""
    at = size
    while at > 0:
        parent = (at - 1) >> 1
        if not _worse(score, item, scores[row, parent], items[row, parent]):
            break
        scores[row, at], items[row, at] = scores[row, parent], items[row, parent]
        at = parent
    scores[row, at], items[row, at] = score, item


@exact(
    types.int64(
        *(F32R2, types.int64, types.int64, types.int64),
        *(I32R, F32R2, F32R2, F32R, I32R, I64R, I32R),
        *(F32W2, I32W2, I64W),
    )
)
def take_chunk(
    bounds_BW: NDArray[np.float32],
    rows: int,
    first: int,
    width: int,
    users_B: NDArray[np.int32],
    users_Ud: NDArray[np.float32],
    items_Id: NDArray[np.float32],
    bias_I: NDArray[np.float32],
    order_I: NDArray[np.int32],
    seen_indptr: NDArray[np.int64],
    seen_indices: NDArray[np.int32],
    best_Bk: NDArray[np.float32],
    items_Bk: NDArray[np.int32],
    sizes_B: NDArray[np.int64],
) -> int:
    """Add the items at places first..first+width-1 to the heaps of the first `rows` users.

    bounds_BW: float32, upper bounds of the scores; an item is scored only if its bound reaches the
    worst of the user's k best so far. users_B: int32, the users. users_Ud, items_Id, bias_I:
    float32; a score is a dot product plus the item's bias, and items are by place. order_I: int32,
    the item at each place. seen_indptr, seen_indices: int64 (U+1,) and int32, the items to leave
    out. best_Bk, items_Bk, sizes_B: float32, int32 and int64, the scores, items and sizes of the
    heaps. Returns how many items were scored.
    """
    k = items_Bk.shape[1]
    scored = 0
    for row in range(rows):
        user = users_B[row]
        size = sizes_B[row]
        floor = best_Bk[row, 0] if size == k else np.float32(-np.inf)
        for start in range(0, width, GROUP):
            stop = min(start + GROUP, width)
            above = np.int32(0)
            for w in range(start, stop):
                above += np.int32(bounds_BW[row, w] >= floor)
            if above == 0:
                continue
            for w in range(start, stop):
                if bounds_BW[row, w] < floor:
                    continue
                place = first + w
                item = order_I[place]
                if holds(seen_indices, seen_indptr[user], seen_indptr[user + 1], item):
                    continue
                score = _score(users_Ud, user, items_Id, place, bias_I)
                scored += 1
                if size < k:
                    _rise(best_Bk, items_Bk, row, size, score, item)
                    size += 1
                elif _worse(best_Bk[row, 0], items_Bk[row, 0], score, item):
                    _sink(best_Bk, items_Bk, row, size, score, item)
                if size == k:
                    floor = best_Bk[row, 0]
        sizes_B[row] = size
    return scored


@exact(types.void(F32W2, I32W2, I64W, types.int64, I32W2))
def in_order(
    best_Bk: NDArray[np.float32],
    items_Bk: NDArray[np.int32],
    sizes_B: NDArray[np.int64],
    rows: int,
    out_Bk: NDArray[np.int32],
) -> None:
    """Write the items of the first `rows` heaps to `out`, int32 (B, k), best first, padded with -1.

    best_Bk, items_Bk, sizes_B: the heaps, as in `take_chunk`; they are empty afterwards.
    """
    for row in range(rows):
        for place in range(sizes_B[row], out_Bk.shape[1]):
            out_Bk[row, place] = -1
        for size in range(sizes_B[row], 0, -1):
            out_Bk[row, size - 1] = items_Bk[row, 0]
            last = size - 1
            _sink(best_Bk, items_Bk, row, last, best_Bk[row, last], items_Bk[row, last])
        sizes_B[row] = 0
