"""Trains configs of a space to their end and keeps every epoch.

    python -m benchmarks.replay.record --data health.zip --space bpr_hard -o FILE.parquet

A row an epoch: the number of the config, the epoch, the run's metric on validation and on test, and
the processor seconds of training and of evaluation, which other work on the machine changes little.
The configs of `enqueue` come first. FILE.json beside it says what was recorded.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recsys.data import load
from recsys.evaluation import evaluate
from recsys.evidence import suited
from recsys.models import ModelConfig, new_model
from recsys.models.base import Size
from recsys.split import Split, SplitPlan, make_split
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune.sampling import watched_users

COLUMNS = ("config", "epoch", "valid", "test", "train_seconds", "eval_seconds")


@dataclass(frozen=True)
class Task:
    """What a process needs to train one config."""

    number: int
    config: ModelConfig
    data: str
    metric: str
    seed: int


_splits: dict[tuple[str, int], Split] = {}


def split_of(data: str, seed: int) -> Split:
    """The split that the search of a run with this seed has; kept in the process."""
    if (data, seed) not in _splits:
        dataset = load(data)
        plan = suited(dataset, SplitPlan(by_default=True))
        _splits[data, seed] = make_split(dataset, plan, seed)
    return _splits[data, seed]


def train_one(task: Task) -> list[tuple[float, ...]]:
    """The rows of one config, to the end that its patience gives it."""
    split = split_of(task.data, task.seed)
    assert split.test is not None
    seen = split.search_data()
    rng = np.random.default_rng([task.seed, task.number])
    model = new_model(task.config, split.train, rng)
    rows: list[tuple[float, ...]] = []
    training = model.train(task.config, split.train, split.valid, rng=rng, metric=task.metric)
    began = time.process_time()
    for report in training:
        spent = time.process_time() - began
        share = report.train_seconds / max(report.train_seconds + report.eval_seconds, 1e-9)
        test = evaluate(model, seen, split.test, [task.metric]).values[task.metric]
        valid = report.metrics[task.metric]
        rows.append((task.number, report.epoch, valid, test, share * spent, (1 - share) * spent))
        began = time.process_time()
    return rows


def configs_of(spec: SearchSpec, seed: int) -> Iterator[dict[str, Any]]:
    """Those of `enqueue`, then random ones."""
    rng = np.random.default_rng(seed)
    yield from (dict(pairs) for pairs in spec.enqueue)
    while True:
        yield dict(spec.sample(rng))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--space", default="bpr_hard")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--configs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    spec = load_spec(args.space, args.set)
    chosen = list(islice(configs_of(spec, args.seed), args.configs))
    tasks = [
        Task(n, spec.train_config(params), args.data, spec.metric, args.seed)
        for n, params in enumerate(chosen)
    ]
    rows: list[tuple[float, ...]] = []
    with ProcessPoolExecutor(args.processes) as pool:
        for n, found in enumerate(pool.map(train_one, tasks), 1):
            rows += found
            if n % 10 == 0 or n == len(tasks):
                print(f"{n} of {len(tasks)} configs, {len(rows):,} epochs", flush=True)
                write(args.output, rows, spec, chosen[:n], args)
    print(f"wrote {args.output}")


def write(
    path: Path,
    rows: list[tuple[float, ...]],
    spec: SearchSpec,
    chosen: list[dict[str, Any]],
    args: argparse.Namespace,
) -> None:
    """The table, and what it is of."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame = frame.astype(
        {"config": "int32", "epoch": "int16"} | dict.fromkeys(COLUMNS[2:], "float32")
    )
    frame.to_parquet(path, index=False)
    split = split_of(args.data, args.seed)
    about = {
        "data": Path(args.data).name,
        "space": args.space,
        "set": args.set,
        "seed": args.seed,
        "metric": spec.metric,
        "users": watched_users(split.train, split.valid),
        "size": asdict(Size.of(split.train)),
        "params": chosen,
    }
    path.with_suffix(".json").write_text(json.dumps(about) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
