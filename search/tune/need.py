"""How much memory a trial takes, and what it therefore asks of a node of a cluster."""

from __future__ import annotations

import math
from collections.abc import Iterable

from recsys.evaluation import TILE
from recsys.models import ModelConfig, model_of
from recsys.models.base import Size
from search.machine.cluster import Resources

WORKER = 250 * 2**20  # bytes of a worker with its libraries
STEP = 256 * 2**20  # the least that is asked for; the next are its double, its fourfold, ...


def trial_bytes(config: ModelConfig, size: Size, threads: int) -> int:
    """Bytes of a worker that trains and evaluates a config: its model, the scores of a block of
    users, the libraries. The interactions lie in Ray's object store, once per node.
    """
    scores = 4 * TILE * size.items * threads
    return model_of(config).cost(config, size).memory + scores + WORKER


def asked_bytes(config: ModelConfig, size: Size, threads: int, largest: int) -> int:
    """What a trial of a config asks of a node: the step above what it takes, at most `largest`.

    Few steps, since Ray keeps a worker for the next trial only where both ask for the same.
    """
    steps = max(0, math.ceil(math.log2(trial_bytes(config, size, threads) / STEP)))
    return min(STEP * 2**steps, largest)


def task_bytes(resources: Resources, configs: Iterable[ModelConfig], size: Size) -> int:
    """What a task asks that trains these configs, one at a time; 0 on one machine, where nothing is
    asked.
    """
    if resources.largest is None:
        return 0
    threads = resources.cpus_per_trial
    asks = (asked_bytes(config, size, threads, resources.largest) for config in configs)
    return max(asks, default=0)
