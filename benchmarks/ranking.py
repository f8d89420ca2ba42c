"""Ranking all users of a data set, with every score computed and with bounds, beside an epoch.

    python -m benchmarks.ranking --data gowalla.zip            # one thread
    python -m benchmarks.ranking --data food.zip --factors 256 --threads 2

The model is hard BPR (N = 100) after some epochs. Both ways take turns, in one process; the best of
each counts.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.kernels import best_seconds
from recsys import bounds
from recsys.data import load
from recsys.evaluation import evaluate
from recsys.models import new_model
from recsys.split import SplitPlan, make_split
from search.space.load import load_spec

WITHOUT = 10**9  # users, from whom on bounds would be used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--metric", default="ndcg@20")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()

    split = make_split(load(options.data), SplitPlan(), 0)
    spec = load_spec("bpr_hard")
    params = dict(spec.enqueue[0]) | {
        "latent_factors": options.factors,
        "num_candidate_neg_samples": 100,
    }
    config = spec.train_config(params).for_epochs(options.epochs)
    rng = np.random.default_rng(0)
    model = new_model(config, split.train, rng)
    epochs = list(model.train(config, split.train, None, rng=rng, threads=options.threads))
    epoch = min(report.train_seconds for report in epochs)

    def rank() -> dict[str, float]:
        return evaluate(
            model, split.train, split.valid, [options.metric], threads=options.threads
        ).values

    seconds: dict[str, list[float]] = {"all scores": [], "bounds": []}
    values: dict[str, dict[str, float]] = {}
    for _ in range(options.turns):
        for way, least in (("all scores", WITHOUT), ("bounds", 1024)):
            bounds.LEAST_USERS = least
            seconds[way].append(best_seconds(lambda: values.__setitem__(way, rank()), 1))  # noqa: B023
    users = int((split.valid.degrees() > 0).sum())
    print(f"{users:,} users, {split.train.n_items:,} items, d = {options.factors}")
    print(f"an epoch of training with N = 100: {epoch:.2f}s")
    for way, found in seconds.items():
        shown = f"{min(found):.2f}s, {min(found) / epoch:.2f} of an epoch"
        print(f"ranking, {way}: {shown}, {options.metric} {values[way][options.metric]:.6f}")
    print(f"ratio: {min(seconds['all scores']) / min(seconds['bounds']):.2f}")


if __name__ == "__main__":
    main()
