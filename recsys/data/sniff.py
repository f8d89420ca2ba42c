"""Which format a text file has, from its first bytes. Strict: when in doubt, an error.

| format | recognised by |
|---|---|
| list | the header `UserId,ItemId` (any case, `_` ignored); see `table.py` for its rows |
| `.inter` | a tab-separated header of `name:type` |
| `::` | a first line of 3 or 4 numbers between `::` |
| `u.data` | no header, tab-separated user, item, rating (0..10), time (>= 1e8) |
| long | a header that names a user and an item column, separated by one of , tab ; and a bar |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from recsys.data.blocks import unquoted
from recsys.data.ids import BLANKS
from recsys.data.list_cells import ListSyntax, is_printed, syntax_of
from recsys.data.names import NEEDED, ROLES, Found, find_columns, normal
from recsys.data.stream import Source, TextStream, shown

HEAD = 1 << 18
_SAMPLE = 200  # rows that settle how lists are written
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"-?\d+", re.ASCII)
_TYPED = re.compile(r"[^:\t]+:(token|token_seq|float|float_seq)")
_SEPARATORS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


@dataclass(frozen=True)
class Layout:
    """How to read a text file. `columns`: role (user, item, rating, timestamp) to position."""

    format: str
    separator: str
    quoted: bool
    width: int  # columns a row must have
    columns: Mapping[str, int]
    header_lines: int  # lines up to and with the header
    header_bytes: int  # the same in bytes, without the byte order mark
    names: tuple[str, ...]  # of the columns, as messages show them
    named: bool = False  # the user said which columns
    lists: ListSyntax | None = None  # how an item cell holds several
    exact: bool = False  # the header is spelled as the report's, UserId,ItemId
    found: Found = field(default_factory=lambda: Found({}))  # what else there is to say of them

    @property
    def is_list(self) -> bool:
        return self.lists is not None

    @property
    def double_colon(self) -> bool:
        return self.format == "::"

    @property
    def blanks_allowed(self) -> bool:
        """Whether an item id may hold blanks: not where it could be a list under another header."""
        return self.format != "long" or self.width > 2 or self.named


def lines_of(text: str) -> list[str]:
    """`text` cut at line feeds, carriage returns or both, as the table parser does."""
    return re.split(r"\r\n|\n|\r", text)


def sniff(source: Source, columns: Mapping[str, str] | None, *, rated: bool = False) -> Layout:
    """The layout of `source`; `columns` maps roles to column names and overrides the search.

    rated: whether ratings are asked for.
    """
    with TextStream(source) as stream:
        head = stream.read(HEAD)
    whole = len(head) < HEAD
    text = head.decode("utf-8", errors="replace")
    lines = lines_of(text)
    if not whole:
        lines.pop()  # cut off
        if not lines:
            raise source.error(f"line 1 is longer than {HEAD >> 10} KiB: expected a header")
    first = next((n for n, line in enumerate(lines) if line), None)
    if first is None:
        raise source.error("is empty: expected a table of users and items")
    rows = [line for line in lines[first:] if line]
    if "\ufffd" in rows[0]:
        _check_utf8(source, head)
    suffixes = {s.lower() for s in PurePath(source.label).suffixes}
    if ".inter" in suffixes or _is_typed(rows[0]):
        layout = _recbole(source, rows[0], columns, rated)
    elif "::" in rows[0] and _is_double_colon(rows[0]):
        layout = _headless(source, "::", rows[0].split("::"), columns)
    elif _is_udata(rows):
        layout = _headless(source, "u.data", rows[0].split("\t"), columns)
    else:
        layout = _long_or_list(source, rows, columns, rated)
    if layout.format in ("::", "u.data"):
        return layout
    return _below_header(layout, head, first)


def _check_utf8(source: Source, head: bytes) -> None:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            line = 1 + head[: error.start].count(b"\n")
            raise source.error(f"line {line} is not UTF-8: expected text in UTF-8") from None


def _below_header(layout: Layout, head: bytes, first: int) -> Layout:
    """The same layout, with where its rows begin."""
    breaks = re.finditer(rb"\r\n|\n|\r", head)
    ends = [match.end() for _, match in zip(range(first + 1), breaks, strict=False)]
    end = ends[first] if len(ends) > first else len(head)
    values = dict(layout.__dict__) | {"header_lines": first + 1, "header_bytes": end}
    return Layout(**values)


def _is_typed(line: str) -> bool:
    cells = line.split("\t")
    return len(cells) >= 2 and all(_TYPED.fullmatch(cell.strip()) for cell in cells)


def _is_double_colon(line: str) -> bool:
    cells = line.split("::")
    return len(cells) in (3, 4) and all(NUMBER.fullmatch(cell) for cell in cells)


def _is_udata(rows: list[str]) -> bool:
    for row in rows[:100]:
        cells = row.split("\t")
        if len(cells) != 4 or not all(_INTEGER.fullmatch(c) for c in (*cells[:2], cells[3])):
            return False
        if not NUMBER.fullmatch(cells[2]) or not 0 <= float(cells[2]) <= 10:
            return False
        if int(cells[3][:40]) < 10**8:
            return False
    return True


def _headless(
    source: Source, format: str, cells: list[str], columns: Mapping[str, str] | None
) -> Layout:
    if columns:
        raise source.error(f"has no header ({format} format): columns cannot be named")
    roles = {role: n for n, role in enumerate(ROLES[: len(cells)])}
    names = ROLES[: len(cells)]
    return Layout(format, "\t", False, len(cells), roles, 0, 0, names, found=Found(roles))


def _recbole(source: Source, header: str, columns: Mapping[str, str] | None, rated: bool) -> Layout:
    if not _is_typed(header):
        raise source.error(
            f"line 1 is {shown(header)}: expected a tab-separated header of name:type "
            "(RecBole .inter), e.g. user_id:token, item_id:token"
        )
    cells = tuple(cell.strip() for cell in header.split("\t"))
    names = tuple(cell.rsplit(":", 1)[0] for cell in cells)
    plain = columns and {role: str(name).rsplit(":", 1)[0] for role, name in columns.items()}
    found = find_columns(source, names, plain, rated=rated)
    for role in NEEDED:
        name = cells[found.columns[role]]
        if name.rsplit(":", 1)[1] not in ("token", "float"):
            raise source.error(f"column {shown(name)}: expected type token")
    return Layout(".inter", "\t", False, len(names), found.columns, 0, 0, names, found=found)


def _long_or_list(
    source: Source, rows: list[str], columns: Mapping[str, str] | None, rated: bool
) -> Layout:
    header = rows[0]
    found = {}
    problem = None
    for separator in _SEPARATORS:
        names = _cells(header, separator)
        if names is None or len(names) < 2:
            continue
        try:
            found[separator] = (names, find_columns(source, names, columns, rated=rated))
        except ValueError as error:
            problem = problem or error
    if not found:
        if _looks_like_data(header):
            raise source.error(
                f"line 1 is {shown(header)}: expected a header with a user and an item column"
            )
        if problem is None:
            raise source.error(
                f"line 1 is {shown(header)}: expected column names separated by , tab ; or |"
            )
        raise problem
    if len(found) > 1:
        kinds = " and ".join(_SEPARATORS[s] for s in found)
        raise source.error(f"line 1 can be cut at {kinds}: expected one separator")
    ((separator, (names, taken)),) = found.items()
    named = bool(columns and set(NEEDED) & set(columns))
    report = not named and [normal(name) for name in names] == ["userid", "itemid"]
    cells = _column(rows[1:], separator, taken.columns["item"])
    printed = bool(cells) and all(map(is_printed, cells))
    layout = Layout(
        "list" if report or printed else "long",
        separator,
        True,
        len(names),
        taken.columns,
        0,
        0,
        names,
        named,
        found=taken,
    )
    if not (report or printed):
        return layout
    return replace(
        layout,
        columns={role: taken.columns[role] for role in NEEDED},
        lists=syntax_of(cells),
        exact=names == ("UserId", "ItemId"),
    )


def _column(rows: list[str], separator: str, at: int) -> list[str]:
    """The cells of a column that hold something, as far as rows by themselves show them."""
    found = []
    for row in rows[:_SAMPLE]:
        cells = _cells(row, separator) or _cells(row + '"', separator)  # cut off inside quotes
        if cells is not None and len(cells) > at and cells[at].strip(BLANKS):
            found.append(cells[at])
    return found


def _looks_like_data(line: str) -> bool:
    cells = re.split(r"[,\t;|:]+| +", line.strip())
    return any(NUMBER.fullmatch(cell) for cell in cells)


def _cells(line: str, separator: str) -> tuple[str, ...] | None:
    cells = unquoted(line, separator, iter(()))
    return None if cells is None else tuple(cells)
