"""Shuffles rows in place."""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

from recsys.kernels.jit import kernel, prefetch
from recsys.models.mf.kernels.rng import below, load, store

AHEAD = 16  # swaps whose partner is already chosen and being fetched from memory


@kernel()
def shuffle_rows(rows, given, partners, state):
    """Shuffle rows, int32 (R, 2), in place (Fisher-Yates), and given, int32 (R, L), alongside.

    If given has no columns, it may have any number of rows. partners: int64 (AHEAD,), memory.
    state: uint64 (4,), of `rng`.
    """
    n, columns = len(rows), given.shape[1]
    numbers = load(state)
    for k in range(min(AHEAD, n - 1)):
        partners[k], numbers = below(numbers, n - k)
    for k in range(n - 1):
        place = k % AHEAD
        a, b = n - 1 - k, partners[place]
        if k + AHEAD < n - 1:
            partner, numbers = below(numbers, n - k - AHEAD)
            partners[place] = partner
            prefetch(rows, 2 * partner)
        rows[a, 0], rows[b, 0] = rows[b, 0], rows[a, 0]
        rows[a, 1], rows[b, 1] = rows[b, 1], rows[a, 1]
        for c in range(columns):
            given[a, c], given[b, c] = given[b, c], given[a, c]
    store(state, numbers)
