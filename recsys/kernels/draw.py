"""Exact draws without replacement from the items a user has not interacted with.

Three ways, all uniform over ordered choices, taken by how many items are free:

- few free (at most twice what is asked): a partial Fisher-Yates shuffle of all of them;
- under an eighth free: a random rank among the free ones, turned into an item by binary search;
- otherwise: a random item, thrown away if excluded. One bit of the user's filter tells nearly
  always; only where the filter says "perhaps" the user's sorted row is searched.

What is already taken is marked in `stamps` with the number of the draw, so nothing is cleared.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel
from recsys.kernels.rng import below

_GOLDEN = np.uint64(0x9E3779B1)  # 2^32 / golden ratio: Fibonacci hashing
_ONE = np.uint64(1)
_MASK32 = np.uint64(0xFFFFFFFF)
MAX_TICK = 2**31 - 2
CROWDED = 2  # fewer than this many free items per item asked: shuffle them
SCARCE = 8  # one free item in more than this many: draw ranks


class Pool(NamedTuple):
    """What may not be drawn, by user. All arrays read-only.

    A user's filter has a power of two of bits, at least `words` x 64; `shift` is 32 - log2(bits)
    and the bit of an item is the top bits of a 32-bit hash. shift 0: one bit per item, exact.
    """

    indptr: NDArray[np.int64]  # (U+1,)
    indices: NDArray[np.int32]  # (E,) sorted in each row
    words: NDArray[np.uint64]  # the filters of all users
    first: NDArray[np.int64]  # (U,) first word of a user
    shift: NDArray[np.uint8]  # (U,)
    n_items: int


class Marks(NamedTuple):
    """A thread's memory of what is taken."""

    stamps: NDArray[np.int32]  # (I,)
    tick: NDArray[np.int64]  # (1,) the number of the current draw
    scratch: NDArray[np.int32]  # (CROWDED x most ever asked for,)


@kernel(inline=True)
def filter_bit(item, shift):
    if shift == 0:
        return np.int64(item)
    return np.int64(((np.uint64(item) * _GOLDEN) & _MASK32) >> np.uint64(shift))


@kernel()
def fill_filter(indptr, indices, words, first, shift):
    """Set the bits of every interaction."""
    for user in range(len(first)):
        for k in range(indptr[user], indptr[user + 1]):
            bit = filter_bit(indices[k], shift[user])
            words[first[user] + (bit >> 6)] |= _ONE << np.uint64(bit & 63)


@kernel(inline=True)
def search(indices, low, high, item):
    """Whether sorted indices[low:high] holds `item`."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if indices[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low < end and indices[low] == item


@kernel(inline=True)
def excluded(pool, user, item):
    """Whether the user has `item`."""
    shift = pool.shift[user]
    bit = filter_bit(item, shift)
    word = pool.words[pool.first[user] + (bit >> 6)]
    if (word >> np.uint64(bit & 63)) & _ONE == np.uint64(0):
        return False
    return shift == 0 or search(pool.indices, pool.indptr[user], pool.indptr[user + 1], item)


@kernel(inline=True)
def free_count(pool, user):
    return pool.n_items - (pool.indptr[user + 1] - pool.indptr[user])


@kernel(inline=True)
def nth_free(pool, user, rank):
    """The free item number `rank` (from 0, ascending) of the user."""
    start = pool.indptr[user]
    low, high = np.int64(0), pool.indptr[user + 1] - start
    while low < high:  # first k with row[k] - k > rank
        middle = (low + high) >> 1
        if pool.indices[start + middle] - middle > rank:
            high = middle
        else:
            low = middle + 1
    return rank + low


@kernel(inline=True)
def draw_one(pool, user, state):
    """One free item, or -1 where none is free."""
    n_items = pool.n_items
    free = free_count(pool, user)
    if free * SCARCE < n_items:
        return nth_free(pool, user, below(state, free)) if free > 0 else np.int64(-1)
    item = below(state, n_items)
    while excluded(pool, user, item):
        item = below(state, n_items)
    return item


@kernel(inline=True)
def next_tick(marks):
    """A fresh mark: nothing is taken under it."""
    tick = marks.tick[0] + 1
    if tick >= MAX_TICK:
        marks.stamps[:] = 0
        tick = np.int64(1)
    marks.tick[0] = tick
    return np.int32(tick)


@kernel()
def draw_more(pool, user, count, taken, out, at, marks, mark, state):
    """Up to `count` distinct free items, none stamped with `mark`, into out[at:]; how many.

    `taken` is how many of the user's free items are stamped with `mark` already. What is drawn
    is stamped too.
    """
    n_items = pool.n_items
    stamps = marks.stamps
    free = free_count(pool, user)
    count = min(count, free - taken)
    if count <= 0:
        return np.int64(0)
    end = at + count
    if free <= CROWDED * (count + taken):
        ranks = marks.scratch
        for rank in range(free):
            ranks[rank] = rank
        left = free
        while at < end:
            pick = below(state, left)
            item = nth_free(pool, user, np.int64(ranks[pick]))
            left -= 1
            ranks[pick] = ranks[left]
            if stamps[item] != mark:
                stamps[item] = mark
                out[at] = item
                at += 1
    elif free * SCARCE < n_items:
        while at < end:
            item = nth_free(pool, user, below(state, free))
            if stamps[item] != mark:
                stamps[item] = mark
                out[at] = item
                at += 1
    else:
        while at < end:
            item = below(state, n_items)
            if stamps[item] != mark and not excluded(pool, user, item):
                stamps[item] = mark
                out[at] = item
                at += 1
    return count
