"""How long checkpoints of trials hold up the driver's loop: `python -m benchmarks.checkpoints`.

Two workers of a Ray that is started here make checkpoints of a given size, together as many as the
rate allows, and name them to a driver that has nothing else to do than to count turns. Fetched and
written in its loop, as before ADR 190, and by the thread of the shelf.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from search.machine.cluster import Cluster
from search.tune.checkpoints import RATE, Shelf

WORKERS = 2
TURN_S, LONG_S = 0.002, 0.05  # what else a turn of the driver's loop takes; what counts as long


def made(size: int) -> list[Any]:
    """In a worker: a checkpoint of so many bytes in the object store."""
    import ray

    time.sleep(WORKERS * size / RATE)
    return [ray.put(bytes(size))]


def measure(
    cluster: Cluster, size: int, seconds: float, apart: bool
) -> tuple[float, float, float, float]:
    """The longest turn in seconds, the share of time in long turns, bytes that came a second, and
    the seconds to hand one over again, as where its worker died.

    apart: whether the thread of the shelf fetches and writes.
    """
    import ray

    task = ray.remote(num_cpus=1)(made)
    written = 0
    turns: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), cluster.fetch, cluster.store, print)
        carry = shelf.carry

        def counted() -> int:
            nonlocal written
            count = carry()
            written += count
            return count

        shelf.carry = counted  # type: ignore[method-assign]
        running = {task.remote(size): f"t{n:04d}" for n in range(WORKERS)}
        beside: AbstractContextManager[object] = shelf if apart else nullcontext()
        with beside:
            began = time.monotonic()
            while (turn := time.monotonic()) < began + seconds:
                time.sleep(TURN_S)
                for done in ray.wait(list(running), timeout=0)[0]:
                    name = running.pop(done)
                    shelf.keep(name, ray.get(done)[0])
                    running[task.remote(size)] = name
                    if not apart:
                        shelf.carry()
                turns.append(time.monotonic() - turn)
            passed = time.monotonic() - began
        (Path(folder) / "again.npz").write_bytes(bytes(size))
        began = time.monotonic()
        assert shelf.handed("again"), "the object store has no room for it"
        again = time.monotonic() - began
        shelf.clear()
        ray.get(list(running))
    late = sum(turn for turn in turns if turn > LONG_S)
    return max(turns), late / passed, written / passed, again


def main() -> None:
    """Print a line for each size, both ways."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, nargs="+", default=[16, 128, 512])
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    with Cluster(num_cpus=WORKERS) as cluster:
        for mb in options.mb:
            for apart in (False, True):
                longest, late, rate, again = measure(cluster, mb << 20, options.seconds, apart)
                where = "beside" if apart else "in"
                print(
                    f"{mb} MB, {where} the loop: longest turn {longest:.2f} s, "
                    f"{100 * late:.1f}% of the time in long ones, {rate / 1e6:.0f} MB/s; "
                    f"handed over again in {again:.2f} s"
                )


if __name__ == "__main__":
    main()
