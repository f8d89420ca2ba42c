"""`load`: from a name or path to a `Dataset`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.data.build import Pairs, code, order_pairs
from recsys.data.cells import BadCellError
from recsys.data.files import find_sources
from recsys.data.parquet import read_parquet
from recsys.data.rows import Rows
from recsys.data.sniff import Layout, sniff
from recsys.data.stream import Source, kind_of, shown
from recsys.data.table import find_cell, line_of_row, read_table
from recsys.data.times import TimeProblem
from recsys.errors import InputError
from recsys.interactions import CSR, Interactions
from recsys.output import one_line
from recsys.receivers import Receivers

# how a text file is laid out, or the names of parquet columns by role
Columns = Layout | Mapping[str, str]


@dataclass(frozen=True)
class Dataset:
    """Interactions, and the division they came with, if any.

    interactions: everything; of a ready split, training and validation together.
    ready_valid: the given validation pairs, a subset of `interactions`. ready_test: the given
    test pairs, none of them in `interactions`. Both have the U x I of `interactions.csr`, whose
    id maps also hold users and items that occur only in test. receivers: whom the submission is
    for, where the data says so; None: every user.
    """

    interactions: Interactions
    ready_valid: CSR | None = None
    ready_test: CSR | None = None
    receivers: Receivers | None = None


def load(
    source: str | Path,
    *,
    min_rating: float | None = None,
    cache_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    notify: Callable[[str], None] | None = None,
) -> Dataset:
    """Read a named set (`ml-100k`, `ml-1m`, `demo`) or a file, folder or zip of one's own.

    A name wins over a path; `./demo` is the path. Formats are told apart by content (`sniff.py`).

    min_rating: only rows with a rating of at least this are positives (default: 4 for the
    MovieLens sets, otherwise no limit). cache_dir: where named sets are kept. columns: role
    (user, item, rating, timestamp) to the file's column name. seed: of the generated `demo`.
    notify: told, in one line each, what takes time (downloads).

    Ids become int64 where every one is a decimal in its range, otherwise strings as in the file;
    internal ids follow their order. Duplicate pairs are merged, the earliest kept.

    Raises `InputError` for anything that cannot be used.
    """
    from recsys.data import named

    if min_rating is not None and not np.isfinite(min_rating):
        raise InputError(f"min_rating is {min_rating}: expected a finite number")
    if isinstance(source, str) and source in named.SETS:
        if columns:
            raise InputError(f"columns: the named set {source} needs none")
        return named.load_named(source, min_rating, cache_dir, seed, notify or (lambda _: None))
    if str(source) == "":
        raise InputError("data is empty: expected a named set or a path")
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # "~nobody": such a folder may exist under this very name
        path = Path(source)
    return load_path(path, min_rating=min_rating, columns=columns)


def load_path(
    path: Path, *, min_rating: float | None = None, columns: Mapping[str, str] | None = None
) -> Dataset:
    """Read the file, folder or zip at `path`; see `load`."""
    sources = find_sources(path)
    rows = Rows(min_rating)
    layouts = {part: _read_part(source, columns, rows) for part, source in sources.items()}
    search_parts = 1 + ("valid" in sources)
    try:
        pairs = code(rows, search_parts)
    except BadCellError as error:
        raise _located(sources, layouts, error) from None
    for part, (source, part_rows) in enumerate(zip(sources.values(), rows.part_rows, strict=True)):
        if not part_rows:
            raise source.error(_nothing_left(rows))
        if pairs.twice[part] is not None:
            raise source.error(
                f"user {shown(str(pairs.twice[part]))} has two rows of items: expected one row "
                "a user (lists), or one item a row"
            )
    order_problem = _order_problem(sources, layouts, pairs.time_problem)
    notes = _notes(rows) + tuple(pairs.time_notes)
    if order_problem:
        notes += (f"the times are left out: {order_problem}",)
    name = one_line(path.name or path.resolve().name)
    if min_rating is not None:
        name += f" (rating >= {min_rating:g})"
    return _dataset(sources, pairs, name, notes, order_problem)


def _read_part(source: Source, columns: Mapping[str, str] | None, rows: Rows) -> Columns:
    """Append one file to `rows`; returns which columns it took."""
    rows.begin_part(source.label)
    kind = kind_of(source)
    if kind == "zip":
        raise source.error("is a zip inside a zip or folder: expected a table")
    layout: Columns
    if kind == "parquet":
        layout = read_parquet(source, columns, rows)
    else:
        layout = sniff(source, columns)
        read_table(source, layout, rows)
    if rows.min_rating is not None and not rows.part_rated[-1]:
        raise source.error(
            f"has no rating column, so min_rating {rows.min_rating:g} cannot be applied: "
            "leave it out, or say which column (rating=NAME)"
        )
    return layout


def _nothing_left(rows: Rows) -> str:
    if rows.min_rating is None or not np.isfinite(rows.best_rating):
        return "has no interactions: expected at least one item"
    return (
        f"has no rating of at least {rows.min_rating:g}: the highest is {rows.best_rating:g}, "
        "lower min_rating"
    )


def _located(
    sources: Mapping[str, Source], layouts: Mapping[str, Columns], error: BadCellError
) -> InputError:
    """The error of a whole column, with its line where a text file has it."""
    for part, source in sources.items():
        layout = layouts[part]
        if isinstance(layout, Layout):
            found = find_cell(source, layout, error.role)
            if found is not None:
                return found
    return next(iter(sources.values())).error(str(error))


def _order_problem(
    sources: Mapping[str, Source],
    layouts: Mapping[str, Columns],
    problem: TimeProblem | None,
) -> str:
    """Why the times have no order, with file, line and column; "" where they have one."""
    if problem is None:
        return ""
    part, source = list(sources.items())[problem.file]
    layout = layouts[part]
    if isinstance(layout, Layout):
        name = layout.names[layout.columns["timestamp"]]
        row = None if problem.row is None else line_of_row(source, layout, problem.row)
        where = "" if row is None else f"line {row}, "
    else:
        name = layout["timestamp"]
        where = "" if problem.row is None else f"row {problem.row + 1}, "
    return str(source.error(f"{where}column {name}: the time {problem.what}"))


def _notes(rows: Rows) -> tuple[str, ...]:
    notes = []
    kept = sum(rows.part_rows)
    if rows.min_rating is not None:
        notes.append(
            f"{kept:,} of {rows.read:,} rows have a rating of at least {rows.min_rating:g}"
        )
    elif any(rows.part_rated):
        notes.append(f"all {kept:,} rows count as positives, whatever their rating")
    return tuple(notes)


def _dataset(
    sources: Mapping[str, Source],
    pairs: Pairs,
    name: str,
    notes: tuple[str, ...],
    order_problem: str,
) -> Dataset:
    names = list(sources)
    n_search = 1 + ("valid" in names)
    csr, rank, duplicates = order_pairs(pairs, n_search)
    empty = int((csr.degrees() == 0).sum())
    if empty:
        notes += (f"users without items to learn from: {empty:,}",)
    interactions = Interactions(
        csr=csr,
        rank=rank,
        user_ids=pairs.user_ids,
        item_ids=pairs.item_ids,
        ordered=pairs.ordered(n_search),
        name=name,
        duplicates=duplicates,
        notes=notes,
        order_problem=order_problem,
    )
    ready = {part: pairs.part(n) for n, part in enumerate(names) if part in ("valid", "test")}
    _check_disjoint(sources, {"train": pairs.part(0)} | ready if ready else {})
    return Dataset(interactions, ready.get("valid"), ready.get("test"))


def _check_disjoint(sources: Mapping[str, Source], parts: Mapping[str, CSR]) -> None:
    for first, second in itertools.combinations(parts, 2):
        both = parts[first].overlap(parts[second])
        if both:
            raise sources[second].error(
                f"shares {both:,} user-item pairs with {first}: expected parts without overlap"
            )
