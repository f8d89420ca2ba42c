"""Where Ray keeps its sockets, logs and spilled data on this machine, and whether it can.

Ray checks none of this beforehand: a path that is too long, a full disk or somebody else's folder
shows up as a traceback or a timeout in the middle of its start.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import ConfigError

# The longest path of a socket below Ray's folder; a process id has at most 7 digits.
_SOCKET = "/session_2026-11-25_20-59-58_344304_4194304/sockets/plasma_store"
_SOCKET_MAX = 103  # bytes of a socket's path: 107 on Linux, 103 elsewhere
NEEDED = 20 << 20  # bytes: logs and a little data; a long search with many workers needs 60 MB
_PROBE = 1 << 18
FALLBACK = "/tmp"  # what Ray itself falls back to
HINT = "or put Ray's files elsewhere: RAY_TMPDIR=DIR"


@dataclass(frozen=True)
class RayFolder:
    """Ray's folder, which holds a folder per session. note: a line if it is not the usual one."""

    path: Path
    note: str | None = None


def choose(env: Mapping[str, str], cwd: Path, fallback: str = FALLBACK) -> RayFolder:
    """The folder `ray` in RAY_TMPDIR, else in TMPDIR, else in /tmp.

    env: the environment. cwd: what a relative path starts from. Where the paths of sockets would be
    too long, `fallback` is taken instead. Raises ConfigError where they are too long there as well.
    """
    name = next((n for n in ("RAY_TMPDIR", "TMPDIR") if env.get(n)), None)
    base = cwd / env[name] if name else Path(fallback)
    if _fits(base / "ray"):
        return RayFolder(base / "ray")
    if _fits(Path(fallback) / "ray"):
        note = f"Ray's files are in {fallback}/ray: the path in {name} is too long for its sockets"
        return RayFolder(Path(fallback) / "ray", note)
    raise ConfigError(
        f"{name or 'TMPDIR'}: {base}: too long for Ray's sockets; set RAY_TMPDIR=/tmp"
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(f"{folder}{_SOCKET}")) <= _SOCKET_MAX


def usable(folder: RayFolder) -> RayFolder:
    """`folder`, made and checked for room; if it is another user's, one of our own beside it.

    Raises ConfigError, naming the place, if it is full, read-only or not a folder.
    """
    try:
        check(folder.path)
    except ForeignError:
        own = folder.path.with_name(f"ray-{os.getuid()}")
        if not _fits(own):
            raise
        check(own)
        return RayFolder(own, f"Ray's files are in {own}: {folder.path} belongs to another user")
    return folder


class ForeignError(ConfigError):
    """Ray's folder belongs to another user, who lets nobody else in."""


def check(path: Path) -> None:
    """Make the folder and write a little into it. Raises ConfigError where that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(_PROBE))
            file.flush()
        free = shutil.disk_usage(path).free
    except OSError as error:
        raise _refusal(path, error) from None
    if free < NEEDED:
        raise ConfigError(
            f"{path}: {free / 2**20:.1f} MB free, Ray needs {NEEDED >> 20} MB for its own files: "
            f"make room, {HINT}"
        )


def _refusal(path: Path, error: OSError) -> ConfigError:
    why = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConfigError(f"{path}: no room for Ray's own files ({why}): make room, {HINT}")
    line = f"{path}: Ray's own files cannot be written there ({why}): fix that, {HINT}"
    foreign = error.errno in (errno.EACCES, errno.EPERM)
    with suppress(OSError):
        foreign = foreign and path.is_dir() and path.stat().st_uid != os.getuid()
        return ForeignError(line) if foreign else ConfigError(line)
    return ConfigError(line)


def sessions_of(folder: Path, pid: int) -> list[Path]:
    """Folders of the sessions that the driver with process id `pid` began, the newest last."""
    return sorted(folder.glob(f"session_*_{pid}"))


def remove_session(session: Path) -> None:
    """Remove the folder of a session of ours, and the link to the latest if it points there."""
    latest = session.parent / "session_latest"
    with suppress(OSError):
        if latest.is_symlink() and latest.readlink() == session:
            latest.unlink()
    shutil.rmtree(session, ignore_errors=True)
