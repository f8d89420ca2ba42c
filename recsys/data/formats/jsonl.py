"""Reading JSON lines: one object per line, whose keys are found like names of columns.

Every line is parsed in plain Python, so that nothing is left to Arrow's threads, and the line of a
mistake is known. Values keep their types: `"7"` and `7` are the same id; `7.5`, `true` and `{...}`
are not ids. A value that MongoDB wraps (`{"$oid": "..."}`, `{"$date": ...}`) counts without that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.data.blocks import blocks_of
from recsys.data.cells import MISSING, BadCellError
from recsys.data.formats.base import Format
from recsys.data.layout import Head, lines_of
from recsys.data.names import COMMON, Found, find_columns, normal
from recsys.data.rows import Rows
from recsys.data.stream import Source, TextStream, shown
from recsys.data.typed import add_batch

_SAMPLE = 1000  # the first objects, whose keys are those of the table
_OBJECT = re.compile(rb"""\s*\{\s*(["'}]|u'|$)""")
_ARRAY = re.compile(rb"""\s*\[\s*([\[{"\d\]-]|$)""")
_PYTHON = re.compile(rb"\s*\{\s*(u?')")
_WANTED = (
    "expected one object per line (JSON lines), as pandas to_json(orient='records', lines=True) or "
    "jq -c '.[]' write it"
)
_WHOLE = 2.0**53  # up to this a whole float is exact
_INTEGERS = range(-(2**63), 2**63)

_Row = tuple[int, dict[str, Any]]


def _find(head: Head) -> JsonTable | None:
    """The table, if the text begins as JSON does. Raises InputError for JSON that is not lines."""
    if _ARRAY.match(head.data):
        raise head.source.error(f"is one JSON array: {_WANTED}")
    if _PYTHON.match(head.data):
        raise head.source.error(
            'line 1 is a Python dict, not JSON: expected JSON, with " around names and texts '
            "(json.dumps(ast.literal_eval(line)) for every line)"
        )
    return JsonTable(head.source, head.columns) if _OBJECT.match(head.data) else None


@dataclass(frozen=True)
class JsonTable:
    """JSON lines. columns: keys by role, as the user gave them."""

    source: Source
    columns: Mapping[str, str] | None

    def check(self) -> None:
        """Check that the first objects have keys for users and items."""
        find_columns(self.source, first_keys(self.source), self.columns)

    def read(self, rows: Rows) -> Mapping[str, str]:
        """Append every object to `rows`; returns the key of each role."""
        return read_json_lines(self.source, self.columns, rows)


def read_json_lines(
    source: Source, columns: Mapping[str, str] | None, rows: Rows
) -> Mapping[str, str]:
    """Append every object of `source` to `rows`; returns the keys by role.

    columns: as for `load`. Raises InputError, which names the line and the key.
    """
    wanted: dict[str, str] = {}
    known: set[str] = set()
    listed = None
    for batch in _batches(source):
        if not wanted:
            names = _names(source, batch)
            found = find_columns(source, names, columns, rated=rows.min_rating is not None)
            wanted = _begin(found, names, rows)
            known = set(names)
        if not known.issuperset(keys := set().union(*(row for _, row in batch))):
            _note_late(source, batch, keys - known, {*wanted, *(columns or {})}, rows)
            known |= keys
        try:
            cells = _columns(batch, wanted)
            now = pa.types.is_list(cells["item"].type)
            if listed not in (None, now):
                raise BadCellError("item", 0, "is a list in some rows only")
            listed = now
            add_batch(cells, rows)
        except BadCellError as error:
            line = "" if error.row is None else f"line {batch[error.row][0]}, "
            name = wanted[error.role]
            raise source.error(f"{line}key {name}: {error.role} {error.what}") from None
    if not wanted:
        raise source.no_rows("has no rows")
    return wanted


def first_keys(source: Source) -> list[str]:
    """The keys of the first objects. Raises InputError if these are not objects."""
    batch = next(_batches(source), None)
    return [] if batch is None else _names(source, batch)


def json_ids(source: Source, keys: Sequence[str]) -> Iterator[tuple[int, Any, Any]]:
    """(line, user, item) of every object, with values of any type. keys: of user and item."""
    for batch in _batches(source):
        for line, row in batch:
            yield line, _bare(row.get(keys[0])), _bare(row.get(keys[1]))


def _names(source: Source, batch: list[_Row]) -> list[str]:
    """The keys of the first objects, in the order in which they appear."""
    first = batch[0][1]
    if (
        len(batch) == 1
        and first
        and all(isinstance(_bare(value), dict | list) for value in first.values())
    ):
        raise source.error(f"is one JSON object that holds whole columns or tables: {_WANTED}")
    return list(dict.fromkeys(key for _, row in batch[:_SAMPLE] for key in row))


def _note_late(
    source: Source, batch: list[_Row], keys: set[str], settled: set[str], rows: Rows
) -> None:
    """Add a note to `rows` on `keys` that first appear after the objects whose keys are those of
    the table. Raises InputError if ratings are needed and among them.

    settled: the roles that have a key, or are left out.
    """
    for key in sorted(keys):
        rows.unused[key] = None
        line = next(line for line, row in batch if key in row)
        what = (
            f"line {line} is the first with the key {shown(key)}, which the first {_SAMPLE:,} lack"
        )
        for role in ("rating", "timestamp"):
            if role in settled or normal(key) not in COMMON[role]:
                continue
            if role == "rating" and rows.min_rating is not None:
                raise source.error(f"{what}: put an object with a rating first")
            rows.column_notes[str(source.error(f"{what}: no {role} is used"))] = None


def _begin(found: Found, names: list[str], rows: Rows) -> dict[str, str]:
    rows.begin_columns(found, names)
    return {role: names[at] for role, at in found.columns.items()}


def _batches(source: Source) -> Iterator[list[_Row]]:
    """(line, object) of every line that is not blank, in batches that are not empty."""
    number = 0
    with TextStream(source) as stream:
        for block in blocks_of(stream, None):
            lines = _lines(source, block.text, number)
            batch = [
                (number + n, _object(source, number + n, line))
                for n, line in enumerate(lines, 1)
                if line and not line.isspace()
            ]
            number += len(lines)
            if batch:
                yield batch


def _lines(source: Source, text: bytes, before: int) -> list[str]:
    try:
        lines = lines_of(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = before + len(lines_of(text[: error.start].decode("utf-8")))
        raise source.error(f"line {line} is not UTF-8: expected text in UTF-8") from None
    return lines[:-1] if not lines[-1] else lines


def _object(source: Source, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        what = f"line {number} is {shown(line.strip())}: not a whole JSON object"
        if re.search(r"\}\s*,$", line.rstrip()):
            what += " (leave out the comma at the end of each line)"
        elif line.rstrip().endswith(("{", "[", ",")):
            what += " (jq -c . puts an object that spans lines on one line)"
        raise source.error(f"{what}; {_WANTED}") from None
    if not isinstance(value, dict):
        raise source.error(f"line {number} is {shown(line.strip())}: {_WANTED}")
    return value


def _columns(batch: list[_Row], wanted: Mapping[str, str]) -> dict[str, pa.Array]:
    """The columns of a batch, by role. Raises BadCellError for a value that cannot be an id."""
    cells = {role: [row.get(key) for _, row in batch] for role, key in wanted.items()}
    items = cells["item"]
    if not any(type(item) is list for item in items):
        return {role: _column(role, values) for role, values in cells.items()}
    for at, item in enumerate(items):
        if type(item) is not list:
            what = MISSING if item is None else "is not a list, unlike in other rows"
            raise BadCellError("item", at, what)
    return {
        role: _lists(role, values)
        if all(type(value) is list for value in values)
        else _column(role, values)
        for role, values in cells.items()
    }


def _lists(role: str, values: list[Any]) -> pa.Array:
    """`values`, each of them a list, as a column of lists."""
    sizes = np.array([len(value) for value in values])
    rows = np.repeat(np.arange(len(values)), sizes)
    try:
        flat = _column(role, [cell for value in values for cell in value])
    except BadCellError as error:
        at = None if error.row is None else int(rows[error.row])
        raise BadCellError(role, at, error.what) from None
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _column(role: str, values: list[Any]) -> pa.Array:
    """`values` as integers or floats if all are, else as text; null for missing ones."""
    kinds = set(map(type, values))
    ids = role in ("user", "item")
    if kinds == {int} and min(values) in _INTEGERS and max(values) in _INTEGERS:
        return pa.array(values, pa.int64())
    if kinds == {float} and not ids:
        return pa.array(values, pa.float64())
    if kinds != {str}:
        values = [_id(role, at, value) if ids else _text(value) for at, value in enumerate(values)]
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:  # half of a pair of \ud800 and \udc00
        at = next(n for n, value in enumerate(values) if value and not _encodes(value))
        raise BadCellError(role, at, f"is {shown(values[at])}: expected Unicode") from None


def _encodes(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _bare(value: Any) -> Any:
    """`value` without what MongoDB wraps around it."""
    while isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith("$"):
        (value,) = value.values()
    return value


def _id(role: str, at: int, value: Any) -> str | None:
    value = _bare(value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= _WHOLE:
        return str(int(value))
    what = "a whole number" if isinstance(value, float) else "a text or a whole number"
    raise BadCellError(role, at, f"is {shown(json.dumps(value))}: expected {what}")


def _text(value: Any) -> str | None:
    value = _bare(value)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    return json.dumps(value)


JSON_LINES = Format(
    "json lines",
    "JSON lines, one object per line (reviews of Yelp and Amazon, BigQuery, `to_json(lines=True)`)",
    "keys, found like names of columns",
    _find,
)
