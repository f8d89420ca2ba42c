"""What a weight of ratings or counts earns, for each model that can use one.

    python -m benchmarks.weights --data ml-100k                      # ratings of 4 and 5
    python -m benchmarks.weights --data ml-100k --min-rating 0       # all ratings
    python -m benchmarks.weights --data receipts.csv --order latest  # repeated purchases

Of a few configs of each model, validation chooses one for each weight, which is trained on train
and validation and measured on test; the mean over the seeds of the split is printed, and over all
users of all splits, the difference to no weight with its interval.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from recsys.data import load
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import ModelConfig, config_from_flat, fit_model
from recsys.models.weighted import NO_WEIGHT, Weight
from recsys.split import SplitPlan, make_split

GRID: dict[str, list[dict[str, float]]] = {
    "ease": [{"ease_l2": l2} for l2 in (100.0, 300.0, 1000.0, 3000.0)],
    "slim": [{"slim_l2": l2} for l2 in (30.0, 100.0, 300.0, 1000.0)],
    "item_knn": [{"knn_shrink": shrink} for shrink in (10.0, 100.0)],
    "rp3beta": [{"rp3_alpha": a, "rp3_beta": b} for a, b in ((0.6, 0.5), (0.8, 0.4))],
    "ials": [{"ials_alpha": a, "ials_l2": b} for a, b in ((0.03, 0.05), (0.1, 0.02), (0.3, 0.005))],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--min-rating", type=float, default=None)
    parser.add_argument("--order", default="random")
    parser.add_argument("--metric", default="ndcg@20")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=list(GRID))
    options = parser.parse_args()

    data = load(options.data, min_rating=options.min_rating, values=True)
    if data.interactions.csr.values is None:
        parser.error(f"{data.interactions.name} has {data.interactions.unvalued}")
    # under order latest there is one test, whatever the seed
    seeds = range(options.seeds if options.order == "random" else 1)
    splits = [make_split(data, SplitPlan(options.order), seed) for seed in seeds]

    def measured(config: ModelConfig, train: CSR, held: CSR) -> NDArray[np.float64]:
        model = fit_model(config, train, rng=np.random.default_rng(0))
        return evaluate(model, train, held, [options.metric]).per_user[options.metric]

    for model in options.models:
        found: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        for split in splits:
            assert split.test is not None
            for weight in get_args(Weight):
                own = {} if weight == NO_WEIGHT else {"weight": weight}
                configs = [config_from_flat({"model": model} | one | own) for one in GRID[model]]
                values = [measured(one, split.train, split.valid).mean() for one in configs]
                best = configs[int(np.argmax(values))]
                print(f"  {best.label()}: validation {max(values):.4f}", flush=True)
                found[weight].append(measured(best, split.search_data(), split.test))
        plain = np.concatenate(found[NO_WEIGHT])
        for weight, values in found.items():
            gain = np.concatenate(values) - plain
            spread = 1.96 * gain.std() / np.sqrt(len(gain))
            mean = np.mean([one.mean() for one in values])
            print(f"{model} {weight}: {mean:.4f}, {gain.mean():+.4f} +- {spread:.4f}", flush=True)


if __name__ == "__main__":
    main()
