"""Files of one data set of which only some have a header, as `split -l` makes them.

On their own, numbers without a header are user, item, rating and time. Beside a file with another
order of columns in its header, items would be taken for users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath

from recsys.data.formats import Format, Table, find_format
from recsys.data.formats.base import TextTable
from recsys.data.ids import BLANKS
from recsys.data.layout import NUMBER, SAMPLE, SEPARATORS, Head, Layout, cells_of
from recsys.data.names import COMMON, LABELS, normal
from recsys.data.rows import Rows
from recsys.data.stream import Source, TextStream, shown
from recsys.errors import InputError

_KNOWN = LABELS.union(*COMMON.values())


def find_tables(
    sources: Sequence[Source], columns: Mapping[str, str] | None, rows: Rows
) -> dict[str, tuple[Format, Table]]:
    """The format of every file, and the file as a table, by its label.

    columns: as for `load`. A file without a header gets that of the first file that has one, with a
    note in `rows`. Raises InputError for a file that fits no format, or has other columns than that
    header.
    """
    rated = rows.min_rating is not None
    found: dict[str, tuple[Format, Table]] = {}
    headed: _Headed | None = None
    bare: list[Source] = []
    for source in sources:
        try:
            format, table = find_format(Head(source, columns, rated))
        except InputError:
            if len(sources) == 1:
                raise
            bare.append(source)
            continue
        found[source.label] = format, table
        if isinstance(table, TextTable):
            if table.layout.header_lines:
                headed = headed or _Headed(source, table.layout)
            elif not table.layout.rest and table.layout.open is TextStream:
                bare.append(source)
    if headed is None:
        bare = [source for source in bare if source.label not in found]
    lent = []
    for source in bare:
        head = Head(source, columns, rated)
        other = None if headed is None else _with_header(head, headed)
        found[source.label] = find_format(other or head)
        if other is not None:
            lent.append(source)
    if headed is not None and lent:
        rows.column_notes[_note(lent, headed)] = None
    return found


@dataclass(frozen=True)
class _Headed:
    """The first file that has a header."""

    source: Source
    layout: Layout

    @property
    def name(self) -> str:
        """The name of the file, without its folder."""
        return PurePath(self.source.label).name

    @cached_property
    def rows(self) -> list[str]:
        """Its first lines, from the header on."""
        return Head(self.source).rows


def _with_header(head: Head, first: _Headed) -> Head | None:
    """The file with the header of `first`; None if it is to be read as it is.

    Raises InputError for a table without a header that has other columns.
    """
    try:
        if head.kind != "text":
            return None
        line = head.rows[0]
    except InputError:
        return None
    try:
        find_format(head)
        alone = True
    except InputError:
        alone = False
    layout = first.layout
    cells = cells_of(line, layout.separator) or ()
    if len(cells) == layout.width and (alone or _is_row(cells, first.rows, layout)):
        return Head(head.source, head.columns, head.rated, first.rows[0])
    if not alone:
        return None
    raise head.source.error(
        f"line 1 is {shown(line)}: no header, and not the {layout.width} columns of "
        f"{first.name} ({SEPARATORS[layout.separator]} between them): expected "
        "these, or a header in line 1"
    )


def _is_row(cells: Sequence[str], sample: Sequence[str], layout: Layout) -> bool:
    """Whether the first cells of a file are a row like those of `sample`, rather than a header."""
    names = {normal(name) for name in layout.names} | _KNOWN
    if any(normal(cell) in names for cell in cells):
        return False
    rows = [cells_of(row, layout.separator) or () for row in sample[1:SAMPLE]]
    columns = zip(*(row for row in rows if len(row) == layout.width), strict=True)
    return all(
        _is_number(cell) or not all(map(_is_number, column))
        for cell, column in zip(cells, columns, strict=False)
    )


def _is_number(cell: str) -> bool:
    cell = cell.strip(BLANKS)
    return not cell or NUMBER.fullmatch(cell) is not None


def _note(lent: Sequence[Source], first: _Headed) -> str:
    more = f" and {len(lent) - 1:,} more have" if len(lent) > 1 else " has"
    return (
        f"{PurePath(lent[0].label).name}{more} no header: read with that of "
        f"{first.name}, {shown(first.rows[0])}"
    )
