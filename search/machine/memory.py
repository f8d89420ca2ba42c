"""How much memory this process may use: the machine's, or what its cgroups allow."""

from __future__ import annotations

import os
from pathlib import Path

from search.machine.cgroups import least_limit


def usable_memory(root: Path = Path("/"), physical: int | None = None) -> int:
    """Bytes for everything that runs here: the machine's memory, or less if a cgroup says so.

    `root` (the parent of /proc and /sys) and `physical` are for tests.
    """
    if physical is None:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = least_limit(root, "memory", _limit_v2, _limit_v1)
    return physical if limit is None else min(physical, int(limit))


def _limit_v2(folder: Path) -> float:
    return int((folder / "memory.max").read_text())  # ValueError for "max", which is no limit


def _limit_v1(folder: Path) -> float:
    return int((folder / "memory.limit_in_bytes").read_text())
