"""From a path to a `Dataset`: files are read, ids unified between them, and parts checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.build import Pairs, code, order_pairs
from recsys.data.cells import BadCellError, ColumnProblem
from recsys.data.doubts import missing_among
from recsys.data.files import FoundFiles, find_sources
from recsys.data.formats import Columns, Format, Table, header_in_rows, id_in_rows
from recsys.data.ids import respelled_note, spelled_as
from recsys.data.layout import Layout
from recsys.data.names import NEEDED, names_of, normals
from recsys.data.rows import Rows
from recsys.data.shared_header import find_tables
from recsys.data.stream import NoRowsError, Source, shown
from recsys.data.table import (
    find_cell,
    find_doubtful_list,
    first_error,
    line_of_row,
    one_item_option,
)
from recsys.data.users_file import read_users
from recsys.errors import InputError
from recsys.interactions import CSR, Interactions, contained, subset
from recsys.output import one_line
from recsys.receivers import Receivers, receivers_of

# Above this share, repeats are not a shopping habit: one part was copied into another.
MOST_REPEATS = 0.9


@dataclass(frozen=True)
class Dataset:
    """Interactions, and the division they came with, if any.

    interactions: all pairs; of a ready split, training and validation together. ready_valid: the
    given validation pairs, a subset of `interactions`. ready_test: the given test pairs, none of
    them in `interactions`. Both have the U x I of `interactions.csr`, and the id maps include users
    and items that occur only in test. receivers: the users of the submission, if the data has a
    list of them; None: every user.
    """

    interactions: Interactions
    ready_valid: CSR | None = None
    ready_test: CSR | None = None
    receivers: Receivers | None = None


def load_path(
    path: Path,
    *,
    min_rating: float | None = None,
    columns: Mapping[str, str] | None = None,
    values: bool = False,
) -> Dataset:
    """Read the file, folder or zip at `path`. Parameters and errors are those of `load`."""
    found = find_sources(path, columns)
    parts, asked, unread = _take_receivers(found, columns)
    rows = Rows(min_rating, keep_ratings=values)
    files: dict[str, list[Source]] = {}
    layouts: dict[str, Columns] = {}
    tables = find_tables([s for own in parts.values() for s in own], columns, rows)
    for part, own in parts.items():
        files[part] = _read_part(own, tables, rows, layouts)
    sources = {source.label: source for part in files.values() for source in part}
    search_parts = 1 + ("valid" in parts)
    try:
        pairs = code(rows, [len(part) for part in files.values()], search_parts)
    except BadCellError as error:
        raise _located(sources, layouts, error) from None
    heads = {part: own[0] for part, own in files.items()}
    first = 0  # the first file of the part
    for n, (source, own) in enumerate(zip(heads.values(), files.values(), strict=True)):
        if pairs.bounds[n] == pairs.bounds[n + 1]:
            raise source.error(_nothing_left(rows, range(first, first + len(own))))
        first += len(own)
        layout = layouts[source.label]
        if pairs.lists[n] and pairs.item_ids.dtype != np.int64 and isinstance(layout, Layout):
            blank = layout.lists is not None and layout.lists.blank
            doubt = find_doubtful_list(source, layout) if blank and not layout.exact else None
            if doubt is not None:
                raise doubt
        if (twice := pairs.twice[n]) is not None:
            if pairs.lists[n] and rows.one_item == "":  # with named columns no hint is needed
                bad = BadCellError("user", None, _TWO_ROWS, str(twice))
                raise _located(sources, layouts, bad)
            raise source.error(_two_rows(layouts[source.label], twice))
    _check_headers(sources, layouts, pairs)
    order_problem = _order_problem(sources, layouts, pairs.time_problem)
    notes = (
        *found.notes,
        *unread,
        *_rating_problem(sources, layouts, rows.ratings.problem),
        *rows.notes(),
        *pairs.time_notes,
        *_strangers(list(parts), pairs),
    )
    if order_problem:
        notes += (f"the times are left out: {order_problem}",)
    elif pairs.disorder is not None:
        at, why = pairs.disorder
        order_problem = str(list(sources.values())[at].error(why))
        notes += (order_problem,)
    name = one_line(path.name or path.resolve().name)
    if min_rating is not None:
        name += f" (rating >= {min_rating:g})"
    receivers = None
    if asked is not None:
        receivers, note = _match_receivers(*asked, pairs)
        notes += (note,)
    return _dataset(heads, pairs, name, notes, order_problem, receivers, values=values)


def _take_receivers(
    found: FoundFiles, columns: Mapping[str, str] | None
) -> tuple[dict[str, list[Source]], tuple[Source, list[str]] | None, tuple[str, ...]]:
    """The parts to read as tables; the file with the users of the submission and their ids, if any;
    and notes.

    A test file with only users is not part of the data but has the users of the submission; without
    one, a sample submission may have them.
    """
    test, sample = found.parts.get("test", []), found.receivers
    names = read_users(test[0], columns) if len(test) == 1 else None
    said = None if sample is None else read_users(sample, columns, items_too=True)
    notes: tuple[str, ...] = ()
    if names is not None:
        rest = {part: own for part, own in found.parts.items() if part != "test"}
        if sample is not None and said is not None and set(said) != set(names):
            own, other = (PurePath(source.label).name for source in (test[0], sample))
            notes = (f"{other} has other users than {own}: the latter is used",)
        return rest, (test[0], names), notes
    if sample is not None:
        if said is not None:
            return found.parts, (sample, said), notes
        notes = (f"not read: {PurePath(sample.label).name}",)
    return found.parts, None, notes


def _match_receivers(
    source: Source, names: list[str], pairs: Pairs
) -> tuple[Receivers | None, str]:
    """The users called `names` as users of the data, and a note about them."""
    if not names or "" in names:
        what = "an empty user id" if names else "no rows"
        raise source.error(f"has {what}: expected the users whom the submission is for")
    if (missing := missing_among(names)) is not None:
        raise source.error(f"has the user {shown(missing)}, a missing value: expected user ids")
    own = spelled_as(names, pairs.user_ids)
    receivers = receivers_of(own, pairs.user_ids)
    strange = len(receivers) - len(receivers.known)
    if strange == len(receivers):
        raise source.error(
            f"has none of the users of train ({shown(names[0])}...): are the ids spelled in the "
            "same way? The submission would have the popular items for everyone"
        )
    note = f"the submission is for the {len(receivers):,} users of {PurePath(source.label).name}"
    if strange:
        note += f"; {strange:,} not in train: they get the most popular items"
    changed = next((n for n, name in enumerate(own) if name != names[n]), None)
    if changed is not None:
        note += f"; {respelled_note('user', names[changed], own[changed])}"
    return receivers, note


def _read_part(
    sources: list[Source],
    tables: Mapping[str, tuple[Format, Table]],
    rows: Rows,
    layouts: dict[str, Columns],
) -> list[Source]:
    """Append the files of a part to `rows`, and the columns of each to `layouts`.

    tables: format and table of each file, by its label. Returns the files that were read: if there
    are several, those without rows are ignored.
    """
    done = []
    empty: NoRowsError | None = None
    for source in sources:
        try:
            layouts[source.label] = _read_file(source, *tables[source.label], rows)
        except NoRowsError as error:
            if len(sources) == 1:
                raise
            empty = error
            rows.drop_part()
            continue
        done.append(source)
    if not done and empty is not None:
        raise empty
    return done


def _read_file(source: Source, format: Format, table: Table, rows: Rows) -> Columns:
    """Append a file to `rows`; returns the columns that were used."""
    rows.begin_part(source.label)
    layout = table.read(rows)
    if source.constants and not format.folders:
        keys = ", ".join(f"{key}=..." for key, _ in source.constants)
        rows.column_notes[f"the folders {keys} count as columns only for parquet files"] = None
    if rows.min_rating is not None and not rows.part_rated[-1]:
        raise source.error(
            f"has no rating column, so min_rating {rows.min_rating:g} cannot be applied: "
            "leave it out, or name the column (rating=NAME)"
        )
    return layout


def _nothing_left(rows: Rows, files: range) -> str:
    """Why a part has no pairs. files: the numbers of its files."""
    best = rows.ratings.best(files)
    if rows.min_rating is None or not np.isfinite(best):
        return "has no interactions: expected at least one item"
    return (
        f"has no rating of at least {rows.min_rating:g}: the highest is {best:g}, lower min_rating"
    )


def _located(
    sources: Mapping[str, Source], layouts: Mapping[str, Columns], error: BadCellError
) -> InputError:
    """The error of a whole column, with the first row that is wrong."""
    for part, source in sources.items():
        layout = layouts[part]
        found = None
        if error.cell is not None:
            if isinstance(layout, Layout):
                found = find_cell(source, layout, error.role, error.cell, error.what)
            else:
                found = id_in_rows(source, layout, error.role, error.cell, error.what)
        if found is not None:
            return found
    return next(iter(sources.values())).error(str(error))


def _order_problem(
    sources: Mapping[str, Source],
    layouts: Mapping[str, Columns],
    problem: ColumnProblem | None,
) -> str:
    """Why the times have no order, with file, line and column; "" if they have one."""
    if problem is None:
        return ""
    source = list(sources.values())[problem.file]
    layout = layouts[source.label]
    if problem.what.startswith("is not there"):
        return str(source.error(f"the time {problem.what}"))
    if isinstance(layout, Layout):
        name = layout.names[layout.columns["timestamp"]]
    else:
        name = layout["timestamp"]
    where = _place(source, layout, problem.row)
    where += ", " if where else ""
    return str(source.error(f"{where}column {name}: the time {problem.what}"))


def _rating_problem(
    sources: Mapping[str, Source],
    layouts: Mapping[str, Columns],
    problem: ColumnProblem | None,
) -> list[str]:
    """A note on ratings that are left out, with the first that is wrong; empty if none are."""
    if problem is None:
        return []
    source = list(sources.values())[problem.file]
    place = _place(source, layouts[source.label], problem.row)
    return [problem.what + (f" ({source.label}, {place})" if place else "")]


def _place(source: Source, layout: Columns, row: int | None) -> str:
    """The place of a row in a file, counted from 1; "" if that is not known."""
    if row is None:
        return ""
    if not isinstance(layout, Layout):
        return f"row {row + 1}"
    line = line_of_row(source, layout, row)
    return "" if line is None else f"line {line}"


_TWO_ROWS = "has two rows of items: expected one row per user (lists), or one item per row"


def _two_rows(layout: Columns, user: object) -> str:
    if isinstance(layout, Layout) and layout.rest:
        return (
            f"two lines begin with {shown(str(user))}: expected the user there, and one line per "
            "user; if lines are baskets without a user, write a different number in front of each "
            "(awk '{print NR, $0}')"
        )
    said = f"user {shown(str(user))} {_TWO_ROWS}"
    if isinstance(layout, Layout):
        said += (
            "; blanks are taken to separate items: if an item's name has blanks, name the "
            f"columns: {one_item_option(layout)}"
        )
    return said


def _check_headers(
    sources: Mapping[str, Source], layouts: Mapping[str, Columns], pairs: Pairs
) -> None:
    """Raise InputError if a file has its header again among the rows."""
    own = {role: [_named(layout, role) for layout in layouts.values()] for role in NEEDED}
    if not all(
        _may_name(ids, names_of(role, own[role]))
        for role, ids in zip(NEEDED, (pairs.user_ids, pairs.item_ids), strict=True)
    ):
        return
    for part, source in sources.items():
        layout = layouts[part]
        if isinstance(layout, Layout):
            error = first_error(source, layout)
        else:
            error = header_in_rows(source, layout)
        if error is not None:
            raise error


def _named(layout: Columns, role: str) -> str:
    return layout.names[layout.columns[role]] if isinstance(layout, Layout) else layout[role]


def _may_name(ids: NDArray, names: Collection[str]) -> bool:
    """Whether any of the ids is a name of a column."""
    if ids.dtype == np.int64:
        return False
    value_set = pa.array(sorted(names))
    return bool(pc.any(pc.is_in(normals(pa.array(ids, pa.string())), value_set=value_set)).as_py())


def _strangers(parts: list[str], pairs: Pairs) -> list[str]:
    """Notes on given parts whose users or items are not those of train."""
    notes = []
    train = pairs.part(0)
    for n, part in enumerate(parts[1:], 1):
        own = pairs.part(n)
        for role, known, asked in (
            ("users", train.degrees(), own.degrees()),
            ("items", train.item_counts(), own.item_counts()),
        ):
            there = asked > 0
            shared, total = int((there & (known > 0)).sum()), int(there.sum())
            if shared * 2 >= total:
                continue
            some = "none" if not shared else f"only {shared:,}"
            notes.append(
                f"{some} of the {total:,} {role} of {part} is in train: are the ids spelled in the "
                f"same way? What is not in train cannot be learned"
            )
    return notes


def _dataset(
    sources: Mapping[str, Source],
    pairs: Pairs,
    name: str,
    notes: tuple[str, ...],
    order_problem: str,
    receivers: Receivers | None,
    *,
    values: bool,
) -> Dataset:
    names = list(sources)
    n_search = 1 + ("valid" in names)
    found = order_pairs(pairs, n_search, values=values)
    empty = int((found.rows.degrees() == 0).sum())
    if empty:
        notes += (f"users without items to learn from: {empty:,}",)
    interactions = Interactions(
        csr=found.rows,
        rank=found.rank,
        user_ids=pairs.user_ids,
        item_ids=pairs.item_ids,
        ordered=pairs.ordered(n_search) and not order_problem,
        name=name,
        duplicates=found.duplicates,
        notes=notes,
        order_problem=order_problem,
        time_span=pairs.time_span,
        when=found.when,
        repeats=found.repeats,
        unvalued=found.unvalued,
    )
    given = [n for n, part in enumerate(names) if part in ("valid", "test")]
    if found.rows.values is None:
        ready = {names[n]: pairs.part(n) for n in given}
    else:
        rated = found.repeats is None
        ready = {names[n]: pairs.valued_part(n, rated=rated) for n in given}
    if ready:
        ready, repeats = _without_repeats(sources, {"train": pairs.part(0)} | ready)
        interactions = replace(interactions, notes=interactions.notes + repeats)
    return Dataset(interactions, ready.get("valid"), ready.get("test"), receivers)


def _without_repeats(
    sources: Mapping[str, Source], parts: Mapping[str, CSR]
) -> tuple[dict[str, CSR], tuple[str, ...]]:
    """The held-out parts without the pairs of earlier parts, and a note on each share left out.

    Shops have customers who buy a thing again. What a user has is not recommended, so such a pair
    cannot be found, and would only lower every score. Raises InputError if (nearly) nothing is
    left.
    """
    kept: dict[str, CSR] = {}
    notes = []
    before = parts["train"]
    earlier = "train"
    for name in [name for name in parts if name != "train"]:
        part = parts[name]
        again = contained(part, before)
        if (both := int(again.sum())) and both >= MOST_REPEATS * part.nnz:
            share = "all that it has" if both == part.nnz else f"{both / part.nnz:.1%} of its own"
            raise sources[name].error(
                f"shares {both:,} user-item pairs with {earlier}, {share}: what a user has in "
                f"{earlier} cannot be recommended again, so expected pairs that {earlier} does "
                f"not have (leave the file out, and {'a part' if name == 'valid' else 'a test'} "
                "is drawn)"
            )
        if both:
            notes.append(
                f"{name}: {both:,} of {part.nnz:,} user-item pairs ({both / part.nnz:.0%}) are in "
                f"{earlier} too: what a user has cannot be recommended again, so they are left out "
                f"of {name}"
            )
        kept[name] = subset(part, ~again)
        before, earlier = before.union(part), "train or valid"
    return kept, tuple(notes)
