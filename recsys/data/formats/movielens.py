"""MovieLens without a header: `ratings.dat` (`::` between cells) and `u.data` (tabs)."""

from __future__ import annotations

from recsys.data.formats.base import text_format
from recsys.data.layout import INTEGER, NUMBER, Head, Layout, bare
from recsys.data.stream import TextStream
from recsys.errors import InputError


class ColonStream(TextStream):
    """Text in which every "::" comes out as a tab, since a parser knows separators of one byte."""

    def _translated(self, piece: bytes) -> bytes:
        if b"\t" in piece:
            raise self._source.error("has both '::' and tabs: expected user::item::rating::time")
        while piece.endswith(b":") and (more := self._more()):  # a "::" may be cut in two
            self._guard(more)
            self._total += len(more)
            piece += more
        return piece.replace(b"::", b"\t")


def _double_colon(head: Head) -> Layout | None:
    cells = head.rows[0].split("::")
    if len(cells) not in (3, 4) or not all(NUMBER.fullmatch(cell) for cell in cells):
        return None
    if head.columns:
        raise _no_names(head, "::")
    return bare("\t", len(cells), open=ColonStream)


def _u_data(head: Head) -> Layout | None:
    if not all(map(_is_rating, head.rows[:100])):
        return None
    if head.columns:
        raise _no_names(head, "u.data")
    return bare("\t", 4)


def _is_rating(row: str) -> bool:
    """Whether a row is user, item, a rating from 0 to 10, and a time."""
    cells = row.split("\t")
    if len(cells) != 4 or not all(INTEGER.fullmatch(c) for c in (*cells[:2], cells[3])):
        return False
    if not NUMBER.fullmatch(cells[2]) or not 0 <= float(cells[2]) <= 10:
        return False
    return int(cells[3][:40]) >= 10**8


def _no_names(head: Head, format: str) -> InputError:
    return head.source.error(f"has no header ({format} format): columns cannot be named")


DOUBLE_COLON = text_format(
    "double colon",
    "MovieLens `ratings.dat`",
    "no header, 3 or 4 numbers between `::`",
    _double_colon,
)
U_DATA = text_format(
    "u.data",
    "MovieLens `u.data`",
    "no header, tabs between user, item, rating (0 to 10) and time (10^8 or more)",
    _u_data,
)
