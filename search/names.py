"""Names that are made from other names: those of runs and of spaces."""

from __future__ import annotations

import re
from pathlib import PurePath

RUN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
SPACE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


def space_name(stem: str) -> str:
    """A space's name from the stem of its file: characters that are not allowed become _.

    >>> space_name("my space (2)")
    'my_space_2'
    """
    if SPACE_NAME.fullmatch(stem):
        return stem
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("_")[:80] or "space"


def run_part(text: str) -> str:
    """A part of a run's name, from a space or a data set; from the stem if it is a path.

    >>> run_part("/data/a b.csv.gz")
    'a_b'
    """
    part = re.sub(r"[^A-Za-z0-9_]+", "_", PurePath(text).name.split(".")[0])[:30]
    return part.strip("_") or "run"
