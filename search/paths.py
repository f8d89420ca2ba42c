"""Where the project is: a checkout, or an installation (`pip install .`).

A checkout is the folder of `run_search.py`, with `spaces/` and the local store in `mlflow/store`.
An installation consists of packages only, spaces included, and keeps the store in the working
directory, beside `runs/`.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

SCRIPT, COMMAND = "run_search.py", "recsearch"  # how to start it from a checkout, and installed

CODE = Path(__file__).resolve().parent.parent  # the folder that `search` is imported from
INSTALLED = not (CODE / SCRIPT).is_file()
NAME = COMMAND if INSTALLED else SCRIPT
SPACES = CODE / "search" / "spaces" if INSTALLED else CODE / "spaces"


def working_directory() -> Path:
    """The working directory; `/` if it was deleted."""
    try:
        return Path.cwd()
    except OSError:
        return Path("/")


def home() -> Path:
    """The folder that contains `mlflow/store`, the local store."""
    return working_directory() if INSTALLED else CODE


def import_path() -> list[str]:
    """The folders that PYTHONPATH needs for a process of this interpreter to import this code.

    Empty if the code lies among the interpreter's own packages: on PYTHONPATH, all of these would
    come before the standard library.
    """
    own = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    return [] if CODE in own else [str(CODE)]
