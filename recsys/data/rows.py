"""What is collected while files are read in batches: ids, ratings, times, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import BadCellError
from recsys.data.ids import IdColumn
from recsys.data.names import NEEDED, Found, columns_option, unused_note
from recsys.data.ratings import RatingColumn
from recsys.data.times import TimeColumn


@dataclass
class Rows:
    """What has been read so far, of a single table or of several parts (train, valid, test)."""

    min_rating: float | None = None
    keep_ratings: bool = False
    users: IdColumn = field(default_factory=lambda: IdColumn("user"))
    items: IdColumn = field(default_factory=lambda: IdColumn("item"))
    ratings: RatingColumn = field(init=False)
    times: TimeColumn = field(default_factory=TimeColumn)
    # the lists that begin with `part_` have an entry for each file
    part_rows: list[int] = field(default_factory=list)  # pairs
    part_users: list[int] = field(default_factory=list)  # ids in `users`
    part_lists: list[bool] = field(default_factory=list)  # under the header of the list format
    part_lines: list[bool] = field(default_factory=list)  # one line per user, in no order
    part_disorder: list[str] = field(default_factory=list)  # why its lists are in no order, or ""
    part_timed: list[bool] = field(default_factory=list)
    part_rated: list[bool] = field(default_factory=list)
    repeats: list[NDArray[np.int64]] = field(default_factory=list)  # pairs of each id in `users`
    file_rows: int = 0  # rows of the file so far, before `min_rating`

    several: bool = False  # whether a row with more than one item was read, so there are lists
    one_item: str | None = None  # the option which says that cells are one item; "" if it is given

    column_notes: dict[str, None] = field(default_factory=dict)  # each once, in order
    unused: dict[str, None] = field(default_factory=dict)  # names of columns, likewise

    def __post_init__(self) -> None:
        self.ratings = RatingColumn(self.min_rating, keep=self.keep_ratings)

    def begin_part(self, label: str) -> None:
        """The next rows are from the file that messages call `label`."""
        self.times.begin(label)
        self.users.begin()
        self.items.begin()
        self.file_rows = 0
        self.part_rows.append(0)
        self.part_users.append(0)
        self.part_lists.append(False)
        self.part_lines.append(False)
        self.part_disorder.append("")
        self.part_timed.append(False)
        self.part_rated.append(False)

    def drop_part(self) -> None:
        """Forget the file that began last, since it has no rows."""
        self.times.drop()
        self.users.drop()
        self.items.drop()
        for own in (self.part_rows, self.part_users):
            rows = own.pop()
            assert rows == 0
        self.part_disorder.pop()
        for flags in (self.part_lists, self.part_lines, self.part_timed, self.part_rated):
            flags.pop()

    def begin_columns(self, found: Found, names: Sequence[str]) -> None:
        """The file that began last has the columns `names`, which are used as `found` says."""
        rated = found.columns.get("rating")
        if found.named:
            self.one_item = ""
        elif found.headed and self.one_item is None:
            self.one_item = columns_option(*(names[found.columns[role]] for role in NEEDED))
        self.ratings.begin(len(self.part_rows) - 1, "" if rated is None else names[rated])
        self.column_notes.update(dict.fromkeys(found.notes))
        self.unused.update(dict.fromkeys(found.unused))

    def add(
        self,
        users: pa.Array,
        items: pa.Array,
        ratings: pa.Array | None,
        times: pa.Array | None,
        counts: NDArray[np.int64] | None = None,
    ) -> None:
        """Append a batch of pairs; those with a rating below `min_rating` are left out.

        counts: how many of the pairs each row of the file has, (n,); None: one each.
        """
        height = len(users) if counts is None else len(counts)
        places = np.arange(self.file_rows, self.file_rows + height)
        places = places if counts is None else np.repeat(places, counts)
        self.file_rows += height
        self.several = self.several or (counts is not None and bool((counts > 1).any()))
        if ratings is not None:
            self.part_rated[-1] = True
            keep = self.ratings.add(ratings, places)
            if keep is not None:
                for role, ids in (("user", users), ("item", items)):
                    _check_empty(role, ids)
                kept = pa.array(keep)
                users, items = users.filter(kept), items.filter(kept)
                times = times if times is None else times.filter(kept)
                places = places[keep]
        self.users.add(users)
        self.items.add(items)
        if times is not None:
            self.times.add(times, places)
            self.part_timed[-1] = True
        self.repeats.append(np.ones(len(users), np.int64))
        self.part_rows[-1] += len(users)
        self.part_users[-1] += len(users)

    def leave_out_ratings(self, at: int, what: str) -> None:
        """Do without the ratings, because of `what` is wrong with row `at` of the next batch."""
        self.ratings.leave_out(self.file_rows + at, what)

    def leave_out_times(self, at: int, what: str) -> None:
        """Do without the times of the file that began last; parameters as above."""
        self.times.leave_out(self.file_rows + at, what)
        self.part_timed[-1] = True

    def leave_out_order(self, why: str) -> None:
        """The lists of the file that began last are in no order; why: the reason, for messages."""
        self.part_disorder[-1] = self.part_disorder[-1] or why

    def notes(self) -> list[str]:
        """What the user should know about the columns, once all was read and coded."""
        notes = [*self.ratings.finish(), *self.column_notes]
        if self.unused:
            notes.append(unused_note(list(self.unused)))
        return [*notes, *self.users.notes, *self.items.notes]

    def add_counted(
        self, users: pa.Array, items: pa.Array, counts: NDArray[np.int64], *, listed: bool = True
    ) -> None:
        """Append users (n,) with their items. items: of all users in turn. counts: how many each
        has, (n,).

        listed: whether these are lists, one per user, in the order of time (see `leave_out_order`).
        """
        self.users.add(users)
        self.items.add(items)
        self.repeats.append(counts)
        self.several = self.several or bool((counts > 1).any())
        self.file_rows += len(users)
        self.part_rows[-1] += len(items)
        self.part_users[-1] += len(users)
        self.part_lists[-1], self.part_lines[-1] = listed, not listed


def _check_empty(role: str, ids: pa.Array) -> None:
    if pa.types.is_string(ids.type):
        empty = pc.index(ids, pa.scalar("", ids.type)).as_py()
        if empty >= 0:
            raise BadCellError(role, empty, "is empty: expected an id")
