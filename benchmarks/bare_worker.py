"""Prints the memory of a Ray worker that imported what a trial imports, and did nothing.

Then of the same worker with the compiled kernels loaded. JSON: name -> [USS, PSS] in bytes.
"""

from __future__ import annotations

import json

import ray

from recsys.models.mf.warm_up import warm_up
from search.machine.cluster import Cluster


@ray.remote
class Bare:
    """A worker of a search without a search."""

    def __init__(self) -> None:
        from ray import tune  # noqa: F401

        import recsys.models.mf.warm_up

        self._warm_up = recsys.models.mf.warm_up.warm_up

    def memory(self) -> tuple[int, int]:
        from benchmarks.search import memory_of

        return memory_of("self")

    def load_kernels(self) -> float:
        return self._warm_up()


def main() -> None:
    warm_up()  # so that the worker loads compiled kernels and compiles none
    with Cluster(num_cpus=1):
        worker = Bare.remote()  # type: ignore[attr-defined]
        ray.get(worker.memory.remote())  # what measuring itself imports
        found = {"imports": ray.get(worker.memory.remote())}
        ray.get(worker.load_kernels.remote())
        found["with kernels"] = ray.get(worker.memory.remote())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
