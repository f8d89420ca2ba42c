"""Exact negative sampling: never an excluded item, without replacement, uniform over the rest.

Shapes: U users, I items, R requests, N candidates, M hard negatives, K random negatives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, frozen
from recsys.kernels.jit import kernel
from recsys.models.mf.kernels.draw import EXACT, Pool, fill_filters
from recsys.models.mf.kernels.plan import BPR, HARD, SGD, UNIFORM, Plan
from recsys.models.mf.kernels.rows import choose, draft, new_scratch
from recsys.models.mf.model import ModelViews

# Bits of a hashed filter per interaction: at least so many, and less than twice that, unless 64
# bits are enough for all of a user's items.
FILTER_BITS = 8


def make_pool(excluded: CSR) -> Pool:
    """The pool that leaves out the items of `excluded` (CSR of U x I) for each user.

    Memory besides the CSR: 24 bytes per user, or for a user with more than 8 items, 16 bytes and at
    most 2 bytes per interaction.
    """
    degrees = excluded.degrees()
    words_needed = np.maximum(FILTER_BITS * degrees, 64) / 64
    log2 = np.ceil(np.log2(words_needed)).astype(np.int64)
    # where a bit per item takes no more room than the hashed filter, it is exact
    full = -(-excluded.n_items // 64)
    exact = full <= 2**log2
    n_words = np.where(exact, full, 2**log2)
    first = np.cumsum(n_words) - n_words
    users = np.stack([first * 64 + np.where(exact, EXACT, log2), excluded.n_items - degrees], 1)
    users = frozen(users, np.int64)
    words = np.zeros(int(n_words.sum()), np.uint64)
    fill_filters(excluded.indptr, excluded.indices, users, words)
    words = frozen(words, np.uint64)
    return Pool(excluded.indptr, excluded.indices, users, words, excluded.n_items)


def pool_bytes(pool: Pool, train: CSR) -> int:
    """The memory of the pool in bytes, without arrays that it shares with `train`."""
    own = pool.words.nbytes + pool.users.nbytes
    shared = pool.indices is train.indices
    return own if shared else own + pool.indptr.nbytes + pool.indices.nbytes


@kernel()
def _sample(weights, pool, users, plan, scratch, given, out, candidates):  # type: ignore[no-untyped-def]
    for row in range(len(users)):
        user = np.int64(users[row])
        draft(pool, plan, user, 0, scratch)
        for k in range(scratch.counts[0, 0] if candidates.shape[1] > 0 else 0):
            candidates[row, k] = scratch.candidates[0, k]
        count = choose(weights, pool, plan, user, 0, given, row, scratch)
        for k in range(count):
            out[row, k] = scratch.chosen[k]


def _run(
    pool: Pool,
    views: ModelViews,
    users: NDArray,
    plan: Plan,
    width: int,
    rng: np.random.Generator,
    candidates: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Negatives, int32 (R, width), and if `candidates` are asked for, these, int32 (R, N)."""
    users = frozen(users, np.int32)
    scratch = new_scratch(rng, 1, plan, pool.n_items, views.user_factors.shape[1])[0]
    out = np.full((len(users), width), -1, np.int32)
    drafted = np.full((len(users), candidates), -1, np.int32)
    given = np.zeros((0, 0), np.int32)
    _sample(views, pool, users, plan, scratch, given, out, drafted)
    return out, drafted


def sample_uniform(
    pool: Pool, users: NDArray, count: int, rng: np.random.Generator
) -> NDArray[np.int32]:
    """`count` distinct free items for each of `users` (int (R,)), int32 (R, count).

    A user with fewer free items gets all of them, padded with -1. rng: seeds the draws.
    """

    def nothing(*shape: int) -> NDArray[np.float32]:  # uniform draws read no weight
        return np.zeros(shape, np.float32)

    n_users, n_items = len(pool.users), pool.n_items
    views = ModelViews(
        nothing(n_users, 1), nothing(n_items, 1), nothing(n_users), nothing(n_items), nothing(1)
    )
    plan = Plan(BPR, SGD, UNIFORM, count, 0, 0)
    return _run(pool, views, users, plan, count, rng)[0]


def sample_hard(
    pool: Pool,
    views: ModelViews,
    users: NDArray,
    candidates: int,
    hard: int,
    random: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Hard negatives of `users` (int (R,)) with the weights `views`.

    Returns two arrays, padded with -1. The negatives, int32 (R, M+K): the M = `hard` candidates
    with the highest scores (ties go to the lower item), then K = `random` of the other free items.
    The N = `candidates` candidates, int32 (R, N). rng: seeds the draws.
    """
    plan = Plan(BPR, SGD, HARD, candidates, hard, random)
    return _run(pool, views, users, plan, hard + random, rng, candidates)
