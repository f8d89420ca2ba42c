"""The journal of a run: an append-only file of JSON lines, the only source of truth about it.

Whatever kills a search, the lines that were written stay; every other file of the run folder, the
Optuna study, ASHA's rungs and the MLflow runs are derived from them. The kinds of lines are the
events of `events.py`; `state.py` has the state that they add up to.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from recsys.errors import InputError, UserError
from search.record.events import Event, read, write
from search.record.state import RunState

_TAIL_BLOCK = 1 << 16
# NOFOLLOW: a link in place of the journal must not lead a run to write outside its folder.
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class StorageError(UserError):
    """The run folder can't be written: disk full, read-only, removed.

    what: the cause and its remedy, without the advice for a search that follows them in the
    message; "" where the message has no such advice.
    """

    what = ""

    @property
    def outside_a_search(self) -> str:
        """The line for a command that cannot be resumed."""
        return f"{self.what}, then try again" if self.what else str(self)

    @staticmethod
    def at(path: Path, error: OSError) -> StorageError:
        """The error, in one line, for an OSError while writing to `path`."""
        why = error.strerror or type(error).__name__
        what = f"{path}: cannot be written ({why}): free space or fix permissions"
        found = StorageError(f"{what}, then --resume; everything before this moment is kept")
        found.what = what
        return found


class Journal:
    """Appends lines to the journal at `path`, created if missing; usable from several threads.

    One process at a time writes (the run folder's lock ensures it). A torn last line, left by a
    process that died in the middle of a write, is cut off before anything is appended.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._fd = -1
        try:
            self._fd = os.open(self.path, _FLAGS, 0o644)
            self._size = _complete_size(self._fd)
            if self._size != os.fstat(self._fd).st_size:
                os.ftruncate(self._fd, self._size)
        except OSError as error:
            self.close()
            raise StorageError.at(self.path, error) from error

    def append(self, event: Event, *, sync: bool = False) -> None:
        """Write the line of `event` in a single write, with the current time unless it has one.

        sync: wait until the line is on the disk, where it survives even a power cut (it survives
        the death of this process in any case). Numbers that JSON does not have (NaN, infinity)
        become null. Raises StorageError; the file then ends with the line before.
        """
        line = line_of(event)
        with self._lock:
            assert self._fd >= 0, "the journal is closed"
            try:
                written = os.write(self._fd, line)
                while written < len(line):
                    written += os.write(self._fd, line[written:])
                self._size += len(line)
                if sync:
                    os.fsync(self._fd)
            except OSError as error:
                # Shrinking a file needs no space, so a full disk leaves whole lines.
                with suppress(OSError):
                    os.ftruncate(self._fd, self._size)
                raise StorageError.at(self.path, error) from error

    @property
    def size(self) -> int:
        """Bytes of the lines written so far."""
        return self._size

    def close(self) -> None:
        """Write no more; nothing is left to flush. Closing twice does no harm."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(path: Path | str, offset: int = 0) -> Iterator[tuple[Event, int]]:
    """The events of all complete lines from byte `offset` on, each with the offset after its line.

    A last line without a newline is not read: it is being written, or was torn. Raises InputError,
    naming file and line, for a line that is not an event, and FileNotFoundError where there is no
    journal.
    """
    path = Path(path)
    with path.open("rb") as file:
        file.seek(offset)
        for raw in file:
            if not raw.endswith(b"\n"):
                return
            offset += len(raw)
            yield _event(raw, path, offset), offset


def _event(raw: bytes, path: Path, offset: int) -> Event:
    """The event of a line of `path` that ends at byte `offset`."""
    try:
        line = json.loads(raw)
    except ValueError:
        line = None
    if not isinstance(line, dict) or not isinstance(line.get("t"), str):
        found = f'expected a JSON object with a kind "t", found {raw[:40]!r}'
        raise InputError(f"{path}, line {_line_number(path, offset)}: damaged: {found}")
    try:
        return read(line)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, offset, error) from None


def _damaged(path: Path, offset: int, error: Exception) -> InputError:
    """The error for a line of `path` that ends at byte `offset` and could not be understood."""
    return InputError(
        f"{path}, line {_line_number(path, offset)}: damaged: a field is missing or of the wrong "
        f"type ({type(error).__name__}: {error})"
    )


class Follower:
    """The state of a journal, kept up to date by reading only what is new."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.state = RunState()

    def update(self) -> RunState:
        """Read the new lines; returns the state. Raises InputError for a damaged or missing
        journal.
        """
        try:
            for event, offset in read_events(self.path, self.state.offset):
                try:
                    self.state.apply(event, offset)
                except (KeyError, TypeError, ValueError, IndexError) as error:
                    raise _damaged(self.path, offset, error) from None
        except FileNotFoundError:
            raise InputError(f"{self.path}: no journal: expected the folder of a run") from None
        return self.state


def read_state(path: Path | str) -> RunState:
    """Everything the journal at `path` says. Raises InputError if it is damaged or missing."""
    return Follower(path).update()


def _line_number(path: Path, offset: int) -> int:
    """The number, from 1, of the line that ends at byte `offset`."""
    with path.open("rb") as file:
        return file.read(offset).count(b"\n")


def _complete_size(fd: int) -> int:
    """Bytes up to and including the last newline."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _TAIL_BLOCK)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _plain(value: Any) -> Any:
    """Paths, numpy scalars and arrays as values that JSON has."""
    if isinstance(value, Path):
        return str(value)
    for method in ("item", "tolist"):
        if hasattr(value, method):
            with suppress(ValueError):
                return getattr(value, method)()
    raise TypeError(f"a journal can't hold a {type(value).__name__}")


def finite(value: Any) -> Any:
    """`value` with NaN and infinity as None, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    return value


def line_of(event: Event) -> bytes:
    """The line of `event`, with the time now unless it has one."""
    if event.time is None:
        event = replace(event, time=time.time())
    return (_dump(write(event)) + "\n").encode()


def _dump(event: dict[str, Any]) -> str:
    try:
        return json.dumps(event, allow_nan=False, default=_plain, separators=(",", ":"))
    except ValueError:
        return json.dumps(finite(event), allow_nan=False, default=_plain, separators=(",", ":"))
