"""The cores that a search may use: affinity, quotas, batch systems, RECSEARCH_CPUS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.machine.cores import cgroup_quota, usable_cores


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


V1 = "4:cpu,cpuacct:/docker/x\n3:cpuset:/docker/x\n0::/\n"
# /proc/self/cgroup, files under /sys/fs/cgroup, cores
QUOTAS = [
    ("0::/\n", {}, None),
    ("0::/\n", {"cpu.max": "max 100000\n"}, None),
    ("0::/\n", {"cpu.max": "200000 100000\n"}, 2.0),
    ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
    ("0::/\n", {"cpu.max": "nonsense\n"}, None),
    ("0::/\n", {"cpu.max": "1 0\n"}, None),
    ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, 3.0),
    ("0::/a/b\n", {"a/b/cpu.max": "100000 100000", "a/cpu.max": "max 100000"}, 1.0),
    ("0::/../outside\n", {"cpu.max": "200000 100000"}, 2.0),  # a container's own namespace
    (V1, {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "150000"}, None),  # no period
    (
        V1,
        {
            "cpu,cpuacct/cpu.cfs_quota_us": "150000",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        1.5,
    ),
    (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ("", {}, None),
    ("garbage\n\n", {}, None),
]


@pytest.mark.parametrize(("cgroup", "files", "expected"), QUOTAS)
def test_quotas(tmp_path: Path, cgroup: str, files: dict[str, str], expected: float | None) -> None:
    assert cgroup_quota(machine(tmp_path, cgroup, files)) == expected


# environment, cores of the affinity, quota, what is used
CORES = [
    ({}, 8, None, 8),
    ({}, 8, "200000", 2),
    ({}, 8, "50000", 1),
    ({}, 8, "250000", 2),
    ({}, 1, "200000", 1),
    ({"RECSEARCH_CPUS": "5"}, 1, "100000", 5),
    ({"RECSEARCH_CPUS": " 3 "}, 8, None, 3),
    ({"RECSEARCH_CPUS": ""}, 4, None, 4),
    ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3"}, 64, None, 3),
    ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "6"}, 64, None, 3),
    ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "6"}, 64, None, 6),
    ({"SLURM_CPUS_PER_TASK": "3"}, 64, None, 64),
    ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "x"}, 64, None, 64),
    ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "9"}, 4, None, 4),
    ({"JOB_ID": "1", "NSLOTS": "2"}, 16, None, 2),
    ({"NSLOTS": "2"}, 16, None, 16),
    ({"PBS_JOBID": "1", "NCPUS": "2"}, 16, None, 2),
    ({"LSB_JOBID": "1", "LSB_DJOB_NUMPROC": "2"}, 16, None, 2),
]


@pytest.mark.parametrize(("env", "affinity", "quota", "expected"), CORES)
def test_cores(
    tmp_path: Path, env: dict[str, str], affinity: int, quota: str | None, expected: int
) -> None:
    files = {} if quota is None else {"cpu.max": f"{quota} 100000"}
    assert usable_cores(env, affinity, machine(tmp_path, "0::/\n", files)) == expected


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "5000", "٣"])
def test_an_odd_number_of_cores_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="RECSEARCH_CPUS"):
        usable_cores({"RECSEARCH_CPUS": text}, 4)


def test_the_affinity_of_this_process(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores({}, root=tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
