"""Tables under a header that names users and items: one row per interaction, or lists."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from recsys.data.formats.base import text_format
from recsys.data.ids import BLANKS
from recsys.data.layout import INTEGER, NUMBER, SAMPLE, SEPARATORS, Head, Layout, cells_of
from recsys.data.list_cells import hold_lists, items_of, syntax_of
from recsys.data.names import NEEDED, Found, find_columns, normal
from recsys.data.stream import shown
from recsys.data.times import TimeColumn
from recsys.errors import UserError


@dataclass(frozen=True)
class _Header:
    """A header and how it is cut. item_cells: the item cells of the first rows, if not empty."""

    separator: str
    names: tuple[str, ...]
    found: Found
    named: bool  # whether the user named the columns
    item_cells: list[str]

    @property
    def lists(self) -> bool:
        """Whether rows have lists: by the report's header, or as Python prints them."""
        if not self.named and [normal(name) for name in self.names] == ["userid", "itemid"]:
            return True
        return hold_lists(self.item_cells, named=self.named)

    def layout(self) -> Layout:
        width = len(self.names)
        return Layout(
            self.separator,
            width,
            self.found.columns,
            self.names,
            self.found,
            quoted=True,
            blanks_allowed=width > 2 or self.named,
        )


def _header(head: Head) -> _Header | None:
    """The header of a table; None if there is none. Raises InputError if it could be two."""
    found = _cuts(head)[0]
    if len(found) > 1:
        kinds = " and ".join(SEPARATORS[s] for s in found)
        raise head.source.error(f"line 1 can be cut at {kinds}: expected one separator")
    for separator, (names, taken) in found.items():
        named = bool(head.columns and set(NEEDED) & set(head.columns))
        cells = _column(head.rows[1:], separator, taken.columns["item"])
        return _Header(separator, names, taken, named, cells)
    return None


def _cuts(head: Head) -> tuple[dict[str, tuple[tuple[str, ...], Found]], UserError | None]:
    """The separators by which line 1 is a header, with its names and columns; and the error of the
    first one that fails.
    """
    found = {}
    problem: UserError | None = None
    for separator in SEPARATORS:
        names = cells_of(head.rows[0], separator)
        if names is None or len(names) < 2:
            continue
        try:
            taken = find_columns(head.source, names, head.columns, rated=head.rated)
            found[separator] = (names, taken)
        except UserError as error:
            problem = problem or error
    return found, problem


def no_header(head: Head) -> UserError:
    """The error for a table without a header that names users and items."""
    header = head.rows[0]
    if _looks_like_data(header):
        return head.source.error(
            f"line 1 is {shown(header)}: expected a header with a user and an item column"
        )
    return _cuts(head)[1] or head.source.error(
        f"line 1 is {shown(header)}: expected column names separated by , tab ; or |"
    )


def _lists(head: Head) -> Layout | None:
    header = _header(head)
    if header is None or not header.lists:
        return None
    dropped = [header.names[at] for role, at in header.found.columns.items() if role not in NEEDED]
    notes = [
        f"column {name} is not used: the order within the lists counts, oldest first"
        for name in dropped
    ]
    layout = replace(
        header.layout(),
        found=replace(header.found, notes=(*header.found.notes, *notes)),
        columns={role: header.found.columns[role] for role in NEEDED},
        lists=syntax_of(header.item_cells),
        disorder=_disorder(head, header),
        exact=header.names == ("UserId", "ItemId"),
        blanks_allowed=True,
    )
    return head.below_header(layout)


def _disorder(head: Head, header: _Header) -> str:
    """Why the lists are not in the order of time, if lists of times beside them show that; else "".

    The first rows decide: no program sorts some lists in one way and some in another.
    """
    at = header.found.columns.get("timestamp")
    if at is None:
        return ""
    cells = _column(head.rows[1:], header.separator, at)
    syntax = syntax_of(cells)
    for cell in cells:
        times = items_of(cell, syntax)
        if isinstance(times, str) or len(times) < 2:
            continue
        column = TimeColumn()
        column.begin("")
        column.add(pa.array(times), np.arange(len(times)))
        keys = column.finish().keys
        if keys is not None and (np.diff(keys) < 0).any():
            return (
                f"column {header.names[at]} has times that decrease within a list ({shown(cell)}), "
                "but lists are read oldest first: write one item per row with its time, or lists "
                "in the order of time (if they are, --columns timestamp=none)"
            )
    return ""


def _long(head: Head) -> Layout | None:
    header = _header(head)
    if header is None:
        return None
    cells = [cell.split() for cell in header.item_cells]
    several = max(map(len, cells), default=0) > 1
    if several and not header.named and all(map(INTEGER.fullmatch, itertools.chain(*cells))):
        raise head.source.error(
            f"column {header.names[header.found.columns['item']]} has lists of items beside other "
            "columns: expected the columns UserId,ItemId alone, or one item per row"
        )
    return head.below_header(header.layout())


def _column(rows: list[str], separator: str, at: int) -> list[str]:
    """The cells of a column that are not empty, as far as single lines show them."""
    found = []
    for row in rows[:SAMPLE]:
        cells = cells_of(row, separator) or cells_of(row + '"', separator)  # cut off inside quotes
        if cells is not None and len(cells) > at and cells[at].strip(BLANKS):
            found.append(cells[at])
    return found


def _looks_like_data(line: str) -> bool:
    cells = re.split(r"[,\t;|:]+| +", line.strip())
    return any(NUMBER.fullmatch(cell) for cell in cells)


LISTS = text_format(
    "lists",
    "one row per user: `UserId,ItemId`, items separated by blanks, oldest first",
    "that header, or lists as Python prints them",
    _lists,
)
LONG = text_format(
    "long",
    "one row per interaction: CSV or TSV, `user,item[,rating][,timestamp]`",
    "names of the columns, or `--columns user=A,item=B`; between them , tab ; or a bar",
    _long,
)
