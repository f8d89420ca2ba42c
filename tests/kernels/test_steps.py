"""The compiled steps equal autograd and torch's optimisers on the same draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from recsys.interactions import CSR
from recsys.models.mf.config import Adagrad, Adam, Bce, Bpr, SoftmaxAtK, TrainConfig
from recsys.models.mf.model import LFM
from tests.kernels.helpers import FIXED, make_config, make_engine, make_model, random_csr

LOSSES = {
    "bpr": {"loss": "bpr", **FIXED},
    "bpr margin": {"loss": "bpr", "margin": 1.5, **FIXED},
    "softmax": {"loss": "softmax", "temperature": 0.7, **FIXED},
    "softmax at k": {
        "loss": "softmax_at_k",
        "temperature": 0.7,
        "top_k": 3,
        "weight_temperature": 0.4,
        **FIXED,
    },
    "bce": {"loss": "bce", **FIXED},
}
OPTIMIZERS = {
    "adam": {"optimizer": "adam"},
    "adam decay": {"optimizer": "adam", "weight_decay": 0.03},
    "adagrad": {"optimizer": "adagrad", "l2": 0.05, "l2_bias": 0.08},
    "adagrad row": {"optimizer": "adagrad", "adagrad_per": "row", "l2": 0.05, "l2_bias": 0.08},
    "sgd": {"optimizer": "sgd", "l2": 0.05, "l2_bias": 0.08},
}


@torch.no_grad()
def exact_quantiles(model: LFM, config: TrainConfig) -> Tensor | None:
    """The K-th highest of all scores of each user, for SL@K."""
    if not isinstance(config.loss, SoftmaxAtK):
        return None
    users, items = torch.arange(model.n_users), torch.arange(model.n_items)
    return model(users[:, None], items).sort(1, descending=True).values[:, config.loss.top_k - 1]


def sample_losses(
    model: LFM,
    config: TrainConfig,
    users: Tensor,
    items: Tensor,
    negatives: Tensor,
    quantile_U: Tensor | None = None,
) -> Tensor:
    """Every sample's loss with its l2 terms, one sample at a time.

    quantile_U: for SL@K; None where they are those of the model.
    """
    quantile_U = exact_quantiles(model, config) if quantile_U is None else quantile_U
    l2, l2_bias = 0.0, 0.0
    if not isinstance(config.optimizer, Adam):
        l2, l2_bias = config.optimizer.l2, config.optimizer.l2_bias

    def size(user: Tensor, *weighted: tuple[float, Tensor]) -> Tensor:
        total = l2 / 2 * model.user_factors[user].square().sum()
        for weight, item in weighted:
            total = total + weight * l2 / 2 * model.item_factors[item].square().sum()
            total = total + weight * l2_bias / 2 * model.item_bias[item].square()
        return total

    out = []
    for user, item, row in zip(users, items, negatives, strict=True):
        if isinstance(config.loss, Bce):  # item -1 - i: a negative
            positive = item >= 0
            place = item if positive else -1 - item
            score = model(user, place)
            label = torch.tensor(1.0 if positive else 0.0)
            loss = binary_cross_entropy_with_logits(score.reshape(()), label)
            out.append(loss + size(user, (1.0, place)))
            continue
        row = row[row >= 0]
        if len(row) == 0:
            continue
        scores = model(user, torch.cat([item[None], row]))
        if isinstance(config.loss, Bpr):
            for k, j in enumerate(row):
                loss = -logsigmoid(scores[0] - scores[1 + k] - config.loss.margin)
                out.append(loss + size(user, (1.0, item), (1.0, j)))
        else:
            loss = -torch.log_softmax(scores / config.loss.temperature, 0)[0]
            if isinstance(config.loss, SoftmaxAtK):
                assert quantile_U is not None
                gap = (scores[0] - quantile_U[user]).detach()  # a weight is a constant
                loss = loss * torch.sigmoid(gap / config.loss.weight_temperature)
            out.append(loss + size(user, (1.0, item), *((1 / len(row), j) for j in row)))
    return torch.stack(out)


class RowAdagrad:
    """One sum of squares a row: the mean over the row of the squared gradient."""

    def __init__(self, weights: list[nn.Parameter], lr: float) -> None:
        self.weights, self.lr = weights, lr
        self.sums = [torch.zeros_like(w.detach()) for w in weights]

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for weight, total in zip(self.weights, self.sums, strict=True):
            assert weight.grad is not None
            square = weight.grad.square()
            total += square.mean(1, keepdim=True) if square.ndim == 2 else square
            weight -= self.lr * weight.grad / (total.sqrt() + 1e-10)


def make_twin(model: LFM, config: TrainConfig) -> Any:
    weights = [model.user_factors, model.item_factors, model.item_bias]
    if isinstance(config.loss, Bce):
        weights += [model.user_bias, model.global_bias]
    lr = config.optimizer.lr
    match config.optimizer:
        case Adam(weight_decay=decay):
            return torch.optim.Adam(weights, lr=lr, weight_decay=decay)
        case Adagrad(per="row"):
            return RowAdagrad(weights, lr)
        case Adagrad():
            return torch.optim.Adagrad(weights, lr=lr)
    return torch.optim.SGD(weights, lr=lr)


def given_rows(csr: CSR, loss: str, seed: int) -> tuple[NDArray, NDArray, tuple[Tensor, ...]]:
    """(rows, negatives) for `replay`, and the same as (users, items, negatives) tensors."""
    rng = np.random.default_rng(seed)
    pointwise = loss == "bce"
    owners = np.arange(csr.n_users) if pointwise else csr.users()
    negatives = np.full((len(owners), 3), -1)
    for row, user in zip(negatives, owners, strict=True):
        free = np.setdiff1d(np.arange(csr.n_items), csr.row(user))
        size = rng.integers(0, 4)
        row[:size] = rng.permutation(free)[:size]
    users, items = csr.users(), csr.indices.astype(np.int64)
    if pointwise:
        owner, column = np.nonzero(negatives >= 0)
        users = np.concatenate([users, owner])
        items = np.concatenate([items, -1 - negatives[owner, column]])
    order = rng.permutation(len(users))
    drawn = np.full((len(order), 0), -1) if pointwise else negatives[order]
    tensors = tuple(
        torch.from_numpy(x.astype(np.int64)) for x in (users[order], items[order], drawn)
    )
    return order, negatives if pointwise else drawn, tensors


@pytest.mark.parametrize("batch", [1, 4, 7])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_steps_equal_autograd(loss: str, optimizer: str, batch: int) -> None:
    csr = random_csr(6, 12, 4)
    config = make_config(**LOSSES[loss], **OPTIMIZERS[optimizer], batch_size=batch)
    mine, twin = make_model(csr), make_model(csr)
    order, negatives, (users, items, drawn) = given_rows(csr, config.loss.kind, 11)
    make_engine(csr, mine, config).replay(order, negatives)
    optimiser, quantiles = make_twin(twin, config), exact_quantiles(twin, config)
    for start in range(0, len(users), batch):
        part = slice(start, start + batch)
        if not isinstance(config.loss, Bce) and not (drawn[part] >= 0).any():
            continue
        optimiser.zero_grad()
        losses = sample_losses(twin, config, users[part], items[part], drawn[part], quantiles)
        losses.mean().backward()
        optimiser.step()
    for (name, got), want in zip(mine.named_parameters(), twin.parameters(), strict=True):
        assert_allclose(
            got.detach().numpy(), want.detach().numpy(), rtol=2e-4, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_reported_loss_is_the_mean_over_samples_without_l2(loss: str) -> None:
    csr = random_csr(6, 12, 4)
    flat = {"optimizer": "sgd", "lr": 1e-9, "l2": 0.5, "batch_size": 3}
    config = make_config(**LOSSES[loss], **flat)
    model = make_model(csr)
    order, negatives, given = given_rows(csr, config.loss.kind, 12)
    reported = make_engine(csr, model, config).replay(order, negatives)
    plain = make_config(**LOSSES[loss], **{**flat, "l2": 0.0})
    with torch.no_grad():
        assert reported == pytest.approx(
            float(sample_losses(model, plain, *given).mean()), rel=1e-5
        )


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("loss", LOSSES)
def test_extreme_scores_stay_finite(loss: str, batch: int) -> None:
    """Scores of +-300: a loss computed through exp(x) or log(sigmoid(x)) would overflow."""
    csr = random_csr(6, 12, 4)
    model = make_model(csr, std=10.0)
    config = make_config(**LOSSES[loss], optimizer="sgd", lr=1e-6, batch_size=batch)
    order, negatives, given = given_rows(csr, config.loss.kind, 13)
    with torch.no_grad():
        want = float(sample_losses(model, config, *given).mean())
    assert want > 4
    assert make_engine(csr, model, config).replay(order, negatives) == pytest.approx(want, rel=0.01)
    assert all(torch.isfinite(weight).all() for weight in model.parameters())


@pytest.mark.parametrize("size", [1, 7, 16, 40])
def test_adam_equals_torch_over_many_steps(size: int) -> None:
    """60 steps of which most touch few rows: momentum and decay move the others."""
    csr = random_csr(30, 40, 2)
    config = make_config(
        loss="bpr", optimizer="adam", weight_decay=0.01, batch_size=1, latent_factors=size
    )
    mine, twin = make_model(csr, size), make_model(csr, size)
    order = np.arange(csr.nnz)
    negatives = np.array([np.setdiff1d(np.arange(40), csr.row(u))[:1] for u in csr.users()])
    make_engine(csr, mine, config).replay(order, negatives)
    optimiser = make_twin(twin, config)
    users, items = (torch.from_numpy(x.astype(np.int64)) for x in (csr.users(), csr.indices))
    for k in range(len(order)):
        optimiser.zero_grad()
        part = slice(k, k + 1)
        sample_losses(
            twin, config, users[part], items[part], torch.from_numpy(negatives[part])
        ).mean().backward()
        optimiser.step()
    for (name, got), want in zip(mine.named_parameters(), twin.parameters(), strict=True):
        assert_allclose(
            got.detach().numpy(), want.detach().numpy(), rtol=1e-4, atol=2e-5, err_msg=name
        )
