"""Exact draws without replacement from the items a user has not interacted with.

Three ways, all uniform over ordered choices, taken by how many items are free:

- few free (at most twice what is asked): a partial Fisher-Yates shuffle of all of them;
- under an eighth free: a random rank among the free ones, turned into an item by binary search;
- otherwise: a random item, thrown away if excluded. One word of the user's filter tells nearly
  always; only where it says "perhaps" the user's sorted row is searched.

What is already taken is remembered in a small hash table whose entries carry the number of the
draw, so that nothing is cleared and the table stays in the first-level cache.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel
from recsys.kernels.lookup import holds
from recsys.models.mf.kernels.rng import below, load, store

# 2^32 and 2^64 over the golden ratio: Fibonacci hashing
_GOLDEN, _GOLDEN64 = np.uint64(0x9E3779B1), np.uint64(0x9E3779B97F4A7C15)
_ONE, _20, _26, _32, _38 = (np.uint64(k) for k in (1, 20, 26, 32, 38))
_MASK6 = np.uint64(63)
_MASK32 = np.uint64(0xFFFFFFFF)
EXACT = 63  # in the place of log2(words): the filter has one bit an item
MAX_DRAW = 2**31 - 1
CROWDED = 2  # fewer than this many free items per item asked: shuffle them
SCARCE = 8  # one free item in more than this many: draw ranks


class Pool(NamedTuple):
    """What may not be drawn, by user. All arrays read-only.

    The filter of a user is 2^log2 words; an item sets three bits in one of them (a Bloom filter
    in blocks of a word, Putze et al. 2007). log2 = EXACT: one bit an item. `users` holds in one
    cache line what a draw needs to know of its user.
    """

    indptr: NDArray[np.int64]  # (U+1,)
    indices: NDArray[np.int32]  # (E,) sorted in each row
    users: NDArray[np.int64]  # (U, 2) first filter word x 64 + log2, free items
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
    """The place of an item in a table of 2^(32 - shift) places; shift 0: one for each item."""
    if shift == 0:
        return np.int64(item)
    return np.int64(((np.uint64(item) * _GOLDEN) & _MASK32) >> np.uint64(shift))


@kernel(inline=True)
def filter_bits(item, where):
    """(word, bits in it) of an item in the filter that `where` = pool.users[user, 0] describes."""
    first, log2 = where >> 6, where & 63
    if log2 == EXACT:
        return first + (np.int64(item) >> 6), _ONE << (np.uint64(item) & _MASK6)
    bits = np.uint64(item) * _GOLDEN64
    word = (bits >> _38) & ((_ONE << np.uint64(log2)) - _ONE)
    mask = _ONE << ((bits >> _20) & _MASK6)
    mask |= _ONE << ((bits >> _26) & _MASK6)
    mask |= _ONE << ((bits >> _32) & _MASK6)
    return first + np.int64(word), mask


@kernel()
def fill_filters(indptr, indices, users, words):
    """Set the bits of every interaction."""
    for user in range(len(users)):
        for k in range(indptr[user], indptr[user + 1]):
            word, bits = filter_bits(indices[k], users[user, 0])
            words[word] |= bits


@kernel(inline=True)
def excluded(pool, user, where, item):
    """Whether the user has `item`; where: pool.users[user, 0], read once for many items."""
    word, bits = filter_bits(item, where)
    if pool.words[word] & bits != bits:
        return False
    if where & 63 == EXACT:
        return True
    return holds(pool.indices, pool.indptr[user], pool.indptr[user + 1], item)


@kernel(inline=True)
def free_count(pool, user):
    """How many items the user may get as negatives."""
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
        where = pool.users[user, 0]
        while excluded(pool, user, where, item):
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
        where = pool.users[user, 0]
        while at < end:
            item, numbers = below(numbers, n_items)
            if not excluded(pool, user, where, item) and take(taken, number, item):
                out[at] = item
                at += 1
    store(state, numbers)
    return count
