"""The contender's side of a contest: train when told to, answer with the time it took.

One line in on stdin, "N", asks for N epochs; one line of JSON out answers. Whatever else a
library prints goes to stderr. Contenders are processes of their own that wait while another
works, so that turns interleave without anything being imported or prepared again.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def options() -> dict[str, Any]:
    """What this contender is to do, from its first argument."""
    return json.loads(sys.argv[1])


def pairs(source: str | Path) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Users int32 (E,), items int32 (E,), number of users, number of items."""
    with np.load(source) as stored:
        indptr, items, n_items = stored["indptr"], stored["indices"], int(stored["n_items"])
    users = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    return users, items, len(indptr) - 1, n_items


class Server:
    """The two pipes. Create it before anything that may print."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def answer(self, **said: Any) -> None:
        self._out.write(json.dumps(said) + "\n")
        self._out.flush()

    def wait(self) -> int:
        """Blocks until epochs are asked for; 0: no more."""
        line = sys.stdin.readline()
        return int(line) if line.strip() else 0


def serve(server: Server, epoch: Callable[[], int], **facts: Any) -> None:
    """Answer requests by calling `epoch`, which trains one and returns the rows it visited."""
    server.answer(**facts)
    while epochs := server.wait():
        cpu, wall = time.process_time(), time.perf_counter()
        rows = sum(epoch() for _ in range(epochs))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        server.answer(seconds=wall, cpu=cpu, rows=rows, trained=rows)
