"""Names that are made of other names: of runs, and of spaces."""

from __future__ import annotations

import re
from pathlib import PurePath

RUN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
SPACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


def space_name(stem: str) -> str:
    """A space's name from the stem of its file: letters that do not fit become _.

    >>> space_name("my space (2)")
    'my_space_2'
    """
    if SPACE_NAME.fullmatch(stem):
        return stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_")[:80] or "space"


def run_part(text: str) -> str:
    """A part of a run's name from a space or a data set; of a path its stem.

    >>> run_part("/data/a b.csv.gz")
    'a_b'
    """
    part = re.sub(r"[^A-Za-z0-9_]+", "_", PurePath(text).name.split(".")[0])[:30]
    return part.strip("_") or "run"
