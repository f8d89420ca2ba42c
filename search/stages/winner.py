"""Training the winner without validation, for the test and for the model that is handed over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recsys.interactions import CSR
from recsys.models import Model, config_from_flat, fit_model
from search.space.trial import trial_seed
from search.stages.context import RunFailedError, Stages
from search.tune.worker import limit_threads


def winner_task(run: Stages, what: str) -> dict[str, Any]:
    """What a worker needs to train the winner for its learned number of epochs."""
    decided = run.state.stages["race"].data
    trial = run.state.trials[decided["winner"]]
    return {
        "train": trial.config,
        "epochs": int(decided["epochs"]),
        "seed": trial_seed(run.settings.seed, f"{what}:{trial.id}"),
        "threads": run.resources.cpus_per_trial,
        "device": run.settings.device,
    }


def alone(
    run: Stages, function: Callable[..., dict[str, Any]], task: tuple[Any, ...]
) -> dict[str, Any]:
    """One task in a worker. Raises `RunFailedError` where it failed, or its worker kept dying."""
    (answer,) = run.cluster.map(function, [task], run.resources)
    if "cause" in answer:
        name = function.__name__.removesuffix("_task")
        raise RunFailedError(f"{name}: {' '.join(answer['cause'].split())}; --resume tries again")
    return answer


def train_fixed(
    flat: dict[str, Any], epochs: int, seed: int, items: CSR, threads: int, device: str
) -> Model:
    """Train for exactly `epochs` epochs, without any validation."""
    limit_threads(threads)
    config = config_from_flat(honest(flat)).for_epochs(epochs)
    rng = np.random.default_rng(seed)
    return fit_model(config, items, rng=rng, threads=threads, device=device)


def honest(flat: dict[str, Any]) -> dict[str, Any]:
    """The config with negatives that exclude training items only; nothing else is held out."""
    return flat | ({"negatives_exclude": "train"} if "negatives_exclude" in flat else {})


def trained(flat: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The config with the epochs it was trained for, where its model has epochs."""
    return flat | ({"epochs": epochs} if "epochs" in flat else {})
