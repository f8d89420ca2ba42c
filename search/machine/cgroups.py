"""What the cgroups of this process allow, version 1 or 2: containers, systemd, batch systems."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Read = Callable[[Path], float | None]


def least_limit(root: Path, controller: str, v2: Read, v1: Read) -> float | None:
    """The smallest limit of a controller ("cpu", "memory") in the cgroup and all its parents; None
    where there is no limit.

    v2, v1: read the limit in a folder of that version of cgroups. They return None for no limit, as
    do the errors that they raise for a missing file or a bad number. root: the parent of /proc and
    /sys.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return None
    found: list[float] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            found += _along(root / "sys/fs/cgroup", path, v2)
        elif controller in controllers.split(","):
            for name in dict.fromkeys((controllers, "cpu,cpuacct", controller)):
                found += _along(root / "sys/fs/cgroup" / name, path, v1)
    return min(found, default=None)


def _along(mount: Path, path: str, read: Read) -> list[float]:
    """The limits that `read` finds in a cgroup and in all of its parents.

    In a container, its own cgroup may be mounted as the topmost: then the path does not exist.
    """
    parts = [part for part in path.split("/") if part not in ("", "..", ".")]
    folders = [mount.joinpath(*parts[:n]) for n in range(len(parts) + 1)]
    found = []
    for folder in folders:
        with suppress(OSError, ValueError, ZeroDivisionError):
            found.append(read(folder))
    return [limit for limit in found if limit is not None and limit > 0]
