"""From columns of ids to coded pairs, and from pairs to rows in the order of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.data.cells import ColumnProblem
from recsys.data.rows import Rows
from recsys.data.several import joined, padding
from recsys.errors import InputError
from recsys.interactions import CSR, MAX_ITEMS, Repeats


@dataclass(frozen=True, eq=False)
class Pairs:
    """All E pairs of all parts, in the order of the files, duplicates included.

    users, items: int64 (E,), codes into `user_ids` (U,) and `item_ids` (I,), which ascend.
    bounds: where each part begins, and the end. lists: for each part, whether it has lists, one per
    user. disorder: the first file that a search sees whose lists are in no order, and why; or None.
    twice: for each part, a user id with two rows if users should have one row each, or None.
    ratings: float32 (E,), if asked for and every pair has one. times:
    keys to sort the parts that a search sees by; None, with a `time_problem`, if times cannot be
    compared. time_span, seconds: as in `Times`.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    times: NDArray | None
    time_problem: ColumnProblem | None
    time_notes: Sequence[str]
    time_span: tuple[int, int] | None
    seconds: NDArray[np.int64] | None
    user_ids: NDArray
    item_ids: NDArray
    bounds: NDArray[np.int64]
    lists: Sequence[bool]
    disorder: tuple[int, str] | None
    twice: Sequence[object | None]
    ratings: NDArray[np.float32] | None = None

    def part(self, n: int) -> CSR:
        """The pairs of part `n`, as a set."""
        at = slice(self.bounds[n], self.bounds[n + 1])
        return CSR.from_pairs(
            self.users[at], self.items[at], len(self.user_ids), len(self.item_ids)
        )

    def valued_part(self, n: int, *, rated: bool) -> CSR:
        """The same with values: the rating of the first row of each pair if `rated`, otherwise the
        number of its rows.
        """
        at = slice(self.bounds[n], self.bounds[n + 1])
        key = self.users[at] * max(len(self.item_ids), 1) + self.items[at]
        _, first, counts = np.unique(key, return_index=True, return_counts=True)
        if not rated:
            return self.part(n).with_values(counts)
        assert self.ratings is not None
        return self.part(n).with_values(self.ratings[at][first])

    def ordered(self, parts: int) -> bool:
        """Whether the order of pairs in the first `parts` parts is that of time."""
        return self.times is not None or all(self.lists[:parts])


def code(rows: Rows, files: Sequence[int], search_parts: int) -> Pairs:
    """Number the ids of `rows`, and empty it. Raises BadCellError for a marker of a missing value.

    files: from how many files each part was read. search_parts: how many parts a search sees; only
    there do times matter, since a test part has no history to order.
    """
    edges = np.concatenate([[0], np.cumsum(files)])
    times = rows.times.finish(int(edges[search_parts]))
    filled = [n for n in range(edges[search_parts]) if rows.part_rows[n]]
    timed = [n for n in filled if rows.part_timed[n]]
    problem = times.problem
    if timed and len(timed) < len(filled):
        untimed = next(n for n in filled if not rows.part_timed[n])
        problem = ColumnProblem(untimed, None, "is not there, though other files have times")
    row_users, user_ids = rows.users.finish()
    items, item_ids = rows.items.finish()
    if len(item_ids) > MAX_ITEMS or len(user_ids) > MAX_ITEMS:
        raise InputError(f"{len(item_ids)} items: at most {MAX_ITEMS} are supported")
    repeats = np.concatenate([np.empty(0, np.int64), *rows.repeats])
    starts = np.concatenate([[0], np.cumsum(rows.part_users)])[edges]
    bounds = np.concatenate([[0], np.cumsum(rows.part_rows)])[edges]
    lists, twice = [], []
    for n in range(len(files)):
        own = slice(starts[n], starts[n + 1])
        could_be_list = any(rows.part_lists[edges[n] : edges[n + 1]])
        is_list = could_be_list and bool((repeats[own] > 1).any())
        if could_be_list and not is_list:  # one item per row: these are lists if no user repeats
            is_list = len(np.unique(row_users[own])) == starts[n + 1] - starts[n]
        lists.append(is_list)
        alone = is_list or any(rows.part_lines[edges[n] : edges[n + 1]])  # one row per user
        twice.append(_first_twice(row_users[own], user_ids) if alone else None)
        if is_list:
            rows.items.notes += padding(items[bounds[n] : bounds[n + 1]], repeats[own], item_ids)
    if not rows.several:
        rows.items.notes += joined(item_ids, rows.one_item, listed=all(lists))
    return Pairs(
        users=np.repeat(row_users, repeats) if (repeats != 1).any() else row_users,
        items=items,
        times=times.keys if timed and problem is None else None,
        time_problem=problem if timed else None,
        time_notes=times.notes if timed else (),
        time_span=times.span if timed and problem is None else None,
        seconds=times.seconds if timed and problem is None else None,
        user_ids=user_ids,
        item_ids=item_ids,
        bounds=bounds.astype(np.int64),
        lists=lists,
        disorder=next(((n, why) for n in filled if (why := rows.part_disorder[n])), None),
        twice=twice,
        ratings=rows.ratings.values(int(bounds[-1])),
    )


def _first_twice(codes: NDArray[np.int64], ids: NDArray) -> object | None:
    values, counts = np.unique(codes, return_counts=True)
    return ids[values[counts > 1][0]] if (counts > 1).any() else None


@dataclass(frozen=True, eq=False)
class Histories:
    """The pairs of some parts as rows. rank: the place of each in its user's history, int32 (E,).
    when: its time in seconds since 1970, int64 (E,), if known. duplicates: how many were dropped.
    repeats: these rows, if asked for and there are any. unvalued: as in `Interactions`.
    """

    rows: CSR
    rank: NDArray[np.int32]
    when: NDArray[np.int64] | None
    duplicates: int
    repeats: Repeats | None = None
    unvalued: str = ""


def order_pairs(pairs: Pairs, parts: int, *, values: bool = False) -> Histories:
    """The histories of the first `parts` parts. Time decides the order, then the order in the file;
    of equal pairs the earliest is kept.

    values: whether the pairs get values: the rating of the earliest row, or where ratings tell
    nothing apart, the number of rows.
    """
    end = int(pairs.bounds[parts])
    users, items = pairs.users[:end], pairs.items[:end]
    n_users, n_items = len(pairs.user_ids), len(pairs.item_ids)
    seconds = None
    if pairs.times is not None:
        by_time = np.argsort(pairs.times, kind="stable")
        users, items = users[by_time], items[by_time]
        seconds = None if pairs.seconds is None else pairs.seconds[by_time]
    key = users * max(n_items, 1) + items
    by_pair = np.argsort(key, kind="stable")
    key = key[by_pair]
    first = np.ones(end, bool)
    np.not_equal(key[1:], key[:-1], out=first[1:])
    kept = by_pair[first]  # the position in time of each pair, with pairs ascending
    csr_users, csr_items = np.divmod(key[first], max(n_items, 1))
    indptr = np.zeros(n_users + 1, np.int64)
    np.cumsum(np.bincount(csr_users, minlength=n_users), out=indptr[1:])
    rank = np.empty(len(kept), np.int32)
    by_history = np.argsort(csr_users * max(end, 1) + kept)  # all keys differ
    rank[by_history] = np.arange(len(kept)) - np.repeat(indptr[:-1], np.diff(indptr))
    when = None if seconds is None else seconds[kept]
    found = CSR(indptr, csr_items.astype(np.int32), n_items)
    histories = Histories(found, rank, when, end - len(kept))
    if not values:
        return histories
    problem = unusable(pairs.ratings)
    if not problem:
        assert pairs.ratings is not None
        in_time = pairs.ratings[:end]
        in_time = in_time if pairs.times is None else in_time[by_time]
        return replace(histories, rows=found.with_values(in_time[kept]))
    if end == len(kept):
        return replace(histories, unvalued=f"{problem}, and no user-item pair twice")
    again = by_pair[~first]
    width = max(end, 1)
    begun = csr_users[by_history] * width + kept[by_history]  # when pairs begin, by user and time
    users_R = users[again]
    repeats = Repeats(
        pair=(np.cumsum(first) - 1)[~first],
        rank=np.searchsorted(begun, users_R * width + again) - 1 - indptr[users_R],
        when=None if seconds is None else seconds[again],
    )
    rows = found.with_values(repeats.counts(found.nnz))
    return replace(histories, rows=rows, repeats=repeats)


def unusable(ratings: NDArray[np.float32] | None) -> str:
    """Why ratings cannot weigh pairs, in the words "it has ..."; "" if they can."""
    if ratings is None or not len(ratings):
        return "no ratings"
    least, most = float(ratings.min()), float(ratings.max())
    if not 0 < least <= most < np.inf:
        worst = most if least > 0 else least
        return f"ratings of {worst:g}: expected all above 0 and below 3e38"
    return f"no rating but {least:g}" if least == most else ""
