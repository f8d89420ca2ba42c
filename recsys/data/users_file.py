"""Files with the users of a submission: a test file with only users, or a sample submission."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.blocks import unquoted
from recsys.data.cells import WHOLE
from recsys.data.layout import HEAD, lines_of
from recsys.data.names import COMMON, normal
from recsys.data.stream import BROKEN, Source, TextStream, kind_of

_INTEGER = re.compile(WHOLE, re.ASCII)
_BARE = re.compile(rf"\s*{WHOLE}\s*[\r\n]".encode())


def read_users(
    source: Source, columns: Mapping[str, str] | None, *, items_too: bool = False
) -> list[str] | None:
    """The user ids of a file, in its order, as text; None if it is not such a file.

    It must have a header with one user column, and no item column or one that is empty in every row
    (items_too: it may have items); or no header and one integer per line. The result may have empty
    and repeated ids. columns: as for `load`. Raises InputError for a damaged file.
    """
    kind = kind_of(source)
    if kind == "zip":
        return None
    return (_of_parquet if kind == "parquet" else _of_text)(source, columns, items_too)


def _columns(names: list[str], columns: Mapping[str, str] | None) -> tuple[int, int | None] | None:
    """The places of users and items; None unless there is one user column and at most one for
    items.
    """
    clean = [name.strip().removesuffix(":token") for name in names]
    found = {}
    for role in ("user", "item"):
        given = (columns or {}).get(role)
        found[role] = [n for n, name in enumerate(clean) if name == given] or [
            n for n, name in enumerate(clean) if normal(name) in COMMON[role]
        ]
    if len(found["user"]) != 1 or len(found["item"]) > 1:
        return None
    return found["user"][0], found["item"][0] if found["item"] else None


def _of_parquet(
    source: Source, columns: Mapping[str, str] | None, items_too: bool
) -> list[str] | None:
    try:
        with source.open_in_arrow() as raw:
            file = pq.ParquetFile(raw)
            names = list(file.schema_arrow.names)
            places = _columns(names, columns)
            if places is None or (places[1] is not None and not items_too):
                return None
            at = places[0]
            column = file.read([names[at]], use_threads=False).column(0)
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            texts: list[str | None] = pc.cast(column, pa.string()).to_pylist()
            return [text or "" for text in texts]
    except (pa.ArrowException, *BROKEN):
        return None  # reading it as a table will say what is wrong


def _of_text(
    source: Source, columns: Mapping[str, str] | None, items_too: bool
) -> list[str] | None:
    with TextStream(source) as stream:
        head = stream.read(HEAD)
        lines = lines_of(head.decode("utf-8", errors="replace"))
        header = next((line for line in lines if line), "")
        for separator in "\t,;|":
            places = _columns(unquoted(header, separator, iter(())) or [], columns)
            if places is None:
                continue
            at, items = places
            if items is not None and not items_too and _filled(lines[1:3], separator, items):
                return None
            text = (head + stream.read()).decode("utf-8", errors="replace")
            full = list(filled_rows(source, text, separator))[1:]
            if not items_too and any(cell_at(row, items) for row in full):
                return None
            return [cell_at(row, at) for row in full]
        return None if items_too else _bare(head, stream)


def _bare(head: bytes, stream: TextStream) -> list[str] | None:
    """The users of a file without a header, one integer per line; None for any other file."""
    if not _BARE.match(head):
        return None
    text = (head + stream.read()).decode("utf-8", errors="replace")
    users = [line.strip() for line in lines_of(text) if line.strip()]
    return users if all(_INTEGER.fullmatch(user) for user in users) else None


def cell_at(row: list[str], at: int | None) -> str:
    """The trimmed cell in column `at`; "" if the row is too short, or `at` is None."""
    return "" if at is None or at >= len(row) else row[at].strip()


def _filled(lines: list[str], separator: str, at: int) -> bool:
    """Whether the first rows have anything in this column, which is enough to know most tables."""
    return any(cell_at(unquoted(line, separator, iter(())) or [], at) for line in lines)


def filled_rows(source: Source, text: str, separator: str) -> Iterator[list[str]]:
    """The rows that are not empty; not read by `csv`, which limits the length of a cell. Raises
    InputError for a stray quote.
    """
    lines = iter(lines_of(text))
    for line in lines:
        if line:
            row = unquoted(line, separator, lines)
            if row is None:
                raise source.error("has a stray quote: expected quotes around whole cells, closed")
            yield row
