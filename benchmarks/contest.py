"""Contests between processes: one thread each, turns interleaved, medians of what they took."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
TURN_SECONDS = 0.3  # shorter epochs are repeated until a turn takes about this long
LIBRARIES = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "NUMBA")
# They choose slower routines than the processor has.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


class ContenderError(RuntimeError):
    """A contender could not be started or broke off; the message holds the end of its stderr."""


@dataclass(frozen=True)
class Contender:
    """Who trains: a script of `peers/`, the Python that runs it, and its options."""

    name: str
    script: str
    python: str
    options: dict[str, Any]
    warm_up: bool = True  # an epoch before the first turn, not counted


@dataclass
class Turns:
    """What one contender did. Seconds and processor seconds of a turn are per visited row."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rows: int = 0  # of one epoch
    trained: float = 1.0  # share of the visited rows that were trained on

    @property
    def per_row(self) -> float:
        return statistics.median(self.wall)

    @property
    def epoch_seconds(self) -> float:
        return self.per_row * self.rows


class Process:
    """A running contender."""

    def __init__(self, contender: Contender, errors: Path) -> None:
        self.contender, self.errors, self.epochs = contender, errors, 1
        environment = {k: v for k, v in os.environ.items() if k not in UNSET}
        environment |= {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}
        environment["PYTHONPATH"] = str(ROOT)
        with errors.open("w") as stderr:
            self._process = subprocess.Popen(
                [
                    contender.python,
                    str(PEERS / contender.script),
                    json.dumps(contender.options),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment,
                cwd=errors.parent,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process: it sees the end of its input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=10)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            end = self.errors.read_text().strip().splitlines()[-3:]
            raise ContenderError(f"{self.contender.name} stopped: {' | '.join(end)}")
        return json.loads(line)

    def train(self, epochs: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{epochs}\n")
        self._process.stdin.flush()
        return self.answer()


def contest(
    contenders: Sequence[Contender], rounds: int, folder: Path
) -> tuple[list[Turns], float]:
    """Each trains in turn, `rounds` times; who is first changes from round to round.

    Returns their turns, in the order of `contenders`, and the share of the machine's cores that
    other processes used between the rounds.
    """
    with ExitStack() as stack:
        running, turns = [], []
        for number, contender in enumerate(contenders):
            errors = folder / f"{number}-{Path(contender.script).stem}.err"
            process = stack.enter_context(Process(contender, errors))
            turns.append(Turns(contender.name, process.answer()))
            running.append(process)
        for process in running:
            if process.contender.warm_up:
                process.train(1)
                first = process.train(1)
                process.epochs = max(1, min(100, round(TURN_SECONDS / first["seconds"])))
        others = []
        for number in range(rounds):
            others.append(used_by_others())
            for at in _order(len(running), number):
                said = running[at].train(running[at].epochs)
                turn = turns[at]
                turn.wall.append(said["seconds"] / said["rows"])
                turn.cpu.append(said["cpu"] / said["rows"])
                turn.rows = said["rows"] // running[at].epochs
                turn.trained = said["trained"] / said["rows"]
        return turns, statistics.mean(others)


def _order(count: int, number: int) -> Iterator[int]:
    return ((number + at) % count for at in range(count))


def used_by_others(seconds: float = 0.3) -> float:
    """Share of all cores in use while this program waits, 0 to 1."""

    def ticks() -> tuple[int, int]:
        values = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(values), values[3] + values[4]

    total, idle = ticks()
    time.sleep(seconds)
    total_after, idle_after = ticks()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def wait_until_idle(limit: float) -> None:
    """Wait until others use less than a tenth of the cores, at most `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end and used_by_others(1.0) > 0.1:
        time.sleep(5)


@contextmanager
def stopwatch(into: dict[str, float], name: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    into[name] = time.perf_counter() - start
