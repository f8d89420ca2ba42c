"""Files that are replaced completely or not at all, and locks that end with their process.

All raise OSError as the system does; the caller says what it means for the user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ONLY_TEMPORARY = "RECSEARCH_ONLY_TEMPORARY"  # set where nothing may be left in anybody's home
_LEFTOVER = re.compile(r"\..+\.[0-9]+(-[0-9a-f]+)?\.tmp")
_POLL_S = 0.1


@contextmanager
def replacing(path: Path, *, durable: bool = True, mode: int | None = None) -> Iterator[Path]:
    """An empty file beside `path`, to be filled in the block, which then replaces `path`.

    A reader, or a crash, finds either the old content or the new, never a mixture; if the block
    raises, the old file is untouched and the new one removed. durable: at the end of the block the
    new content and its name are on the disk, where they survive a power cut. mode: the permissions
    of the new file; by default those that the umask gives.
    """
    temporary = _create_beside(path)
    try:
        yield temporary
        if mode is not None:
            temporary.chmod(mode)
        if durable:
            _sync(temporary, os.O_RDONLY)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if durable and os.access(path.parent, os.R_OK):  # a folder that can't be read can't be synced
        _sync(path.parent, os.O_RDONLY | os.O_DIRECTORY)


def replace_content(
    path: Path, content: bytes, *, durable: bool = True, mode: int | None = None
) -> None:
    """Replace `path` by `content`, as `replacing` does."""
    with replacing(path, durable=durable, mode=mode) as temporary:
        temporary.write_bytes(content)


def check_replaceable(path: Path) -> None:
    """Raise the OSError that `replacing(path)` would begin with, if any; leaves nothing behind."""
    _create_beside(path).unlink()


def would_change(path: Path, source: Path) -> bool:
    """Whether writing `path` would change `source`: it is the same file, or in the folder `source`.

    Links and other spellings are resolved.
    """
    try:
        if path.exists() and path.samefile(source):
            return True
        return source.is_dir() and path.resolve().is_relative_to(source.resolve())
    except (OSError, RuntimeError, ValueError):
        return False


def check_regular(path: Path) -> None:
    """Raise OSError for a path without content to read: reading a pipe could wait forever.

    Folders and missing files are left for the caller's attempt to open them.
    """
    if not (path.is_file() or path.is_dir()) and path.exists():
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def folder_gone() -> str | None:
    """A message for the user that the current folder was deleted; None if it was not.

    The system still works in it, but paths, and some libraries, can no longer be found from there.
    """
    try:
        Path.cwd()
    except OSError as error:
        return f"the current folder was deleted ({error.strerror}): cd to another one"
    return None


def is_leftover(name: str) -> bool:
    """Whether a file of this name was left by a process that died within `replacing`."""
    return _LEFTOVER.fullmatch(name) is not None


def try_lock(path: Path) -> int | None:
    """Lock the file at `path`, which is created if missing; None if it is locked already.

    Returns a descriptor. The lock is the kernel's (flock): it lasts until the descriptor is closed
    or the process ends, in whatever way. A link in place of the file is refused.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of `path`; creates nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def locked(path: Path, keep_waiting: Callable[[], bool] = lambda: True) -> Iterator[bool]:
    """Hold the lock of `path` within the block; yields whether it was obtained.

    keep_waiting: asked, while another process has the lock, whether to try again.
    """
    while (fd := try_lock(path)) is None and keep_waiting():
        time.sleep(_POLL_S)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            os.close(fd)


def _create_beside(path: Path) -> Path:
    # 50 characters are at most 200 bytes, so the name is not too long.
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name[:50]}.{unique}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    return temporary


def _sync(path: Path, flags: int) -> None:
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
