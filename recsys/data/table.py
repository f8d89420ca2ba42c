"""Reading a text table in blocks: a vectorised parser for the rows, plain Python for errors.

Rows under the header `UserId,ItemId` hold either lists (one row a user, items separated by
blanks, in the order of time) or one item each (then users may repeat); `load` decides, when all
rows are known.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pyarrow.csv

from recsys.data.cells import BadCellError, finite, numbers_of
from recsys.data.rows import MISSING, Rows
from recsys.data.sniff import NUMBER, Layout
from recsys.data.stream import MAX_LINE, Source, TextStream, shown
from recsys.data.times import ISO_DATE
from recsys.errors import InputError

_ISO = re.compile(ISO_DATE, re.ASCII)


def read_table(source: Source, layout: Layout, rows: Rows) -> None:
    """Append every row of `source` to `rows`, or raise an `InputError` that names the line."""
    try:
        quotes = _read_blocks(source, layout, rows)
    except (pa.ArrowException, BadCellError) as error:
        raise find_error(source, layout, error) from None
    if quotes:
        # an open quote swallows the line ends after it, or those of the file's last line
        counted, number = 0, layout.header_lines
        last = (0, b"")
        for lines in _blocks(source, layout):
            counted += len(lines) - lines.count(b"")
            full = (n for n in range(len(lines) - 1, -1, -1) if lines[n])
            last = next(((number + n + 1, lines[n]) for n in full), last)
            number += len(lines)
        if counted != rows.part_read:
            raise find_error(source, layout, None)
        _split(source, layout, last[0], last[1].decode("utf-8", errors="replace"))


def _read_blocks(source: Source, layout: Layout, rows: Rows) -> bool:
    with TextStream(source, double_colon=layout.double_colon) as stream:
        stream.read(layout.header_bytes)
        stream.forget_quotes()
        start = stream.read(MAX_LINE >> 4)
        if not start.strip(b"\r\n"):
            raise source.error("has a header but no rows" if layout.header_lines else "is empty")
        stream.unread(start)
        names = [f"c{n}" for n in range(layout.width)]
        wanted = {role: names[at] for role, at in layout.columns.items()}
        reader = pa.csv.open_csv(
            stream,
            pa.csv.ReadOptions(column_names=names, block_size=MAX_LINE),
            pa.csv.ParseOptions(
                delimiter=layout.separator, quote_char='"' if layout.quoted else False
            ),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(wanted.values(), pa.string()),
                include_columns=list(wanted.values()),
                strings_can_be_null=False,
                null_values=[],
            ),
        )
        rows.part_read = 0
        for batch in reader:
            _add_batch({role: batch.column(name) for role, name in wanted.items()}, layout, rows)
            rows.part_read += batch.num_rows
        return stream.quotes and layout.quoted


def _add_batch(columns: dict[str, pa.Array], layout: Layout, rows: Rows) -> None:
    users, items = columns["user"], columns["item"]
    if layout.is_list:
        rows.add_lists(users, items)
        return
    if (
        not layout.blanks_allowed
        and pa.compute.any(pa.compute.match_substring_regex(items, r"[ \t]")).as_py()
    ):
        raise BadCellError("item", None, "has blanks")
    ratings = None
    if "rating" in columns:
        ratings = numbers_of(columns["rating"])
        if ratings is None:
            raise BadCellError("rating", None, "expected a number")
        finite("rating", ratings)
    rows.add(users, items, ratings, columns.get("timestamp"))


def _blocks(source: Source, layout: Layout) -> Iterator[list[bytes]]:
    """All lines below the header, empty ones too, many at a time."""
    with TextStream(source, double_colon=layout.double_colon) as stream:
        stream.read(layout.header_bytes)
        rest = b""
        while block := stream.read(1 << 20):
            text = (rest + block).replace(b"\r\n", b"\n")
            held = text.endswith(b"\r")  # perhaps half of a line end
            lines = (text[:-1] if held else text).replace(b"\r", b"\n").split(b"\n")
            rest = lines.pop() + (b"\r" if held else b"")
            yield lines
        yield [rest.rstrip(b"\r")]


def _lines(source: Source, layout: Layout) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes) of every line below the header that is not empty."""
    number = layout.header_lines
    for lines in _blocks(source, layout):
        for line in lines:
            number += 1
            if line:
                yield number, line


def read_plainly(source: Source, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of every row, checked one by one: finds errors, and is the slow twin in tests.

    Raises `InputError` with the line at the first row that cannot be used.
    """
    date: bool | None = None  # what times are, as the first row has it
    for number, raw in _lines(source, layout):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise source.error(f"line {number} is not UTF-8: expected text in UTF-8") from None
        cells = _split(source, layout, number, line)
        for role in ("user", "item"):
            cell = cells[layout.columns[role]]
            if not cell and not (layout.is_list and role == "item"):
                raise _bad(source, layout, number, role, "is empty: expected an id")
        item = cells[layout.columns["item"]]
        if not layout.blanks_allowed and (" " in item or "\t" in item):
            what = (
                f"{shown(item)} has blanks: a list of items needs the header UserId,ItemId; "
                "if it is one item, say so by naming the columns (user=NAME,item=NAME)"
            )
            raise _bad(source, layout, number, "item", what)
        if "rating" in layout.columns:
            rating = cells[layout.columns["rating"]]
            if not _is_number(rating):
                raise _bad(
                    source, layout, number, "rating", f"is {shown(rating)}: expected a number"
                )
        if "timestamp" in layout.columns:
            time = cells[layout.columns["timestamp"]]
            right = {True: _is_date, False: _is_number}
            if date is None and (_is_date(time) or _is_number(time)):
                date = _is_date(time)
            if date is None or not right[date](time):
                iso = "an ISO date such as 2024-01-31"
                expected = {True: iso, False: "a number", None: f"a number or {iso}"}[date]
                what = f"is {shown(time)}: expected {expected}"
                raise _bad(source, layout, number, "timestamp", what)
        yield number, cells


def _bad(source: Source, layout: Layout, line: int, role: str, what: str) -> InputError:
    name = layout.names[layout.columns[role]]
    return source.error(f"line {line}, column {name}: {role} {what}")


def _split(source: Source, layout: Layout, number: int, line: str) -> list[str]:
    if layout.quoted and '"' in line:
        cells = _unquote(source, layout, number, line)
    else:
        cells = line.split(layout.separator)
    if len(cells) != layout.width:
        raise source.error(f"line {number} has {len(cells)} columns: expected {layout.width}")
    return cells


def _unquote(source: Source, layout: Layout, number: int, line: str) -> list[str]:
    for strict in (True, False):  # strict alone notices a quote that is never closed
        try:
            return next(csv.reader([line], delimiter=layout.separator, strict=strict))
        except csv.Error as error:
            if "end of data" in str(error) or not strict:
                break
    raise source.error(
        f"line {number} has a stray quote: expected quotes around whole cells, on one line"
    )


def _is_number(text: str) -> bool:
    return bool(NUMBER.fullmatch(text.strip(" \t"))) and abs(float(text)) != float("inf")


def _is_date(text: str) -> bool:
    text = text.strip(" \t")
    return bool(_ISO.fullmatch(text)) and not pd.isna(
        pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    )


def find_error(source: Source, layout: Layout, error: Exception | None) -> InputError:
    """The first error of the file with its line, found by reading it plainly."""
    try:
        for _ in read_plainly(source, layout):
            pass
    except InputError as located:
        return located
    detail = " ".join(str(error).split())[:200] if error else "a quoted cell spans lines"
    return source.error(f"cannot be read as a table: {detail}")


def find_cell(source: Source, layout: Layout, role: str) -> InputError | None:
    """The first marker of a missing value (nan, null...) among the ids of `role`, if any."""
    for number, cells in read_plainly(source, layout):
        cell = cells[layout.columns[role]]
        for part in cell.split() if layout.is_list and role == "item" else [cell]:
            if part.lower() in MISSING:
                what = f"{shown(part)} is a missing value among integers: expected an id"
                return _bad(source, layout, number, role, what)
    return None
