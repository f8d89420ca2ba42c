"""How much memory a trial takes, and what it therefore asks of a node of a cluster."""

from __future__ import annotations

import math
from collections.abc import Iterable

from recsys.evaluation import TILE
from recsys.models import ModelConfig, model_of
from recsys.models.base import Size
from recsys.rivals import Allowed
from search.machine.cluster import Resources
from search.machine.memory import usable_memory

WORKER = 250 * 2**20  # bytes of a worker with its libraries
STEP = 256 * 2**20  # the least that is asked for; the next steps are twice, four times, ... as much


def trial_bytes(config: ModelConfig, size: Size, threads: int) -> int:
    """Bytes of a worker that trains and evaluates a config: its model, the scores of a block of
    users, the libraries. The interactions are not counted: Ray's object store holds them, once per
    node.

    size: of the training data. threads: of the worker.
    """
    return model_of(config).cost(config, size).memory + _beside_model(size, threads)


def _beside_model(size: Size, threads: int) -> int:
    return 4 * TILE * size.items * threads + WORKER


def asked_bytes(config: ModelConfig, size: Size, threads: int, largest: int) -> int:
    """Bytes that a trial asks of a node: what it takes (`trial_bytes`), rounded up to a step, and
    at most `largest`.

    There are few steps, since Ray keeps a worker for the next trial only if both ask for the same.
    What takes more than `largest` is refused before it gets here (`search.run.need`).
    """
    return _step(trial_bytes(config, size, threads), largest)


def _step(taken: int, largest: int) -> int:
    steps = max(0, math.ceil(math.log2(taken / STEP)))
    return min(STEP * 2**steps, largest)


def usual_bytes(configs: Iterable[ModelConfig], size: Size, threads: int, largest: int) -> int:
    """Bytes that a trial of a space asks for on average. configs: represent the space.

    It decides how many trials are taken to run at once. The average, since those that do share
    their nodes' memory: by the largest config, a space with one large method would be planned as
    if all trials were of that one, with a fraction of the workers that it has.
    """
    asks = [asked_bytes(config, size, threads, largest) for config in configs]
    return sum(asks) // len(asks)


def task_bytes(
    resources: Resources, configs: Iterable[ModelConfig], size: Size, holds: int = 0
) -> int:
    """Bytes that a task asks for that trains these configs, one at a time, and holds `holds` bytes
    beside; 0 on a single machine, where no memory is asked for.
    """
    if resources.largest is None:
        return 0
    threads = resources.cpus_per_trial
    takes = [trial_bytes(config, size, threads) for config in configs]
    if holds and not takes:
        takes = [_beside_model(size, threads)]
    return _step(holds + max(takes), resources.largest) if takes else 0


def allowed_rival(resources: Resources, budget: float | None) -> Allowed:
    """What a rival of the winner may take where tasks get `resources`: a share of this machine, or
    of the node of a cluster with the most memory, and of the time budget in seconds.
    """
    largest = resources.largest
    return Allowed.of(usable_memory() if largest is None else largest, budget)
