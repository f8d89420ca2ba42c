"""Compiled selection of the best unseen items of many users.

Shapes: B rows of a block, U users, I items, k places. Signatures are explicit, so importing this
module compiles everything, or loads it from the cache of `jit.py`, and no first call is slow. All
of it runs without the GIL.

How a row is ranked: float scores become int32 keys of the same order, so that maxima can be
vectorised. Seen items get the lowest key. With many items, the k-th largest of the maxima of 128
groups or more is a floor: items below it cannot be among the best k. The items at or above it,
usually few more than k, are sorted by score, descending, and then by item, ascending.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from recsys.kernels.jit import F32R2, I32R, I32R2, I32W2, I64R, exact

_SEEN = np.int32(-(2**31))  # below the key of -inf
_MAGNITUDE = np.int32(0x7FFFFFFF)
_LOW = np.int64(0xFFFFFFFF)


@exact(types.int32(types.int32[::1], types.int64, types.int64))
def _select(values: NDArray[np.int32], size: int, k: int) -> int:
    """The k-th largest (k from 1) of the first `size` values, which it reorders."""
    target = k - 1
    low, high = 0, size - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return values[target]


@exact(
    types.int64(F32R2, I32R, I64R, I32R, I32W2, types.int64, types.int64),
)
def best_unseen(
    scores_BI: NDArray[np.float32],
    users_B: NDArray[np.int32],
    seen_indptr: NDArray[np.int64],
    seen_indices: NDArray[np.int32],
    out_Bk: NDArray[np.int32],
    first: int,
    last: int,
) -> int:
    """Fill rows first..last-1 of out_Bk (int32) with each user's best unseen items, best first.

    Ties go to the lower item; rows are padded with -1. scores_BI: float32. users_B: int32, the user
    of each row. seen_indptr, seen_indices: int64 (U+1,) and int32, the items to leave out. An
    unseen item with a score of -inf is listed after all others. Returns -1, or the first row with a
    NaN; rows before it are done.
    """
    n_items = scores_BI.shape[1]
    k = out_Bk.shape[1]
    width = 128
    while width < 2 * k:
        width *= 2
    keys = np.empty(n_items, np.int32)
    maxima = np.empty(width, np.int32)
    found = np.empty(n_items, np.int64)
    bits = scores_BI.view(np.int32)
    zero = np.float32(0.0)
    nan_row = -1
    for row in range(first, last):
        bad = np.int32(0)
        for i in range(n_items):
            x = scores_BI[row, i]
            bad |= np.int32(x != x)
            b = bits[row, i]
            if x == zero:
                b = np.int32(0)  # -0.0 equals 0.0: a tie
            keys[i] = b ^ ((b >> np.int32(31)) & _MAGNITUDE)
        if bad:
            nan_row = row
            break
        user = users_B[row]
        for e in range(seen_indptr[user], seen_indptr[user + 1]):
            keys[seen_indices[e]] = _SEEN
        floor = _SEEN
        if n_items >= 2 * width:
            for g in range(width):
                maxima[g] = keys[g]
            start = width
            while start + width <= n_items:
                for g in range(width):
                    maxima[g] = max(maxima[g], keys[start + g])
                start += width
            for i in range(start, n_items):
                maxima[i - start] = max(maxima[i - start], keys[i])
            floor = _select(maxima, width, k)
        count = 0
        for i in range(n_items):
            key = keys[i]
            if key >= floor and key != _SEEN:
                found[count] = (np.int64(key) << np.int64(32)) | (_LOW - np.int64(i))
                count += 1
        part = found[:count]
        if count > 4 * k:
            part = np.partition(part, count - k)[count - k :]
        part = np.sort(part)
        size = min(k, len(part))
        for place in range(size):
            out_Bk[row, place] = np.int32(_LOW - (part[len(part) - 1 - place] & _LOW))
        for place in range(size, k):
            out_Bk[row, place] = -1
    return nan_row


@exact(
    types.void(
        I32R2,
        I32R,
        I64R,
        I32R,
        types.int64,
        types.Array(types.boolean, 2, "C"),
        types.int64,
        types.int64,
    ),
)
def mark_hits(
    items_Bk: NDArray[np.int32],
    users_B: NDArray[np.int32],
    held_indptr: NDArray[np.int64],
    held_indices: NDArray[np.int32],
    n_items: int,
    out_Bk: NDArray[np.bool_],
    first: int,
    last: int,
) -> None:
    """For rows first..last-1, set out[b, j] to whether items[b, j] is a held-out item of the user.

    items_Bk: int32, padded with -1. users_B: int32, the user of each row. held_indptr,
    held_indices: int64 (U+1,) and int32, the held-out items.
    """
    held = np.zeros(n_items, np.bool_)
    for row in range(first, last):
        user = users_B[row]
        for e in range(held_indptr[user], held_indptr[user + 1]):
            held[held_indices[e]] = True
        for place in range(items_Bk.shape[1]):
            item = items_Bk[row, place]
            out_Bk[row, place] = item >= 0 and held[item]
        for e in range(held_indptr[user], held_indptr[user + 1]):
            held[held_indices[e]] = False
