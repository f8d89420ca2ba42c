"""The Top-K quantile of a user, estimated from all of its positives and some of its free items."""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math

import numpy as np

from recsys.kernels.jit import kernel
from recsys.models.mf.kernels.draw import free_count
from recsys.models.mf.kernels.rows import dot, draft, insert_sorted


@kernel()
def top_quantiles(weights, pool, indptr, indices, low, high, plan, places, scratch, out):
    """Write the quantiles of the users low:high that have positives to `out`, float32 (U,).

    indptr, indices: the positives, CSR. plan: draws `plan.candidates` uniform items. places: K.
    scratch: with room for as many chosen items, and for K or all positives of any user.
    """
    p, q, bias = weights.user_factors, weights.item_factors, weights.item_bias
    drawn, room = scratch.candidates[0], plan.candidates
    other_items, my_items = scratch.chosen[:room], scratch.chosen[room:]
    others, mine = scratch.chosen_scores[:room], scratch.chosen_scores[room:]
    for user in range(low, high):
        start, own = indptr[user], indptr[user + 1] - indptr[user]
        if own == 0:
            continue
        count, size, most = np.int64(0), np.int64(0), min(own, places)
        for k in range(start, start + own):
            item = np.int64(indices[k])
            score = bias[item] + dot(p, user, q, item)
            count = insert_sorted(score, indices[k], mine, my_items, count, most)
        draft(pool, plan, user, 0, scratch)
        found = scratch.counts[0, 0]
        each = free_count(pool, user) / max(found, 1)  # how many items a drawn one stands for
        most = min(found, np.int64(math.ceil(places / max(each, 1.0))))
        for k in range(found):
            item = np.int64(drawn[k])
            score = bias[item] + dot(p, user, q, item)
            size = insert_sorted(score, drawn[k], others, other_items, size, most)
        reached, i, j = 0.0, 0, 0
        while reached < places and (i < count or j < size):
            if j == size or (i < count and mine[i] >= others[j]):
                out[user] = mine[i]
                reached += 1.0
                i += 1
            else:
                out[user] = others[j]
                reached += each
                j += 1
