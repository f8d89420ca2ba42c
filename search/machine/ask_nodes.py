"""A program of its own, started by `head.py`: joins a cluster and asks every node what it is.

Nothing of the project is imported here: the function that runs on a node travels by value, so that
even a node on which nothing can be imported can say so. The last line on stdout is JSON: what Ray
raised (the outermost error first), and the nodes.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any


def answer(packages: Sequence[str], modules: Sequence[str], torch: bool = True) -> dict[str, Any]:
    """What a worker on a node finds there: versions of `packages`, GPUs that torch sees, and in
    `error`, in one line, why it cannot import `modules`; the worker's log file has it in full.

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


def main(address: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Join the cluster, ask all nodes that have cores, and leave. asked: packages, modules and the
    seconds to wait.
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
    found = [node_of(node) for node in ray.nodes() if node["Alive"]]
    nodes = [node for node in found if node["cpus"]]
    asking = {}
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node["id"], soft=False)
        task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(answer)
        asking[task.remote(asked["packages"], asked["modules"])] = node
    ready: list[Any] = []
    if asking:
        ready, _ = ray.wait(list(asking), num_returns=len(asking), timeout=asked["seconds"])
    for task, node in asking.items():
        if task not in ready:
            node["error"] = no_answer(asked["seconds"])
            continue
        try:
            node |= ray.get(task)
        except Exception as error:
            node["error"] = str(error)
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
