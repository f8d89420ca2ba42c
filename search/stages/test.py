"""The test items, read once: the winner beside the rivals, all trained on train + valid.

The winner is trained for the number of epochs that the race has learned.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from recsys import rivals
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import fit_model
from search.stages.context import Stages
from search.stages.race import plain_comparison
from search.stages.winner import alone, train_fixed, winner_task
from search.stats import bootstrap_interval, compare_paired, holm
from search.tune.worker import limit_threads
from search.words import baseline_name


def test(run: Stages) -> dict[str, Any]:
    """The one look at the test items, and the baselines beside it."""
    split, metrics = run.split, list(run.metrics)
    if split.test is None:
        return {"skipped": "the split holds out no test items"}
    args = (split.train, split.valid, split.test, metrics)
    found: dict[str, Any] = {}
    for function in (test_task, baselines_task):
        answer = alone(run, function, (winner_task(run, "test"), *args))
        found[answer["what"]] = answer
    answer = found["test"]
    rng = np.random.default_rng([run.settings.seed, 8])
    low, high = bootstrap_interval(answer["per_user"], rng)
    beside = {
        name: compare_paired(answer["per_user"], values, rng)
        for name, values in found["baselines"]["per_user"].items()
    }
    return {
        "comparisons": [
            plain_comparison(name, c, f"{baseline_name(name)} on the test items")
            for name, c in holm(beside).items()
        ],
        "values": answer["values"],
        "ci": [low, high],
        "users": len(answer["users"]),
        "baselines": found["baselines"]["table"],
        "seconds": answer["seconds"],
    }


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
        model = fit_model(choice.config, seen, rng=rng, threads=threads)
        on_test = evaluate(model, seen, test, metrics, threads=threads)
        table[rival.name] = {"valid": choice.metrics, "test": on_test.values}
        per_user[rival.name] = on_test.per_user[metric]
        if rival.name == "ease":
            table["ease"]["l2"] = choice.config.to_flat()["ease_l2"]
    return {"what": "baselines", "table": table, "per_user": per_user}
