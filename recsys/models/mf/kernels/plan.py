"""A training config as plain numbers, on which kernels branch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.models.mf.config import (
    Adagrad,
    Adam,
    Bce,
    Bpr,
    Even,
    Fixed,
    Hard,
    Sgd,
    Softmax,
    SoftmaxAtK,
    TrainConfig,
)

# The losses, computed in `rows`, or for labelled scores in `pointwise`.
BPR, SOFTMAX, BCE, SOFTMAX_AT_K = 0, 1, 2, 3
LOSSES: dict[type, int] = {Bpr: BPR, Softmax: SOFTMAX, Bce: BCE, SoftmaxAtK: SOFTMAX_AT_K}
GIVEN, UNIFORM, HARD = 0, 1, 2
DOT, COSINE = 0, 1
SCORES = {"dot": DOT, "cosine": COSINE}
ELEMENT, ROW, SGD, ADAM = 0, 1, 2, 3


class Plan(NamedTuple):
    """What a kernel does, as the constants above and numbers of negatives."""

    loss: int
    optimizer: int
    mode: int
    candidates: int  # HARD: N; UNIFORM: negatives of a row; GIVEN: not used
    hard: int  # M
    random: int  # K
    score: int = DOT


class Hyper(NamedTuple):
    """Real-valued settings, in float32 so that no expression is widened to float64.

    quantiles: under SOFTMAX_AT_K, the Top-K quantile of each user, float32 (U,); otherwise empty.
    """

    margin: np.float32
    temperature: np.float32
    lr: np.float32
    l2: np.float32
    l2_bias: np.float32
    weight_decay: np.float32  # Adam's
    weight_temperature: np.float32
    quantiles: NDArray[np.float32]


def make_plan(config: TrainConfig, n_items: int) -> Plan:
    """The plan for a config; more negatives than `n_items` are never asked for.

    Raises TypeError for a loss, optimiser or kind of negatives that has no kernel.
    """
    loss, optimizer = LOSSES.get(type(config.loss)), _optimizer(config)
    if loss is None:
        raise TypeError(f"loss {config.loss.kind} has no kernel")
    score = SCORES[config.score]
    match config.negatives:
        case Fixed() | Even() if loss == BCE:  # its rows hold the negatives
            return Plan(loss, optimizer, GIVEN, 0, 0, 0)
        case Hard(candidates=n, hard=m, random=k):
            n, k = min(n, n_items), min(k, n_items)
            return Plan(loss, optimizer, HARD, n, min(m, n), k, score)
        case Fixed(count=count):
            return Plan(loss, optimizer, UNIFORM, min(count, n_items), 0, 0, score)
        case Even():
            return Plan(loss, optimizer, UNIFORM, 1, 0, 0, score)
    raise TypeError(f"neg_mode {config.negatives.mode} has no kernel")


def _optimizer(config: TrainConfig) -> int:
    match config.optimizer:
        case Adam():
            return ADAM
        case Adagrad(per=per):
            return {"element": ELEMENT, "row": ROW}[per]
        case Sgd():
            return SGD
    raise TypeError(f"optimizer {config.optimizer.kind} has no kernel")


def make_hyper(config: TrainConfig) -> Hyper:
    """The float32 numbers of a config. Those that it lacks are 0, except temperatures of 1.

    The quantiles are the engine's to add.
    """
    own = config.loss.model_dump()
    number = np.float32
    l2, l2_bias = 0.0, 0.0
    if not isinstance(config.optimizer, Adam):
        l2, l2_bias = config.optimizer.l2, config.optimizer.l2_bias
    decay = config.optimizer.weight_decay if isinstance(config.optimizer, Adam) else 0.0
    return Hyper(
        margin=number(own.get("margin", 0.0)),
        temperature=number(own.get("temperature", 1.0)),
        lr=number(config.optimizer.lr),
        l2=number(l2),
        l2_bias=number(l2_bias),
        weight_decay=number(decay),
        weight_temperature=number(own.get("weight_temperature", 1.0)),
        quantiles=np.zeros(0, np.float32),
    )


def kept_negatives(plan: Plan, given: int = 0) -> int:
    """The most negatives that a row can have, at least 1. given: the width of given negatives."""
    uniform = plan.candidates if plan.mode == UNIFORM else 0
    return max(plan.hard + plan.random, uniform, given, 1)
