"""Online training: one row, one update, in a single compiled pass (BPR and softmax).

All gradients of a row are taken at the weights before its update. Nothing is gathered: the rows
of the tables are read and written in place.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import numpy as np

from recsys.kernels.jit import kernel, prefetch, prefetch_row
from recsys.kernels.optim import step_row, step_scalar
from recsys.kernels.rows import (
    BPR,
    ELEMENT,
    GIVEN,
    SLOTS,
    choose,
    coefficients,
    dot,
    draft,
    prefetch_drafted,
    prefetch_user,
    rows_ahead,
)

_0, _1 = np.float32(0), np.float32(1)


@kernel(inline=True)
def start_row(weights, squares, pool, rows, row, low, high, plan, scratch):
    """Draft rows[row] and ask for all that training on it will read."""
    ahead = 2 * rows_ahead(plan) + row
    if plan.mode != GIVEN:
        prefetch_user(pool, rows, ahead, low, high)
    if row >= high:
        return
    user, item = np.int64(rows[row, 0]), np.int64(rows[row, 1])
    slot, per_element = row & (SLOTS - 1), plan.optimizer == ELEMENT
    p, q = weights.user_factors, weights.item_factors
    prefetch_row(p, user, p.shape[1])
    prefetch_row(q, item, q.shape[1])
    prefetch(weights.item_bias, item)
    if per_element:
        prefetch_row(squares.user_factors, user, p.shape[1])
        prefetch_row(squares.item_factors, item, q.shape[1])
        prefetch(squares.item_bias, item)
    draft(pool, plan, user, slot, scratch)
    prefetch_drafted(plan, q, slot, scratch)
    if per_element:
        prefetch_drafted(plan, squares.item_factors, slot, scratch)


@kernel()
def train_pairs(weights, state, pool, rows, given, low, high, plan, hyper, scratch):
    """Train on rows[low:high]; (sum of the samples' losses, number of samples).

    rows: int32 (R, 2), user and item; given: int32 (R, L), padded with -1, for mode GIVEN,
    distinct in a row and without the row's own item.
    """
    p, q, bias = weights.user_factors, weights.item_factors, weights.item_bias
    kind, lr, width = plan.optimizer, hyper.lr, weights.user_factors.shape[1]
    squares = state.squares
    grad = scratch.grad.reshape((1, width))
    total, samples = 0.0, 0
    ahead = rows_ahead(plan)
    for row in range(low, low + ahead):
        start_row(weights, squares, pool, rows, row, low, high, plan, scratch)
    for row in range(low, high):
        slot = row & (SLOTS - 1)
        user, item = np.int64(rows[row, 0]), np.int64(rows[row, 1])
        start_row(weights, squares, pool, rows, row + ahead, low, high, plan, scratch)
        count = choose(weights, pool, plan, user, slot, given, row, scratch)
        if count == 0:
            continue
        positive = bias[item] + dot(p, user, q, item)
        loss, weight = coefficients(plan.loss, hyper, positive, count, scratch)
        total += loss
        share = _1 / np.float32(count)
        scale = share if plan.loss == BPR else _1
        samples += count if plan.loss == BPR else 1
        weight *= scale
        for f in range(width):
            grad[0, f] = hyper.l2 * p[user, f] - weight * q[item, f]
        step_row(kind, q, squares.item_factors, item, -weight, p, user, hyper.l2, lr)
        step_scalar(kind, bias, squares.item_bias, item, hyper.l2_bias * bias[item] - weight, lr)
        for k in range(count):
            negative = np.int64(scratch.chosen[k])
            c = scratch.coef[k] * scale
            for f in range(width):
                grad[0, f] += c * q[negative, f]
            step_row(kind, q, squares.item_factors, negative, c, p, user, hyper.l2 * share, lr)
            decay = hyper.l2_bias * share * bias[negative]
            step_scalar(kind, bias, squares.item_bias, negative, c + decay, lr)
        step_row(kind, p, squares.user_factors, user, _1, grad, 0, _0, lr)
    return total, samples
