"""Speed of the torch engine on a device, beside the compiled engine on the CPU of the same machine.

    python -m benchmarks.engines                          # this machine's GPU, or its CPU
    python -m benchmarks.engines --data gowalla.zip --batch 512 8192 --devices cpu cuda

Every number is the best of `--epochs` epochs after one to warm up, each waited for. A sample is a
positive with its negatives; M + K pairs are trained on for each.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch

from benchmarks.kernels import N100, best_seconds, generate
from recsys.data import load
from recsys.evaluation import evaluate
from recsys.interactions import CSR, contained, subset
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.engine import make_engine
from recsys.models.mf.model import LFM
from recsys.models.mf.warm_up import warm_up
from recsys.split import SplitPlan, make_split

CASES: dict[str, dict[str, Any]] = {
    "bpr, 1 negative, sgd": {"optimizer": "sgd"},
    "bpr, hard N=100 M=3 K=3, adagrad": {**N100, "optimizer": "adagrad"},
    "bpr, hard N=100 M=3 K=3, adam, compiled in batches of 8,192": {
        **N100,
        "optimizer": "adam",
        "lr": 0.002,
        "batch_size": 8192,
    },
    "softmax, 100 negatives, adagrad": {
        "loss": "softmax",
        "neg_mode": "fixed",
        "neg_sample_num": 100,
        "optimizer": "adagrad",
    },
    "bce, even, adagrad": {"loss": "bce", "neg_mode": "even", "optimizer": "adagrad"},
}


def epoch_seconds(
    train: CSR, flat: dict[str, Any], *, device: str, engine: Any, epochs: int, threads: int
) -> float:
    """The fastest of some epochs after a first one."""
    config = TrainConfig.from_flat({"latent_factors": 64, "lr": 0.05, **flat})
    rng = np.random.default_rng(1)
    model = LFM(train.n_users, train.n_items, config.latent_factors, rng=rng)
    runner = make_engine(
        model, train, config, rng=rng, device=device, engine=engine, threads=threads
    )
    # an epoch ends with the loss on the host: nothing of it is still under way
    runner.epoch()
    return best_seconds(runner.epoch, epochs)


def show(train: CSR, args: argparse.Namespace) -> None:
    """The table of one data set."""
    print(f"{train.n_users:,} users, {train.n_items:,} items, {train.nnz:,} positives, d=64")
    for name, flat in CASES.items():
        if args.only not in name:
            continue
        base = epoch_seconds(
            train, flat, device="cpu", engine="numba", epochs=args.epochs, threads=args.threads
        )
        print(f"{name}\n  compiled engine, {args.threads} threads: {rate(train, base)}")
        for device in args.devices:
            for batch in args.batch:
                seconds = epoch_seconds(
                    train,
                    {**flat, "batch_size": batch},
                    device=device,
                    engine="torch",
                    epochs=args.epochs,
                    threads=args.threads,
                )
                print(
                    f"  torch engine, {device}, batches of {batch:>6,}: {rate(train, seconds)}, "
                    f"{base / seconds:6.2f} x the compiled engine",
                    flush=True,
                )


def rate(train: CSR, seconds: float) -> str:
    return f"{seconds:8.3f} s an epoch, {train.nnz / seconds / 1e6:7.3f} M samples/s"


def show_evaluation(train: CSR, held_out: CSR, args: argparse.Namespace) -> None:
    """Seconds of ranking every user, on each device, and whether the values agree."""
    model = LFM(train.n_users, train.n_items, 64, rng=np.random.default_rng(1), init_std=0.1)
    for device in ["cpu", *(d for d in args.devices if d != "cpu")]:
        model.to(device)
        values = evaluate(model, train, held_out, ["ndcg@20"], threads=args.threads).values
        start = time.perf_counter()
        for _ in range(3):
            evaluate(model, train, held_out, ["ndcg@20"], threads=args.threads)
        seconds = (time.perf_counter() - start) / 3
        print(f"evaluation on {device}: {seconds:.3f} s, ndcg@20 {values['ndcg@20']:.8f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="default: generated, as large as Gowalla")
    parser.add_argument("--devices", nargs="+")
    parser.add_argument("--batch", nargs="+", type=int, default=[512, 8192, 65536])
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    args.devices = args.devices or ["cuda" if torch.cuda.is_available() else "cpu"]
    print(f"torch {torch.__version__}", end="")
    print(f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU")
    if args.data:
        split = make_split(load(args.data), SplitPlan(), 0)
        train, held_out = split.train, split.valid
    else:
        train = generate(30_000, 41_000, 1_000_000)
        others = generate(30_000, 41_000, 100_000)
        held_out = subset(others, ~contained(others, train))
    warm_up()
    show(train, args)
    show_evaluation(train, held_out, args)


if __name__ == "__main__":
    main()
