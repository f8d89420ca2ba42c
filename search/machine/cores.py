"""How many cores this process may use: its share of the machine's, not all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from recsys.errors import ConfigError
from search.machine.cgroups import least_limit

VARIABLE = "RECSEARCH_CPUS"
# Variables with the cores that a batch system promises a job here, each after the one that says
# that the job is this system's.
_BATCH = (
    ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK"),
    ("SLURM_JOB_ID", "SLURM_CPUS_ON_NODE"),
    ("PBS_JOBID", "NCPUS"),
    ("JOB_ID", "NSLOTS"),
    ("LSB_JOBID", "LSB_DJOB_NUMPROC"),
)


def usable_cores(
    env: Mapping[str, str] = os.environ, affinity: int | None = None, root: Path = Path("/")
) -> int:
    """Cores for a Ray started here: RECSEARCH_CPUS, else the smallest limit.

    Limits are the affinity (taskset, Slurm), the quota of the cgroup (containers; rounded down, but
    at least 1), and what a batch system promises. affinity, root (the parent of /proc and /sys):
    for tests. Raises ConfigError where RECSEARCH_CPUS is not a number of cores.
    """
    if text := env.get(VARIABLE, "").strip():
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 4096:
            raise ConfigError(
                f"{VARIABLE} is {text!r}: expected a whole number of cores, at least 1"
            )
        return int(text)
    allowed = [_affinity() if affinity is None else affinity]
    quota = cgroup_quota(root)
    allowed += [] if quota is None else [max(1, int(quota))]
    allowed += _promised(env)[:1]
    return max(1, min(allowed))


def _affinity() -> int:
    with suppress(AttributeError, OSError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _promised(env: Mapping[str, str]) -> list[int]:
    found = (env.get(name, "").strip() for job, name in _BATCH if env.get(job))
    return [int(text) for text in found if text.isascii() and text.isdecimal() and int(text) > 0]


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Cores that the cgroups of this process allow; None: no limit."""
    return least_limit(root, "cpu", _quota_v2, _quota_v1)


def _quota_v2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return quota / int((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
