"""Compiled counting of the users that two items have in common, and of which counts are kept.

Shapes: U users, I items, E pairs, k items kept for each, H head items. The pairs are given twice,
as int64 and int32 arrays: by user (indptr_U (U+1,), items (E,)) and by item (indptr_I (I+1,),
users (E,)). Rows are ascending.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import numpy as np

from recsys.kernels.jit import kernel

_0 = np.float32(0)
_LEAST = np.finfo(np.float32).tiny  # a product that is rounded to 0 would count as not met


@kernel(inline=True)
def _together(item, indptr_I, users, indptr_U, items, weight, sums, touched):
    """Add the weight of each user of `item` to the sums of all of that user's items.

    Items whose sum was 0 are written to `touched`; returns how many there are.
    """
    met = 0
    for at in range(indptr_I[item], indptr_I[item + 1]):
        user = users[at]
        w = weight[user]
        for other in range(indptr_U[user], indptr_U[user + 1]):
            j = items[other]
            if sums[j] == _0:
                touched[met] = j
                met += 1
            sums[j] += w
    return met


@kernel(inline=True)
def _together_weighted(
    item, indptr_I, users, indptr_U, items, pairs_I, pairs_U, weight, sums, touched
):
    """`_together`, with the weight of each user times those of the user's two pairs."""
    met = 0
    for at in range(indptr_I[item], indptr_I[item + 1]):
        user = users[at]
        w = weight[user] * pairs_I[at]
        for other in range(indptr_U[user], indptr_U[user + 1]):
            j = items[other]
            if sums[j] == _0:
                touched[met] = j
                met += 1
            sums[j] += max(w * pairs_U[other], _LEAST)
    return met


@kernel(inline=True)
def _sift(keys, chosen, size, at):
    """Let the entry at `at` sink to its place in a heap of `size` entries, the worst on top."""
    while True:
        child = 2 * at + 1
        if child >= size:
            return
        right = child + 1
        if right < size and (
            keys[right] < keys[child]
            or (keys[right] == keys[child] and chosen[right] > chosen[child])
        ):
            child = right
        if keys[child] > keys[at] or (keys[child] == keys[at] and chosen[child] < chosen[at]):
            return
        keys[child], keys[at] = keys[at], keys[child]
        chosen[child], chosen[at] = chosen[at], chosen[child]
        at = child


@kernel(inline=True)
def _keep(i, met, left, right, shrink, keys, chosen, sums, touched):
    """Keep the most similar of the `met` items that were touched for item i, and set their sums to
    0; returns how many are kept. keys, chosen: (k,), their similarities and the items.
    """
    k = len(keys)
    size = 0
    for at in range(met):
        j = touched[at]
        together = sums[j]
        sums[j] = _0
        if j == i:
            continue
        value = together / (left[i] * right[j] + shrink)
        if size < k:
            keys[size], chosen[size] = value, j
            size += 1
            if size == k:
                for low in range(k // 2 - 1, -1, -1):
                    _sift(keys, chosen, k, low)
        elif value > keys[0] or (value == keys[0] and j < chosen[0]):
            keys[0], chosen[0] = value, j
            _sift(keys, chosen, k, 0)
    return size


@kernel()
def nearest(
    indptr_I,
    users,
    indptr_U,
    items,
    weight,
    left,
    right,
    shrink,
    out,
    values,
    counts,
    sums,
    touched,
    first,
    last,
):
    """Find the most similar items of items first..last-1; ties go to the lower item.

    The similarity of i and j is the sum of `weight` (float32 (U,), above 0) over the users who have
    both, divided by left[i] x right[j] + shrink, where left and right are float32 (I,). The results
    go into out, int32 (I, k), and values, float32 (I, k), in no order, and into counts, int32 (I,):
    how many entries of a row are used. sums: float32 (I,), zeros before and after; touched: int32
    (I,); both are memory of this thread.
    """
    for i in range(first, last):
        met = _together(i, indptr_I, users, indptr_U, items, weight, sums, touched)
        counts[i] = _keep(i, met, left, right, shrink, values[i], out[i], sums, touched)


@kernel()
def nearest_weighted(
    indptr_I,
    users,
    indptr_U,
    items,
    pairs_I,
    pairs_U,
    weight,
    left,
    right,
    shrink,
    out,
    values,
    counts,
    sums,
    touched,
    first,
    last,
):
    """`nearest`, where each weight in a sum is multiplied by those of the user's two pairs.

    pairs_I, pairs_U: float32 (E,), above 0, the weights of the pairs, by item and by user.
    """
    for i in range(first, last):
        met = _together_weighted(
            i, indptr_I, users, indptr_U, items, pairs_I, pairs_U, weight, sums, touched
        )
        counts[i] = _keep(i, met, left, right, shrink, values[i], out[i], sums, touched)


@kernel(inline=True)
def _in_head(a, near, head, gram_HH, out):
    """Whether item a of `block` is in the head, which then has the numbers for the others that are;
    if not, its row is set to 0, to be counted.
    """
    row = head[near[a]]
    for b in range(len(near)):
        column = head[near[b]]
        if row < 0:
            out[a, b] = _0
        elif column >= 0:
            out[a, b] = gram_HH[row, column]
    return row >= 0


@kernel(inline=True)
def _mirror(a, near, head, out):
    """Copy what was counted for item a of `block` into the rows of those in the head."""
    for b in range(len(near)):
        if head[near[b]] >= 0:
            out[b, a] = out[a, b]


@kernel()
def block(near, place, head, gram_HH, indptr_I, users, indptr_U, items, out):
    """Fill `out`, float32 (n, n), with the number of users that two of n items each have in common.

    near: int32 (n,), the items. place: int32 (I,), all -1 before and after. head: int32 (I,), the
    place of an item among the H most popular ones, or -1. gram_HH: float32 (H, H), the numbers for
    two of these, so that only pairs with a less popular item are counted here.
    """
    n = len(near)
    for a in range(n):
        place[near[a]] = a
    for a in range(n):
        if _in_head(a, near, head, gram_HH, out):
            continue
        item = near[a]
        for at in range(indptr_I[item], indptr_I[item + 1]):
            user = users[at]
            for other in range(indptr_U[user], indptr_U[user + 1]):
                b = place[items[other]]
                if b >= 0:
                    out[a, b] += np.float32(1)
        _mirror(a, near, head, out)
    for a in range(n):
        place[near[a]] = -1


@kernel()
def block_weighted(
    near, place, head, gram_HH, indptr_I, users, indptr_U, items, pairs_I, pairs_U, out
):
    """`block`, with the sum of the products of the weights of each user's two pairs.

    pairs_I, pairs_U: float32 (E,), the weights of the pairs, by item and by user.
    """
    n = len(near)
    for a in range(n):
        place[near[a]] = a
    for a in range(n):
        if _in_head(a, near, head, gram_HH, out):
            continue
        item = near[a]
        for at in range(indptr_I[item], indptr_I[item + 1]):
            user = users[at]
            for other in range(indptr_U[user], indptr_U[user + 1]):
                b = place[items[other]]
                if b >= 0:
                    out[a, b] += pairs_I[at] * pairs_U[other]
        _mirror(a, near, head, out)
    for a in range(n):
        place[near[a]] = -1
