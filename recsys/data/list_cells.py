"""A cell that holds several items: how it is written, and its items.

| written | separated by |
|---|---|
| `8 36 54` | blanks: the report's way, any ids |
| `8,36,54` or `8|36|54` or `8;36;54` | the mark, only where all ids are integers |
| `[8, 36, 54]`, `('a', 'b')`, `{1, 2}`, `[ 8 36 54]`, `array([8, 36])` | as Python prints it |

How the lists of a file are written is settled from its first rows; every row must keep to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.data.ids import BLANKS
from recsys.data.lists import ListError, read_list

_OPEN = re.compile(r"\s*(?:(?:array|set|frozenset|deque|tuple|list)\()?[\[({]")
_PRINTED = re.compile(
    r"(?:(?:array|frozenset|set|deque)\()?[\[({](?P<inner>[^\[\](){}]*)[\])}]"
    r"(?:, ?dtype=[\w.<>'|]+)?\)?"
)
_EMPTY = frozenset({"set()", "frozenset()", "[]", "()", "{}"})
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_BARE = re.compile(r"""[^\s,'"]+""")
_MARKS = {",": "commas", "|": "bars", ";": "semicolons"}
# a mark at the border of an item, or alone between items: no list of blank-separated ids
DOUBTFUL = r"""(^|\s)[,;|\[({]|[,;|\])}](\s|$)"""


@dataclass(frozen=True)
class ListSyntax:
    """`separator`: " ", a mark, or "" for lists as Python prints them."""

    separator: str = " "

    @property
    def blank(self) -> bool:
        return self.separator == " "


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
    return ListSyntax(" ")


def items_of(cell: str, syntax: ListSyntax) -> list[str] | str:
    """The items of `cell`, or what is wrong with it: "is ...: expected ..."."""
    text = cell.strip(BLANKS)
    if syntax.blank:
        if is_doubtful(text):
            return (
                "looks like a list with other marks than blanks: expected items separated by "
                "blanks, as in '8 36 54'"
            )
        if '"' in text:  # as our own submissions hold ids with blanks
            try:
                return read_list(text)
            except ListError:
                return "has quotes that do not stand around whole items"
        return text.split()
    if syntax.separator:
        items = [item.strip(BLANKS) for item in text.split(syntax.separator)] if text else []
        if not all(re.fullmatch(r"-?\d+(\.0*)?", item) for item in items):
            marks = _MARKS[syntax.separator]
            return f"is no list of numbers separated by {marks}, as the rows before"
        return items
    if text in _EMPTY or not text:
        return []
    match = _PRINTED.fullmatch(text)
    inner = match["inner"].strip() if match else ""
    if "..." in inner:
        return "is a list that numpy has cut short: expected all items (np.set_printoptions)"
    found = (_QUOTED if inner.startswith(("'", '"')) else _BARE).findall(inner)
    left = inner
    for item in found:
        left = left.replace(item, "", 1)
    if not match or left.strip(", \t\r\n"):
        return "is no list such as [8, 36, 54], as the rows before: expected one a row"
    return [item[1:-1] if item[:1] in "'\"" else item for item in found]


def is_doubtful(text: str) -> bool:
    """Whether a cell that should be separated by blanks looks like a list with other marks."""
    text = _QUOTED.sub("q", text)
    if re.search(DOUBTFUL, text):
        return True
    return not re.search(r"\s", text) and bool(re.search(r"[,;|]", text))
