"""A cell that holds several items: how it is written, and its items.

| written | separated by |
|---|---|
| `8 36 54` | blanks: the report's way, any ids |
| `8 "red shoes" 54`, `8|"red shoes"|54` | as our submissions hold ids that need quotes |
| `8,36,54` or `8|36|54` or `8;36;54` | the mark, only where all ids are integers |
| `[8, 36, 54]`, `('a', 'b')`, `{1, 2}`, `[ 8 36 54]`, `array([8, 36])` | as Python prints it |
| `[np.int64(8), np.int64(36)]` | as numpy 2 has Python print it |
| `{8,36,54}` | as PostgreSQL prints an array |

A set, as Python prints it (`{8, 36}`, with a blank behind the comma), has its items in no order.

The first rows of a file settle how its lists are written; every row must keep to that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.data.cells import all_whole
from recsys.data.ids import BLANKS
from recsys.data.lists import BLANK, ListError, read_list

_OPEN = re.compile(r"\s*(?:(?:(?:array|set|frozenset|deque|tuple|list)\()?[\[({]|(frozen)?set\(\))")
SET = r"^\s*(?:(?:frozen)?set\(|\{[^}]*, )"  # a cell with items in no order
_PRINTED = re.compile(
    r"(?:(?:array|frozenset|set|deque)\()?[\[({](?P<inner>[^\[\](){}]*)[\])}]"
    r"(?:, ?dtype=[\w.<>'|]+)?\)?"
)
_EMPTY = frozenset({"set()", "frozenset()", "[]", "()", "{}"})
_SCALAR = re.compile(r"""\bnp\.\w+\(('[^']*'|"[^"]*"|[^()'"]*)\)""")  # as numpy 2 prints one
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_BARE = re.compile(r"""[^\s,'"]+""")
_VALUED = re.compile(r"^[^'\"].*:$|^\d+:[\d.]+$")  # a key of a dict, with or without its value
_MARKS = {",": "commas", "|": "bars", ";": "semicolons"}
# a mark that separates items elsewhere (`red shoes|hat` has two items or three), or a bracket at
# the border of one: no list of blank-separated ids
DOUBTFUL = r"""[,;|]|(^|\s)[\[({]|[\])}](\s|$)"""


@dataclass(frozen=True)
class ListSyntax:
    """`separator`: " ", a mark, or "" for lists as Python prints them.

    quoted: whether ids stand in quotes where they need it, as our submissions have them with
    another separator than a blank.
    """

    separator: str = " "
    quoted: bool = False

    @property
    def blank(self) -> bool:
        """Whether items stand with nothing but blanks between them, so that none can be empty."""
        return self.separator == " "


# what stands behind a quoted item or before one
_BESIDE = re.compile(r'''^"(?:[^"]|"")*"([^"])|^[^"]*([^"])"''')
_ITEM = re.compile(r"""\s*(?:"((?:[^"]|"")*)"|([^\s"]+))(?=\s|$)""")
PLAIN = r"""[,;|\[\](){}"']"""  # a cell without these is plainly separated by blanks


def is_printed(cell: str) -> bool:
    """Whether `cell`, of which the end may be cut off, begins like a list that Python printed."""
    return bool(_OPEN.match(cell))


def syntax_of(cells: Sequence[str]) -> ListSyntax:
    """How the lists are written, to judge by `cells` (empty ones, and a cut last one, allowed)."""
    full = [cell for cell in cells if cell.strip(BLANKS)]
    if full and is_printed(full[0]):
        return ListSyntax("")
    for mark in _MARKS:
        if any(mark in cell for cell in full) and all(
            re.fullmatch(rf"[-\d.{re.escape(mark)}\s]*", cell) for cell in full
        ):
            return ListSyntax(mark)
    return _submitted([cell.strip(BLANKS) for cell in full]) or ListSyntax(" ")


def _submitted(cells: Sequence[str]) -> ListSyntax | None:
    """The syntax of a submission with its own separator, known by what stands beside quotes."""
    quoted = next((cell for cell in cells if '"' in cell), "")
    for mark in dict.fromkeys(_BESIDE.findall(quoted)):
        separator = mark[0] or mark[1]
        if separator == BLANK or separator.isalnum():
            continue
        try:
            for cell in cells:
                read_list(cell, separator)
        except ListError:
            continue
        return ListSyntax(separator, quoted=True)
    return None


def items_of(cell: str, syntax: ListSyntax) -> list[str] | str:
    """The items of `cell`, or what is wrong with it, as in "is ...: expected ..."."""
    text = cell.strip(BLANKS)
    if syntax.blank:
        items = _in_blanks(text)
        if items is None:
            return "has quotes that do not stand around whole items"
        if is_doubtful(text):
            return (
                "looks like a list with other marks than blanks: expected items separated by "
                "blanks, as in '8 36 54'"
            )
        return items
    if syntax.quoted:
        try:
            return read_list(text, syntax.separator)
        except ListError as error:
            return f"is not a list separated by {syntax.separator!r}, as the rows before: {error}"
    if syntax.separator:
        items = [item.strip(BLANKS) for item in text.split(syntax.separator)] if text else []
        if not all_whole(items):
            marks = _MARKS[syntax.separator]
            return f"is not a list of numbers separated by {marks}, as the rows before"
        return items
    if text in _EMPTY or not text:
        return []
    if "np." in text:
        text = _SCALAR.sub(r"\1", text)
    match = _PRINTED.fullmatch(text)
    inner = match["inner"].strip() if match else ""
    if "..." in inner:
        return "is a list that numpy has cut short: expected all items (np.set_printoptions)"
    found = (_QUOTED if inner.startswith(("'", '"')) else _BARE).findall(inner)
    if text.startswith("{") and any(_VALUED.search(item) for item in found):
        return "is a dict, with a value for each item: expected a list of items such as [8, 36, 54]"
    left = inner
    for item in found:
        left = left.replace(item, "", 1)
    if not match or left.strip(", \t\r\n"):
        return "is not a list such as [8, 36, 54]: expected one per row, as in the first"
    return [item[1:-1] if item[:1] in "'\"" else item for item in found]


def _in_blanks(text: str) -> list[str] | None:
    """Items between any blanks, in quotes where they hold some; None for quotes elsewhere."""
    if '"' not in text:
        return text.split()
    items = []
    at = 0
    while at < len(text):
        match = _ITEM.match(text, at)
        if match is None:
            return None
        items.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        at = match.end()
    return items


def is_doubtful(text: str) -> bool:
    """Whether a cell that should be separated by blanks looks like a list with other marks."""
    text = re.sub(r'"(?:[^"]|"")*"', "q", text) if '"' in text else _QUOTED.sub("q", text)
    return bool(re.search(DOUBTFUL, text))
