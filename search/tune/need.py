"""How much memory a trial takes, and what it therefore asks of a node of a cluster."""

from __future__ import annotations

import math
from collections.abc import Iterable

from recsys.evaluation import TILE
from recsys.models import ModelConfig, model_of
from recsys.models.base import Size
from search.machine.cluster import Resources

WORKER = 250 * 2**20  # bytes of a worker with its libraries
STEP = 256 * 2**20  # the least that is asked for; the next steps are twice, four times, ... as much


def trial_bytes(config: ModelConfig, size: Size, threads: int) -> int:
    """Bytes of a worker that trains and evaluates a config: its model, the scores of a block of
    users, the libraries. The interactions are not counted: Ray's object store holds them, once per
    node.

    size: of the training data. threads: of the worker.
    """
    scores = 4 * TILE * size.items * threads
    return model_of(config).cost(config, size).memory + scores + WORKER


def asked_bytes(config: ModelConfig, size: Size, threads: int, largest: int) -> int:
    """Bytes that a trial asks of a node: what it takes (`trial_bytes`), rounded up to a step, and
    at most `largest`.

    There are few steps, since Ray keeps a worker for the next trial only if both ask for the same.
    """
    steps = max(0, math.ceil(math.log2(trial_bytes(config, size, threads) / STEP)))
    return min(STEP * 2**steps, largest)


def task_bytes(resources: Resources, configs: Iterable[ModelConfig], size: Size) -> int:
    """Bytes that a task asks for that trains these configs, one at a time; 0 on a single machine,
    where no memory is asked for.
    """
    if resources.largest is None:
        return 0
    threads = resources.cpus_per_trial
    asks = (asked_bytes(config, size, threads, resources.largest) for config in configs)
    return max(asks, default=0)
