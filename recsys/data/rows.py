"""Columns as they grow while a file is read batch by batch: ids, and which file it was.

Ids are kept as int64 as long as every one of them is a canonical decimal, afterwards as codes
into the distinct strings, so that memory stays near 8 bytes an id.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import BadCellError, finite
from recsys.data.times import TimeColumn

MISSING = frozenset({"nan", "na", "n/a", "null", "none", "nat", "<na>"})


def canonical_integers(texts: pa.Array) -> NDArray[np.int64] | None:
    """`texts` as int64 if each is the decimal that int64 would print ("007" is not), else None."""
    try:
        numbers = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        return None
    if not pc.all(pc.equal(pc.cast(numbers, texts.type), texts)).as_py():
        return None
    return numbers.to_numpy(zero_copy_only=False)


class IdColumn:
    """Ids of any number of batches."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._chunks: list[NDArray[np.int64] | tuple[NDArray[np.int32], NDArray]] = []
        self._all_integers = True

    def add(self, ids: pa.Array) -> None:
        """Append ids (int64 or string, without nulls). `BadCellError` for an empty one."""
        if pa.types.is_integer(ids.type):
            self._chunks.append(ids.cast(pa.int64()).to_numpy(zero_copy_only=False))
            return
        numbers = canonical_integers(ids) if self._all_integers else None
        if numbers is not None:
            self._chunks.append(numbers)
            return
        self._all_integers = False  # an attempt that fails costs more than the rest of the work
        empty = pc.index(ids, pa.scalar("", ids.type)).as_py()
        if empty >= 0:
            raise BadCellError(self._role, empty, "is empty: expected an id")
        packed = ids.dictionary_encode()
        names = packed.dictionary.to_numpy(zero_copy_only=False).astype(object)
        self._chunks.append((packed.indices.to_numpy(zero_copy_only=False), names))

    def finish(self) -> tuple[NDArray[np.int64], NDArray]:
        """(codes int64 (R,), ids (n,) ascending): ids[codes] are the rows in order of addition.

        `BadCellError` if all ids are integers but for markers of a missing value.
        """
        chunks, self._chunks = self._chunks, []
        if all(isinstance(chunk, np.ndarray) for chunk in chunks):
            values = np.concatenate([np.empty(0, np.int64), *chunks])
            return _coded(values)
        texts: list[NDArray] = []
        codes: list[NDArray] = []
        known = 0
        for chunk in chunks:
            if isinstance(chunk, np.ndarray):
                own_codes, numbers = _coded(chunk)
                own = numbers.astype(str).astype(object)
            else:
                own_codes, own = chunk[0].astype(np.int64), chunk[1]
            codes.append(own_codes + known)
            texts.append(own)
            known += len(own)
        across, ids = _coded(np.concatenate(texts))
        self._check_missing(ids)
        return across[np.concatenate(codes)], ids

    def _check_missing(self, ids: NDArray) -> None:
        missing = [name for name in ids if name.lower() in MISSING]
        if missing and all(
            name in missing or canonical_integers(pa.array([name])) is not None for name in ids
        ):
            what = "is a missing value among integer ids: expected an id"
            raise BadCellError(self._role, None, f"{missing[0]!r} {what}")


def _coded(values: NDArray) -> tuple[NDArray[np.int64], NDArray]:
    """(codes, distinct values ascending)."""
    codes, distinct = pd.factorize(values)
    order = np.argsort(distinct, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[codes], distinct[order]


@dataclass
class Rows:
    """What has been read so far, of one file or of several parts (train, valid, test)."""

    min_rating: float | None = None
    users: IdColumn = field(default_factory=lambda: IdColumn("user"))
    items: IdColumn = field(default_factory=lambda: IdColumn("item"))
    times: TimeColumn = field(default_factory=TimeColumn)
    part_rows: list[int] = field(default_factory=list)  # pairs of each part
    part_users: list[int] = field(default_factory=list)  # ids in `users` of each part
    part_lists: list[bool] = field(default_factory=list)  # under the header of the list format
    part_timed: list[bool] = field(default_factory=list)
    part_rated: list[bool] = field(default_factory=list)
    repeats: list[NDArray[np.int64]] = field(default_factory=list)  # pairs of each id in `users`
    read: int = 0  # pairs before `min_rating`
    part_read: int = 0  # lines of the file that is being read
    file_rows: int = 0  # rows of that file so far, before `min_rating`
    best_rating: float = -np.inf
    poor: int = 0  # pairs with a rating of 0 or less

    def begin_part(self, label: str) -> None:
        """The next rows come from the file that messages call `label`."""
        self.times.begin(label)
        self.file_rows = 0
        self.part_rows.append(0)
        self.part_users.append(0)
        self.part_lists.append(False)
        self.part_timed.append(False)
        self.part_rated.append(False)

    def drop_part(self) -> None:
        """Forget the file that began: it turned out to have no rows."""
        self.times.drop()
        for own in (self.part_rows, self.part_users):
            assert own.pop() == 0
        for flags in (self.part_lists, self.part_timed, self.part_rated):
            flags.pop()

    def add(
        self,
        users: pa.Array,
        items: pa.Array,
        ratings: NDArray[np.float64] | None,
        times: pa.Array | None,
    ) -> None:
        """Append one batch of pairs; ratings below `min_rating` are left out."""
        self.read += len(users)
        places = np.arange(self.file_rows, self.file_rows + len(users))
        self.file_rows += len(users)
        if ratings is not None:
            self.part_rated[-1] = True
            finite("rating", ratings)
            self.best_rating = max(self.best_rating, float(ratings.max(initial=-np.inf)))
            self.poor += int((ratings <= 0).sum())
            if self.min_rating is not None:
                for role, ids in (("user", users), ("item", items)):
                    _check_empty(role, ids)
                keep = pa.array(ratings >= self.min_rating)
                users, items = users.filter(keep), items.filter(keep)
                times = times if times is None else times.filter(keep)
                places = places[ratings >= self.min_rating]
        self.users.add(users)
        self.items.add(items)
        if times is not None:
            self.times.add(times, places)
            self.part_timed[-1] = True
        self.repeats.append(np.ones(len(users), np.int64))
        self.part_rows[-1] += len(users)
        self.part_users[-1] += len(users)

    def add_lists(self, users: pa.Array, lists: pa.Array) -> None:
        """Append users with the text of their lists, items separated by blanks."""
        trimmed = pc.ascii_trim_whitespace(lists)
        parts = pc.ascii_split_whitespace(trimmed)
        counts = pc.list_value_length(parts).to_numpy(zero_copy_only=False).astype(np.int64)
        empty = pc.equal(trimmed, pa.scalar("", trimmed.type)).to_numpy(zero_copy_only=False)
        items = parts.flatten()
        if empty.any():  # the split of "" is one empty item
            items = items.filter(pc.not_equal(items, pa.scalar("", items.type)))
            counts[empty] = 0
        self.add_counted(users, items, counts)

    def add_counted(self, users: pa.Array, items: pa.Array, counts: NDArray[np.int64]) -> None:
        """Append users with their lists. items: of all lists; counts: how many of each, (n,)."""
        self.users.add(users)
        self.items.add(items)
        self.repeats.append(counts)
        self.read += len(items)
        self.part_rows[-1] += len(items)
        self.part_users[-1] += len(users)
        self.part_lists[-1] = True


def _check_empty(role: str, ids: pa.Array) -> None:
    if not pa.types.is_integer(ids.type):
        empty = pc.index(ids, pa.scalar("", ids.type)).as_py()
        if empty >= 0:
            raise BadCellError(role, empty, "is empty: expected an id")
