"""The formats of files: a table with one entry each, and the way from a file to its entry.

A new format is one file here and one line in `FORMATS`; its row of the README's table is in its
entry. Formats are recognised by content, strictly: a file that fits none, or could have two
meanings, is an error.

`base` defines an entry. `headed`, `numbers`, `movielens` and `recbole` are formats of text, `jsonl`
and `parquet` have columns of known types.

Others import: base.

May import: errors, and the files of data that read a text or collect rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from recsys.data.formats.base import Columns, Format, Table
from recsys.data.formats.headed import LISTS, LONG, no_header
from recsys.data.formats.jsonl import JSON_LINES, json_ids
from recsys.data.formats.movielens import DOUBLE_COLON, U_DATA
from recsys.data.formats.numbers import BARE_LISTS, LINES, NUMBERS
from recsys.data.formats.parquet import PARQUET, parquet_ids
from recsys.data.formats.recbole import RECBOLE
from recsys.data.ids import BLANKS
from recsys.data.layout import SAMPLE, Head
from recsys.data.names import NEEDED, names_columns
from recsys.data.stream import Source, kind_of, shown
from recsys.errors import InputError, UserError

__all__ = [
    "FORMATS",
    "Columns",
    "Format",
    "Table",
    "find_format",
    "format_rows",
    "header_in_rows",
    "id_in_rows",
]

# in the order in which they are tried on a file: the plainest first
FORMATS = (
    PARQUET,
    JSON_LINES,
    RECBOLE,
    DOUBLE_COLON,
    U_DATA,
    BARE_LISTS,
    LINES,
    NUMBERS,
    LISTS,
    LONG,
)


def find_format(head: Head) -> tuple[Format, Table]:
    """The format of a file, and the file as a table of it. Raises InputError if it fits none."""
    if head.kind == "zip":
        raise head.source.error(
            "is a zip inside a zip or folder: expected a table, unpack it and give what was in it"
        )
    for format in FORMATS:
        table = format.find(head)
        if table is not None:
            return format, table
    raise _no_format(head)


def _no_format(head: Head) -> UserError:
    """The error for a file that fits no format."""
    error = _one_column(head) or no_header(head)
    if not head.source.constants or not isinstance(error, InputError):
        return error
    keys = ", ".join(f"{key}=..." for key, _ in head.source.constants)
    return InputError(
        f"{error}; the folders {keys} count as columns only for parquet files: write these values "
        "into the rows, or the files as parquet"
    )


def _one_column(head: Head) -> InputError | None:
    """The error for a file with one cell in each row; None for others."""
    line = head.rows[0].strip()
    if any(re.search(r"[,\t;|]| |:", row.strip()) for row in head.rows[:SAMPLE]):
        return None
    said = f"line 1 is {shown(line)}: one column; expected at least two, of users and of items, "
    said += "separated by , tab ; or |"
    if "test" in PurePath(head.source.label).name.lower():
        said += " (if these are the users to recommend for, the header user_id in line 1 says so)"
    return head.source.error(said)


def header_in_rows(source: Source, columns: Mapping[str, str]) -> InputError | None:
    """The error for the first row of a file of known types that has the names of its columns as
    ids; None if there is none.

    columns: their names by role.
    """
    own = [columns[role] for role in NEEDED]
    for place, user, item in _typed_ids(source, columns):
        if isinstance(user, str) and isinstance(item, str) and names_columns(user, item, own):
            return source.error(
                f"{place} has the names of the columns as ids: was a header read as a row? "
                "Leave it out"
            )
    return None


def id_in_rows(
    source: Source, columns: Mapping[str, str], role: str, id: str, what: str
) -> InputError | None:
    """The error `what` for the first row of a file of known types in which `role` is `id`; None if
    there is none. columns: names by role.
    """
    for place, *both in _typed_ids(source, columns):
        cell = both[NEEDED.index(role)]
        if id in [str(one).strip(BLANKS) for one in (cell if isinstance(cell, list) else [cell])]:
            called = "column" if place.startswith("row") else "key"
            return source.error(f"{place}, {called} {columns[role]}: {role} {shown(id)} {what}")
    return None


def _typed_ids(source: Source, columns: Mapping[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """(place, user, item) of every row of parquet or JSON lines."""
    own = [columns[role] for role in NEEDED]
    if kind_of(source) == "parquet":
        for row, user, item in parquet_ids(source, own):
            yield f"row {row}", user, item
    else:
        for line, user, item in json_ids(source, own):
            yield f"line {line}", user, item


def format_rows() -> str:
    """The rows of the README's table of formats, in Markdown, with the most common first."""
    return "\n".join(f"| {format.holds} | {format.known_by} |" for format in reversed(FORMATS))
