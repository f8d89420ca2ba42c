"""RecBole's `.inter`: a tab-separated header of `name:type`, and no quotes."""

from __future__ import annotations

import re

from recsys.data.formats.base import text_format
from recsys.data.layout import Head, Layout
from recsys.data.names import NEEDED, find_columns
from recsys.data.stream import shown

_TYPED = re.compile(r"[^:\t]+:(token|token_seq|float|float_seq)")


def _layout(head: Head) -> Layout | None:
    header = head.rows[0]
    if ".inter" not in head.suffixes and not _is_typed(header):
        return None
    if not _is_typed(header):
        raise head.source.error(
            f"line 1 is {shown(header)}: expected a tab-separated header of name:type "
            "(RecBole .inter), e.g. user_id:token, item_id:token"
        )
    cells = tuple(cell.strip() for cell in header.split("\t"))
    names = tuple(cell.rsplit(":", 1)[0] for cell in cells)
    given = head.columns
    plain = given and {role: str(name).rsplit(":", 1)[0] for role, name in given.items()}
    found = find_columns(head.source, names, plain, rated=head.rated)
    for role in NEEDED:
        name = cells[found.columns[role]]
        if name.rsplit(":", 1)[1] not in ("token", "float"):
            raise head.source.error(f"column {shown(name)}: expected type token")
    return head.below_header(Layout("\t", len(names), found.columns, names, found))


def _is_typed(line: str) -> bool:
    cells = line.split("\t")
    return len(cells) >= 2 and all(_TYPED.fullmatch(cell.strip()) for cell in cells)


RECBOLE = text_format(
    "recbole", "RecBole `.inter`", "a header of `name:type` between tabs", _layout
)
