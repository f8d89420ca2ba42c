"""Online training for BPR and softmax: one update for each row, in a single compiled pass.

All gradients of a row are computed from the weights before its update. Nothing is copied: the rows
of the tables are read and written in place.

With cosine scores, every row of factors has length 1. The gradient of a cosine with respect to a
row is that of the dot product minus its part along the row. After a step the row is scaled back to
length 1, so that training and everything after it can use dot products. There is no weight decay,
which would only act along the row.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math

import numpy as np

from recsys.kernels.jit import kernel, prefetch, prefetch_row
from recsys.models.mf.kernels.optim import step_row, step_scalar, unit_row
from recsys.models.mf.kernels.plan import COSINE, ELEMENT
from recsys.models.mf.kernels.rows import (
    SLOTS,
    choose,
    coefficients,
    dot,
    draft_ahead,
    draft_first,
    per_pair,
    prefetch_extras,
    prefetch_uniform,
)

_0, _1 = np.float32(0), np.float32(1)


@kernel()
def train_pairs(weights, state, pool, rows, given, low, high, plan, hyper, scratch):
    """Train on rows[low:high]; returns (sum of the losses of all samples, number of samples).

    given: in mode GIVEN, the negatives of a row are distinct and do not include its own item.
    """
    p, q, bias = weights.user_factors, weights.item_factors, weights.item_bias
    kind, lr, width = plan.optimizer, hyper.lr, weights.user_factors.shape[1]
    squares = state.squares
    grad = scratch.grad.reshape((1, width))
    total, product, samples = 0.0, 1.0, 0
    per_element, cosine = kind == ELEMENT, plan.score == COSINE
    draft_first(pool, plan, rows, low, high, scratch)
    for row in range(low, high):
        slot, user, item = row & (SLOTS - 1), np.int64(rows[row, 0]), np.int64(rows[row, 1])
        # Requests for the rows ahead are spread over the work on this one: the processor has
        # room for few at a time, and drops or stalls on a burst.
        next_user, next_item, coming = draft_ahead(pool, plan, rows, row, high, scratch)
        prefetch_uniform(plan, q, coming, scratch)
        count = choose(weights, pool, plan, user, slot, given, row, scratch)
        if count == 0:
            continue
        prefetch_row(p, next_user, width)
        positive = bias[item] + dot(p, user, q, item)
        loss, product, weight = coefficients(
            plan.loss, hyper, user, positive, count, scratch, product
        )
        prefetch_row(q, next_item, width)
        prefetch(bias, next_item)
        total += loss
        share = _1 / np.float32(count)
        scale = share if per_pair(plan.loss) else _1
        samples += count if per_pair(plan.loss) else 1
        weight *= scale
        of_user, of_item, of_negative = hyper.l2, hyper.l2, hyper.l2 * share
        if cosine:  # subtract the part of the gradient along the row
            of_item = weight * (positive - bias[item])
            of_user = of_item
            for k in range(count):
                angle = scratch.chosen_scores[k] - bias[np.int64(scratch.chosen[k])]
                of_user -= scratch.coef[k] * scale * angle
        for f in range(width):
            grad[0, f] = of_user * p[user, f] - weight * q[item, f]
        step_row(kind, q, squares.item_factors, item, -weight, p, user, of_item, lr)
        if cosine:
            unit_row(q, item)
        step_scalar(kind, bias, squares.item_bias, item, hyper.l2_bias * bias[item] - weight, lr)
        if per_element:
            prefetch_row(squares.item_factors, next_item, width)
            prefetch_uniform(plan, squares.item_factors, coming, scratch)
        prefetch_extras(q, coming, scratch)
        for k in range(count):
            negative = np.int64(scratch.chosen[k])
            c = scratch.coef[k] * scale
            for f in range(width):
                grad[0, f] += c * q[negative, f]
            if cosine:
                of_negative = -c * (scratch.chosen_scores[k] - bias[negative])
            step_row(kind, q, squares.item_factors, negative, c, p, user, of_negative, lr)
            if cosine:
                unit_row(q, negative)
            decay = hyper.l2_bias * share * bias[negative]
            step_scalar(kind, bias, squares.item_bias, negative, c + decay, lr)
        if per_element:
            prefetch_row(squares.user_factors, next_user, width)
        step_row(kind, p, squares.user_factors, user, _1, grad, 0, _0, lr)
        if cosine:
            unit_row(p, user)
    return total + math.log(product), samples
