"""Training in batches: sum the gradients of a batch, then let the optimiser take one step.

Sums are kept only for the rows that a batch touches, in `Buffer`s: the size of the batch limits
their memory, and a step that touches few rows of a large table costs little.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel, prefetch_row
from recsys.models.mf.arrays import aligned_zeros
from recsys.models.mf.kernels.optim import (
    adam_rates,
    adam_row,
    adam_scalar,
    step_row,
    step_scalar,
    unit_row,
)
from recsys.models.mf.kernels.plan import ADAM, BCE, COSINE
from recsys.models.mf.kernels.pointwise import point_error
from recsys.models.mf.kernels.rows import (
    SLOTS,
    choose,
    coefficients,
    dot,
    draft,
    draft_first,
    per_pair,
    prefetch_extras,
    prefetch_uniform,
    rows_ahead,
)
from recsys.models.mf.kernels.scalar import add_log

_0, _1 = np.float32(0), np.float32(1)


class Buffer(NamedTuple):
    """Gradient sums for the touched rows of one side, a sparse set of at most C rows.

    Row r is touched if and only if slot[r] < size and touched[slot[r]] == r. So setting size to 0
    forgets all rows (Briggs and Torczon 1993).
    """

    factors: NDArray[np.float32]  # (C, d)
    bias: NDArray[np.float32]  # (C,)
    slot: NDArray[np.int32]  # (rows,)
    touched: NDArray[np.int32]  # (C,)
    size: NDArray[np.int64]  # (1,)


class Gradients(NamedTuple):
    """The gradient sums of one batch, for both sides and the global bias."""

    users: Buffer
    items: Buffer
    global_bias: NDArray[np.float32]  # (1,)


def new_gradients(n_users: int, n_items: int, factors: int, batch: int, scores: int) -> Gradients:
    """Memory for batches of up to `batch` rows with at most `scores` items each.

    factors: d.
    """

    def buffer(rows: int, most: int) -> Buffer:
        capacity = min(rows, most)
        return Buffer(
            aligned_zeros((capacity, factors)),
            np.zeros(capacity, np.float32),
            np.zeros(rows, np.int32),
            np.zeros(capacity, np.int32),
            np.zeros(1, np.int64),
        )

    users, items = buffer(n_users, batch), buffer(n_items, batch * scores)
    return Gradients(users, items, np.zeros(1, np.float32))


@kernel(inline=True)
def find(buffer, row):
    """The slot of a row of the table in `buffer`, or -1 if the row is not touched."""
    slot = np.int64(buffer.slot[row])
    return slot if slot < buffer.size[0] and buffer.touched[slot] == row else np.int64(-1)


@kernel(inline=True)
def touch(buffer, row):
    """The slot of a row of the table in `buffer`; a row that has none gets a cleared one."""
    slot = find(buffer, row)
    if slot < 0:
        slot = buffer.size[0]
        buffer.size[0] = slot + 1
        buffer.slot[row] = slot
        buffer.touched[slot] = row
        buffer.bias[slot] = _0
        for f in range(buffer.factors.shape[1]):
            buffer.factors[slot, f] = _0
    return slot


@kernel(inline=True)
def add_row(sums, slot, scale, table, row):
    """Add `scale` times a row of `table` to the factors of a slot, sums[slot]."""
    for f in range(sums.shape[1]):
        sums[slot, f] += scale * table[row, f]


@kernel(inline=True)
def forget(gradients):
    """Forget all touched rows. Sums are not cleared: `touch` clears a slot when a row gets it."""
    gradients.users.size[0] = 0
    gradients.items.size[0] = 0
    gradients.global_bias[0] = _0


@kernel()
def add_pairs(weights, pool, rows, given, low, high, plan, hyper, scratch, gradients):
    """BPR and softmax: add the gradients of the summed losses of rows[low:high].

    Returns (sum of losses, number of samples). Nothing moves: a step follows.
    """
    p, q, bias = weights.user_factors, weights.item_factors, weights.item_bias
    users, items = gradients.users, gradients.items
    total, product, samples = 0.0, 1.0, 0
    ahead = rows_ahead(plan)
    draft_first(pool, plan, rows, low, high, scratch)
    for row in range(low, high):
        slot = row & (SLOTS - 1)
        user, item = np.int64(rows[row, 0]), np.int64(rows[row, 1])
        if row + ahead < high:
            other, later = np.int64(rows[row + ahead, 0]), (row + ahead) & (SLOTS - 1)
            prefetch_row(p, other, p.shape[1])
            draft(pool, plan, other, later, scratch)
            prefetch_uniform(plan, q, later, scratch)
            prefetch_extras(q, later, scratch)
        count = choose(weights, pool, plan, user, slot, given, row, scratch)
        if count == 0:
            continue
        positive = bias[item] + dot(p, user, q, item)
        loss, product, weight = coefficients(
            plan.loss, hyper, user, positive, count, scratch, product
        )
        total += loss
        # in how many samples the positive takes part, and each negative
        parts = np.float32(count) if per_pair(plan.loss) else _1
        part = _1 if per_pair(plan.loss) else _1 / np.float32(count)
        samples += count if per_pair(plan.loss) else 1
        mine, its = touch(users, user), touch(items, item)
        add_row(users.factors, mine, -weight, q, item)
        add_row(items.factors, its, -weight, p, user)
        items.bias[its] += hyper.l2_bias * parts * bias[item] - weight
        if hyper.l2 > _0:
            add_row(users.factors, mine, hyper.l2 * parts, p, user)
            add_row(items.factors, its, hyper.l2 * parts, q, item)
        for k in range(count):
            negative = np.int64(scratch.chosen[k])
            c = scratch.coef[k]
            its = touch(items, negative)
            for f in range(p.shape[1]):
                value = q[negative, f]
                users.factors[mine, f] += c * value
                items.factors[its, f] += c * p[user, f] + hyper.l2 * part * value
            items.bias[its] += c + hyper.l2_bias * part * bias[negative]
    return total + math.log(product), samples


@kernel()
def add_points(weights, rows, low, high, hyper, gradients):
    """BCE: as `add_pairs`, for labelled rows as in `pointwise`."""
    p, q = weights.user_factors, weights.item_factors
    users, items = gradients.users, gradients.items
    total, product = 0.0, 1.0
    for row in range(low, high):
        user, code = np.int64(rows[row, 0]), np.int64(rows[row, 1])
        item, label = (code, _1) if code >= 0 else (~code, _0)
        loss, factor, error = point_error(weights, user, item, label)
        total, product = add_log(total + loss, product, factor)
        mine, its = touch(users, user), touch(items, item)
        for f in range(p.shape[1]):
            left, right = p[user, f], q[item, f]
            users.factors[mine, f] += error * right + hyper.l2 * left
            items.factors[its, f] += error * left + hyper.l2 * right
        users.bias[mine] += error
        items.bias[its] += error + hyper.l2_bias * weights.item_bias[item]
        gradients.global_bias[0] += error
    return total + math.log(product), high - low


@kernel()
def add_batch(weights, pool, rows, given, low, high, plan, hyper, scratch, gradients):
    """Start a batch: forget the last one and add the gradients of rows[low:high].

    Returns (sum of losses, number of samples).
    """
    forget(gradients)
    if plan.loss == BCE:
        return add_points(weights, rows, low, high, hyper, gradients)
    return add_pairs(weights, pool, rows, given, low, high, plan, hyper, scratch, gradients)


@kernel()
def merge_buffer(into, other):
    """Add the sums in `other` to `into`, row by row, in the order in which `other` touched them."""
    for k in range(other.size[0]):
        slot = touch(into, np.int64(other.touched[k]))
        add_row(into.factors, slot, _1, other.factors, k)
        into.bias[slot] += other.bias[k]


@kernel()
def merge(into, other):
    """Add the `Gradients` of another thread, `other`, for the same batch to `into`."""
    merge_buffer(into.users, other.users)
    merge_buffer(into.items, other.items)
    into.global_bias[0] += other.global_bias[0]


@kernel(inline=True)
def take_tangent(sums, slot, table, row):
    """Remove from a summed gradient, sums[slot], its part along table[row], of length 1.

    What remains turns the row without changing its length.
    """
    along = dot(sums, slot, table, row)
    for f in range(table.shape[1]):
        sums[slot, f] -= along * table[row, f]


@kernel()
def step_touched(weights, state, samples, plan, hyper, gradients):
    """A step of Adagrad or SGD on the touched rows, by the summed gradients / `samples`."""
    scale = _1 / np.float32(samples)
    kind, lr = plan.optimizer, hyper.lr
    squares = state.squares
    users, items = gradients.users, gradients.items
    p, q, cosine = weights.user_factors, weights.item_factors, plan.score == COSINE
    for k in range(users.size[0]):
        row = np.int64(users.touched[k])
        if cosine:
            take_tangent(users.factors, k, p, row)
        step_row(kind, p, squares.user_factors, row, scale, users.factors, k, _0, lr)
        if cosine:
            unit_row(p, row)
        if plan.loss == BCE:
            gradient = scale * users.bias[k]
            step_scalar(kind, weights.user_bias, squares.user_bias, row, gradient, lr)
    for k in range(items.size[0]):
        row = np.int64(items.touched[k])
        if cosine:
            take_tangent(items.factors, k, q, row)
        step_row(kind, q, squares.item_factors, row, scale, items.factors, k, _0, lr)
        if cosine:
            unit_row(q, row)
        gradient = scale * items.bias[k]
        step_scalar(kind, weights.item_bias, squares.item_bias, row, gradient, lr)
    if plan.loss == BCE:
        gradient = scale * gradients.global_bias[0]
        step_scalar(kind, weights.global_bias, squares.global_bias, 0, gradient, lr)


@kernel()
def step_adam(weights, state, samples, plan, hyper, gradients, part, parts):
    """A step of Adam on part `part` (from 0) of `parts` of every table.

    The gradients are the summed ones / `samples`.

    state.steps has the number of this step, from 1. Rows that the batch did not touch move as well,
    by their momentum and by weight decay.
    """
    scale, decay = _1 / np.float32(samples), hyper.weight_decay
    rate, root = adam_rates(hyper.lr, state.steps[0])
    means, squares = state.means, state.squares
    p, q, cosine = weights.user_factors, weights.item_factors, plan.score == COSINE
    for row in range(len(p) * part // parts, len(p) * (part + 1) // parts):
        at = find(gradients.users, row)
        if cosine and at >= 0:
            take_tangent(gradients.users.factors, at, p, row)
        adam_row(
            p,
            means.user_factors,
            squares.user_factors,
            row,
            scale,
            gradients.users.factors,
            at,
            decay,
            rate,
            root,
        )
        if cosine:
            unit_row(p, row)
        if plan.loss == BCE:
            gradient = scale * gradients.users.bias[at] if at >= 0 else _0
            adam_scalar(
                weights.user_bias,
                means.user_bias,
                squares.user_bias,
                row,
                gradient,
                decay,
                rate,
                root,
            )
    for row in range(len(q) * part // parts, len(q) * (part + 1) // parts):
        at = find(gradients.items, row)
        if cosine and at >= 0:
            take_tangent(gradients.items.factors, at, q, row)
        adam_row(
            q,
            means.item_factors,
            squares.item_factors,
            row,
            scale,
            gradients.items.factors,
            at,
            decay,
            rate,
            root,
        )
        if cosine:
            unit_row(q, row)
        gradient = scale * gradients.items.bias[at] if at >= 0 else _0
        adam_scalar(
            weights.item_bias, means.item_bias, squares.item_bias, row, gradient, decay, rate, root
        )
    if plan.loss == BCE and part == 0:
        gradient = scale * gradients.global_bias[0]
        adam_scalar(
            weights.global_bias,
            means.global_bias,
            squares.global_bias,
            0,
            gradient,
            decay,
            rate,
            root,
        )


@kernel()
def train_batches(
    weights, state, pool, rows, given, low, high, batch, plan, hyper, scratch, gradients
):
    """Train on rows[low:high] in batches of `batch` rows; the last one may be smaller.

    Returns (sum of the losses of all samples, number of samples).
    """
    total, samples = 0.0, 0
    whole = np.int64(0)  # a plain 0 would be a type of its own, and step_adam compiled twice
    for start in range(low, high, batch):
        end = min(start + batch, high)
        loss, count = add_batch(
            weights, pool, rows, given, start, end, plan, hyper, scratch, gradients
        )
        total += loss
        samples += count
        if count == 0:
            continue
        if plan.optimizer == ADAM:
            state.steps[0] += 1
            step_adam(weights, state, count, plan, hyper, gradients, whole, whole + 1)
        else:
            step_touched(weights, state, count, plan, hyper, gradients)
    return total, samples
