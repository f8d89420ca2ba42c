"""What a format is: an entry of the table in `recsys.data.formats`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from recsys.data.layout import Head, Layout
from recsys.data.rows import Rows
from recsys.data.stream import Source
from recsys.data.table import read_table

# how a text table is laid out, or the names of columns by role (parquet, JSON lines)
Columns = Layout | Mapping[str, str]


class Table(Protocol):
    """A file whose format is known. Both methods raise InputError if it can't be used."""

    def check(self) -> None:
        """Check by its first rows that it has users and items."""

    def read(self, rows: Rows) -> Columns:
        """Append every row to `rows`; returns the columns that were used."""


@dataclass(frozen=True)
class Format:
    """One form in which a file can have interactions.

    holds, known_by: its row in the README's table. find: gives the table from the beginning of a
    file; None for another format; raises InputError for a file that can't be used.
    """

    name: str
    holds: str
    known_by: str
    find: Callable[[Head], Table | None]
    folders: bool = False  # whether names of folders (`year=2023/`) give it columns


@dataclass(frozen=True)
class TextTable:
    """A table in text, completely described by its layout."""

    source: Source
    layout: Layout

    def check(self) -> None:
        """Nothing has to be checked: the layout says where users and items are."""

    def read(self, rows: Rows) -> Layout:
        """Append every row to `rows`; returns the layout itself."""
        read_table(self.source, self.layout, rows)
        return self.layout


def text_format(
    name: str, holds: str, known_by: str, layout_of: Callable[[Head], Layout | None]
) -> Format:
    """The entry of a format that is a text table. layout_of: gives a file's layout, or None."""

    def find(head: Head) -> TextTable | None:
        layout = layout_of(head)
        return None if layout is None else TextTable(head.source, layout)

    return Format(name, holds, known_by, find)
