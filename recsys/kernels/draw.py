"""Exact draws without replacement from the items a user has not interacted with.

Three ways, all uniform over ordered choices, taken by how many items are free:

- few free (at most twice what is asked): a partial Fisher-Yates shuffle of all of them;
- under an eighth free: a random rank among the free ones, turned into an item by binary search;
- otherwise: a random item, thrown away if excluded. One bit of the user's filter tells nearly
  always; only where the filter says "perhaps" the user's sorted row is searched.

What is already taken is remembered in a small hash table whose entries carry the number of the
draw, so that nothing is cleared and the table stays in the first-level cache.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel
from recsys.kernels.rng import below, load, store

_GOLDEN = np.uint64(0x9E3779B1)  # 2^32 / golden ratio: Fibonacci hashing
_ONE = np.uint64(1)
_MASK32 = np.uint64(0xFFFFFFFF)
MAX_DRAW = 2**31 - 1
CROWDED = 2  # fewer than this many free items per item asked: shuffle them
SCARCE = 8  # one free item in more than this many: draw ranks


class Pool(NamedTuple):
    """What may not be drawn, by user. All arrays read-only.

    A user's filter has a power of two of bits; `shift` is 32 - log2(bits) and the bit of an item
    is the top bits of a 32-bit hash. shift 0: one bit per item, exact. `users` holds in one cache
    line what a draw needs to know of its user.
    """

    indptr: NDArray[np.int64]  # (U+1,)
    indices: NDArray[np.int32]  # (E,) sorted in each row
    users: NDArray[np.int64]  # (U, 2) first filter word x 64 + shift, free items
    words: NDArray[np.uint64]  # the filters of all users
    n_items: int


class Taken(NamedTuple):
    """A thread's memory of what is taken: open addressing, at most a quarter full."""

    table: NDArray[np.int64]  # (power of two,) number of the draw << 32 | item
    draw: NDArray[np.int64]  # (1,) number of the current draw
    shift: int  # 32 - log2(len(table)); 0: the table has a place for each item
    scratch: NDArray[np.int32]  # (CROWDED x most ever asked for,)


def new_taken(most: int, n_items: int) -> Taken:
    """For at most `most` items at once."""
    log2 = max(4 * most, 2, 1).bit_length()
    exact = n_items <= 1 << log2
    size = n_items if exact else 1 << log2
    table = np.zeros(size if most else 0, np.int64)
    scratch = np.zeros(min(CROWDED * most, n_items), np.int32)
    return Taken(table, np.zeros(1, np.int64), 0 if exact else 32 - log2, scratch)


@kernel(inline=True)
def place_of(item, shift):
    """The place of an item in a filter or table of 2^(32 - shift) places."""
    if shift == 0:
        return np.int64(item)
    return np.int64(((np.uint64(item) * _GOLDEN) & _MASK32) >> np.uint64(shift))


@kernel()
def fill_filters(indptr, indices, users, words):
    """Set the bits of every interaction."""
    for user in range(len(users)):
        first, shift = users[user, 0] >> 6, users[user, 0] & 63
        for k in range(indptr[user], indptr[user + 1]):
            bit = place_of(indices[k], shift)
            words[first + (bit >> 6)] |= _ONE << np.uint64(bit & 63)


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
    where = pool.users[user, 0]
    shift = where & 63
    bit = place_of(item, shift)
    word = pool.words[(where >> 6) + (bit >> 6)]
    if (word >> np.uint64(bit & 63)) & _ONE == np.uint64(0):
        return False
    return shift == 0 or search(pool.indices, pool.indptr[user], pool.indptr[user + 1], item)


@kernel(inline=True)
def free_count(pool, user):
    return pool.users[user, 1]


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
    if free == 0:
        return np.int64(-1)
    numbers = load(state)
    if free * SCARCE < n_items:
        rank, numbers = below(numbers, free)
        item = nth_free(pool, user, rank)
    else:
        item, numbers = below(numbers, n_items)
        while excluded(pool, user, item):
            item, numbers = below(numbers, n_items)
    store(state, numbers)
    return item


@kernel(inline=True)
def next_draw(taken):
    """The number of a new draw, for which nothing is taken."""
    number = taken.draw[0] + 1
    if number >= MAX_DRAW:
        taken.table[:] = 0
        number = np.int64(1)
    taken.draw[0] = number
    return number


@kernel(inline=True)
def take(taken, number, item):
    """Mark an item; whether it was not taken before."""
    table = taken.table
    entry = (number << 32) | np.int64(item)
    place = place_of(item, taken.shift)
    while table[place] >> 32 == number:
        if table[place] == entry:
            return False
        place = (place + 1) & (len(table) - 1)
    table[place] = entry
    return True


@kernel()
def draw_more(pool, user, count, already, out, at, taken, number, state):
    """Up to `count` distinct free items, none taken in draw `number`, into out[at:]; how many.

    `already` is how many of the user's free items that draw has taken. What is drawn is taken.
    """
    n_items = pool.n_items
    free = free_count(pool, user)
    count = min(count, free - already)
    if count <= 0:
        return np.int64(0)
    end = at + count
    numbers = load(state)
    if free <= CROWDED * (count + already):
        ranks = taken.scratch
        for rank in range(free):
            ranks[rank] = rank
        left = free
        while at < end:
            pick, numbers = below(numbers, left)
            item = nth_free(pool, user, np.int64(ranks[pick]))
            left -= 1
            ranks[pick] = ranks[left]
            if take(taken, number, item):
                out[at] = item
                at += 1
    elif free * SCARCE < n_items:
        while at < end:
            rank, numbers = below(numbers, free)
            item = nth_free(pool, user, rank)
            if take(taken, number, item):
                out[at] = item
                at += 1
    else:
        while at < end:
            item, numbers = below(numbers, n_items)
            if not excluded(pool, user, item) and take(taken, number, item):
                out[at] = item
                at += 1
    store(state, numbers)
    return count
