"""Small data and plain twins that the kernel tests share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine

HARD = {
    "neg_mode": "hard",
    "num_candidate_neg_samples": 6,
    "num_hard_neg_samples": 2,
    "num_random_neg_samples": 2,
}
FIXED = {"neg_mode": "fixed", "neg_sample_num": 3}


def random_csr(n_users: int, n_items: int, degree: int, seed: int = 0) -> CSR:
    """About `degree` items a user."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), degree)
    return CSR.from_pairs(users, rng.integers(0, n_items, len(users)), n_users, n_items)


def random_pairs(rng: np.random.Generator, users: int, items: int, share: float) -> CSR:
    """Each pair of a user and an item is there with the probability `share`."""
    user, item = np.nonzero(rng.random((users, items)) < share)
    return CSR.from_pairs(user, item, users, items)


def make_config(**flat: Any) -> TrainConfig:
    return TrainConfig.from_flat({"lr": 0.05, "latent_factors": 5, "batch_size": 1, **flat})


def make_model(csr: CSR, factors: int = 5, seed: int = 1, std: float = 0.5) -> LFM:
    """Weights, biases too, far from zero, so that no term of a gradient vanishes."""
    rng = np.random.default_rng(seed)
    model = LFM(csr.n_users, csr.n_items, factors, rng=rng, init_std=std)
    with torch.no_grad():
        for bias in (model.user_bias, model.item_bias, model.global_bias):
            bias += torch.from_numpy(rng.normal(0, 0.3, bias.shape).astype(np.float32))
    return model


def make_engine(csr: CSR, model: LFM, config: TrainConfig, **keys: Any) -> NumbaEngine:
    keys.setdefault("rng", np.random.default_rng(2))
    return NumbaEngine(model, csr, config, **keys)


def weights_of(model: LFM) -> dict[str, NDArray[np.float32]]:
    return {name: value.detach().numpy().copy() for name, value in model.named_parameters()}


def chi_square(counts: NDArray, expected: float) -> float:
    """How many standard deviations above its mean the statistic is (about normal)."""
    freedom = counts.size - 1
    statistic = float(((counts - expected) ** 2 / expected).sum())
    return (statistic - freedom) / np.sqrt(2 * freedom)
