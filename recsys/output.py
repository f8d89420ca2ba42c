"""Standard output and error that never stop the work, whatever the characters, and whether or not
anyone reads them.

A program whose output is cut off (`| head -1`, a terminal that was closed) has still done its work,
and a name that the terminal can't show is no reason to lose a search.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import select
import sys
from contextlib import suppress
from typing import NoReturn, TextIO

# The reader is gone, having seen what it wanted. Any other error (a full disk) is worth a line.
_NOBODY = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET, errno.ENXIO)


class Outlet(io.RawIOBase):
    """Writes to a file descriptor; what can't be written is dropped, and `lost` says why."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.lost: OSError | None = None

    def writable(self) -> bool:
        """Always True; `io` asks before it wraps a stream."""
        return True

    def fileno(self) -> int:
        """The descriptor, for direct writing, as by a child process."""
        return self.fd

    def isatty(self) -> bool:
        """Whether it is a terminal, where each line has to appear at once."""
        return os.isatty(self.fd)

    def write(self, data: bytes | memoryview) -> int:  # type: ignore[override]
        """Write all of `data`, or drop it; returns its length either way, so that no caller tries
        again.
        """
        view = memoryview(data).cast("B")
        while self.lost is None and len(view):
            try:
                view = view[os.write(self.fd, view) :]
            except BlockingIOError:  # a terminal or pipe that another process made non-blocking
                select.select([], [self.fd], [])
            except OSError as error:
                self.lost = error
        return len(data)


def one_line(text: str) -> str:
    """`text` without control characters and line breaks, and with ? for bytes that are not text.

    >>> one_line("a" + chr(10) + "b" + chr(0xDCFF))
    'a b?'
    """
    return "".join(
        c if c.isprintable() else "?" if "\ud800" <= c <= "\udfff" else " " for c in text
    )


def guard_output() -> None:
    """Make `sys.stdout` and `sys.stderr` of this process safe; call this once, at its start."""
    _fill_standard_files()
    sys.stdout = _safe(sys.stdout, 1, "replace")
    sys.stderr = _safe(sys.stderr, 2, "backslashreplace")


def leave(code: int) -> NoReturn:
    """End this process: exit handlers run and output is flushed, but Python's own shutdown is
    skipped. With LLVM, torch and Ray loaded that would waste seconds (half a minute on a crowded
    machine), while their threads still run and may abort.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # it is closed, or None
            stream.flush()
    os._exit(code)


def output_error() -> str | None:
    """Why output was lost that had a reader; None if none was lost."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    lost = raw.lost if isinstance(raw, Outlet) else None
    return None if lost is None or lost.errno in _NOBODY else str(lost.strerror)


def _fill_standard_files() -> None:
    """Open /dev/null if 0, 1 or 2 is closed (`>&-`); else a data file would get that number."""
    fd = os.open(os.devnull, os.O_RDWR)
    while fd <= 2:
        os.set_inheritable(fd, True)
        fd = os.dup(fd)
    os.close(fd)


def _safe(stream: TextIO | None, fd: int, errors: str) -> TextIO:
    encoding = "utf-8"
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()
        encoding = stream.encoding
    outlet = Outlet(fd)
    buffer = io.BufferedWriter(outlet)  # type: ignore[type-var]
    lines = fd == 2 or outlet.isatty()
    return io.TextIOWrapper(buffer, encoding=encoding, errors=errors, line_buffering=lines)
