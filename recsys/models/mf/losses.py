"""The losses as torch functions of scores, differentiable by autograd.

Shapes: R rows, L negatives of a row, S samples. `valid_RL` (bool) tells real negatives from
padding. What a sample is: a (positive, negative) pair under BPR, a row under softmax (positive
against all of its negatives) and a labelled score under BCE.

Every function returns the sum over samples, float scalar: the engine divides by the number of
samples of the whole batch, which it may process in parts. `sample_count` and `participation`
say what is counted, `mean_loss` puts it together for one batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from recsys.models.mf.config import Bce, Bpr, Softmax

ScoreLoss = Callable[[Tensor], Tensor]  # scores to their summed loss


def bpr_sum(positive_R: Tensor, negatives_RL: Tensor, valid_RL: Tensor, margin: float) -> Tensor:
    """Sum of -log sigmoid(x_ui - x_uj - margin) over valid pairs (Rendle et al. 2009, 4.1)."""
    x = positive_R[:, None] - negatives_RL - margin
    return torch.where(valid_RL, softplus(-x), 0.0).sum()


def bce_sum(scores_S: Tensor, labels_S: Tensor) -> Tensor:
    """Sum of -[y log s(x) + (1 - y) log(1 - s(x))], computed without a log of a sigmoid."""
    return binary_cross_entropy_with_logits(scores_S, labels_S, reduction="sum")


def softmax_sum(
    positive_R: Tensor, negatives_RL: Tensor, valid_RL: Tensor, temperature: float
) -> Tensor:
    """Sum over rows of -log(e^(x_ui/t) / (e^(x_ui/t) + sum_j e^(x_uj/t))).

    Computed from the differences x_uj - x_ui; a row without a valid negative gives exactly 0.
    """
    gaps = (negatives_RL - positive_R[:, None]) / temperature
    gaps = torch.where(valid_RL, gaps, -torch.inf)
    return torch.logsumexp(torch.nn.functional.pad(gaps, (1, 0)), dim=1).sum()


def pair_sum(
    loss: Bpr | Softmax, positive_R: Tensor, negatives_RL: Tensor, valid_RL: Tensor
) -> Tensor:
    """The summed loss of rows that compare a positive with its negatives."""
    if isinstance(loss, Bpr):
        return bpr_sum(positive_R, negatives_RL, valid_RL, loss.margin)
    return softmax_sum(positive_R, negatives_RL, valid_RL, loss.temperature)


def sample_count(loss: Bpr | Softmax, valid_RL: Tensor) -> Tensor:
    """Samples among the rows, int64 scalar on the device: pairs (BPR) or rows with a negative."""
    return valid_RL.sum() if isinstance(loss, Bpr) else valid_RL.any(1).sum()


def participation(loss: Bpr | Softmax, valid_RL: Tensor) -> Tensor:
    """In how many samples each score of a row takes part, float32 (R, 1+L), positive first.

    This weighs the l2 terms. BPR: the positive is in every pair, a negative in its own.
    Softmax: the positive once, the negatives averaged.
    """
    share_RL = valid_RL.float()
    count_R1 = share_RL.sum(1, keepdim=True)
    if isinstance(loss, Bpr):
        return torch.cat([count_R1, share_RL], 1)
    return torch.cat([count_R1.clamp(max=1), share_RL / count_R1.clamp(min=1)], 1)


def l2_sum(weight_S: Tensor, rows_Sd: Tensor, l2: float) -> Tensor:
    """Sum of weight x l2/2 |row|^2: the decay of the rows that take part."""
    return 0.5 * l2 * (weight_S * rows_Sd.square().sum(-1)).sum()


def mean_loss(
    loss: Bpr | Bce | Softmax, positive_R: Tensor, negatives_RL: Tensor, valid_RL: Tensor
) -> Tensor:
    """Mean over the samples of one whole batch, without l2 terms; 0 where there is no sample.

    Under BCE the samples are the positives (label 1) and the valid negatives (label 0).
    """
    if isinstance(loss, Bce):
        scores = torch.cat([positive_R, negatives_RL[valid_RL]])
        labels = torch.zeros_like(scores)
        labels[: len(positive_R)] = 1.0
        return bce_sum(scores, labels) / max(len(scores), 1)
    total = pair_sum(loss, positive_R, negatives_RL, valid_RL)
    return total / sample_count(loss, valid_RL).clamp(min=1)
