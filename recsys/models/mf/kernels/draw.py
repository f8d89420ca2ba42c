"""Exact draws without replacement from the items that are free for a user: not in the user's row.

There are three ways, all uniform over ordered choices. The number of free items decides:

- few are free (at most twice the number asked for): a partial Fisher-Yates shuffle of them all;
- less than an eighth are free: a random rank among them, turned into an item by binary search;
- otherwise: a random item, drawn again if it is excluded. One word of the user's filter nearly
  always decides that; only if it says "perhaps" is the user's sorted row searched.

Items already taken are in a small hash table whose entries include the number of the draw, so that
nothing needs to be cleared and the table stays in the first-level cache.
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
EXACT = 63  # instead of log2(words): the filter has one bit per item
MAX_DRAW = 2**31 - 1
CROWDED = 2  # at most this many free items per item asked for: shuffle them
SCARCE = 8  # fewer than one item in this many is free: draw ranks


class Pool(NamedTuple):
    """What may not be drawn, for each user. All arrays are read-only.

    The filter of a user has 2^log2 words; an item sets up to three bits in one of them (a Bloom
    filter in blocks of one word, Putze et al. 2007). If log2 is EXACT, it has one bit per item.
    `users` keeps what a draw needs to know about its user in one cache line.
    """

    indptr: NDArray[np.int64]  # (U+1,)
    indices: NDArray[np.int32]  # (E,) sorted in each row
    users: NDArray[np.int64]  # (U, 2) first filter word x 64 + log2, free items
    words: NDArray[np.uint64]  # the filters of all users
    n_items: int


class Taken(NamedTuple):
    """The items that a thread has taken: a hash table with open addressing, at most a quarter full,
    or a table with a place for each item.
    """

    table: NDArray[np.int64]  # (a power of two or I,) number of the draw << 32 | item
    draw: NDArray[np.int64]  # (1,) number of the current draw
    shift: int  # 32 - log2(len(table)); 0: the table has a place for each item
    scratch: NDArray[np.int32]  # (CROWDED x the most ever asked for, at most I,)


def new_taken(most: int, n_items: int) -> Taken:
    """Memory for draws of at most `most` items at once, from `n_items` items."""
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
    """(number of the word, uint64 with the bits in it) of an item in a user's filter.

    where: pool.users[user, 0].
    """
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
    """Set the bits of every interaction in `words`.

    indptr: int64 (U+1,), indices: int32 (E,). users, words: as in `Pool`.
    """
    for user in range(len(users)):
        for k in range(indptr[user], indptr[user + 1]):
            word, bits = filter_bits(indices[k], users[user, 0])
            words[word] |= bits


@kernel(inline=True)
def excluded(pool, user, where, item):
    """Whether `item` may not be drawn for the user. where: pool.users[user, 0]."""
    word, bits = filter_bits(item, where)
    if pool.words[word] & bits != bits:
        return False
    if where & 63 == EXACT:
        return True
    return holds(pool.indices, pool.indptr[user], pool.indptr[user + 1], item)


@kernel(inline=True)
def free_count(pool, user):
    """How many items may be drawn for the user."""
    return pool.users[user, 1]


@kernel(inline=True)
def nth_free(pool, user, rank):
    """The free item of the user with the number `rank`, from 0 in ascending order."""
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
    """One free item, int64, or -1 if none is free. state: uint64 (4,), of `rng`."""
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
    """The number of a new draw, in which nothing is taken yet."""
    number = taken.draw[0] + 1
    if number >= MAX_DRAW:
        taken.table[:] = 0
        number = np.int64(1)
    taken.draw[0] = number
    return number


@kernel(inline=True)
def take(taken, number, item):
    """Mark an item as taken in draw `number`; returns whether it was not taken before."""
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
    """Draw up to `count` distinct free items that are not taken in draw `number`; returns how many.

    They are written to out[at:], int32, and marked as taken. already: how many of the user's free
    items this draw has taken before. state: uint64 (4,), of `rng`.
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
