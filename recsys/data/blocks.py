"""Cutting text into blocks of whole rows, so that each can be parsed on its own.

Quotes are read as in RFC 4180: a cell that begins with a quote ends at the next single one, and
may contain separators, line ends and doubled quotes; elsewhere a quote is an ordinary character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.data.stream import MAX_LINE, TextStream

BLOCK = 8 << 20
_QUOTE, _BACKSLASH, _ENDS = ord('"'), ord("\\"), b"\r\n"


class StrayQuoteError(Exception):
    """A quoted cell that is never closed, or is not closed at its end.

    Text after a closing quote belongs to the cell. It is an error if the cell spans lines, or if a
    backslash precedes the quote: then a program meant to escape a quote inside the cell.
    """


@dataclass(frozen=True)
class Block:
    """Whole rows of a text. tall: whether a quoted cell in them spans lines."""

    text: bytes
    tall: bool

    def in_arrow(self) -> pa.BufferReader:
        """A copy in memory that Arrow owns.

        Arrow reads ahead in threads of its own, which may still hold what they have read when the
        interpreter ends; a thread that then releases a Python object aborts the process. So Arrow
        is never given a Python file or buffer.
        """
        memory = pa.allocate_buffer(len(self.text))
        np.frombuffer(memory, np.uint8)[:] = np.frombuffer(self.text, np.uint8)
        return pa.BufferReader(memory)


def blocks_of(stream: TextStream, separator: str | None) -> Iterator[Block]:
    """The rest of `stream` in blocks of whole rows, of about `BLOCK` bytes.

    separator: between cells, if they may be quoted; None if a quote is an ordinary character.
    Raises StrayQuoteError for quotes that cannot be intended.
    """
    rest = b""
    while piece := stream.read(BLOCK):
        text = rest + piece
        quoted = _quoted(text, separator) if separator is not None else None
        end = _last_row_end(text, quoted)
        if end:
            yield _block(text, end, quoted, separator)
        rest = text[end:]
        if len(rest) > MAX_LINE:
            raise StrayQuoteError("a quoted cell is never closed")
    if rest:
        quoted = _quoted(rest, separator) if separator is not None else None
        if quoted is not None and quoted.open_at_end:
            raise StrayQuoteError("a quoted cell is never closed")
        yield _block(rest, len(rest), quoted, separator)


@dataclass(frozen=True)
class _Quoted:
    """Where quoted cells begin and end: the positions of their quotes, int64 (Q,), ascending.

    A cell that is still open at the end of the text has the text's length as its end.
    """

    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    open_at_end: bool


def _quoted(text: bytes, separator: str) -> _Quoted | None:
    """The quoted cells of `text`, which begins with a row; None if there are none."""
    if b'"' not in text:
        return None
    codes = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(codes == _QUOTE)
    starts = _marks(separator.encode() + _ENDS)[codes[quotes - 1]]
    starts[quotes == 0] = True
    doubled = np.zeros(len(quotes), bool)  # directly after another one
    np.equal(quotes[1:], quotes[:-1] + 1, out=doubled[1:])
    # if every other quote begins a cell, or is the second of a pair inside one, the quotes
    # alternate; a file with ordinary quotes inside its cells has to be scanned one by one
    if not (starts | doubled)[::2].all():
        quotes, starts, doubled = _without_plain_ones(quotes, starts, doubled)
    begins, ends = quotes[::2], quotes[1::2]
    open_at_end = len(begins) > len(ends)
    if open_at_end:
        ends = np.append(ends, len(text))
    # the first half of a pair ends no cell, and the second begins none
    again = doubled[::2][1:]
    begins = begins[np.concatenate([[True], ~again])] if len(begins) else begins
    ends = ends[np.concatenate([~again, [True]])] if len(ends) else ends
    if b'\\"' in text:
        followed = ends[ends + 1 < len(text)]
        followed = followed[codes[followed - 1] == _BACKSLASH]
        if not _marks(separator.encode() + _ENDS)[codes[followed + 1]].all():
            raise StrayQuoteError("a quote is escaped with a backslash")
    return _Quoted(begins, ends, open_at_end)


def _marks(codes: bytes) -> NDArray[np.bool_]:
    """For each value of a byte whether it is one of `codes`, bool (256,)."""
    marks = np.zeros(256, bool)
    marks[list(codes)] = True
    return marks


def _without_plain_ones(
    quotes: NDArray[np.int64], starts: NDArray[np.bool_], doubled: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """The same arrays without the quotes that are ordinary characters of a cell."""
    kept = np.zeros(len(quotes), bool)
    inside = after = False  # in a quoted cell; directly after the quote that closed it
    for n, (start, double) in enumerate(zip(starts.tolist(), doubled.tolist(), strict=True)):
        if inside:
            kept[n], inside, after = True, False, True
        elif start or (double and after):
            kept[n], inside, after = True, True, False
        else:
            after = False
    return quotes[kept], starts[kept], doubled[kept]


def _last_row_end(text: bytes, quoted: _Quoted | None) -> int:
    """The position after the line end of the last whole row; 0 if there is none."""
    end = len(text)
    while True:
        at = max(text.rfind(b"\n", 0, end), text.rfind(b"\r", 0, end))
        if at < 0 or quoted is None:
            return at + 1
        cell = int(np.searchsorted(quoted.begins, at)) - 1
        if cell < 0 or quoted.ends[cell] < at:
            return at + 1
        end = int(quoted.begins[cell])


def _block(text: bytes, end: int, quoted: _Quoted | None, separator: str | None) -> Block:
    own = text if end == len(text) else text[:end]
    if quoted is None or separator is None:
        return Block(own, False)
    codes = np.frombuffer(own, np.uint8)
    within = quoted.begins < end
    begins, ends = quoted.begins[within], quoted.ends[within]
    breaks = np.flatnonzero(_marks(_ENDS)[codes])
    tall = np.searchsorted(breaks, begins) < np.searchsorted(breaks, ends)
    behind = ends[tall] + 1
    behind = behind[behind < len(own)]
    if not _marks(separator.encode() + _ENDS)[codes[behind]].all():
        raise StrayQuoteError("a quoted cell that spans lines is not closed at its end")
    return Block(own, bool(tall.any()))


_INSIDE = re.compile(r'[^"]*+(?:""[^"]*+)*+')


def unquoted(line: str, separator: str, more: Iterator[str]) -> list[str] | None:
    """The cells, without quotes, of a row that begins with `line`; further lines are taken from
    `more`.

    None for quotes that cannot be intended, see `StrayQuoteError`.
    """
    cells = []
    at = 0
    while True:
        text = ""
        if line.startswith('"', at):
            parts = []
            at, size, tall = at + 1, 0, False
            while (end := _INSIDE.match(line, at).end()) == len(line):  # type: ignore[union-attr]
                parts.append(line[at:])
                size += len(line)
                following = next(more, None)
                if following is None or size > MAX_LINE:
                    return None
                line, at, tall = following, 0, True
            text = "\n".join([*parts, line[at:end]]).replace('""', '"')
            at = end + 1
            more_behind = at < len(line) and not line.startswith(separator, at)
            if more_behind and (tall or line[at - 2 : at - 1] == "\\"):
                return None
        end = line.find(separator, at)
        cells.append(text + line[at : end if end >= 0 else len(line)])
        if end < 0:
            return cells
        at = end + 1
