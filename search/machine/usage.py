"""How busy this machine is with all its programs: processors and memory, from /proc."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FIRST_S = 5.0
SHARE = 1 / 200  # of the time so far, between two looks: a few hundred values for any run


@dataclass(frozen=True)
class Usage:
    """Usage as MLflow's own system metrics define it. cpu_percent: of all cores together."""

    cpu_percent: float
    memory_mb: float
    memory_percent: float


class Meter:
    """Reads the counters of the kernel. root: the parent of /proc. Raises OSError, ValueError or
    KeyError where the system has no such counters.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._stat, self._memory = root / "proc/stat", root / "proc/meminfo"
        self._before = self._times()
        self.read()

    def read(self) -> Usage:
        """The use of processors since the last look, and of memory now."""
        busy, everything = self._times()
        spent = everything - self._before[1]
        share = (busy - self._before[0]) / spent if spent > 0 else 0.0
        self._before = busy, everything
        lines = (line.split() for line in self._memory.read_text().splitlines())
        known = {words[0]: int(words[1]) for words in lines}  # in units of 1024 bytes
        total = known["MemTotal:"]
        used = total - known["MemAvailable:"]
        return Usage(
            cpu_percent=round(100 * min(1.0, max(0.0, share)), 1),
            memory_mb=round(used * 1024 / 1e6, 1),
            memory_percent=round(100 * used / total, 1),
        )

    def _times(self) -> tuple[int, int]:
        """(busy, all) in ticks; the time of guests is already part of that of users."""
        name, *ticks = self._stat.read_text().split("\n", 1)[0].split()
        assert name == "cpu"
        user, nice, system, idle, iowait, *others = map(int, ticks[:8])
        everything = user + nice + system + idle + iowait + sum(others)
        return everything - idle - iowait, everything


class UsageWatch:
    """Calls `seen` with the usage from time to time, in a thread, while it is entered."""

    def __init__(self, meter: Meter, seen: Callable[[Usage], None], first_s: float = FIRST_S):
        self._meter, self._seen, self._first_s = meter, seen, first_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        began = time.monotonic()
        while not self._over.wait(max(self._first_s, SHARE * (time.monotonic() - began))):
            try:
                self._seen(self._meter.read())
            except Exception:  # such as a full disk, which the search itself will report
                return

    def __enter__(self) -> UsageWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()  # nothing is written after the last line of a session
