"""The program as a user has it who ran `pip install .`: packages and a command, no checkout."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from search.paths import COMMAND, SPACES

ROOT = Path(__file__).resolve().parents[2]
# Settings of whoever makes the site, which would change what the commands do.
FOREIGN = ("MLFLOW_", "RAY_", "TUNE_", "RECSEARCH_CPUS")
COLUMNS = 88  # letters that fit beside the navigation


def install(place: Path) -> dict[str, str]:
    """Put packages and command into a folder; the environment in which they are found.

    Times of files are kept, so that kernels compiled for an earlier build of the site are used.
    """
    for name in ("recsys", "search"):
        _copy(ROOT / name, place / name)
    _copy(SPACES, place / "search" / "spaces")
    script = place / "bin" / COMMAND
    script.parent.mkdir(exist_ok=True)
    # to a shell the second line starts Python, whose path may have a blank; to Python it is text
    start = f"""#!/bin/sh\n"exec" "{sys.executable}" "$0" "$@"\n"""
    script.write_text(f"{start}from search.cli.main import script\n\nscript()\n")
    script.chmod(0o755)
    own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return own | {
        "PATH": os.pathsep.join([str(script.parent), own.get("PATH", os.defpath)]),
        "PYTHONPATH": str(place),
        "COLUMNS": str(COLUMNS),
    }


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
