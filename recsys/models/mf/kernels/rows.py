"""The negatives of one row and their part of the loss, for all kernels that compare a positive with
its negatives.

A row is a positive (user, item). Its negatives are given, uniform, or hard. Hard ones: N candidates
are scored with the current weights, the M with the highest scores are kept (ties go to the lower
item), and K more are drawn from the free items outside those M.

To draft a row is to draw what it needs before its turn, so that the weights it will read can be
fetched from memory in the meantime. Drafts of several rows are kept at once, each in its slot.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel, prefetch, prefetch_row
from recsys.models.mf.arrays import aligned_zeros
from recsys.models.mf.kernels.draw import Taken, draw_more, draw_one, new_taken, next_draw, take
from recsys.models.mf.kernels.plan import (
    BPR,
    GIVEN,
    HARD,
    SOFTMAX,
    SOFTMAX_AT_K,
    UNIFORM,
    Plan,
    kept_negatives,
)
from recsys.models.mf.kernels.rng import new_states
from recsys.models.mf.kernels.scalar import add_log, exp_of_negative, logistic

PAIR_ARMS = (BPR, SOFTMAX, SOFTMAX_AT_K)  # the branches of `coefficients`
MODE_ARMS = (GIVEN, UNIFORM, HARD)  # the branches of `draft` and `choose`; HARD is the last
SLOTS = 4  # drafts at once, a power of two
_FAR = 3  # how many rows ahead to draft if a row takes little time, at most SLOTS - 1
_LONG = 16  # with more candidates, a row takes so long that one row ahead is enough
_HEAP_FROM = 32  # above this many kept, a heap beats insertion into a sorted list

_0 = np.float32(0)


class Scratch(NamedTuple):
    """The memory of one thread for the row in progress and the drafts of the rows after it."""

    state: NDArray[np.uint64]  # (4,)
    taken: Taken
    candidates: NDArray[np.int32]  # (SLOTS, N) drafts
    extras: NDArray[np.int32]  # (SLOTS, K) drafts
    counts: NDArray[np.int64]  # (SLOTS, 2) how many of each
    scores: NDArray[np.float32]  # (N,)
    chosen: NDArray[np.int32]  # (L,) the row's negatives
    chosen_scores: NDArray[np.float32]  # (L,)
    coef: NDArray[np.float32]  # (L,) minus the derivative of the loss by x_ui - x_uj
    grad: NDArray[np.float32]  # (d,)


def new_scratch(
    rng: np.random.Generator,
    count: int,
    plan: Plan,
    n_items: int,
    factors: int,
    *,
    given: int = 0,
    most: int = 0,
) -> list[Scratch]:
    """Memory for `count` threads.

    rng: seeds the generator of each thread. factors: d. given: the number of given negatives in a
    row. most: the most items ever drawn at once, if more than the plan says.
    """
    kept = kept_negatives(plan, given)
    most = max(plan.candidates, plan.hard + plan.random, most)
    return [
        Scratch(
            state,
            new_taken(most, n_items),
            np.zeros((SLOTS, max(plan.candidates, 1)), np.int32),
            np.zeros((SLOTS, max(plan.random, 1)), np.int32),
            np.zeros((SLOTS, 2), np.int64),
            np.zeros(max(plan.candidates, 1), np.float32),
            np.zeros(kept, np.int32),
            np.zeros(kept, np.float32),
            np.zeros(kept, np.float32),
            aligned_zeros(factors),
        )
        for state in new_states(rng, count)
    ]


@kernel(inline=True)
def dot(left, i, right, j):
    """The dot product of left[i] and right[j], float32."""
    total = _0
    for f in range(left.shape[1]):
        total += left[i, f] * right[j, f]
    return total


@kernel(inline=True)
def rows_ahead(plan):
    """How many rows before its turn a row is drafted."""
    return 1 if plan.candidates > _LONG else _FAR


@kernel(inline=True)
def draft(pool, plan, user, slot, scratch):
    """Draw what a row of `user` needs into `slot`, without reading any weight."""
    taken, state = scratch.taken, scratch.state
    if plan.mode == UNIFORM and plan.candidates == 1:
        item = draw_one(pool, user, state)
        scratch.candidates[slot, 0] = item
        scratch.counts[slot, 0] = item >= 0
    elif plan.mode != GIVEN:
        into, number = scratch.candidates[slot], next_draw(taken)
        scratch.counts[slot, 0] = draw_more(
            pool, user, plan.candidates, 0, into, 0, taken, number, state
        )
        if plan.random > 0:
            into, number = scratch.extras[slot], next_draw(taken)
            scratch.counts[slot, 1] = draw_more(
                pool, user, plan.random, 0, into, 0, taken, number, state
            )


@kernel(inline=True)
def prefetch_pool(pool, rows, row, ahead, last):
    """Prefetch what drafting will read: the filter for row `row`, and for the row `ahead` after it
    where its filter is. last: the last row.
    """
    prefetch(pool.users, np.int64(rows[min(row + ahead, last), 0]) * 2)
    where = pool.users[np.int64(rows[min(row, last), 0]), 0]
    # all of a short filter, as it is not known yet which word a draw will read
    for word in range(0, np.int64(1) << min(where & 63, 5), 8):
        prefetch(pool.words, (where >> 6) + word)


@kernel(inline=True)
def draft_first(pool, plan, rows, low, high, scratch):
    """Draft the first of rows[low:high], which no earlier row drafts."""
    for row in range(low, min(low + rows_ahead(plan), high)):
        draft(pool, plan, np.int64(rows[row, 0]), row & (SLOTS - 1), scratch)


@kernel(inline=True)
def draft_ahead(pool, plan, rows, row, high, scratch):
    """Draft the row that is trained `rows_ahead` after `row`; returns (its user, item and slot).

    Past the end nothing is drafted, and user and item are those of the last row.
    """
    ahead, last = rows_ahead(plan), high - 1
    user = np.int64(rows[min(row + ahead, last), 0])
    item = np.int64(rows[min(row + ahead, last), 1])
    slot = (row + ahead) & (SLOTS - 1)
    if plan.mode != GIVEN:
        prefetch_pool(pool, rows, row + 2 * ahead, ahead, last)
        if row + ahead < high:
            draft(pool, plan, user, slot, scratch)
    return user, item, slot


@kernel(inline=True)
def prefetch_uniform(plan, table, slot, scratch):
    """Prefetch the rows of `table` for a draft of uniform negatives."""
    if plan.mode == UNIFORM:
        for k in range(scratch.counts[slot, 0]):
            prefetch_row(table, np.int64(scratch.candidates[slot, k]), table.shape[1])


@kernel(inline=True)
def prefetch_extras(table, slot, scratch):
    """Prefetch the rows of `table` for the K random negatives of a draft."""
    for k in range(scratch.counts[slot, 1]):
        prefetch_row(table, np.int64(scratch.extras[slot, k]), table.shape[1])


@kernel(inline=True)
def beats(score, item, other_score, other_item):
    """Whether an item comes before another: with a higher score, or as the lower of equal ones."""
    return score > other_score or (score == other_score and item < other_item)


@kernel(inline=True)
def insert_sorted(score, item, scores, items, count, most):
    """Insert an item into a list of `count`, sorted best first; returns the new length.

    The list, `items` and `scores`, has at most `most` items: the worst is dropped.
    """
    if count == most:
        if not beats(score, item, scores[count - 1], items[count - 1]):
            return count
        count -= 1
    place = count
    while place > 0 and beats(score, item, scores[place - 1], items[place - 1]):
        scores[place] = scores[place - 1]
        items[place] = items[place - 1]
        place -= 1
    scores[place] = score
    items[place] = item
    return count + 1


@kernel()
def sift_down(scores, items, root, count):
    """Let the entry at `root` sink to its place in a heap of `count` entries, the worst on top."""
    score, item = scores[root], items[root]
    while True:
        child = 2 * root + 1
        if child >= count:
            break
        if child + 1 < count and beats(
            scores[child], items[child], scores[child + 1], items[child + 1]
        ):
            child += 1
        if not beats(score, item, scores[child], items[child]):
            break
        scores[root], items[root] = scores[child], items[child]
        root = child
    scores[root], items[root] = score, item


@kernel()
def keep_best(candidates, scores, count, most, items, kept):
    """Write the `most` best of `count` candidates to `items`, their scores to `kept`; returns how
    many. Their order is not defined.
    """
    if most <= _HEAP_FROM:
        size = 0
        for k in range(count):
            size = insert_sorted(scores[k], candidates[k], kept, items, size, most)
        return size
    size = min(most, count)
    for k in range(size):
        items[k], kept[k] = candidates[k], scores[k]
    if size == count:
        return size
    for root in range(size // 2 - 1, -1, -1):
        sift_down(kept, items, root, size)
    for k in range(size, count):
        if beats(scores[k], candidates[k], kept[0], items[0]):
            items[0], kept[0] = candidates[k], scores[k]
            sift_down(kept, items, 0, size)
    return size


@kernel()
def add_random(pool, user, slot, count, scratch):
    """Append up to K free items to the `count` chosen ones; returns the new number of chosen items.

    The drafted extras are the start of a random order of the free items. Without the chosen ones,
    they are the start of a random order of the rest, so only as many as were left out are drawn.
    """
    chosen, taken = scratch.chosen, scratch.taken
    drafted = scratch.counts[slot, 1]
    first = count
    for k in range(drafted):
        item = scratch.extras[slot, k]
        fresh = True
        for c in range(first):
            fresh = fresh and chosen[c] != item
        if fresh:
            chosen[count] = item
            count += 1
    missing = first + drafted - count
    if missing > 0:
        # extras that were left out are among the chosen, so this takes all of both
        number = next_draw(taken)
        for c in range(count):
            take(taken, number, chosen[c])
        count += draw_more(pool, user, missing, count, chosen, count, taken, number, scratch.state)
    return count


@kernel(inline=True)
def choose(weights, pool, plan, user, slot, given, row, scratch):
    """Fill `scratch.chosen` and `scratch.chosen_scores` for row number `row`; returns how many.

    slot: where the row was drafted. Scores are without user and global bias.
    """
    p, q, bias = weights.user_factors, weights.item_factors, weights.item_bias
    chosen, values = scratch.chosen, scratch.chosen_scores
    count = np.int64(0)
    scored = np.int64(0)
    if plan.mode == GIVEN:
        while count < given.shape[1] and given[row, count] >= 0:
            chosen[count] = given[row, count]
            count += 1
    elif plan.mode == UNIFORM:
        count = scratch.counts[slot, 0]
        for k in range(count):
            chosen[k] = scratch.candidates[slot, k]
    else:
        candidates, scores = scratch.candidates[slot], scratch.scores
        found = scratch.counts[slot, 0]
        coming = scratch.candidates[(slot + rows_ahead(plan)) & (SLOTS - 1)]
        for k in range(found):
            item = np.int64(coming[k])
            prefetch_row(q, item, q.shape[1])
            prefetch(bias, item)
            item = np.int64(candidates[k])
            scores[k] = bias[item] + dot(p, user, q, item)
        count = keep_best(candidates, scores, found, plan.hard, chosen, values)
        scored = count
        if plan.random > 0:
            count = add_random(pool, user, slot, count, scratch)
    for k in range(scored, count):
        item = np.int64(chosen[k])
        values[k] = bias[item] + dot(p, user, q, item)
    return count


@kernel(inline=True)
def per_pair(loss):
    """Whether a sample of this loss is a pair; otherwise it is a row with all of its negatives."""
    return loss == BPR


@kernel(inline=True)
def coefficients(loss, hyper, user, positive, count, scratch, product):
    """Fill `scratch.coef` for the sum of a row's samples; returns (loss, product, sum of coef).

    positive: the score of the row's own item. count: how many negatives are chosen. The row's loss
    is the returned one plus what `add_log` has multiplied into the product. NaN for other losses.

    BPR: softplus(-x) for each pair, with x = x_ui - x_uj - margin; coef = sigmoid(-x).
    Softmax: one sample; coef = (share of the negative) / temperature.
    SL@K: w times softmax's, with the constant w = sigmoid((x_ui - quantile) / weight_temperature).
    """
    values, coef = scratch.chosen_scores, scratch.coef
    total, weight = 0.0, _0
    if loss == BPR:
        for k in range(count):
            x = positive - values[k] - hyper.margin
            coef[k], factor = logistic(-x)
            weight += coef[k]
            total, product = add_log(total + max(-x, _0), product, factor)
        return total, product, weight
    if loss != SOFTMAX and loss != SOFTMAX_AT_K:
        return math.nan, product, weight  # a loss without a branch here is noticed at once
    top = _0  # gap of the positive to itself
    for k in range(count):
        coef[k] = (values[k] - positive) / hyper.temperature
        # a NaN must win, so that it reaches the loss
        top = top if coef[k] <= top else coef[k]
    share = exp_of_negative(-top)
    for k in range(count):
        coef[k] = exp_of_negative(coef[k] - top)
        share += coef[k]
    for k in range(count):
        coef[k] = coef[k] / (share * hyper.temperature)
        weight += coef[k]
    if loss == SOFTMAX_AT_K:
        gap = (positive - hyper.quantiles[user]) / hyper.weight_temperature
        of_row, _ = logistic(gap)
        for k in range(count):
            coef[k] *= of_row
        return np.float64(of_row) * (top + math.log(share)), product, weight * of_row
    total, product = add_log(np.float64(top), product, share)
    return total, product, weight
