"""The two value types that say who interacted with what: `CSR` and `Interactions`.

Shapes: U users, I items, E interactions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.errors import InputError

MAX_ITEMS = 2**31 - 1


def frozen(array: NDArray, dtype: type) -> NDArray:
    """`array` as a contiguous read-only array of `dtype` (copied only if necessary).

    All arrays are read-only, because those from Ray's object store are, and numba would compile a
    second specialisation for writable ones.
    """
    result: NDArray = np.ascontiguousarray(array, dtype=dtype)
    if result.flags.writeable:
        result = result.copy() if result is array else result
        result.setflags(write=False)
    return result


@dataclass(frozen=True, eq=False)
class CSR:
    """A set of (user, item) pairs in compressed rows.

    indptr: int64 (U+1,), indices: int32 (E,), strictly ascending inside a row (hence no
    duplicates). values: float32 (E,), how much each pair counts for models that ask for it (its
    rating, or how often it occurs), above 0; None: all alike. All are read-only.
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    n_items: int
    values: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "indptr", frozen(self.indptr, np.int64))
        object.__setattr__(self, "indices", frozen(self.indices, np.int32))
        assert self.indptr[0] == 0
        assert self.indptr[-1] == len(self.indices)
        if self.values is not None:
            object.__setattr__(self, "values", frozen(self.values, np.float32))
            assert len(self.values) == len(self.indices)

    @staticmethod
    def from_pairs(users: NDArray, items: NDArray, n_users: int, n_items: int) -> CSR:
        """Build from E pairs in any order; duplicates are merged.

        users, items: integers (E,), below `n_users` and `n_items`. Raises InputError for more than
        `MAX_ITEMS` items.
        """
        if n_items > MAX_ITEMS:
            raise InputError(f"{n_items} items: at most {MAX_ITEMS} are supported")
        key = np.asarray(users, np.int64) * max(n_items, 1) + np.asarray(items, np.int64)
        key.sort()  # not np.unique: its hashing of integers is many times slower than a sort
        key = key[np.concatenate([[True], key[1:] != key[:-1]])] if len(key) else key
        rows, cols = np.divmod(key, max(n_items, 1))
        indptr = np.zeros(n_users + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=n_users), out=indptr[1:])
        return CSR(indptr, cols.astype(np.int32), n_items)

    @property
    def n_users(self) -> int:
        """U, including users without any item."""
        return len(self.indptr) - 1

    @property
    def nnz(self) -> int:
        """E, the number of pairs."""
        return len(self.indices)

    def degrees(self) -> NDArray[np.int64]:
        """Interactions per user, int64 (U,)."""
        return np.diff(self.indptr)

    @cached_property
    def squares(self) -> int:
        """The sum of squared interactions per user: how often two items, equal or not, meet."""
        degrees = self.degrees().astype(np.float64)
        return int(degrees @ degrees)

    def item_counts(self) -> NDArray[np.int64]:
        """Interactions per item, int64 (I,)."""
        return np.bincount(self.indices, minlength=self.n_items).astype(np.int64)

    def row(self, user: int) -> NDArray[np.int32]:
        """The items of one user, int32, ascending."""
        return self.indices[self.indptr[user] : self.indptr[user + 1]]

    def rows(self) -> Iterator[NDArray[np.int32]]:
        """The items of each user in turn, as int32 views, ascending."""
        return (self.row(u) for u in range(self.n_users))

    def users(self) -> NDArray[np.int32]:
        """The user of each interaction, int32 (E,), aligned with `indices`."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.degrees())

    def union(self, *others: CSR) -> CSR:
        """All pairs of this and `others` (same U and I), with values if all that have pairs have
        them; of a pair in several parts, the first value counts.
        """
        parts = [part for part in (self, *others) if part.nnz]
        if len(parts) < 2:  # nothing to join
            return parts[0] if parts else self
        users = np.concatenate([part.users() for part in parts])
        items = np.concatenate([part.indices for part in parts])
        joined = CSR.from_pairs(users, items, self.n_users, self.n_items)
        values = [part.values for part in parts if part.values is not None]
        if len(values) < len(parts):
            return joined
        key = users.astype(np.int64) * max(self.n_items, 1) + items
        order = np.argsort(key, kind="stable")
        first = np.concatenate([[True], np.diff(key[order]) != 0])
        return joined.with_values(np.concatenate(values)[order[first]])

    def with_values(self, values: NDArray | None) -> CSR:
        """The same pairs with these values, (E,), or with none."""
        return CSR(self.indptr, self.indices, self.n_items, values)

    def overlap(self, other: CSR) -> int:
        """How many pairs are in both."""
        width = max(self.n_items, 1)
        mine = self.users().astype(np.int64) * width + self.indices
        theirs = other.users().astype(np.int64) * width + other.indices
        return len(np.intersect1d(mine, theirs, assume_unique=True))

    def digest(self) -> str:
        """16 hex digits that change whenever a pair changes; values do not count."""
        sha = hashlib.sha256()
        sha.update(f"{self.n_users}x{self.n_items}".encode())
        sha.update(self.indptr.tobytes())
        sha.update(self.indices.tobytes())
        return sha.hexdigest()[:16]


def rows_of(csr: CSR, users: NDArray) -> CSR:
    """The rows of `users`, one for each, in that order, with their values."""
    users = np.asarray(users, np.int64)
    start = csr.indptr[users]
    size = csr.indptr[users + 1] - start  # of these alone: there may be millions of others
    indptr = np.concatenate([[0], np.cumsum(size)])
    at = np.arange(indptr[-1]) + np.repeat(start - indptr[:-1], size)
    values = None if csr.values is None else csr.values[at]
    return CSR(indptr, csr.indices[at], csr.n_items, values)


def no_pairs(n_users: int, n_items: int) -> CSR:
    """A CSR without any pairs."""
    return CSR(np.zeros(n_users + 1, np.int64), np.zeros(0, np.int32), n_items)


def nothing_like(csr: CSR) -> CSR:
    """A CSR without any pairs, for the users and items of `csr`."""
    return no_pairs(csr.n_users, csr.n_items)


def popular_items(csr: CSR, k: int) -> NDArray[np.int32]:
    """The k items with the most users, int32 (k,); at equal numbers the lower item comes first;
    padded with -1.
    """
    popular = np.full(k, -1, np.int32)
    best = np.argsort(-csr.item_counts(), kind="stable")[:k]
    popular[: len(best)] = best
    return popular


def subset(csr: CSR, keep: NDArray[np.bool_]) -> CSR:
    """The pairs of `csr` where `keep` (E,) is true, with their values."""
    kept = np.concatenate([[0], np.cumsum(keep)])
    values = None if csr.values is None else csr.values[keep]
    return CSR(kept[csr.indptr], csr.indices[keep], csr.n_items, values)


def contained(csr: CSR, part: CSR) -> NDArray[np.bool_]:
    """Which pairs of `csr` are also in `part`, bool (E,)."""
    width = max(csr.n_items, 1)
    mine = csr.users().astype(np.int64) * width + csr.indices
    theirs = part.users().astype(np.int64) * width + part.indices
    return np.isin(mine, theirs, assume_unique=True)


def contested(
    seen_U: NDArray[np.int64], held_U: NDArray[np.int64], n_items: int
) -> NDArray[np.bool_]:
    """Which users have held-out items and another unseen item that competes with them, bool (U,).

    seen_U, held_U: how many items each has seen, and how many are held out. For other users with
    held-out items every order is perfect: whatever is recommended was held out.
    """
    return np.asarray((held_U > 0) & (n_items - seen_U > held_U))


@dataclass(frozen=True, eq=False)
class Repeats:
    """The R rows of a data set that repeat a pair, so that what was known at any time is counted.

    pair: int64 (R,), the place of the pair in a CSR. rank: int32 (R,), how far the user's history
    had come: the rank of the latest pair that had begun. when: int64 (R,), seconds since 1970, if
    known.
    """

    pair: NDArray[np.int64]
    rank: NDArray[np.int32]
    when: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "pair", frozen(self.pair, np.int64))
        object.__setattr__(self, "rank", frozen(self.rank, np.int32))
        assert len(self.rank) == len(self.pair)
        if self.when is not None:
            object.__setattr__(self, "when", frozen(self.when, np.int64))
            assert len(self.when) == len(self.pair)

    def of(self, known: NDArray[np.bool_]) -> Repeats:
        """Those of the rows where `known` (R,) is true."""
        when = None if self.when is None else self.when[known]
        return Repeats(self.pair[known], self.rank[known], when)

    def counts(self, pairs: int) -> NDArray[np.float32]:
        """How often each of E pairs occurs, float32 (E,): once, and each time it is repeated."""
        return (1 + np.bincount(self.pair, minlength=pairs)).astype(np.float32)

    def within(self, kept: NDArray[np.bool_]) -> Repeats:
        """The repeats of those of E pairs that are `kept`, in their CSR (see `subset`)."""
        place = np.cumsum(kept) - 1
        own = self.of(kept[self.pair])
        return Repeats(place[own.pair], own.rank, own.when)


@dataclass(frozen=True, eq=False)
class Interactions:
    """The content of a data set, with the maps back to the ids of the file.

    csr: the pairs. rank: int32 (E,), aligned with `csr.indices`: the position of the pair in its
    user's history, 0 for the earliest. ordered: whether that order is real (by timestamps, or by
    lists in chronological order) or only that of the file. order_problem: why a column of times
    gives no order, otherwise "". time_span: the first and the last time, in seconds since 1970, if
    known. when: the time of each pair, int64 (E,), if known. user_ids (U,), item_ids (I,): int64
    arrays if every id is an integer, otherwise object arrays of str; the index is the internal id.
    duplicates: rows that repeated a pair. notes: for the user.

    `csr` has values where the reader was asked for them and the data have any: ratings, or how
    often each pair occurs. repeats: of values that are counts; otherwise None. unvalued: why there
    are no values though asked for, otherwise "".
    """

    csr: CSR
    rank: NDArray[np.int32]
    user_ids: NDArray
    item_ids: NDArray
    ordered: bool
    name: str = "data"
    duplicates: int = 0
    notes: tuple[str, ...] = field(default=())
    order_problem: str = ""
    time_span: tuple[int, int] | None = None
    when: NDArray[np.int64] | None = None
    repeats: Repeats | None = None
    unvalued: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", frozen(self.rank, np.int32))
        if self.when is not None:
            object.__setattr__(self, "when", frozen(self.when, np.int64))
            assert len(self.when) == self.csr.nnz
        assert len(self.rank) == self.csr.nnz
        assert len(self.user_ids) == self.csr.n_users
        assert len(self.item_ids) == self.csr.n_items

    @property
    def n_users(self) -> int:
        """U, the length of `user_ids`."""
        return self.csr.n_users

    @property
    def n_items(self) -> int:
        """I, the length of `item_ids`."""
        return self.csr.n_items

    @property
    def nnz(self) -> int:
        """E, the number of distinct pairs."""
        return self.csr.nnz

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders by which this data can be split."""
        known = {"random": True, "latest": self.ordered, "time": self.when is not None}
        return tuple(order for order, there in known.items() if there)

    def digest(self) -> str:
        """`CSR.digest` of the pairs; it does not depend on ids, order and values."""
        return self.csr.digest()

    def values_digest(self) -> str:
        """16 hex digits that change with any value of a pair; "" where there are none."""
        if self.csr.values is None:
            return ""
        return hashlib.sha256(self.csr.values.tobytes()).hexdigest()[:16]
