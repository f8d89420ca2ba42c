"""The bytes of a file, decompressed and checked before anything reads them.

Limits ensure that no file costs unreasonable memory:

- a line may have at most `MAX_LINE` bytes (16 MiB: a list of two million items);
- a compressed file may grow to at most `MAX_GROWTH` times its size plus `FREE_GROWTH` bytes;
- a NUL byte means a binary file, which is refused.
"""

from __future__ import annotations

import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from recsys.data.foreign import foreign
from recsys.errors import InputError

MAX_LINE = 16 << 20
MAX_GROWTH = 50
FREE_GROWTH = 64 << 20
_XZ_MEMORY = 256 << 20
_PIECE = 1 << 20

BOM = b"\xef\xbb\xbf"
_GZIP, _XZ, _ZIP, _PARQUET = b"\x1f\x8b", b"\xfd7zXZ\x00", b"PK\x03\x04", b"PAR1"
# what decompressors raise for broken input
BROKEN: tuple[type[Exception], ...] = (
    *(OSError, EOFError, ValueError, RuntimeError, KeyError, IndexError, OverflowError),
    *(struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
)


@dataclass(frozen=True)
class Source:
    """A file of the user, on disk or inside a zip. label: its name in messages.

    constants: names and values of columns that all its rows share, from the names of its folders
    (`year=2023/`).
    """

    label: str
    size: int  # bytes as stored
    open_raw: Callable[[], IO[bytes]]
    constants: tuple[tuple[str, str], ...] = ()

    def error(self, what: str) -> InputError:
        """The error to raise: `what` after the file's name."""
        return problem(f"{self.label}: {what}")

    def no_rows(self, what: str) -> NoRowsError:
        """The same for a file that is valid but empty, which a folder of parts may contain."""
        return NoRowsError(str(self.error(what)))

    def open_in_arrow(self) -> pa.NativeFile:
        """The stored bytes as a file of Arrow's own; see `blocks.Block.in_arrow` for the reason.

        A file inside a zip is copied to memory. Raises InputError if it grows beyond the limit.
        """
        with self.open_raw() as raw:
            if isinstance(raw, io.BufferedReader):  # on disk
                return pa.OSFile(str(raw.name))
            copy = pa.BufferOutputStream()
            while piece := raw.read(_PIECE):
                copy.write(piece)
                if copy.tell() > MAX_GROWTH * self.size + FREE_GROWTH:
                    raise self.error(f"grows to more than {copy.tell()} bytes from {self.size}")
            return pa.BufferReader(copy.getvalue())


class NoRowsError(InputError):
    """A table with a header and no rows, which one of several parts may be."""


def problem(text: str) -> InputError:
    """`text` as an InputError of one printable line, whatever ids and names it quotes."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return InputError(text)


def shown(value: str, limit: int = 60) -> str:
    """`value` quoted on one line, cut to `limit` characters."""
    return repr(value if len(value) <= limit else value[: limit - 3] + "...")


def kind_of(source: Source) -> str:
    """ "zip", "parquet" or "text" (which may be compressed), by the first bytes.

    Raises InputError if these cannot be read, or there are none.
    """
    try:
        with source.open_raw() as raw:
            head = raw.read(8)
    except BROKEN as error:
        raise source.error(f"cannot be read: {_reason(error)}") from None
    if not head:
        raise source.error("is empty: expected a table of users and items")
    if head.startswith((_ZIP, b"PK\x05\x06")):
        return "zip"
    return "parquet" if head.startswith(_PARQUET) else "text"


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


class _XzReader:
    """xz with a memory limit, which `lzma.LZMAFile` does not have."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._state = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def read(self, size: int) -> bytes:
        while True:
            if self._state.eof:  # another stream may follow, after padding
                rest = (self._state.unused_data or self._raw.read(_PIECE)).lstrip(b"\0")
                if not rest:
                    return b""
                self._state = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
                piece = self._state.decompress(rest, size)
            elif self._state.needs_input:
                more = self._raw.read(_PIECE)
                if not more:
                    raise EOFError("it ends in the middle")
                piece = self._state.decompress(more, size)
            else:
                piece = self._state.decompress(b"", size)
            if piece:
                return piece


class TextStream(io.RawIOBase):
    """The decompressed text of a source, without its byte order mark.

    `read` returns exactly the bytes asked for until the end.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._line, self._line_bytes = 1, 0
        self._total, self._started, self._ended = 0, False, False
        self._buffer = bytearray()
        self._reader: IO[bytes] | gzip.GzipFile | _XzReader
        try:
            self._raw = source.open_raw()
            head = self._raw.read(8)
            self._raw.seek(0)
        except BROKEN as error:
            raise source.error(f"cannot be read: {_reason(error)}") from None
        self._packed = head.startswith((_GZIP, _XZ))
        if head.startswith(_GZIP):
            self._reader = gzip.GzipFile(fileobj=self._raw)
        else:
            self._reader = _XzReader(self._raw) if head.startswith(_XZ) else self._raw
        self._limit = MAX_GROWTH * source.size + FREE_GROWTH

    def readable(self) -> bool:
        """Always True; `io` asks before it wraps a stream."""
        return True

    def close(self) -> None:
        """Close the file beneath too."""
        if not self.closed:
            self._raw.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end; -1: all the rest.

        Raises InputError for a file that is damaged, not text, or grows beyond its limit.
        """
        while not self._ended and (size < 0 or len(self._buffer) < size):
            self._fill()
        size = len(self._buffer) if size < 0 else size
        out = bytes(self._buffer[:size])
        del self._buffer[:size]
        return out

    def _fill(self) -> None:
        try:
            piece = self._reader.read(_PIECE)
        except BROKEN as error:
            raise self._source.error(f"is damaged or cut off: {_reason(error)}") from None
        if not self._started:
            while len(piece) < 512 and (more := self._more()):
                piece += more
            piece = self._begin(piece)
        self._ended = not piece
        self._total += len(piece)
        if self._total > self._limit:
            raise self._source.error(
                f"grows to more than {self._limit >> 20} MiB from {self._source.size} bytes: "
                "expected a table, this looks like a decompression bomb"
            )
        self._guard(piece)
        self._buffer += self._translated(piece)

    def _translated(self, piece: bytes) -> bytes:
        """A piece of the text as it is passed on; for formats that a parser could not cut."""
        return piece

    def _more(self) -> bytes:
        try:
            return self._reader.read(_PIECE)
        except BROKEN as error:
            raise self._source.error(f"is damaged or cut off: {_reason(error)}") from None

    def _begin(self, piece: bytes) -> bytes:
        self._started = True
        if not piece:
            raise self._source.error("is empty: expected a table of users and items")
        if (what := foreign(piece)) is not None:
            raise self._source.error(what)
        if self._packed and piece.startswith((_GZIP, _XZ, _ZIP, _PARQUET)):
            raise self._source.error("has another compressed file inside: expected text")
        return piece.removeprefix(BOM)

    def _guard(self, piece: bytes) -> None:
        if b"\0" in piece:
            line = self._line + piece[: piece.index(b"\0")].count(b"\n")
            raise self._source.error(f"line {line} has a NUL byte: expected text, this is binary")
        first = _first_break(piece)
        self._line_bytes += len(piece) if first < 0 else first
        if self._line_bytes > MAX_LINE:
            raise self._source.error(
                f"line {self._line} is longer than {MAX_LINE >> 20} MiB: expected one row per line"
            )
        if first >= 0:
            self._line += piece.count(b"\n")
            self._line_bytes = len(piece) - 1 - max(piece.rfind(b"\n"), piece.rfind(b"\r"))


def _first_break(piece: bytes) -> int:
    found = [at for at in (piece.find(b"\n"), piece.find(b"\r")) if at >= 0]
    return min(found) if found else -1
