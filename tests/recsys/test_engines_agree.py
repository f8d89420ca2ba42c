"""The compiled engine and the torch engine are the same training."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.fit import fit
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine
from recsys.models.mf.torch_engine import TorchEngine

LOSSES: list[dict[str, Any]] = [
    {"loss": "bpr", "margin": 0.7, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "softmax", "temperature": 0.6, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "softmax_at_k", "top_k": 4, "neg_mode": "fixed", "neg_sample_num": 3},
    {"loss": "bce", "neg_mode": "fixed", "neg_sample_num": 6},
]
OPTIMIZERS: list[dict[str, Any]] = [
    {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.01},
    {"optimizer": "adagrad", "lr": 0.05, "l2": 0.05, "l2_bias": 0.02},
    {"optimizer": "adagrad", "adagrad_per": "row", "lr": 0.05, "l2": 0.05, "l2_bias": 0.02},
    {"optimizer": "sgd", "lr": 0.05, "l2": 0.05, "l2_bias": 0.02},
]


@pytest.mark.parametrize("batch_size", [1, 8])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("loss", LOSSES, ids=lambda o: o["loss"])
def test_the_same_draws_give_the_same_weights(
    loss: dict[str, Any], optimizer: dict[str, Any], batch_size: int
) -> None:
    config = TrainConfig.from_flat(
        {"latent_factors": 5, "batch_size": batch_size} | loss | optimizer
    )
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((9, 14)) < 0.4)
    train = CSR.from_pairs(users, items, 9, 14)
    pointwise = loss["loss"] == "bce"
    owners = np.arange(9) if pointwise else train.users()
    negatives = np.full((len(owners), 3), -1)
    for line, user in zip(negatives, owners, strict=True):
        free = np.setdiff1d(np.arange(14), train.row(user))
        size = rng.integers(1, 4)
        line[:size] = rng.permutation(free)[:size]
    order = rng.permutation(train.nnz + (int((negatives >= 0).sum()) if pointwise else 0))
    if not pointwise:
        negatives = negatives[order]
    models, means = [], []
    for kind in (TorchEngine, NumbaEngine):
        seeded = np.random.default_rng(1)
        model = LFM(9, 14, 5, rng=seeded, init_std=0.4)
        engine = kind(model, train, config, rng=seeded)
        means.append(engine.replay(order, negatives))
        models.append(model)
    assert means[0] == pytest.approx(means[1], rel=1e-4)
    for (name, mine), theirs in zip(
        models[0].named_parameters(), models[1].parameters(), strict=True
    ):
        assert_allclose(
            mine.detach().numpy(), theirs.detach().numpy(), rtol=2e-4, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize(
    "how",
    [
        {"loss": "bpr", "neg_mode": "even"},
        {"loss": "softmax", "neg_mode": "fixed", "neg_sample_num": 5},
        {"loss": "bce", "neg_mode": "even"},
        {
            "neg_mode": "hard",
            "num_candidate_neg_samples": 20,
            "num_hard_neg_samples": 3,
            "num_random_neg_samples": 2,
        },
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_own_draws_learn_equally_well(planted: tuple[CSR, CSR], how: dict[str, Any]) -> None:
    items, valid = planted
    config = TrainConfig.from_flat(
        {"latent_factors": 8, "batch_size": 32, "lr": 0.1, "epochs": 12, "init_std": 0.1} | how
    )
    values, losses = [], []
    for engine in ("torch", "numba"):
        model, history = fit(
            items,
            valid,
            config,
            rng=np.random.default_rng(0),
            metric="recall@20",
            engine=engine,  # type: ignore[arg-type]
        )
        values.append(evaluate(model, items, valid, ["recall@20"]).values["recall@20"])
        losses.append(history[0].loss)
    assert min(values) > 0.95
    # the first epoch starts alike: only the draws differ
    assert losses[0] == pytest.approx(losses[1], rel=0.1)
