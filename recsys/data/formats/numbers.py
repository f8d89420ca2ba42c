"""Numbers without a header: pairs, perhaps with rating and time, and two kinds of lists."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.data.formats.base import text_format
from recsys.data.ids import BLANKS
from recsys.data.layout import INTEGER, NUMBER, SAMPLE, SEPARATORS, Head, Layout, bare, cells_of
from recsys.data.list_cells import ListSyntax
from recsys.data.stream import shown


@dataclass(frozen=True)
class _Numbers:
    """The cells of the first rows; each row begins with an integer."""

    separator: str
    table: list[list[str]]

    @property
    def widths(self) -> set[int]:
        return {len(row) for row in self.table}


def _numbers_of(head: Head) -> _Numbers | None:
    sample = head.rows[:SAMPLE]
    separator = next((s for s in SEPARATORS if s in sample[0]), " ")
    split = [row.split() if separator == " " else cells_of(row, separator) for row in sample]
    table = [[cell.strip(BLANKS) for cell in row] for row in split if row]
    if head.columns or not table or not all(INTEGER.fullmatch(row[0]) for row in table):
        return None
    return _Numbers(separator, table)


def _bare_lists(head: Head) -> Layout | None:
    own = _numbers_of(head)
    if own is None or own.separator == " " or own.widths != {2}:
        return None
    lists = [row[1] for row in own.table]
    if not any(" " in items for items in lists):
        return None
    if not all(INTEGER.fullmatch(item) for items in lists for item in items.split()):
        return None
    return bare(own.separator, 2, quoted=True, lists=ListSyntax(" "), exact=True)


def _lines(head: Head) -> Layout | None:
    own = _numbers_of(head)
    if own is None or own.separator != " " or not _are_lines(own):
        return None
    counts = [row[0] for row in own.table]
    if len(set(counts)) < len(counts) and all(int(row[0]) == len(row) - 1 for row in own.table):
        raise head.source.error(
            f"line 1 is {shown(head.rows[0])}: every line begins with the number of its items, "
            "as in CiteULike's files: expected the user there"
        )
    return bare(" ", 2, lists=ListSyntax(" "), rest=True)


def _are_lines(own: _Numbers) -> bool:
    """Whether rows are `user item item ...`, as in the files of LightGCN and others."""
    table, widths = own.table, own.widths
    if not all(INTEGER.fullmatch(cell) for row in table for cell in row) or widths == {1}:
        return False
    if len(widths) > 1:
        return True
    width = next(iter(widths))
    alone = len(table) > 1 and len({row[0] for row in table}) == len(table)
    if width <= 2 or not alone:
        return False
    # a matrix of ratings after the user would repeat a few values many times
    distinct = width > 4 and all(len(set(row[1:])) == width - 1 for row in table)
    return distinct or any(int(row[2]) > 10 for row in table)


def _numbers(head: Head) -> Layout | None:
    own = _numbers_of(head)
    if own is None or not all(NUMBER.fullmatch(cell) for row in own.table for cell in row):
        return None
    table, widths = own.table, own.widths
    if any(len(row) > 1 and not INTEGER.fullmatch(row[1]) for row in table):
        return None
    if len(widths) > 1 or not 2 <= (width := widths.pop()) <= 4:
        return None
    _check_numbered(head, table)
    third = [float(row[2]) for row in table] if width > 2 else []
    right = width == 2 or all(0 <= value <= 10 for value in third)
    if own.separator == " " and width > 2:  # two items per user look the same
        right = right and len({row[0] for row in table}) < len(table)
    if width == 4:
        right = right and all(float(row[3]) >= 10**8 for row in table)
    if not right:
        raise head.source.error(
            f"line 1 is {shown(head.rows[0])}: numbers without a header, some of which have no "
            "clear meaning: expected a first line with the names of the columns, such as "
            "user,item,rating"
        )
    return bare(own.separator, width)


def _check_numbered(head: Head, table: list[list[str]]) -> None:
    """Raise InputError if line 1 may be the header that pandas writes for columns without names."""
    first, *rest = table
    numbered = first == [str(n) for n in range(len(first))]
    if numbered and rest and all(row[0] != first[0] for row in rest):
        raise head.source.error(
            f"line 1 is {shown(head.rows[0])}: a user and an item, or the header that pandas "
            "writes for columns without names? Expected a first line with names, such as "
            "user,item,rating, in its place or above it"
        )


BARE_LISTS = text_format(
    "bare lists",
    "one row per user without a header: `7,30 10 20`",
    "integers, the items of a user separated by blanks",
    _bare_lists,
)
LINES = text_format(
    "lines",
    "one line per user: `7 30 10 20` (LightGCN)",
    "integers between blanks, lines of several lengths or of one user each",
    _lines,
)
NUMBERS = text_format(
    "numbers",
    "one row per interaction without a header: `7,30`, `7,30,4.5`, `7,30,4.5,1700000000`",
    "2 to 4 numbers: user, item, rating (0 to 10), time (10^8 or more)",
    _numbers,
)
