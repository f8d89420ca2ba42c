"""Cosine scores: both engines against autograd, and the same score wherever a model is used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from recsys.errors import ConfigError
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import fit_model
from recsys.models.mf.config import Adam, TrainConfig
from recsys.models.mf.entry import Factorization
from recsys.models.mf.fit import fit
from recsys.models.mf.model import LFM
from recsys.models.mf.numba_engine import NumbaEngine
from recsys.models.mf.torch_engine import TorchEngine
from tests.kernels.helpers import FIXED, HARD, make_config, make_model, random_csr, weights_of
from tests.kernels.test_steps import given_rows, make_twin

COSINE = {"loss": "softmax", "score": "cosine", "temperature": 0.3, **FIXED}
OPTIMIZERS = {
    "adam": {"optimizer": "adam", "lr": 0.02},
    "adagrad": {"optimizer": "adagrad", "l2_bias": 0.08},
    "adagrad row": {"optimizer": "adagrad", "adagrad_per": "row", "l2_bias": 0.08},
    "sgd": {"optimizer": "sgd", "l2_bias": 0.08},
}
ENGINES = {"numba": NumbaEngine, "torch": TorchEngine}


def slow_replay(
    model: LFM, config: TrainConfig, users: Tensor, items: Tensor, negatives: Tensor
) -> float:
    """Autograd through the cosine itself, one row at a time, then rows brought back to length 1."""
    twin = make_twin(model, config)
    l2_bias = 0.0 if isinstance(config.optimizer, Adam) else config.optimizer.l2_bias
    t = config.loss.temperature  # type: ignore[union-attr]
    total, count = 0.0, 0
    for start in range(0, len(users), config.batch_size):
        values, penalties = [], []
        for user, item, row in list(zip(users, items, negatives, strict=True))[
            start : start + config.batch_size
        ]:
            others = row[row >= 0]
            there = torch.cat([item[None], others])
            p = normalize(model.user_factors[user], dim=0)
            q = normalize(model.item_factors[there], dim=1)
            bias = model.item_bias[there]
            values.append(-torch.log_softmax((q @ p + bias) / t, 0)[0])
            share = torch.full((len(there),), 1 / len(others))
            share[0] = 1.0
            penalties.append((l2_bias / 2 * share * bias.square()).sum())
        twin.zero_grad()
        (torch.stack(values).mean() + torch.stack(penalties).mean()).backward()
        twin.step()
        with torch.no_grad():
            for factors in (model.user_factors, model.item_factors):
                factors.copy_(normalize(factors, dim=1))
        total, count = total + float(sum(float(v.detach()) for v in values)), count + len(values)
    return total / count


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("engine", ENGINES)
def test_steps_equal_autograd_through_the_cosine(engine: str, optimizer: str, batch: int) -> None:
    csr = random_csr(9, 14, 5)
    config = make_config(**COSINE, **OPTIMIZERS[optimizer], batch_size=batch)
    mine, slow = make_model(csr), make_model(csr)
    slow.to_unit_length(csr)
    rows, negatives, tensors = given_rows(csr, "softmax", seed=4)
    some = (negatives >= 0).any(1)
    rows, negatives, tensors = rows[some], negatives[some], tuple(x[some] for x in tensors)
    made = ENGINES[engine](mine, csr, config, rng=np.random.default_rng(0))
    expected = slow_replay(slow, config, *tensors)
    assert made.replay(rows, negatives) == pytest.approx(expected, rel=1e-4)
    for name, weights in weights_of(slow).items():
        assert_allclose(weights_of(mine)[name], weights, rtol=1e-3, atol=3e-5, err_msg=name)


def lengths(factors: NDArray) -> NDArray:
    return np.linalg.norm(factors, axis=1)


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"batch_size": 32},
        {"batch_size": 32, "optimizer": "adam", "lr": 0.03},
        {**HARD, "num_hard_neg_samples": 4, "neg_sample_num": None},
    ],
    ids=["online", "batch", "adam", "hard"],
)
def test_planted_groups_are_learned_on_the_sphere(
    planted: tuple[CSR, CSR], how: dict[str, Any], engine: Any
) -> None:
    items, valid = planted
    # rows one by one take torch half a minute
    least = {"batch_size": 8} if engine == "torch" else {}
    flat = COSINE | {"latent_factors": 8, "lr": 0.2, "epochs": 12} | least | how
    config = make_config(**{name: value for name, value in flat.items() if value is not None})
    model, _ = fit(
        items, valid, config, rng=np.random.default_rng(0), metric="recall@20", engine=engine
    )
    assert evaluate(model, items, valid, ["recall@20"]).values["recall@20"] > 0.95
    views = model.views()
    assert_allclose(lengths(views.item_factors), 1, rtol=1e-5)
    assert_allclose(lengths(views.user_factors), 1, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_a_user_without_positives_gets_what_suits_everybody(optimizer: str, threads: int) -> None:
    csr = CSR(np.array([0, 2, 2, 4]), np.array([0, 1, 1, 2]), 9)
    config = make_config(**COSINE, optimizer=optimizer, batch_size=2)
    model = make_model(csr)
    made = NumbaEngine(model, csr, config, rng=np.random.default_rng(0), threads=threads)
    made.epoch()
    assert_allclose(model.score_users(np.array([1]))[0], model.views().item_bias)


def test_people_by_their_lists_are_served_like_known_ones(planted: tuple[CSR, CSR]) -> None:
    items, valid = planted
    config = make_config(**COSINE, latent_factors=8, lr=0.2, epochs=12)
    model = fit_model(config, items, rng=np.random.default_rng(0))
    back = Factorization.from_bytes(model.to_bytes())
    everybody = np.arange(items.n_users)
    assert_allclose(back.score_users(everybody), model.score_users(everybody))
    vectors = model.vectors()
    assert vectors is not None and vectors.bias is not None
    assert_allclose(
        vectors.users @ vectors.items.T + vectors.bias, model.score_users(everybody), rtol=1e-4
    )

    class ByList:
        def score_users(self, users: NDArray) -> NDArray[np.float32]:
            return scores[users]

    scores = back.list_scorer(config, items)(items)
    assert evaluate(ByList(), items, valid, ["recall@20"]).values["recall@20"] > 0.95


@pytest.mark.parametrize(
    ("flat", "said"),
    [
        (
            {"loss": "bpr", "score": "cosine"},
            "score cosine needs loss softmax or softmax_at_k, got bpr",
        ),
        (
            {"loss": "bce", "score": "cosine"},
            "score cosine needs loss softmax or softmax_at_k, got bce",
        ),
        ({**COSINE, "l2": 0.1}, "l2 has no meaning with score cosine: factors keep their length"),
        (
            {**COSINE, "optimizer": "adam", "weight_decay": 0.1},
            "weight_decay has no meaning with score cosine: factors keep their length",
        ),
        ({**COSINE, "init_std": 0.1}, "init_std has no meaning with score cosine"),
        ({"score": "angle"}, "score is 'angle'"),
    ],
)
def test_what_cosine_does_not_go_with(flat: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_config(**flat)


def test_a_config_says_its_score_only_where_it_is_no_dot_product() -> None:
    config = make_config(**COSINE)
    assert TrainConfig.from_flat(config.to_flat()) == config
    assert config.label() == "softmax-cosine-fixed d=5 n=3"
    assert "score" not in make_config().to_flat()
    assert make_config(score="dot") == make_config()
