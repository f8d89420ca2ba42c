"""What larger batches cost in quality, and gain in time, on a GPU.

    python -m benchmarks.batches --data health.zip food.zip gowalla.zip

Hard BPR (N = 100, M = K = 3, d = 64, Adagrad) in batches of several sizes and with several learning
rates: the best validation ndcg@20 of `--epochs` epochs, one seed, and the seconds of an epoch
without its evaluation.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from benchmarks.kernels import N100
from recsys.data import load
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.model import LFM
from recsys.models.mf.training import train
from recsys.split import Split, SplitPlan, make_split

LRS = (0.05, 0.1)


def trained(split: Split, batch: int, lr: float, device: str, epochs: int) -> tuple[float, float]:
    """(best validation ndcg@20, median seconds of an epoch's training)."""
    config = TrainConfig.from_flat(
        {
            **N100,
            "latent_factors": 64,
            "margin": 1.0,
            "l2": 0.01,
            "optimizer": "adagrad",
            "lr": lr,
            "batch_size": batch,
            "epochs": epochs,
            "patience": 0,
        }
    )
    rng = np.random.default_rng(1)
    model = LFM(split.train.n_users, split.train.n_items, 64, rng=rng)
    reports = list(
        train(
            model,
            split.train,
            split.valid,
            config,
            rng=rng,
            metric="ndcg@20",
            metrics=["ndcg@20"],
            device=device,
            engine="torch",
            eval_every=2,
        )
    )
    values = [report.metrics["ndcg@20"] for report in reports if report.metrics]
    return max(values), float(np.median([report.train_seconds for report in reports]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--batch", nargs="+", type=int, default=[512, 2048, 8192, 32768])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    began = time.perf_counter()
    for data in args.data:
        split = make_split(load(data), SplitPlan(), 0)
        print(f"{data}: {split.train.nnz:,} positives")
        for batch in args.batch:
            cells = []
            for lr in LRS:
                value, seconds = trained(split, batch, lr, args.device, args.epochs)
                cells.append(f"lr {lr}: {value:.4f}, {seconds:.3f} s")
            steps = -(-split.train.nnz // batch)
            print(
                f"  {batch:>6,} ({steps:>5,} steps)  {'   '.join(cells)}   "
                f"[{time.perf_counter() - began:.0f} s]",
                flush=True,
            )


if __name__ == "__main__":
    main()
