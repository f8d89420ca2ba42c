"""Our engine on the course report's five runs, on the split of a plain reference script.

    python -m benchmarks.report_quality REFERENCE.py ml-100k.inter [--seeds 3]

REFERENCE.py is the report's method written plainly (functions `load` and `split`, and a `main`
that prints "best"). Both sides train on the same items and leave validation items out of the
negatives, as the report does: the numbers leak and are for comparison only.
"""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

import numpy as np

from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.fit import fit

SHARED = {
    "optimizer": "adam",
    "weight_decay": 1e-5,
    "batch_size": 512,
    "latent_factors": 400,
    "epochs": 20,
    "patience": 0,
    "redraw": "once",
    "negatives_exclude": "all",
}
BPR: dict[str, Any] = {"loss": "bpr", "margin": 3.0, "lr": 2e-3}
BCE: dict[str, Any] = {"loss": "bce", "lr": 1e-3}
HARD = {"num_candidate_neg_samples": 10, "num_hard_neg_samples": 3, "num_random_neg_samples": 3}
RUNS: dict[str, dict[str, Any]] = {
    "BPR even": BPR | {"neg_mode": "even"},
    "BCE even": BCE | {"neg_mode": "even"},
    "BPR fixed 3": BPR | {"neg_mode": "fixed", "neg_sample_num": 3},
    "BCE fixed 600": BCE | {"neg_mode": "fixed", "neg_sample_num": 600},
    "BPR hard 10/3/3": BPR | {"neg_mode": "hard"} | HARD,
}


def csr(lists: dict[int, Any], users: int, items: int) -> CSR:
    """A reference's {user: items} as rows."""
    pairs = [(u, i) for u, row in lists.items() for i in row]
    user_E, item_E = np.array(pairs).T
    return CSR.from_pairs(user_E, item_E, users, items)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reference")
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("reference", options.reference)
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    everything, users, items = reference.load(options.data)
    kept, held_out = reference.split(everything)
    train, valid = csr(kept, users, items), csr(held_out, users, items)
    print("| run | best map@50 by seed | seconds an epoch |\n|---|---|---|")
    for name, flat in RUNS.items():
        config = TrainConfig.from_flat(SHARED | flat)
        values, seconds = [], []
        for seed in range(options.seeds):
            done = fit(train, valid, config, rng=np.random.default_rng(seed), exclude=valid)
            values.append(done.history[-1].best_value)
            seconds += [report.train_seconds for report in done.history[1:]]
        shown = ", ".join(f"{v:.4f}" for v in values)
        print(f"| {name} | {shown} | {np.median(seconds):.3f} |", flush=True)


if __name__ == "__main__":
    main()
