"""How the rows of a text table are laid out, and the first lines, from which that is found out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath

from recsys.data.blocks import unquoted
from recsys.data.cells import NUMERAL
from recsys.data.list_cells import ListSyntax
from recsys.data.names import ROLES, Found
from recsys.data.stream import MAX_LINE, Source, TextStream, kind_of, shown

HEAD = 1 << 18  # bytes of a file that are read first
SAMPLE = 200  # rows that decide how a table is laid out
NUMBER = re.compile(NUMERAL, re.ASCII)
INTEGER = re.compile(r"-?\d+", re.ASCII)  # without the point that `cells.WHOLE` accepts
_TYPE = re.compile(
    r"((u?int|float)(8|16|32|64)?|(tiny|small|big|long)int|integer|long|short|double( precision)?|"
    r"real|decimal|numeric|number|string|str|object|text|(n?var)?char|character( varying)?|"
    r"varchar2|utf8|bool(ean)?|date(time)?|timestamp|time|datetime64\[ns\]|category|uuid)"
    r"(\(\d+(, ?\d+)?\))?"
)
SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


@dataclass(frozen=True)
class Layout:
    """How to read a text file. columns: positions by role (user, item, rating, timestamp)."""

    separator: str  # " ": any blanks
    width: int  # the number of columns that a row must have
    columns: Mapping[str, int]
    names: tuple[str, ...]  # of the columns, as messages show them
    found: Found  # what else is known about them
    quoted: bool = False  # whether cells may be quoted
    header_lines: int = 0  # lines up to the header, including it
    header_bytes: int = 0  # the same in bytes, without the byte order mark
    lists: ListSyntax | None = None  # how an item cell has several items
    disorder: str = ""  # why the lists are not in the order of time
    rest: bool = False  # separated by blanks, with all that follows the user as items
    exact: bool = False  # whether the header is spelled as in the report, UserId,ItemId
    blanks_allowed: bool = True  # in an item id: not if it could be a list under another header
    open: Callable[[Source], TextStream] = field(default=TextStream)  # gives cells with `separator`


def bare(separator: str, width: int, **more: bool | ListSyntax | type[TextStream]) -> Layout:
    """The layout of a table without a header, with the columns user, item, rating, time."""
    names = ROLES[:width]
    roles = {role: n for n, role in enumerate(names)}
    return Layout(separator, width, roles, names, Found(roles), **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Head:
    """The beginning of a file, read as far as needed.

    columns: names of columns by role, as the user gave them. rated: whether ratings are needed.
    header: the header of another file, which this file lacks.
    """

    source: Source
    columns: Mapping[str, str] | None = None
    rated: bool = False
    header: str = ""

    @cached_property
    def kind(self) -> str:
        """ "zip", "parquet" or "text"."""
        return kind_of(self.source)

    @property
    def data(self) -> bytes:
        """The first bytes of the text, unpacked: `HEAD`, or more until two lines are whole."""
        return self._beginning[0]

    @cached_property
    def _beginning(self) -> tuple[bytes, bool]:
        """The first bytes, and whether they may end in the middle of a line."""
        with TextStream(self.source) as stream:
            data = stream.read(HEAD)
            cut = len(data) == HEAD
            while cut and len(data) < 2 * MAX_LINE and _whole_lines(data) < 2:
                wanted = len(data)  # double the amount
                data += stream.read(wanted)
                cut = len(data) == 2 * wanted
            return data, cut

    @cached_property
    def suffixes(self) -> set[str]:
        """The endings of the file's name, in lower case."""
        return {s.lower() for s in PurePath(self.source.label).suffixes}

    @cached_property
    def rows(self) -> list[str]:
        """The header of another file, if any, and the first lines that are not empty, at least one.

        Raises InputError for a file that is not a table.
        """
        lines = self._lines
        rows = [line for line in lines[self._first :] if line]
        self._check_drawn(rows)
        if "\ufffd" in rows[0]:
            self._check_utf8()
        return [self.header, *rows] if self.header else rows

    @cached_property
    def _lines(self) -> list[str]:
        lines = lines_of(self.data.decode("utf-8", errors="replace"))
        if self._beginning[1]:
            lines.pop()
            if not lines:
                raise self.source.error(
                    f"line 1 is longer than {MAX_LINE >> 20} MiB: expected one row per line"
                )
        return lines

    @cached_property
    def _first(self) -> int:
        """The number of the first line that is not empty, from 0."""
        first = next((n for n, line in enumerate(self._lines) if line), None)
        if first is None:
            raise self.source.error("is empty: expected a table of users and items")
        return first

    def below_header(self, layout: Layout) -> Layout:
        """The layout with the place where rows begin: below the first line that is not empty.

        With a header of another file, every line is a row.
        """
        if self.header:
            return layout
        first = self._first
        breaks = re.finditer(rb"\r\n|\n|\r", self.data)
        ends = [match.end() for _, match in zip(range(first + 1), breaks, strict=False)]
        end = ends[first] if len(ends) > first else len(self.data)
        return replace(layout, header_lines=first + 1, header_bytes=end)

    def _check_drawn(self, rows: list[str]) -> None:
        """Raise InputError for lines above the rows that are only for people or Excel."""
        line = self._first + 1
        if re.fullmatch(r'"?sep=.?"?', rows[0]):
            raise self.source.error(
                f"line {line} is {shown(rows[0])}, which is for Excel: leave it out"
            )
        for n, row in enumerate(rows[:2]):
            if re.fullmatch(r"[\s|+:=,;-]+", row) and re.search(r"---|===", row):
                raise self.source.error(
                    f"line {line + n} is {shown(row)}: a table formatted for reading; expected it "
                    "as CSV (psql --csv, mysql --batch, to_csv)"
                )
        for row in rows[1:2]:
            if any(_are_types(cells_of(row, mark) or ()) for mark in SEPARATORS):
                below = self._first + 1 + self._lines[self._first + 1 :].index(row) + 1
                raise self.source.error(
                    f"line {below} is {shown(row)}, types of the columns: leave it out"
                )

    def _check_utf8(self) -> None:
        try:
            self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                line = 1 + self.data[: error.start].count(b"\n")
                raise self.source.error(
                    f"line {line} is not UTF-8: expected text in UTF-8"
                ) from None


def _whole_lines(data: bytes) -> int:
    """The number of lines that are not empty and end in a line break."""
    return sum(map(bool, data.replace(b"\r", b"\n").split(b"\n")[:-1]))


def lines_of(text: str) -> list[str]:
    """`text` cut at line feeds, carriage returns or both, as the table parser does."""
    return re.split(r"\r\n|\n|\r", text)


def _are_types(cells: Sequence[str]) -> bool:
    """Whether a row has the types of the columns, as some programs write below a header."""
    return len(cells) > 1 and all(_TYPE.fullmatch(cell.strip().lower()) for cell in cells)


def cells_of(line: str, separator: str) -> tuple[str, ...] | None:
    """The cells of a line, without quotes; None if a quote is not closed in it."""
    cells = unquoted(line, separator, iter(()))
    return None if cells is None else tuple(cells)
