"""Speed of the compiled kernels: triples, scored candidates and positives a second.

    python benchmarks/kernels.py --data ml-100k --min-rating 4      # the table of one data set
    python benchmarks/kernels.py --data gowalla.zip --threads 2     # one thread against several
    python benchmarks/kernels.py --scale                            # 10 M against 100 k positives
    python benchmarks/kernels.py --stages                           # where a hard row's time goes
    python benchmarks/kernels.py --limits                           # what the machine can do

Every number is the best of `--epochs` runs: other work on the machine only ever slows one down.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from recsys.data import load
from recsys.interactions import CSR
from recsys.kernels.jit import kernel, prefetch_row
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.kernels.plan import BPR, ELEMENT, HARD, Plan
from recsys.models.mf.kernels.rows import dot, draft, new_scratch
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine
from recsys.models.mf.sampling import make_pool
from recsys.models.mf.warm_up import warm_up
from recsys.split import SplitPlan, make_split

N100: dict[str, Any] = {
    "neg_mode": "hard",
    "num_candidate_neg_samples": 100,
    "num_hard_neg_samples": 3,
    "num_random_neg_samples": 3,
}
L100 = {"neg_mode": "fixed", "neg_sample_num": 100}
REPORT = {
    **N100,
    "num_candidate_neg_samples": 10,
    "latent_factors": 400,
    "batch_size": 512,
    "optimizer": "adam",
    "lr": 0.002,
    "weight_decay": 1e-5,
}
CASES: dict[str, dict[str, Any]] = {
    "uniform sgd": {"optimizer": "sgd"},
    "uniform sgd d=128": {"optimizer": "sgd", "latent_factors": 128},
    "uniform adagrad": {},
    "hard N=100 M=3 K=3 adagrad": N100,
    "hard N=100 adam batch 512": {**N100, "optimizer": "adam", "batch_size": 512, "lr": 0.002},
    "softmax 10 negatives": {"loss": "softmax", "neg_mode": "fixed", "neg_sample_num": 10},
    # what a loss costs beside softmax: --only "100 negatives"
    "softmax, 100 negatives": {"loss": "softmax", **L100},
    "softmax_at_k, 100 negatives": {"loss": "softmax_at_k", "top_k": 20, **L100},
    "cosine softmax, 100 negatives": {"loss": "softmax", "score": "cosine", **L100},
    "cosine softmax_at_k, 100 negatives": {
        "loss": "softmax_at_k",
        "top_k": 20,
        "score": "cosine",
        **L100,
    },
    "bce even": {"loss": "bce"},
    "report: d=400 N=10 M=3 K=3": REPORT,
}


def generate(n_users: int, n_items: int, interactions: int) -> CSR:
    """Interactions of uniform users with items of which few are popular."""
    rng = np.random.default_rng(0)
    drawn = int(interactions * 1.1)
    items = (n_items * rng.random(drawn) ** 2).astype(np.int64)
    return CSR.from_pairs(rng.integers(0, n_users, drawn), items, n_users, n_items)


def make(train: CSR, threads: int = 1, **flat: Any) -> tuple[LFM, NumbaEngine]:
    config = TrainConfig.from_flat({"latent_factors": 64, "lr": 0.05, **flat})
    rng = np.random.default_rng(1)
    model = LFM(train.n_users, train.n_items, config.latent_factors, rng=rng)
    return model, NumbaEngine(model, train, config, rng=rng, threads=threads)


def best_seconds(run: Callable[[], object], times: int) -> float:
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
    return best


def show_case(name: str, train: CSR, epochs: int, threads: int, flat: dict[str, Any]) -> float:
    model, engine = make(train, threads, **flat)
    seconds = best_seconds(engine.epoch, epochs)
    plan = engine.plan
    negatives = plan.hard + plan.random or plan.candidates or 1
    held = sum(view.nbytes for view in model.views())
    held += train.indptr.nbytes + train.indices.nbytes
    rate = train.nnz / seconds / 1e6
    print(
        f"{name:30} {threads} thread{'s' if threads > 1 else ' '} {seconds:8.4f} s "
        f"{rate:7.3f} M positives/s {rate * negatives:7.2f} M triples/s "
        f"{rate * plan.candidates if plan.mode == HARD else 0:7.1f} M candidates/s "
        f"memory {(held + engine.nbytes) / held:.2f} x (model + data)",
        flush=True,
    )
    return seconds


def show_scale(epochs: int) -> None:
    small, large = generate(1000, 1000, 100_000), generate(100_000, 100_000, 10_000_000)
    for name in ("uniform sgd", "uniform adagrad", "hard N=100 M=3 K=3 adagrad"):
        first = show_case(f"{name}, small", small, 3 * epochs, 1, CASES[name])
        second = show_case(f"{name}, large", large, 1, 1, CASES[name])
        ratio = second / large.nnz / (first / small.nnz)
        print(f"{name}: a positive of 10 M costs {ratio:.2f} x one of 100 k", flush=True)


@kernel()
def _draw_rows(pool, rows, plan, scratch):  # type: ignore[no-untyped-def]
    for row in range(len(rows)):
        draft(pool, plan, np.int64(rows[row, 0]), 0, scratch)


@kernel()
def _score_rows(pool, rows, plan, scratch, p, q, bias):  # type: ignore[no-untyped-def]
    for row in range(len(rows)):
        user = np.int64(rows[row, 0])
        draft(pool, plan, user, 0, scratch)
        for k in range(scratch.counts[0, 0]):
            item = np.int64(scratch.candidates[0, k])
            scratch.scores[k] = bias[item] + dot(p, user, q, item)


def show_stages(train: CSR, epochs: int) -> None:
    """Times of a hard row (N=100 M=3 K=3 d=64), each stage measured with all before it."""
    model, engine = make(train, **N100)
    engine.epoch()  # shuffles the rows
    views = model.views()
    plan = Plan(BPR, ELEMENT, HARD, 100, 3, 0)
    scratch = new_scratch(np.random.default_rng(0), 1, plan, train.n_items, 64)[0]
    pool, rows = make_pool(train), engine._rows
    stages: dict[str, Callable[[], object]] = {
        "draw": lambda: _draw_rows(pool, rows, plan, scratch),
        "draw, score": lambda: _score_rows(
            pool, rows, plan, scratch, views.user_factors, views.item_factors, views.item_bias
        ),
        "whole row": engine.epoch,
    }
    for name, run in stages.items():
        run()
        nanoseconds = best_seconds(run, epochs) / len(rows) * 1e9
        print(f"{name:12} {nanoseconds:7.0f} ns a positive", flush=True)


@kernel()
def _sum(values):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for k in range(len(values)):
        total += values[k]
    return total


@kernel()
def _multiply_add(values, factor, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        for k in range(256):
            values[k] = values[k] * factor + factor


@kernel()
def _random_rows(p, q, picks, count, ahead, out):  # type: ignore[no-untyped-def]
    for k in range(count):
        prefetch_row(q, np.int64(picks[k + ahead]), q.shape[1])
        out[k & 127] = dot(p, 0, q, np.int64(picks[k]))


def show_limits(epochs: int) -> None:
    values = np.ones(1 << 26, np.float32)
    _sum(values)
    seconds = best_seconds(lambda: _sum(values), epochs)
    print(f"read, one thread        {values.nbytes / seconds / 1e9:7.1f} GB/s")
    lanes, factor = np.zeros(256, np.float32), np.float32(0.999)
    _multiply_add(lanes, factor, 1)
    seconds = best_seconds(lambda: _multiply_add(lanes, factor, 200_000), epochs)
    print(f"multiply-add, float32   {2 * 256 * 200_000 / seconds / 1e9:7.1f} GFLOP/s")
    p, out = np.ones((1, 64), np.float32), np.zeros(128, np.float32)
    count, ahead = 500_000, 32
    for n_rows in (1000, 40_000, 100_000, 400_000):
        q = np.ones((n_rows, 64), np.float32)
        picks = np.random.default_rng(0).integers(0, n_rows, count + ahead).astype(np.int32)
        _random_rows(p, q, picks, 1, ahead, out)
        run = partial(_random_rows, p, q, picks, count, ahead, out)
        nanoseconds = best_seconds(run, epochs) / count * 1e9
        print(
            f"random rows of 256 bytes out of {q.nbytes >> 20:4} MiB, fetched 32 ahead: "
            f"{nanoseconds:5.1f} ns a row, {256 / nanoseconds:5.1f} GB/s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--data", help="a named set or a path; default: generated, 1000 x 1000, 100 k"
    )
    parser.add_argument("--min-rating", type=float)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    for flag in ("scale", "stages", "limits"):
        parser.add_argument(f"--{flag}", action="store_true")
    options = parser.parse_args()
    print(f"kernels ready in {warm_up():.1f} s")
    if options.limits:
        show_limits(options.epochs)
    if options.scale:
        show_scale(options.epochs)
    if options.limits or options.scale:
        return
    if options.data:
        dataset = load(options.data, min_rating=options.min_rating)
        train = make_split(dataset, SplitPlan(), 0).train
    else:
        train = generate(1000, 1000, 100_000)
    print(f"{train.n_users} x {train.n_items}, {train.nnz} training positives")
    if options.stages:
        show_stages(train, options.epochs)
        return
    for name, flat in CASES.items():
        if options.only in name:
            one = show_case(name, train, options.epochs, 1, flat)
            if options.threads > 1:
                more = show_case(name, train, options.epochs, options.threads, flat)
                print(f"{name:30} {options.threads} threads against 1: {one / more:.2f} x")


if __name__ == "__main__":
    main()
