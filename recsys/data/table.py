"""Reading a text table in blocks: a vectorised parser for the rows, plain Python for errors.

Rows under the header `UserId,ItemId` have either lists (one row per user, items separated by
blanks, in the order of time) or one item each (then users may repeat); `load` decides that once all
rows are known.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from recsys.data.blocks import Block, StrayQuoteError, blocks_of, unquoted
from recsys.data.cells import BadCellError, all_whole
from recsys.data.ids import BLANKS
from recsys.data.layout import Layout
from recsys.data.list_cells import PLAIN, SET, ListSyntax, items_of
from recsys.data.names import NEEDED, columns_option, names_columns
from recsys.data.ratings import fits, is_word, kind_of_rating
from recsys.data.rows import Rows
from recsys.data.stream import Source, shown
from recsys.errors import InputError


def read_table(source: Source, layout: Layout, rows: Rows) -> None:
    """Append every row of `source` to `rows`. Raises InputError, which names the line."""
    rows.begin_columns(layout.found, layout.names)
    if layout.disorder:
        rows.leave_out_order(layout.disorder)
    try:
        _read_blocks(source, layout, rows)
    except (pa.ArrowException, BadCellError, StrayQuoteError) as error:
        raise find_error(source, layout, error, rated=rows.min_rating is not None) from None


def _read_blocks(source: Source, layout: Layout, rows: Rows) -> None:
    empty = True
    with layout.open(source) as stream:
        stream.read(layout.header_bytes)
        for block in blocks_of(stream, layout.separator if layout.quoted else None):
            if not block.text.strip(b"\r\n"):
                continue
            empty = False
            for batch in _parse(block, layout):
                _add_batch(batch, layout, rows, block.tall)
    if empty:
        raise source.no_rows("has a header but no rows" if layout.header_lines else "is empty")


def _parse(block: Block, layout: Layout) -> Iterator[dict[str, pa.Array]]:
    """The columns of a block by role, as strings; with `rest`, items are the text of a list."""
    if layout.separator == " ":
        yield from _parse_blanks(block, layout)
        return
    names = [f"c{n}" for n in range(layout.width)]
    wanted = {role: names[at] for role, at in layout.columns.items()}
    table = pa.csv.read_csv(
        block.in_arrow(),
        pa.csv.ReadOptions(column_names=names, block_size=len(block.text) + 1, use_threads=False),
        pa.csv.ParseOptions(delimiter=layout.separator, quote_char='"' if layout.quoted else False),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(wanted.values(), pa.string()),
            include_columns=list(wanted.values()),
            strings_can_be_null=False,
            null_values=[],
        ),
    )
    for batch in table.to_batches():
        yield {role: batch.column(name) for role, name in wanted.items()}


def _parse_blanks(block: Block, layout: Layout) -> Iterator[dict[str, pa.Array]]:
    if b"\x01" in block.text:
        raise BadCellError("item", None, "has a control character")
    table = pa.csv.read_csv(
        block.in_arrow(),
        pa.csv.ReadOptions(column_names=["c"], block_size=len(block.text) + 1, use_threads=False),
        pa.csv.ParseOptions(delimiter="\x01", quote_char=False),
        pa.csv.ConvertOptions(column_types={"c": pa.string()}, strings_can_be_null=False),
    )
    for batch in table.to_batches():
        lines = pc.ascii_trim_whitespace(batch.column(0))
        lines = lines.filter(pc.not_equal(lines, pa.scalar("")))
        if layout.rest:
            parts = pc.ascii_split_whitespace(lines, max_splits=1)
            sizes = pc.list_value_length(parts)
            users = pc.list_element(parts, 0)
            rest = pc.utf8_slice_codeunits(lines, 0, 0)
            long = pc.greater(sizes, 1)
            if pc.any(long).as_py():
                second = pc.list_element(parts.filter(long), 1)
                rest = pc.replace_with_mask(rest, long, second)
            yield {"user": users, "item": rest}
            continue
        cells, counts = _split_at_blanks(lines)
        if (counts != layout.width).any():
            raise BadCellError("item", None, "is in a row of another width")
        starts = np.arange(len(counts)) * layout.width
        yield {role: cells.take(pa.array(starts + at)) for role, at in layout.columns.items()}


def _add_batch(columns: dict[str, pa.Array], layout: Layout, rows: Rows, tall: bool) -> None:
    users, items = columns["user"], columns["item"]
    if tall:
        for role in NEEDED:
            if (exact := _breaks(layout, role)) is not None:
                _refuse(columns[role], role, r"[\r\n]", exact, "has a line break")
    if layout.lists is not None:
        if not layout.lists.separator and pc.any(pc.match_substring_regex(items, SET)).as_py():
            rows.leave_out_order("items stand in sets (`{8, 36}`), which have no order")
        rows.add_counted(users, *split_lists(items, layout.lists), listed=not layout.rest)
        return
    if not layout.blanks_allowed:
        _refuse(items, "item", r"[ \t]", _BLANK, "has blanks")
    rows.add(users, items, columns.get("rating"), columns.get("timestamp"))


_LINE_BREAK, _BLANK = re.compile(r"[\r\n]"), re.compile(r"[ \t]")
_BREAK_OUTSIDE = re.compile(r'^(?:[^"\r\n]|"[^"]*")*[\r\n]')  # of quotes around a list's items


def _breaks(layout: Layout, role: str) -> re.Pattern[str] | None:
    """Matches a cell with a line break where a quote was not closed; None: any may be intended."""
    if role == "user" or layout.lists is None:
        return _LINE_BREAK
    return _BREAK_OUTSIDE if layout.lists.separator else None


def _refuse(cells: pa.Array, role: str, quick: str, exact: re.Pattern[str], what: str) -> None:
    """Raise BadCellError if a cell, without the blanks around it, matches `exact`.

    quick: a pattern for Arrow, which may also match among the blanks around. what: for the message.
    """
    for cell in cells.filter(pc.match_substring_regex(cells, quick)).to_pylist():
        if exact.search(cell.strip(BLANKS)):
            raise BadCellError(role, None, what)


def split_lists(cells: pa.Array, syntax: ListSyntax) -> tuple[pa.Array, NDArray[np.int64]]:
    """(the items of all lists, how many each has). Raises BadCellError for a cell that is not such
    a list.
    """
    if (
        not syntax.blank
        or not pc.all(pc.string_is_ascii(cells)).as_py()  # Unicode has more blanks
        or pc.any(pc.match_substring_regex(cells, PLAIN)).as_py()
    ):
        items: list[str] = []
        sizes = np.zeros(len(cells), np.int64)
        for n, cell in enumerate(cells.to_pylist()):
            own = items_of(cell, syntax)
            if isinstance(own, str):
                raise BadCellError("item", n, own)
            items += own
            sizes[n] = len(own)
        return pa.array(items, pa.string()), sizes
    return _split_at_blanks(cells)


def _split_at_blanks(lists: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    trimmed = pc.ascii_trim_whitespace(lists)
    split = pc.ascii_split_whitespace(trimmed)
    counts = pc.list_value_length(split).to_numpy(zero_copy_only=False).astype(np.int64)
    empty = pc.equal(trimmed, pa.scalar("", trimmed.type)).to_numpy(zero_copy_only=False)
    items = split.flatten()
    if empty.any():  # splitting "" gives one empty item
        items = items.filter(pc.not_equal(items, pa.scalar("", items.type)))
        counts[empty] = 0
    return items, counts


def _blocks(source: Source, layout: Layout) -> Iterator[list[bytes]]:
    """All lines below the header, including empty ones, many at a time."""
    with layout.open(source) as stream:
        stream.read(layout.header_bytes)
        rest = b""
        while block := stream.read(1 << 20):
            text = (rest + block).replace(b"\r\n", b"\n")
            held = text.endswith(b"\r")  # it may be half of a line end
            lines = (text[:-1] if held else text).replace(b"\r", b"\n").split(b"\n")
            rest = lines.pop() + (b"\r" if held else b"")
            yield lines
        yield [rest.rstrip(b"\r")]


def _lines(source: Source, layout: Layout) -> Iterator[tuple[int, str]]:
    """(line number, text) of every line below the header, including empty ones."""
    number = layout.header_lines
    for lines in _blocks(source, layout):
        for raw in lines:
            number += 1
            try:
                yield number, raw.decode("utf-8")
            except UnicodeDecodeError:
                raise source.error(f"line {number} is not UTF-8: expected text in UTF-8") from None


def _cells(source: Source, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, cells) of every row below the header."""
    lines = _lines(source, layout)
    for number, line in lines:
        if not line or (layout.separator == " " and not line.strip()):
            continue
        cells: list[str] | None
        if layout.separator == " ":
            cells = line.split(None, 1 if layout.rest else -1)
            if layout.rest and len(cells) == 1:
                cells.append("")
        elif layout.quoted and '"' in line:
            cells = unquoted(line, layout.separator, (text for _, text in lines))
            if cells is None:
                raise _stray(source, number, line)
        else:
            cells = line.split(layout.separator)
        if len(cells) != layout.width:
            what = f"line {number} has {len(cells)} columns: expected {layout.width}"
            if layout.quoted and '\\"' in line:
                what += '; a quote after a backslash (\\") ends its cell, expected it doubled ("")'
            elif f"\\{layout.separator}" in line:
                what += "; a backslash does not join cells: expected quotes"
            raise source.error(what)
        yield number, cells


def _stray(source: Source, number: int, line: str) -> InputError:
    if '\\"' in line:
        return source.error(
            f'line {number} has a quote after a backslash (\\"): expected quotes inside a cell '
            'doubled (""), as Spark writes them with option("escape", "\\"") and pandas with '
            "doublequote=True"
        )
    return source.error(
        f"line {number} has a stray quote: expected quotes around whole cells, closed before the "
        "next separator"
    )


def read_plainly(
    source: Source, layout: Layout, *, rated: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row, checked one by one: to find errors, and for comparison in tests.

    Users and items are without the blanks around them. rated: whether ratings are needed. Raises
    InputError with the line of the first row that cannot be used.
    """
    worded: bool | None = None
    own = [layout.names[layout.columns[role]] for role in NEEDED]
    for number, cells in _cells(source, layout):
        for role in NEEDED:
            at = layout.columns[role]
            cell = cells[at] = cells[at].strip(BLANKS)
            if not cell and (layout.lists is None or role == "user"):
                raise _bad(
                    source, layout, number, role, "is empty: expected an id (leave such rows out)"
                )
            breaks = _breaks(layout, role)
            if breaks is not None and breaks.search(cell):
                what = f"{shown(cell)} has a line break: expected one id (is a quote not closed?)"
                raise _bad(source, layout, number, role, what)
        user, item = (cells[layout.columns[role]] for role in NEEDED)
        if names_columns(user, item, own):
            raise source.error(
                f"line {number} repeats the header: were files put together? "
                "Expected it only in line 1"
            )
        if layout.lists is not None:
            listed = items_of(item, layout.lists)
            if isinstance(listed, str):
                raise _bad(source, layout, number, "item", f"{shown(item)} {listed}")
        if not layout.blanks_allowed and _BLANK.search(item):
            what = (
                f"{shown(item)} has blanks: a list of items needs the header UserId,ItemId; "
                f"if it is one item, name the columns: {one_item_option(layout)}"
            )
            raise _bad(source, layout, number, "item", what)
        if rated and "rating" in layout.columns:
            rating = cells[layout.columns["rating"]]
            worded = is_word(rating) if worded is None else worded
            if not fits(rating, worded):
                what = f"is {shown(rating)}: expected {kind_of_rating(worded)}"
                raise _bad(source, layout, number, "rating", what)
        yield number, cells


def one_item_option(layout: Layout) -> str:
    """The option which says that a cell is one item."""
    user, item = (layout.names[layout.columns[role]] for role in NEEDED)
    return columns_option(user, item)


def _bad(source: Source, layout: Layout, line: int, role: str, what: str) -> InputError:
    name = layout.names[layout.columns[role]]
    return source.error(f"line {line}, column {name}: {role} {what}")


def find_error(
    source: Source, layout: Layout, error: Exception, *, rated: bool = False
) -> InputError:
    """The first error of the file, with its line, found by reading it row by row; or `error`."""
    return first_error(source, layout, rated=rated) or source.error(
        f"cannot be read as a table: {' '.join(str(error).split())[:200]}"
    )


def first_error(source: Source, layout: Layout, *, rated: bool = False) -> InputError | None:
    """The first error of the file, with its line; None if no single row is wrong."""
    try:
        for _ in read_plainly(source, layout, rated=rated):
            pass
    except InputError as located:
        return located
    return None


def find_cell(source: Source, layout: Layout, role: str, id: str, what: str) -> InputError | None:
    """The error `what` for the first row in which `role` is `id`; None if there is none."""
    for number, cells in read_plainly(source, layout):
        cell: str | list[str] = cells[layout.columns[role]]
        if isinstance(cell, str) and layout.lists is not None and role == "item":
            cell = items_of(cell, layout.lists)
        if id in ([cell] if isinstance(cell, str) else cell):
            return _bad(source, layout, number, role, f"{shown(id)} {what}")
    return None


def find_doubtful_list(source: Source, layout: Layout) -> InputError | None:
    """The error for the first item with several words, which may be a list: the header is not
    UserId,ItemId; None if there is none.
    """
    for number, cells in read_plainly(source, layout):
        item = cells[layout.columns["item"]]
        words = item.split()
        if len(words) > 1 and not all_whole(words):
            what = (
                f"{shown(item)} has blanks: if it is one item, name the columns: "
                f"{one_item_option(layout)}; if these are several, write the header as "
                "UserId,ItemId"
            )
            return _bad(source, layout, number, "item", what)
    return None


def line_of_row(source: Source, layout: Layout, row: int) -> int | None:
    """The line of the row at this position below the header, from 0."""
    found = next(itertools.islice(read_plainly(source, layout), row, None), None)
    return None if found is None else found[0]
