"""A program of its own, started by `head.py`: joins a cluster and asks every node what it is.

Nothing of the project is imported here: the function that runs on a node travels by value, so that
even a node on which nothing can be imported can say so. On stdout it says how far it is, in lines
of JSON (`head.Asking` reads them); the last one has what Ray raised (the outermost error first),
and the nodes.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any

LOOK_S = 1.0  # how often nodes are counted where the first one is waited for


def answer(packages: Sequence[str], modules: Sequence[str], torch: bool = True) -> dict[str, Any]:
    """What a worker on a node finds there: versions of `packages`, the processor that code is
    compiled for, GPUs that torch sees, and in `error`, in one line, why it cannot import `modules`;
    the worker's log file has it in full.

    torch: whether to import torch at all, which takes more than a second of a core.
    """
    import importlib
    import os
    import platform
    import traceback
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    said = {"python": platform.python_version(), "versions": versions, "cuda": 0, "error": None}
    # Ray hides GPUs that this task did not ask for, from whoever has the worker after it too.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    try:
        if hidden:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        for name in modules:
            importlib.import_module(name)
        said["processor"] = importlib.import_module("llvmlite.binding").get_host_cpu_name()
        if torch:
            said["cuda"] = importlib.import_module("torch").cuda.device_count()
    except BaseException as error:
        traceback.print_exc()
        said["error"] = f"{type(error).__name__}: {error}"
    finally:
        if hidden:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return said


def no_answer(seconds: float) -> str:
    """What is said of a node that has not answered within so many seconds."""
    return f"no answer within {seconds:.0f} s"


def node_of(node: dict[str, Any]) -> dict[str, Any]:
    """A node, as Ray describes it, in the fields of `ClusterNode`."""
    has = node["Resources"]
    return {
        "id": node["NodeID"],
        "name": node["NodeManagerHostname"],
        "address": node["NodeManagerAddress"],
        "cpus": has.get("CPU", 0),
        "memory": int(has.get("memory", 0)),
        "gpus": has.get("GPU", 0),
    }


def say(**what: Any) -> None:
    """Tell the process that started this one how far it is."""
    print(json.dumps(what), flush=True)  # noqa: T201


def with_cores() -> list[dict[str, Any]]:
    """The nodes that are there now and give cores away."""
    import ray

    found = [node_of(node) for node in ray.nodes() if node["Alive"]]
    return [node for node in found if node["cpus"]]


def draining() -> dict[str, int]:
    """The ids of the nodes that were told to end and are still there, with the time when they have
    to be gone: in milliseconds since 1970, 0 where no time was said.
    """
    from ray._private.state import state

    until: dict[str, int] = state.get_draining_nodes()
    return until


def staying_and_ending() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The nodes with cores that were not told to end, and those that were: on them Ray would start
    no question.
    """
    until, there = draining(), with_cores()
    staying = [node for node in there if node["id"] not in until]
    return staying, [node for node in there if node["id"] in until]


def first_nodes(cpus: float, gpus: float) -> list[dict[str, Any]]:
    """Wait until a node has that many cores and GPUs; a cluster that starts nodes on demand does so
    for the task that asks for them meanwhile.
    """
    import ray

    wish = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(answer).remote([], [])
    said = None
    while True:
        nodes, ending = staying_and_ending()
        rooms = [[node["cpus"], node["gpus"], node["memory"]] for node in nodes]
        if any(has[0] >= cpus and has[1] >= gpus for has in rooms):
            ray.cancel(wish, force=True)
            return nodes
        if rooms != said:
            said = rooms
            say(waiting=rooms, ending=len(ending))
        time.sleep(LOOK_S)


def main(address: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Join the cluster, ask all nodes that have cores and were not told to end, and leave. Where
    there are none, wait for the first on which a trial fits.

    asked: packages, modules, the seconds to wait for answers, and a trial's cpus and gpus.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(
        address=address,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
        runtime_env=asked["runtime_env"],
    )
    print("joined", flush=True)  # noqa: T201  # see `head.JOINED`
    nodes = staying_and_ending()[0] or first_nodes(asked["cpus"], asked["gpus"])
    say(asked={node["id"]: [node["name"], node["address"]] for node in nodes})
    asking = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["id"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(answer)
        asking[task.remote(asked["packages"], asked["modules"])] = node
    end = time.monotonic() + asked["seconds"]
    while asking:
        ready, _ = ray.wait(list(asking), timeout=max(0.0, end - time.monotonic()))
        if not ready:
            break
        node = asking.pop(ready[0])
        try:
            node |= ray.get(ready[0])
        except Exception as error:
            node["error"] = str(error)
        say(answered=node["id"])
    for node in asking.values():
        node |= {"error": no_answer(asked["seconds"]), "answered": False}
    return nodes


if __name__ == "__main__":
    said: list[str] = []
    nodes: list[dict[str, Any]] = []
    try:
        nodes = main(sys.argv[1], json.loads(sys.argv[2]))
    except BaseException as error:
        cause: BaseException | None = error
        while cause is not None:
            said.append(f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:600])
            cause = cause.__cause__ or cause.__context__
    sys.stdout.write("\n" + json.dumps([said, nodes]) + "\n")
