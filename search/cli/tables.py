"""Tables on the screen in which no name or number is ever shortened.

A name that is cut off can't be searched for, or pasted into the next command. So every cell is
shown in full: text may wrap, and if a terminal is too narrow, columns are left out. In a pipe none
is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PADDING = 2  # blanks of a column beside its text


@dataclass(frozen=True)
class Column:
    """A column. wraps: whether its text may take several lines. leaves: if a terminal is too
    narrow, columns are left out by this number, the highest first; 0: never.
    """

    title: str
    wraps: bool = False
    leaves: int = 0


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, and if columns were left out, a line below that names them."""
    cells = [[column.title for column in columns], *rows]
    full = [max(cell_len(row[n]) for row in cells) for n in range(len(columns))]
    least = [
        max(_longest_word(row[n]) for row in cells) if column.wraps else full[n]
        for n, column in enumerate(columns)
    ]
    shown = list(range(len(columns)))
    before = console.width

    def needed(widths: list[int]) -> int:
        return sum(widths[n] + _PADDING for n in shown)

    if console.file.isatty():
        for n in sorted(shown, key=lambda n: -columns[n].leaves):
            if columns[n].leaves and needed(least) > before:
                shown.remove(n)
        width = max(before, needed(least))
    else:
        width = needed(full)
    table = Table(box=None)
    for n in shown:
        table.add_column(columns[n].title, no_wrap=not columns[n].wraps, min_width=least[n])
    for row in rows:
        table.add_row(*(Text(row[n]) for n in shown))
    console.width = width
    try:
        console.print(table, crop=False)
    finally:
        console.width = before
    if left := ", ".join(column.title for n, column in enumerate(columns) if n not in shown):
        console.print(Text(f"note: a wider terminal also shows: {left}"), soft_wrap=True)


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)
