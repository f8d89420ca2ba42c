"""Looks an item up in a sorted row."""

# mypy: disallow_untyped_defs=False
# mypy: disable-error-code=no-untyped-call

from __future__ import annotations

from recsys.kernels.jit import kernel


@kernel(inline=True)
def holds(indices, low, high, item):
    """Whether indices[low:high], ascending, contains `item`."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low < end and indices[low] == item
