import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from recsys.models.mf import losses
from recsys.models.mf.config import Bce, Bpr, Softmax, SoftmaxAtK

AnyLoss = Bpr | Bce | Softmax | SoftmaxAtK


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


POSITIVE = [1.0, -0.5]
NEGATIVES = [[0.5, 2.0], [-1.0, 9.0]]
VALID = [[True, True], [True, False]]


def tensors(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return (
        torch.tensor(POSITIVE, dtype=dtype),
        torch.tensor(NEGATIVES, dtype=dtype),
        torch.tensor(VALID),
    )


def mean_loss(
    loss: AnyLoss,
    positive_R: torch.Tensor,
    negatives_RL: torch.Tensor,
    valid_RL: torch.Tensor,
) -> torch.Tensor:
    """Mean over the samples of one whole batch, as the engine works it out in parts."""
    if isinstance(loss, Bce):
        scores = torch.cat([positive_R, negatives_RL[valid_RL]])
        labels = torch.zeros_like(scores)
        labels[: len(positive_R)] = 1.0
        return losses.bce_sum(scores, labels) / max(len(scores), 1)
    quantile_R = torch.linspace(-1, 1, len(positive_R), dtype=positive_R.dtype)
    total = losses.pair_sum(loss, positive_R, negatives_RL, valid_RL, quantile_R)
    return total / losses.sample_count(loss, valid_RL).clamp(min=1)


def test_bpr_by_hand() -> None:
    gaps = [1.0 - 0.5 - 0.3, 1.0 - 2.0 - 0.3, -0.5 + 1.0 - 0.3]
    expected = sum(-math.log(sigmoid(g)) for g in gaps)
    assert float(losses.bpr_sum(*tensors(), 0.3)) == pytest.approx(expected, rel=1e-12)
    assert float(mean_loss(Bpr(margin=0.3), *tensors())) == pytest.approx(expected / 3)


def test_softmax_by_hand() -> None:
    t = 0.7
    first = [math.exp(x / t) for x in (1.0, 0.5, 2.0)]
    second = [math.exp(x / t) for x in (-0.5, -1.0)]
    expected = -math.log(first[0] / sum(first)) - math.log(second[0] / sum(second))
    assert float(losses.softmax_sum(*tensors(), t)) == pytest.approx(expected, rel=1e-12)
    mean = mean_loss(Softmax(temperature=t), *tensors())
    assert float(mean) == pytest.approx(expected / 2)


def test_softmax_at_k_by_hand() -> None:
    """Rows of softmax, weighed by how far the positive is above its user's quantile."""
    loss = SoftmaxAtK(temperature=0.7, top_k=3, weight_temperature=0.4)
    quantile = torch.tensor([0.2, 0.5], dtype=torch.float64)
    weights = [sigmoid((1.0 - 0.2) / 0.4), sigmoid((-0.5 - 0.5) / 0.4)]
    mine, plain = tensors(), tensors()
    for given in (*mine[:2], *plain[:2]):
        given.requires_grad_()
    total = losses.pair_sum(loss, *mine, quantile)
    rows = [losses.softmax_sum(*(x[k : k + 1] for x in plain), 0.7) for k in range(2)]
    expected = weights[0] * rows[0] + weights[1] * rows[1]  # weights are constants
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    total.backward()
    expected.backward()
    for got, want in zip(mine[:2], plain[:2], strict=True):
        assert got.grad is not None and want.grad is not None
        assert_allclose(got.grad.numpy(), want.grad.numpy(), rtol=1e-12)
    assert int(losses.sample_count(loss, mine[2])) == 2


def test_softmax_of_a_row_without_negatives_is_zero_with_zero_gradient() -> None:
    positive = torch.tensor([3.0], requires_grad=True)
    negatives = torch.tensor([[5.0, 6.0]], requires_grad=True)
    total = losses.softmax_sum(positive, negatives, torch.tensor([[False, False]]), 1.0)
    total.backward()
    assert float(total.detach()) == 0.0
    assert positive.grad is not None and negatives.grad is not None
    assert float(positive.grad) == 0.0
    assert negatives.grad.tolist() == [[0.0, 0.0]]


def test_bce_equals_the_clamped_logs_of_the_report() -> None:
    scores = torch.linspace(-30, 30, 601, dtype=torch.float64)
    for y in (0.0, 1.0):
        labels = torch.full_like(scores, y)
        p = torch.sigmoid(scores)
        clamped = -(y * p.log().clamp(min=-100) + (1 - y) * (1 - p).log().clamp(min=-100))
        assert_allclose(float(losses.bce_sum(scores, labels)), float(clamped.sum()), rtol=1e-6)


def test_bce_stays_finite_where_a_sigmoid_underflows() -> None:
    scores = torch.tensor([200.0, -200.0])
    assert float(losses.bce_sum(scores, torch.tensor([0.0, 1.0]))) == pytest.approx(400.0)


def test_bce_mean_counts_positives_and_valid_negatives() -> None:
    scores = [1.0, -0.5, 0.5, 2.0, -1.0]
    labels = [1, 1, 0, 0, 0]
    expected = -sum(
        math.log(sigmoid(s) if y else 1 - sigmoid(s)) for s, y in zip(scores, labels, strict=True)
    )
    assert float(mean_loss(Bce(), *tensors())) == pytest.approx(expected / 5)


@pytest.mark.parametrize("loss", [Bpr(margin=0.4), Bce(), Softmax(temperature=0.5)])
def test_gradients_equal_finite_differences(loss: AnyLoss) -> None:
    rng = np.random.default_rng(0)
    positive = torch.from_numpy(rng.normal(size=4)).requires_grad_()
    negatives = torch.from_numpy(rng.normal(size=(4, 3))).requires_grad_()
    valid = torch.from_numpy(rng.random((4, 3)) < 0.7)
    assert torch.autograd.gradcheck(
        lambda p, n: mean_loss(loss, p, n, valid), (positive, negatives)
    )


def test_gradients_by_hand() -> None:
    positive, negatives, valid = tensors()
    positive.requires_grad_()
    negatives.requires_grad_()
    losses.bpr_sum(positive, negatives, valid, 0.0).backward()
    slopes = [sigmoid(-0.5), sigmoid(1.0), sigmoid(-0.5)]
    assert positive.grad is not None and negatives.grad is not None
    assert_allclose(positive.grad.numpy(), [-slopes[0] - slopes[1], -slopes[2]])
    assert_allclose(negatives.grad.numpy(), [[slopes[0], slopes[1]], [slopes[2], 0.0]])


def test_participation_and_counts() -> None:
    valid = torch.tensor([[True, True], [True, False], [False, False]])
    assert losses.participation(Bpr(), valid).tolist() == [[2, 1, 1], [1, 1, 0], [0, 0, 0]]
    softmax = losses.participation(Softmax(), valid).tolist()
    assert softmax == [[1, 0.5, 0.5], [1, 1, 0], [0, 0, 0]]
    assert int(losses.sample_count(Bpr(), valid)) == 3
    assert int(losses.sample_count(Softmax(), valid)) == 2
