"""The project's own code, sent to the workers of a cluster that is joined.

Ray names a package by the digest of its content, keeps it on the head and unpacks it on each node
once: so a node runs the driver's code, whatever is or is not installed there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from search.paths import CODE, SPACES

PACKAGES = ("recsys", "search")
EXCLUDED = ("__pycache__", "*.pyc", "*.nbi", "*.nbc")
LIMIT = 16 << 20  # bytes; the two packages take less than 2 MB


def shipped(worker: Mapping[str, str], code: Path = CODE) -> dict[str, Any]:
    """Ray's `runtime_env` for machines that need not have the project.

    worker: environment variables of the workers. Raises ConfigError where the code is too large.
    """
    folders = [code / name for name in PACKAGES]
    for folder in folders:
        if (size := size_of(folder)) > LIMIT:
            raise ConfigError(
                f"{folder}: {size >> 20} MB would be sent to every node: expected nothing but "
                f"code, at most {LIMIT >> 20} MB"
            )
    return {
        "env_vars": dict(worker),
        "py_modules": [str(folder) for folder in folders],
        "excludes": list(EXCLUDED),
    }


def size_of(folder: Path) -> int:
    """Bytes of the files of a folder that are sent."""
    files = (
        Path(root) / name
        for root, _, names in os.walk(folder)
        if "__pycache__" not in Path(root).parts
        for name in names
    )
    return sum(file.stat().st_size for file in files)


@contextmanager
def script_elsewhere() -> Iterator[None]:
    """Within the block Ray does not see where the program lies.

    It would put that folder first on the path of the workers, and if another version of the project
    lies in the same place on their machine, they would import that.
    """
    before, sys.argv = sys.argv, [str(SPACES / "search")]
    try:
        yield
    finally:
        sys.argv = before
