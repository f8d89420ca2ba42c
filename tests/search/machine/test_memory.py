"""How much memory there is, on a machine and in a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.machine.memory import usable_memory


def write(root: Path, groups: str, files: dict[str, str]) -> Path:
    """The files of a machine: /proc/self/cgroup, and others below /sys/fs/cgroup."""
    for name, text in {"proc/self/cgroup": groups}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {}, 1000),
        ("0::/\n", {"memory.max": "max\n"}, 1000),
        ("0::/\n", {"memory.max": "600\n"}, 600),
        ("0::/\n", {"memory.max": "6000\n"}, 1000),
        ("0::/a/b\n", {"a/memory.max": "400\n", "a/b/memory.max": "max\n"}, 400),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "300\n"}, 300),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 1000),
        ("2:cpu,cpuacct:/\n", {"memory/memory.limit_in_bytes": "300\n"}, 1000),
    ],
)
def test_memory(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    assert usable_memory(write(tmp_path, groups, files), 1000) == expected


def test_of_this_machine() -> None:
    assert usable_memory() > 2**28
    assert usable_memory(Path("/nowhere"), 5) == 5
