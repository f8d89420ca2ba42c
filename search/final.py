"""After the winner is known: the test, read once, and the model that is handed over.

The test model is trained on train + valid for the learned number of epochs and measured once,
beside popularity and EASE fitted on the same items. The model handed over is trained on
everything, and writes the submission.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys import submission
from recsys.baselines import Popularity, best_ease
from recsys.config import TrainConfig
from recsys.data import Dataset
from recsys.data.lists import BLANK
from recsys.evaluate import Scorer, evaluate, top_items
from recsys.interactions import CSR
from recsys.model import LFM
from recsys.train import train
from search.folder import write_atomic
from search.trainable import limit_threads


def train_fixed(
    flat: dict[str, Any], epochs: int, seed: int, items: CSR, threads: int, device: str
) -> LFM:
    """Train for exactly `epochs` epochs, without any validation."""
    limit_threads(threads)
    config = TrainConfig.from_flat(flat | {"epochs": epochs, "negatives_exclude": "train"})
    rng = np.random.default_rng(seed)
    model = LFM(
        items.n_users, items.n_items, config.latent_factors, rng=rng, init_std=config.init_std
    )
    for _ in train(model, items, None, config, rng=rng, threads=threads, device=device):
        pass
    return model.cpu()


def test_task(
    task: dict[str, Any], train_items: CSR, valid: CSR, test: CSR, metrics: list[str]
) -> dict[str, Any]:
    """The winner on the test items, in a worker: values of every metric, and per user."""
    started = time.monotonic()
    seen = train_items.union(valid)
    model = train_fixed(
        task["train"], task["epochs"], task["seed"], seen, task["threads"], task["device"]
    )
    result = evaluate(model, seen, test, metrics, threads=task["threads"])
    return {
        "what": "test",
        "values": result.values,
        "users": result.users,
        "per_user": result.per_user[metrics[0]],
        "seconds": time.monotonic() - started,
    }


def baselines_task(
    task: dict[str, Any], train_items: CSR, valid: CSR, test: CSR, metrics: list[str]
) -> dict[str, Any]:
    """Popularity and EASE: on validation fitted on train, on test fitted on train + valid."""
    threads = task["threads"]
    limit_threads(threads)
    seen = train_items.union(valid)
    ease = best_ease(train_items, valid, metrics[0], threads=threads)
    fits: dict[str, Callable[[CSR], Scorer]] = {"popularity": Popularity}
    table: dict[str, Any] = {}
    per_user = {}
    if ease.l2 is None:
        table["ease"] = {"skipped": ease.reason}
    else:
        fits["ease"] = ease.fit
    for name, fit in fits.items():
        on_valid = evaluate(fit(train_items), train_items, valid, metrics, threads=threads)
        on_test = evaluate(fit(seen), seen, test, metrics, threads=threads)
        table[name] = {"valid": on_valid.values, "test": on_test.values}
        per_user[name] = on_test.per_user[metrics[0]]
    if ease.l2 is not None:
        table["ease"]["l2"] = ease.l2
    return {"what": "baselines", "table": table, "per_user": per_user}


def refit_task(task: dict[str, Any], everything: CSR, folder: str) -> dict[str, Any]:
    """Train on everything and save the weights under `folder`/model, in a worker."""
    started = time.monotonic()
    model = train_fixed(
        task["train"], task["epochs"], task["seed"], everything, task["threads"], task["device"]
    )
    save_model(Path(folder) / "model", model, task["train"] | {"epochs": task["epochs"]})
    return {"what": "refit", "seconds": time.monotonic() - started}


def save_model(folder: Path, model: LFM, config: dict[str, Any]) -> None:
    """`weights.pt` (a state_dict) and `config.json`; loadable without running pickled code."""
    import io

    folder.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_atomic(folder / "weights.pt", buffer.getvalue())
    write_atomic(folder / "config.json", json.dumps(config, indent=2) + "\n")


def load_model(folder: Path) -> LFM:
    """The model saved by `save_model` (weights only: no code in the file can run)."""
    weights = torch.load(folder / "weights.pt", weights_only=True)
    users, factors = weights["user_factors"].shape
    items = weights["item_factors"].shape[0]
    model = LFM(users, items, factors, rng=np.random.default_rng(0))
    model.load_state_dict(weights)
    return model


def submit(
    path: Path, model: LFM, dataset: Dataset, everything: CSR, k: int, separator: str = BLANK
) -> int:
    """Write the k best unseen items of whom the submission is for; read it back and check it.

    Returns the number of rows. Users and items keep their original ids.
    """
    return submission.submit(
        path,
        dataset.interactions,
        everything,
        k,
        lambda users: top_items(model, everything, users, k),
        receivers=dataset.receivers,
        separator=separator,
    )
