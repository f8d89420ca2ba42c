"""The losses as torch functions of scores, differentiable by autograd.

Shapes: R rows, L negatives of a row, S samples. `valid_RL` (bool) tells real negatives from
padding. A sample is a (positive, negative) pair under BPR, a row under softmax (a positive against
all of its negatives), and a labelled score under BCE.

The functions named `..._sum` return the sum over samples as a float scalar: the engine divides by
the number of samples of the whole batch, which it may process in parts. `sample_count` and
`participation` say what is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from recsys.models.mf.config import Bpr, Softmax, SoftmaxAtK

ScoreLoss = Callable[[Tensor], Tensor]  # scores to their summed loss
RowLoss = Bpr | Softmax | SoftmaxAtK  # they compare a positive with its negatives


def bpr_sum(positive_R: Tensor, negatives_RL: Tensor, valid_RL: Tensor, margin: float) -> Tensor:
    """The sum of -log sigmoid(x_ui - x_uj - margin) over valid pairs (Rendle et al. 2009, section
    4.1, without the margin).
    """
    x = positive_R[:, None] - negatives_RL - margin
    return torch.where(valid_RL, softplus(-x), 0.0).sum()


def bce_sum(scores_S: Tensor, labels_S: Tensor) -> Tensor:
    """The sum of -[y log s(x) + (1 - y) log(1 - s(x))], computed without the log of a sigmoid.

    scores_S: x, float (S,). labels_S: y, float (S,), 0 or 1.
    """
    return binary_cross_entropy_with_logits(scores_S, labels_S, reduction="sum")


def softmax_sum(
    positive_R: Tensor, negatives_RL: Tensor, valid_RL: Tensor, temperature: float
) -> Tensor:
    """The sum over rows of -log(e^(x_ui/t) / (e^(x_ui/t) + sum over j of e^(x_uj/t))).

    It is computed from the differences x_uj - x_ui; a row without a valid negative adds exactly 0.
    temperature: t.
    """
    return _softmax_rows(positive_R, negatives_RL, valid_RL, temperature).sum()


def _softmax_rows(
    positive_R: Tensor, negatives_RL: Tensor, valid_RL: Tensor, temperature: float
) -> Tensor:
    gaps = (negatives_RL - positive_R[:, None]) / temperature
    gaps = torch.where(valid_RL, gaps, -torch.inf)
    return torch.logsumexp(torch.nn.functional.pad(gaps, (1, 0)), dim=1)


def softmax_at_k_sum(
    positive_R: Tensor,
    negatives_RL: Tensor,
    valid_RL: Tensor,
    quantile_R: Tensor,
    loss: SoftmaxAtK,
) -> Tensor:
    """The sum over rows of w_ui times softmax's loss, with w_ui = sigmoid((x_ui - beta_u) / t_w).

    No gradient goes through w_ui. quantile_R: beta_u, float (R,). `SoftmaxAtK` has the source.
    """
    gap_R = (positive_R - quantile_R).detach() / loss.weight_temperature
    rows_R = _softmax_rows(positive_R, negatives_RL, valid_RL, loss.temperature)
    return (torch.sigmoid(gap_R) * rows_R).sum()


@dataclass(frozen=True)
class PairLoss:
    """All that the torch engine knows about a loss that compares a positive with its negatives.

    total: returns the summed loss of rows, from (config, positive_R, negatives_RL, valid_RL,
    quantile_R), the last of which is None but for SL@K.
    per_pair: whether a sample is a pair; otherwise it is a row with at least one negative. The
    counterparts in compiled code are `coefficients` and `per_pair` in `kernels/rows.py`.
    """

    total: Callable[[Any, Tensor, Tensor, Tensor, Any], Tensor]
    per_pair: bool


def _of_pairs(valid_RL: Tensor) -> Tensor:
    """The positive is in every pair of its row, a negative only in its own."""
    share_RL = valid_RL.float()
    return torch.cat([share_RL.sum(1, keepdim=True), share_RL], 1)


def _of_rows(valid_RL: Tensor) -> Tensor:
    """The positive counts once, and so do the negatives together."""
    share_RL = valid_RL.float()
    count_R1 = share_RL.sum(1, keepdim=True)
    return torch.cat([count_R1.clamp(max=1), share_RL / count_R1.clamp(min=1)], 1)


PAIR_LOSSES: dict[type, PairLoss] = {
    Bpr: PairLoss(
        lambda loss, pos, neg, valid, _: bpr_sum(pos, neg, valid, loss.margin), per_pair=True
    ),
    Softmax: PairLoss(
        lambda loss, pos, neg, valid, _: softmax_sum(pos, neg, valid, loss.temperature),
        per_pair=False,
    ),
    SoftmaxAtK: PairLoss(
        lambda loss, pos, neg, valid, quantile: softmax_at_k_sum(pos, neg, valid, quantile, loss),
        per_pair=False,
    ),
}


def pair_sum(
    loss: RowLoss,
    positive_R: Tensor,
    negatives_RL: Tensor,
    valid_RL: Tensor,
    quantile_R: Tensor | None = None,
) -> Tensor:
    """The summed loss of rows that compare a positive with its negatives, a float scalar.

    positive_R: scores (R,). negatives_RL: scores (R, L). valid_RL: bool (R, L). quantile_R: the
    Top-K quantile of each row's user, float (R,), for SL@K.
    """
    return PAIR_LOSSES[type(loss)].total(loss, positive_R, negatives_RL, valid_RL, quantile_R)


def per_pair(loss: RowLoss) -> bool:
    """Whether a sample of this loss is a pair; otherwise it is a row with all of its negatives."""
    return PAIR_LOSSES[type(loss)].per_pair


def sample_count(loss: RowLoss, valid_RL: Tensor) -> Tensor:
    """The number of samples in the rows, an int64 scalar on the device."""
    return valid_RL.sum() if per_pair(loss) else valid_RL.any(1).sum()


def participation(loss: RowLoss, valid_RL: Tensor) -> Tensor:
    """In how many samples each score of a row takes part, float32 (R, 1+L), the positive first.

    The l2 terms are weighted by it.
    """
    return _of_pairs(valid_RL) if per_pair(loss) else _of_rows(valid_RL)
