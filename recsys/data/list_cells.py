"""A cell with several items: how it is written, and its items.

| written | separated by |
|---|---|
| `8 36 54` | blanks: the report's way, any ids |
| `8 "red shoes" 54`, `8|"red shoes"|54` | as in our submissions, with ids that need quotes |
| `8,36,54` or `8|36|54` or `8;36;54` | the mark, only if all ids are integers |
| `[8, 36, 54]`, `('a', 'b')`, `{1, 2}`, `[ 8 36 54]`, `array([8, 36])` | as Python prints it |
| `[np.int64(8), np.int64(36)]` | as Python prints it with numpy 2 |
| `[red hat, cap]` | as Spark prints an array of texts: at the commas |
| `["red hat", "5\\" nail"]`, `"[8, 36]"` | as JSON, also if it was encoded twice |
| `{8,36,54}`, `{hat,"red shoe"}` | as PostgreSQL prints an array |

A GUID in braces is not a list if every cell is one: SQL Server writes ids like that. A set, as
Python prints it (`{8, 36}`, with a blank after the comma), has its items in no order.

The first rows of a file decide how its lists are written; every row must follow that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from recsys.data.cells import WHOLE, all_whole
from recsys.data.ids import BLANKS
from recsys.data.lists import BLANK, ListError, read_list

_OPEN = re.compile(
    r'\s*(?:"?\[|(?:(?:array|set|frozenset|deque|tuple|list)\()?[\[({]|(frozen)?set\(\))'
)
SET = r"""^\s*(?:(?:frozen)?set\(|\{(?:[^}"]|"[^"]*")*, )"""  # a cell with items in no order
_HEAD = re.compile(r"(?:(?:array|frozenset|set|deque)\()?[\[({]")
_TAIL = re.compile(r"[\])}](?:, ?dtype=[\w.<>'|]+)?\)?$")
_EMPTY = frozenset({"set()", "frozenset()", "[]", "()", "{}"})
_SCALAR = re.compile(r"""\bnp\.\w+\(('[^']*'|"[^"]*"|[^()'"]*)\)""")  # as numpy 2 prints it
_QUOTED = re.compile(r"""'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*\"""", re.DOTALL)
_CODE = r"x[0-9a-fA-F]{2}|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}|U00(?:0[0-9a-fA-F]|10)[0-9a-fA-F]{4}"
_ESCAPED = re.compile(rf"\\(?:({_CODE})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r"} | {c: c for c in "\\'\"/"}
# in quotes whatever PostgreSQL does not print without
_OF_POSTGRES = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"'{}\\,][^\s"{}\\,]*))(?:,|$)""")
_NUMERIC = re.compile(rf"(?:{WHOLE}|nan|None)(?:\s+(?:{WHOLE}|nan|None))+")  # as numpy prints
_BESIDE_BLANKS = re.compile(r"[\d.]\s+[-\d]")
_VALUED = re.compile(
    r"""^[^\s"']+:(\s|$)|^\d+:[\d.]+$|^(['"]).*?\2\s*:"""
)  # a key of a dict, with its value
_PLAIN_INNER = re.compile(r"""[^\[\](){}"]*""")
_GUID_TEXT = r"\{[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}"
_GUID = re.compile(_GUID_TEXT)
_ONE_NAME = re.compile(rf"""{_GUID_TEXT}|[\[({{](?!{WHOLE}\s*[\])}}])[^\[\](){{}},'"]+[\])}}]""")
_MARKS = {",": "commas", "|": "bars", ";": "semicolons"}
# a mark that may separate items (`red shoes|hat` has two items or three), or a bracket at the
# border of one: not a list of ids separated by blanks
DOUBTFUL = r"""[,;|]|(^|\s)[\[({]|[\])}](\s|$)"""


@dataclass(frozen=True)
class ListSyntax:
    """How lists are written. separator: " ", a mark, or "" for lists as Python prints them.

    quoted: whether ids are quoted if necessary, as in our submissions with another separator than a
    blank.
    """

    separator: str = " "
    quoted: bool = False

    @property
    def blank(self) -> bool:
        """Whether items are separated only by blanks, so that none can be empty."""
        return self.separator == " "


# what is after a quoted item or before one
_BESIDE = re.compile(r'''^"(?:[^"]|"")*"([^"])|^[^"]*([^"])"''')
_ITEM = re.compile(r"""\s*(?:"((?:[^"]|"")*)"|([^\s"]+))(?=\s|$)""")
PLAIN = r"""[,;|\[\](){}"']"""  # a cell without these is clearly separated by blanks


def is_printed(cell: str) -> bool:
    """Whether `cell`, whose end may be cut off, begins like a list that Python printed."""
    return bool(_OPEN.match(cell))


def hold_lists(cells: Sequence[str], *, named: bool = False) -> bool:
    """Whether `cells`, none of them empty, are lists as programs print them.

    Braces around a GUID are part of it if every cell is one. named: whether the user said which
    column has the items; then any brackets around a single name are part of it.
    """
    whole = _ONE_NAME if named else _GUID
    return (
        bool(cells)
        and all(map(is_printed, cells))
        and not all(whole.fullmatch(cell.strip(BLANKS)) for cell in cells)
    )


def syntax_of(cells: Sequence[str]) -> ListSyntax:
    """How lists are written, judging by `cells`; these may be empty, and the last one cut off."""
    full = [cell for cell in cells if cell.strip(BLANKS)]
    if full and is_printed(full[0]) and hold_lists(full[:1]):
        return ListSyntax("")
    for mark in _MARKS:
        if any(mark in cell for cell in full) and all(
            re.fullmatch(rf"[-\d.{re.escape(mark)}\s]*", cell) for cell in full
        ):
            return ListSyntax(mark)
    return _submitted([cell.strip(BLANKS) for cell in full]) or ListSyntax(" ")


def _submitted(cells: Sequence[str]) -> ListSyntax | None:
    """The syntax of a submission with its own separator, recognised by what is next to quotes."""
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
    """The items of `cell`, or what is wrong with it, as the end of a message."""
    text = cell.strip(BLANKS)
    if syntax.blank:
        items = _in_blanks(text)
        if items is None:
            return "has quotes that are not around whole items"
        if is_doubtful(text):
            return (
                "looks like a list with marks other than blanks: expected items separated by "
                "blanks, as in '8 36 54'"
            )
        return items
    if syntax.quoted:
        try:
            return read_list(text, syntax.separator)
        except ListError as error:
            return f"is not a list separated by {syntax.separator!r}, as in other rows: {error}"
    if syntax.separator:
        items = [item.strip(BLANKS) for item in text.split(syntax.separator)] if text else []
        if not all_whole(items):
            marks = _MARKS[syntax.separator]
            return f"is not a list of numbers separated by {marks}, as in other rows"
        return items
    return _printed_items(text)


_NO_LIST = "is not a list such as [8, 36, 54]: expected one per row, as in the first"


def _printed_items(text: str) -> list[str] | str:
    """The items of a list as a program prints it, or what is wrong with it."""
    if text.startswith('"'):
        text = _decoded(text)
    if text in _EMPTY or not text:
        return []
    if "[object " in text:
        return "has what JavaScript prints for an object: expected the ids"
    if text.startswith('["') and (found := _of_json(text)) is not None:
        return found
    if "np." in text:
        text = _SCALAR.sub(r"\1", text)
    head, tail = _HEAD.match(text), _TAIL.search(text)
    if head is None or tail is None or tail.start() < head.end():
        return _NO_LIST
    inner = text[head.end() : tail.start()].strip()
    if "..." in inner and re.search(r"(^|[\s,])\.\.\.([\s,]|$)", inner):
        return "is a list that numpy has shortened: expected all items (np.set_printoptions)"
    braces = text.startswith("{")
    if braces and "," in inner and (found := _of_postgres(inner)) is not None:
        items: list[str] | None = found
    else:
        items = _quoted(inner) if inner.startswith(("'", '"')) else _bare(inner)
    keys = [inner] if items is None else [] if inner[:1] in "'\"" else items
    if braces and any(map(_VALUED.search, keys)):
        return "is a dict, with a value for each item: expected a list of items such as [8, 36, 54]"
    return _NO_LIST if items is None else items


def _decoded(text: str) -> str:
    """The text in a JSON string, or `text` itself if it is not one."""
    value = _json(text)
    return value.strip(BLANKS) if isinstance(value, str) else text


def _of_json(text: str) -> list[str] | None:
    """The items of a JSON array of texts and integers; None for anything else."""
    values = _json(text)
    if not isinstance(values, list) or not all(type(value) in (str, int) for value in values):
        return None
    return list(map(str, values))


def _json(text: str) -> object:
    """The value of JSON; None if it is not JSON, or has half of a pair of surrogates."""
    try:
        value = json.loads(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _of_postgres(inner: str) -> list[str] | None:
    items = []
    at = 0
    while at < len(inner):
        match = _OF_POSTGRES.match(inner, at)
        if match is None or (at and inner[at].isspace()):
            return None
        items.append(match[2] if match[1] is None else re.sub(r"\\(.)", r"\1", match[1]))
        at = match.end()
    return None if inner.endswith(",") else items


def _quoted(inner: str) -> list[str] | None:
    """Items in quotes, with commas or blanks between them."""
    if _QUOTED.sub("", inner).strip(", \t\r\n"):
        return None
    found = [item[1:-1] for item in _QUOTED.findall(inner)]
    return [_ESCAPED.sub(_unescaped, item) for item in found] if "\\" in inner else found


def _unescaped(match: re.Match[str]) -> str:
    """The meaning of a backslash and what follows in Python or JSON; itself if it has none."""
    code, letter = match[1], match[2]
    return chr(int(code[1:], 16)) if code else _LETTERS.get(letter, match[0])


def _bare(inner: str) -> list[str] | None:
    """Items without quotes: words between commas, or numbers between blanks."""
    if not _PLAIN_INNER.fullmatch(inner):
        return None
    if "," not in inner:
        return inner.split() if _NUMERIC.fullmatch(inner) or not inner else [inner]
    items = [item.strip() for item in inner.split(",")]
    if not items[-1]:
        items.pop()  # as in (9,)
    if "" in items or ("'" in inner and any("'" in (item[0], item[-1]) for item in items)):
        return None
    mixed = _BESIDE_BLANKS.search(inner) and any(map(_NUMERIC.fullmatch, items))
    return None if mixed else items


def _in_blanks(text: str) -> list[str] | None:
    """Items separated by any blanks, in quotes if they have some; None for quotes elsewhere."""
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
    """Whether a cell that should have items separated by blanks looks like a list with marks."""
    if "{" in text:
        text = _GUID.sub("g", text)
    text = re.sub(r'"(?:[^"]|"")*"', "q", text) if '"' in text else _QUOTED.sub("q", text)
    return bool(re.search(DOUBTFUL, text))
