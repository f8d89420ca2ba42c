"""Compiled steps of a blend: what stands out in the members' lists, their sum, and what follows.

Shapes: B users of a block, I items, T items of a list. No row depends on the others. As in
`recsys.kernels.topk`, signatures are explicit: all is compiled, or loaded, on import.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numpy.typing import NDArray

from recsys.kernels.jit import F32R2, F32W2, I32R2, exact


@exact(types.int64(F32R2, I32R2, F32W2))
def stand_out(
    scores_BI: NDArray[np.float32], items_BT: NDArray[np.int32], out_BT: NDArray[np.float32]
) -> int:
    """Fill out_BT (float32) with how far each listed item is above the last one of its list, in
    standard deviations of the list; 0 for padding, and where all scores of a list are equal.

    scores_BI: float32, not NaN. items_BT: int32, best first, padded with -1. Returns -1, or the
    first row with an infinite score in its list; rows before it are done.
    """
    for row in range(len(items_BT)):
        count = 0
        while count < items_BT.shape[1] and items_BT[row, count] >= 0:
            count += 1
        out_BT[row, count:] = np.float32(0.0)
        if count == 0:
            continue
        best = np.float64(scores_BI[row, items_BT[row, 0]])
        last = np.float64(scores_BI[row, items_BT[row, count - 1]])
        if not (math.isfinite(best) and math.isfinite(last)):
            return row
        total = 0.0
        for place in range(count):
            total += np.float64(scores_BI[row, items_BT[row, place]]) - last
        mean = total / count
        squares = 0.0
        for place in range(count):
            off = np.float64(scores_BI[row, items_BT[row, place]]) - last - mean
            squares += off * off
        spread = math.sqrt(squares / count)
        # all equal: nothing stands out, and nothing is divided by a number near 0
        flat = spread <= 1e-9 * max(abs(last), 1e-30)
        scale = np.inf if flat else spread
        for place in range(count):
            above = np.float64(scores_BI[row, items_BT[row, place]]) - last
            out_BT[row, place] = np.float32(above / scale)
    return -1


@exact(types.void(I32R2, F32R2, types.float32, F32W2))
def add_lists(
    items_BT: NDArray[np.int32],
    scores_BT: NDArray[np.float32],
    weight: np.float32,
    sums_BI: NDArray[np.float32],
) -> None:
    """Add `weight` times the score of each listed item to the item's sum, all of them float32.

    items_BT: int32, padded with -1.
    """
    for row in range(len(items_BT)):
        for place in range(items_BT.shape[1]):
            item = items_BT[row, place]
            if item >= 0:
                sums_BI[row, item] += weight * scores_BT[row, place]


@exact(types.void(F32R2, F32W2))
def rank_below(scores_BI: NDArray[np.float32], sums_BI: NDArray[np.float32]) -> None:
    """Let items without a sum above 0 follow in the order of their scores: their sums become -1 for
    the best score of a row to -2 for the worst. Both arrays are float32.
    """
    for row in range(len(sums_BI)):
        top, low = np.float32(-np.inf), np.float32(np.inf)
        for item in range(sums_BI.shape[1]):
            top = max(top, scores_BI[row, item])
            low = min(low, scores_BI[row, item])
        width = max(top - low, np.float32(1e-30))
        for item in range(sums_BI.shape[1]):
            if not sums_BI[row, item] > np.float32(0.0):
                below = (scores_BI[row, item] - top) / width
                sums_BI[row, item] = below - np.float32(1.0)
