"""After the winner is known: the test, read once, and the model that is handed over.

The test model is trained on train + valid for the learned number of epochs and measured once,
beside popularity and EASE fitted on the same items. The model handed over is trained on
everything, and writes the submission.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from recsys import rivals, submission
from recsys.data import Dataset
from recsys.data.lists import BLANK
from recsys.evaluation import evaluate, top_items
from recsys.interactions import CSR
from recsys.models import Model, config_from_flat, model_of
from recsys.models.saved import CONFIG, weights_of
from search.folder import write_atomic
from search.trainable import limit_threads


def train_fixed(
    flat: dict[str, Any], epochs: int, seed: int, items: CSR, threads: int, device: str
) -> Model:
    """Train for exactly `epochs` epochs, without any validation."""
    limit_threads(threads)
    config = config_from_flat(honest(flat)).for_epochs(epochs)
    rng = np.random.default_rng(seed)
    model = model_of(config).create(config, items.n_users, items.n_items, rng=rng)
    for _ in model.train(config, items, None, rng=rng, threads=threads, device=device):
        pass
    return model.to_host()


def honest(flat: dict[str, Any]) -> dict[str, Any]:
    """The config with negatives that exclude training items only; nothing else is held out."""
    return flat | ({"negatives_exclude": "train"} if "negatives_exclude" in flat else {})


def trained(flat: dict[str, Any], epochs: int) -> dict[str, Any]:
    """The config with the epochs it was trained for, where its model has epochs."""
    return flat | ({"epochs": epochs} if "epochs" in flat else {})


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
    """The rivals: on validation fitted on train, on test fitted on train + valid."""
    threads, metric = task["threads"], metrics[0]
    limit_threads(threads)
    rng = np.random.default_rng(task["seed"])
    seen = train_items.union(valid)
    table: dict[str, Any] = {}
    per_user = {}
    for rival in rivals.RIVALS:
        choice = rivals.choose(rival, train_items, valid, metrics, rng=rng, threads=threads)
        if choice.config is None:
            table[rival.name] = {"skipped": choice.reason}
            continue
        model = rivals.fit(choice.config, seen, rng=rng, threads=threads)
        on_test = evaluate(model, seen, test, metrics, threads=threads)
        table[rival.name] = {"valid": choice.metrics, "test": on_test.values}
        per_user[rival.name] = on_test.per_user[metric]
        if rival.name == "ease":
            table["ease"]["l2"] = choice.config.to_flat()["ease_l2"]
    return {"what": "baselines", "table": table, "per_user": per_user}


def refit_task(task: dict[str, Any], everything: CSR) -> dict[str, Any]:
    """Train on everything, in a worker; the model comes back as bytes, for the driver to write."""
    started = time.monotonic()
    model = train_fixed(
        task["train"], task["epochs"], task["seed"], everything, task["threads"], task["device"]
    )
    return {"what": "refit", "weights": model.to_bytes(), "seconds": time.monotonic() - started}


def save_model(folder: Path, weights: bytes, config: dict[str, Any]) -> None:
    """`weights` (of `Model.to_bytes`) and `config.json`, flat, for `recsys.models.saved`.

    Weights of another model (the winner before an extension) are removed first.
    """
    folder.mkdir(exist_ok=True)
    file = folder / model_of(config_from_flat(config)).weights_file
    before = weights_of(folder)
    if before not in (None, file):
        before.unlink()
    write_atomic(file, weights)
    write_atomic(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def submit(
    path: Path, model: Model, dataset: Dataset, everything: CSR, k: int, separator: str = BLANK
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
