"""What Ray needs of this process to start: checked before, since Ray would just end without it.

It is Python's level of optimization, values of Ray's own variables, and the system's limits on a
process.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Mapping

from recsys.errors import ConfigError
from search.machine.memory import usable_memory

# Fractions: Ray accepts any number here, but its servers end at one that is not a fraction.
_FRACTIONS = (
    "RAY_memory_usage_threshold",
    "RAY_local_fs_capacity_threshold",
    "RAY_object_spilling_threshold",
    "RAY_scheduler_spread_threshold",
)
# Reads all of Ray's variables as its servers do; a value that cannot be read ends the process.
_READ = "from ray._raylet import Config; Config.initialize('')"
_READ_S = 60.0
FILES, FILES_PER_CORE = 64, 8
# A server of Ray maps its object store, 0.3 of the memory, and about 2 GB of code and threads.
STORE_SHARE, ADDRESSES = 0.3, 2 << 30


def check_python(optimize: int = sys.flags.optimize) -> None:
    """Raises ConfigError where this Python drops docstrings, from which Ray composes others."""
    if optimize >= 2:
        raise ConfigError(
            "PYTHONOPTIMIZE=2 (python -OO): Ray does not work without docstrings; expected 0 or 1"
        )


def check_variables(env: Mapping[str, str]) -> None:
    """Raises ConfigError for a variable of Ray's own tuning whose value would end Ray."""
    for name in _FRACTIONS:
        if name in env and not _is_fraction(env[name]):
            raise ConfigError(f"{name}={env[name][:40]!r}: expected a number between 0 and 1")
    tuning = {n: v for n, v in env.items() if n.startswith("RAY_") and n[4:5].islower()}
    if not tuning or _readable(env):
        return
    others = {name: value for name, value in env.items() if name not in tuning}
    for name, value in tuning.items():
        if not _readable(others | {name: value}):
            raise ConfigError(
                f"{name}={value[:40]!r}: expected a number that Ray can read; unset it"
            )


def _is_fraction(text: str) -> bool:
    try:
        return 0.0 <= float(text) <= 1.0
    except ValueError:
        return False


def _readable(env: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _READ],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            timeout=_READ_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return True  # a check that did not end says nothing about the variables
    return done.returncode >= 0  # negative: a signal, such as an abort in C++


def check_limits(
    cores: int, files: int | None = None, addresses: int | None = None, memory: int | None = None
) -> None:
    """Raises ConfigError where a limit of the system (`ulimit`) is too small for Ray.

    cores: that Ray will use. files, addresses: the limits on open files and on bytes of address
    space, by default those of this process. memory: bytes of the machine.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if files is None else files
    needed = FILES + FILES_PER_CORE * cores
    if 0 <= files < needed:
        raise ConfigError(
            f"a process may open {files} files here, Ray needs {needed}: raise it (ulimit -n "
            f"{max(1024, needed)})"
        )
    addresses = resource.getrlimit(resource.RLIMIT_AS)[0] if addresses is None else addresses
    needed = ADDRESSES + int(STORE_SHARE * (usable_memory() if memory is None else memory))
    if 0 <= addresses < needed:
        raise ConfigError(
            f"a process may use {addresses / 2**30:.1f} GB of address space here (ulimit -v), Ray "
            f"needs {needed / 2**30:.1f} GB: raise it (ulimit -v unlimited), or ask the batch "
            "system for more"
        )
