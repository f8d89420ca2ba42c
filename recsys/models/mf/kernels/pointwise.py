"""BCE: rows of (user, item, label), drawn and trained online.

A negative row has ~item (all bits flipped, hence below zero) instead of the item, so that the label
takes no memory.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math

import numpy as np

from recsys.kernels.jit import kernel, prefetch_row
from recsys.models.mf.kernels.draw import draw_more, free_count, next_draw
from recsys.models.mf.kernels.optim import step_row, step_scalar
from recsys.models.mf.kernels.plan import ELEMENT
from recsys.models.mf.kernels.rows import dot
from recsys.models.mf.kernels.scalar import add_log, logistic

_0, _1 = np.float32(0), np.float32(1)


@kernel()
def draw_labelled(pool, indptr, indices, counts, rows, items, scratch):
    """Fill `rows` with the positives and the drawn negatives of each user; returns how many.

    Users without a free item are left out. indptr: int64 (U+1,), indices: int32 (E,), the training
    data. counts: int64 (U,), how many negatives to draw for each user. items: int32 (largest
    count,), memory for drawing.
    """
    at = np.int64(0)
    for user in range(len(counts)):
        if free_count(pool, user) == 0:
            continue
        for k in range(indptr[user], indptr[user + 1]):
            rows[at, 0], rows[at, 1] = user, indices[k]
            at += 1
        number = next_draw(scratch.taken)
        drawn = draw_more(
            pool, user, counts[user], 0, items, 0, scratch.taken, number, scratch.state
        )
        for k in range(drawn):
            rows[at, 0], rows[at, 1] = user, ~items[k]
            at += 1
    return at


@kernel(inline=True)
def point_error(weights, user, item, label):
    """(loss, factor, derivative of the loss by the score) of one row, stable for any score.

    label: float32, 1 or 0. The loss of the row is the returned one plus log(factor), which
    `add_log` adds.
    """
    x = weights.global_bias[0] + weights.user_bias[user] + weights.item_bias[item]
    x += dot(weights.user_factors, user, weights.item_factors, item)
    share, factor = logistic(x)
    return np.float64(max(x, _0) - label * x), factor, share - label


@kernel()
def train_points(weights, state, rows, low, high, plan, hyper, scratch):
    """Train on rows[low:high], one update for each; returns (sum of losses, number of rows)."""
    p, q = weights.user_factors, weights.item_factors
    kind, lr, width = plan.optimizer, hyper.lr, weights.user_factors.shape[1]
    squares = state.squares
    grad = scratch.grad.reshape((1, width))
    total, product = 0.0, 1.0
    for row in range(low, high):
        user, code = np.int64(rows[row, 0]), np.int64(rows[row, 1])
        item, label = (code, _1) if code >= 0 else (~code, _0)
        if row + 2 < high:
            other, code = np.int64(rows[row + 2, 0]), np.int64(rows[row + 2, 1])
            code = code if code >= 0 else ~code
            prefetch_row(p, other, width)
            prefetch_row(q, code, width)
            if kind == ELEMENT:
                prefetch_row(squares.user_factors, other, width)
                prefetch_row(squares.item_factors, code, width)
        loss, factor, error = point_error(weights, user, item, label)
        total, product = add_log(total + loss, product, factor)
        for f in range(width):
            grad[0, f] = error * q[item, f] + hyper.l2 * p[user, f]
        step_row(kind, q, squares.item_factors, item, error, p, user, hyper.l2, lr)
        step_row(kind, p, squares.user_factors, user, _1, grad, 0, _0, lr)
        decay = hyper.l2_bias * weights.item_bias[item]
        step_scalar(kind, weights.item_bias, squares.item_bias, item, error + decay, lr)
        step_scalar(kind, weights.user_bias, squares.user_bias, user, error, lr)
        step_scalar(kind, weights.global_bias, squares.global_bias, 0, error, lr)
    return total + math.log(product), high - low
