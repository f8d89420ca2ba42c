"""This project's engines. Options: data, config (flat), and engine, threads, dense, memory."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from serve import Server, options, serve

from recsys.interactions import CSR
from recsys.models.mf import torch_engine as engine_torch
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.engine import make_engine
from recsys.models.mf.model import LFM
from recsys.models.mf.warm_up import warm_up


def resident(key: str = "VmRSS") -> int:
    """Bytes of this process in memory now ("VmRSS") or at most since the last reset ("VmHWM")."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def main() -> None:
    server, asked = Server(), options()
    torch.set_num_threads(1)
    compile_seconds = warm_up()
    if "dense" in asked:  # 0: always gather candidates, never multiply by all items
        engine_torch.DENSE = asked["dense"]
    gc.collect()
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of importing and compiling
    with np.load(asked["data"]) as stored:
        train = CSR(stored["indptr"], stored["indices"], int(stored["n_items"]))
    config = TrainConfig.from_flat(asked["config"])
    rng = np.random.default_rng(1)
    model = LFM(
        train.n_users, train.n_items, config.latent_factors, rng=rng, init_std=config.init_std
    )
    engine: Any = make_engine(
        model,
        train,
        config,
        rng=rng,
        threads=asked.get("threads", 1),
        engine=asked.get("engine", "numba"),
    )
    held = sum(view.nbytes for view in model.views())
    held += train.indptr.nbytes + train.indices.nbytes
    facts = {"compile_seconds": compile_seconds, "model_and_data_bytes": held}
    if asked.get("memory"):
        start = time.perf_counter()
        engine.epoch()
        facts["first_epoch_seconds"] = time.perf_counter() - start
        facts["growth_bytes"] = resident("VmHWM") - before
    facts["engine_bytes"] = engine.nbytes

    def epoch() -> int:
        engine.epoch()
        return train.nnz

    serve(server, epoch, **facts)


if __name__ == "__main__":
    main()
