"""Adagrad, SGD and Adam on the tables of the model.

A table is a weight of the model: factors (rows, d) or biases (rows,), float32. Adagrad and SGD move
only the rows that a step touches; Adam moves all of them. kind is ELEMENT, ROW (both Adagrad), SGD
or ADAM of `plan`.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel
from recsys.models.mf.arrays import aligned_zeros
from recsys.models.mf.kernels.plan import ADAM, ELEMENT, ROW, SGD

STEP_ARMS = (ELEMENT, ROW, SGD)  # the branches of `step_scalar` and `step_row`; SGD is the last
_0, _1 = np.float32(0), np.float32(1)
EPS = np.float32(1e-10)  # torch.optim.Adagrad's
_BETA1_REST = np.float32(1 - 0.9)  # torch.optim.Adam's defaults
_BETA2, _BETA2_REST = np.float32(0.999), np.float32(1 - 0.999)
_ADAM_EPS = np.float32(1e-8)


class Tables(NamedTuple):
    """One float32 array for each weight of the model, in the order of its views."""

    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    user_bias: NDArray[np.float32]
    item_bias: NDArray[np.float32]
    global_bias: NDArray[np.float32]


class OptimizerState(NamedTuple):
    """What an optimiser keeps from step to step; arrays that it does not need have size 1.

    squares: the sums of squared gradients (Adagrad; factors have shape (rows, 1) for one sum per
    row) or their moving means (Adam). means: the moving means of gradients (Adam). steps: int64
    (1,), the number of steps (Adam).
    """

    squares: Tables
    means: Tables
    steps: NDArray[np.int64]


def new_state(weights: Sequence[NDArray[np.float32]], kind: int) -> OptimizerState:
    """The state of optimiser `kind` before the first step, for the five weights of a model."""

    def tables(full: bool, per_row: bool = False) -> Tables:
        def shape(weight: NDArray[np.float32]) -> tuple[int, ...]:
            if not full:
                return (1,) * weight.ndim
            return (len(weight), 1) if per_row and weight.ndim == 2 else weight.shape

        return Tables(*(aligned_zeros(shape(weight)) for weight in weights))

    return OptimizerState(
        tables(kind != SGD, kind == ROW), tables(kind == ADAM), np.zeros(1, np.int64)
    )


@kernel(inline=True)
def step_scalar(kind, values, squares, index, gradient, lr):
    """Move values[index], a bias, by its gradient. kind: ELEMENT, ROW or SGD."""
    if kind <= ROW:
        squares[index] += gradient * gradient
        gradient = gradient / (math.sqrt(squares[index]) + EPS)
    values[index] -= lr * gradient


@kernel(inline=True)
def adagrad_value(value, square, gradient, lr):
    """(value, square) after one step of Adagrad (Duchi et al. 2011), computed as torch does."""
    square = square + gradient * gradient
    return value - lr * gradient / (math.sqrt(square) + EPS), square


@kernel(inline=True)
def step_row(kind, table, squares, row, scale, vector, at, decay, lr):
    """Move table[row] by the gradient scale x vector[at] + decay x table[row].

    kind: ELEMENT, ROW or SGD. vector: a matrix of gradients, float32 (any, d).
    """
    width = table.shape[1]
    if kind == ELEMENT:
        for f in range(width):
            value = table[row, f]
            gradient = scale * vector[at, f] + decay * value
            table[row, f], squares[row, f] = adagrad_value(value, squares[row, f], gradient, lr)
        return
    if kind == ROW:
        power = np.float32(0)
        for f in range(width):
            gradient = scale * vector[at, f] + decay * table[row, f]
            power += gradient * gradient
        squares[row, 0] += power / np.float32(width)
        lr = lr / (math.sqrt(squares[row, 0]) + EPS)
    for f in range(width):
        value = table[row, f]
        table[row, f] = value - lr * (scale * vector[at, f] + decay * value)


@kernel(inline=True)
def unit_row(table, row):
    """Scale table[row] to length 1; a row of zeros stays."""
    power = _0
    for f in range(table.shape[1]):
        power += table[row, f] * table[row, f]
    scale = _1 / np.float32(math.sqrt(power)) if power > _0 else _0
    for f in range(table.shape[1]):
        table[row, f] *= scale


@kernel(inline=True)
def adam_value(value, mean, square, gradient, rate, root):
    """(value, mean, square) after one step of Adam (Kingma and Ba 2015), computed as torch does.

    rate = lr / (1 - 0.9^t), root = 1 / sqrt(1 - 0.999^t).
    """
    mean = mean + (gradient - mean) * _BETA1_REST
    square = square * _BETA2 + gradient * gradient * _BETA2_REST
    return value - rate * mean / (math.sqrt(square) * root + _ADAM_EPS), mean, square


@kernel(inline=True)
def adam_rates(lr, step):
    """(rate, root) for `adam_value` at step number `step`, from 1."""
    rate = np.float64(lr) / (1.0 - 0.9**step)
    return np.float32(rate), np.float32(1.0 / math.sqrt(1.0 - 0.999**step))


@kernel(inline=True)
def adam_row(table, means, squares, row, scale, sums, at, decay, rate, root):
    """Move table[row] by the gradient scale x sums[at] + decay x table[row].

    If at < 0, the gradient is only decay x table[row].
    """
    if at >= 0:
        for f in range(table.shape[1]):
            value = table[row, f]
            gradient = scale * sums[at, f] + decay * value
            table[row, f], means[row, f], squares[row, f] = adam_value(
                value, means[row, f], squares[row, f], gradient, rate, root
            )
        return
    for f in range(table.shape[1]):
        value = table[row, f]
        table[row, f], means[row, f], squares[row, f] = adam_value(
            value, means[row, f], squares[row, f], decay * value, rate, root
        )


@kernel(inline=True)
def adam_scalar(values, means, squares, index, gradient, decay, rate, root):
    """Move values[index], a bias, by the gradient gradient + decay x values[index]."""
    value = values[index]
    values[index], means[index], squares[index] = adam_value(
        value, means[index], squares[index], gradient + decay * value, rate, root
    )
