"""Online BPR with one uniform negative per row, the simplest and most frequent case.

The updates are those of `online.train_pairs`; tests compare the two. With one negative, all three
rows of factors move in one loop, with nothing stored in memory in between.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math

import numpy as np

from recsys.kernels.jit import kernel, prefetch, prefetch_row
from recsys.models.mf.kernels.optim import EPS, adagrad_value, step_scalar
from recsys.models.mf.kernels.plan import ELEMENT, ROW
from recsys.models.mf.kernels.rows import SLOTS, draft_ahead, draft_first, prefetch_uniform
from recsys.models.mf.kernels.scalar import add_log, logistic

_0 = np.float32(0)


@kernel()
def train_singles(weights, state, pool, rows, low, high, plan, hyper, scratch):
    """Train on rows[low:high]; returns (sum of the losses of all samples, number of samples)."""
    p, q, bias = weights.user_factors, weights.item_factors, weights.item_bias
    kind, lr, width = plan.optimizer, hyper.lr, weights.user_factors.shape[1]
    squares, l2 = state.squares, hyper.l2
    pp, qq = squares.user_factors, squares.item_factors
    total, product, samples = 0.0, 1.0, 0
    draft_first(pool, plan, rows, low, high, scratch)
    for row in range(low, high):
        slot, user, item = row & (SLOTS - 1), np.int64(rows[row, 0]), np.int64(rows[row, 1])
        next_user, next_item, coming = draft_ahead(pool, plan, rows, row, high, scratch)
        prefetch_uniform(plan, q, coming, scratch)
        if scratch.counts[slot, 0] == 0:
            continue
        negative = np.int64(scratch.candidates[slot, 0])
        prefetch_row(p, next_user, width)
        x = bias[item] - bias[negative] - hyper.margin
        for f in range(width):
            x += p[user, f] * (q[item, f] - q[negative, f])
        prefetch_row(q, next_item, width)
        prefetch(bias, next_item)
        c, factor = logistic(-x)
        total, product = add_log(total + max(-x, _0), product, factor)
        samples += 1
        step_scalar(kind, bias, squares.item_bias, item, hyper.l2_bias * bias[item] - c, lr)
        step_scalar(kind, bias, squares.item_bias, negative, c + hyper.l2_bias * bias[negative], lr)
        if kind == ELEMENT:
            prefetch_row(qq, next_item, width)
            prefetch_uniform(plan, qq, coming, scratch)
            for f in range(width):
                u, i, j = p[user, f], q[item, f], q[negative, f]
                q[item, f], qq[item, f] = adagrad_value(i, qq[item, f], l2 * i - c * u, lr)
                q[negative, f], qq[negative, f] = adagrad_value(
                    j, qq[negative, f], l2 * j + c * u, lr
                )
                p[user, f], pp[user, f] = adagrad_value(u, pp[user, f], l2 * u + c * (j - i), lr)
            prefetch_row(pp, next_user, width)
            continue
        of_user, of_item, of_negative = lr, lr, lr
        if kind == ROW:
            mine, its, others = _0, _0, _0
            for f in range(width):
                u, i, j = p[user, f], q[item, f], q[negative, f]
                mine += (l2 * u + c * (j - i)) ** 2
                its += (l2 * i - c * u) ** 2
                others += (l2 * j + c * u) ** 2
            pp[user, 0] += mine / np.float32(width)
            qq[item, 0] += its / np.float32(width)
            qq[negative, 0] += others / np.float32(width)
            of_user = lr / (math.sqrt(pp[user, 0]) + EPS)
            of_item = lr / (math.sqrt(qq[item, 0]) + EPS)
            of_negative = lr / (math.sqrt(qq[negative, 0]) + EPS)
        for f in range(width):
            u, i, j = p[user, f], q[item, f], q[negative, f]
            q[item, f] = i - of_item * (l2 * i - c * u)
            q[negative, f] = j - of_negative * (l2 * j + c * u)
            p[user, f] = u - of_user * (l2 * u + c * (j - i))
    return total + math.log(product), samples
