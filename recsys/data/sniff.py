"""Which format a text file has, from its first bytes. Strict: when in doubt, an error.

| format | recognised by |
|---|---|
| list | the header `UserId,ItemId` (any case, `_` ignored); see `table.py` for its rows |
| `.inter` | a tab-separated header of `name:type` |
| `::` | a first line of 3 or 4 numbers between `::` |
| `u.data` | no header, tab-separated user, item, rating (0..10), time (>= 1e8) |
| numbers | no header, user, item, perhaps rating (0..10) and time (>= 1e8) |
| lines | no header, `user item item ...` between blanks, a user a line (LightGCN) |
| bare lists | the list format without its header, integers only |
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
    def headless(self) -> bool:
        return self.format in ("::", "u.data", "numbers", "lines", "bare lists")

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
    _check_drawn(source, rows, first + 1)
    if "\ufffd" in rows[0]:
        _check_utf8(source, head)
    suffixes = {s.lower() for s in PurePath(source.label).suffixes}
    if ".inter" in suffixes or _is_typed(rows[0]):
        layout = _recbole(source, rows[0], columns, rated)
    elif "::" in rows[0] and _is_double_colon(rows[0]):
        layout = _headless(source, "::", rows[0].split("::"), columns)
    elif _is_udata(rows):
        layout = _headless(source, "u.data", rows[0].split("\t"), columns)
    elif (plain := _numbers(source, rows, columns)) is not None:
        layout = plain
    else:
        layout = _long_or_list(source, rows, columns, rated)
    if layout.headless:
        return layout
    return _below_header(layout, head, first)


def _check_drawn(source: Source, rows: list[str], line: int) -> None:
    """`InputError` for what only people and Excel read above the rows of a table."""
    if re.fullmatch(r'"?sep=.?"?', rows[0]):
        raise source.error(f"line {line} is {shown(rows[0])}, which is for Excel: leave it out")
    for n, row in enumerate(rows[:2]):
        if re.fullmatch(r"[\s|+:=-]+", row) and re.search(r"---|===", row):
            raise source.error(
                f"line {line + n} is {shown(row)}: a table drawn for the eye; expected it as CSV "
                "(psql --csv, mysql --batch, to_csv)"
            )


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


def _numbers(source: Source, rows: list[str], columns: Mapping[str, str] | None) -> Layout | None:
    """The layout of a table of numbers without a header; None if it is no such table."""
    sample = rows[:_SAMPLE]
    separator = next((s for s in _SEPARATORS if s in sample[0]), " ")
    split = [row.split() if separator == " " else _cells(row, separator) for row in sample]
    table = [[cell.strip(BLANKS) for cell in row] for row in split if row]
    if columns or not table or not all(_INTEGER.fullmatch(row[0]) for row in table):
        return None
    widths = {len(row) for row in table}
    if separator != " " and widths == {2} and any(" " in row[1] for row in table):
        if not all(_INTEGER.fullmatch(item) for row in table for item in row[1].split()):
            return None
        layout = _bare("bare lists", separator, 2)
        return replace(layout, quoted=True, lists=ListSyntax(" "), exact=True)
    if not all(NUMBER.fullmatch(cell) for row in table for cell in row):
        return None
    if any(len(row) > 1 and not _INTEGER.fullmatch(row[1]) for row in table):
        return None
    if separator == " " and _are_lines(table, widths):
        return replace(_bare("lines", " ", 2), lists=ListSyntax(" "))
    if len(widths) > 1 or not 2 <= (width := widths.pop()) <= 4:
        return None
    third = [float(row[2]) for row in table] if width > 2 else []
    right = width == 2 or all(0 <= value <= 10 for value in third)
    if separator == " " and width > 2:  # two items a user look the same
        right = right and len({row[0] for row in table}) < len(table)
    if width == 4:
        right = right and all(float(row[3]) >= 10**8 for row in table)
    if not right:
        raise source.error(
            f"line 1 is {shown(rows[0])}: numbers without a header, of which not all have a plain "
            "meaning: expected a first line with the names of the columns, such as user,item,rating"
        )
    return _bare("numbers", separator, width)


def _are_lines(table: list[list[str]], widths: set[int]) -> bool:
    """Whether rows are `user item item ...`, as the files of LightGCN and others have them."""
    if not all(_INTEGER.fullmatch(cell) for row in table for cell in row) or widths == {1}:
        return False
    if len(widths) > 1:
        return True
    width = next(iter(widths))
    alone = len(table) > 1 and len({row[0] for row in table}) == len(table)
    return width > 2 and alone and any(int(row[2]) > 10 for row in table)


def _bare(format: str, separator: str, width: int) -> Layout:
    names = ROLES[:width]
    roles = {role: n for n, role in enumerate(names)}
    return Layout(format, separator, False, width, roles, 0, 0, names, found=Found(roles))


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
