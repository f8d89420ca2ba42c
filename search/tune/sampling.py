"""Fewer users: those that are evaluated, and a part of the data to measure on."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR, contested, rows_of, subset


def watched_users(train: CSR, valid: CSR) -> int:
    """How many users have an evaluation on `valid`: held-out items, and others to rank below."""
    return int(contested(train.degrees(), valid.degrees(), train.n_items).sum())


def sample_users(held_out: CSR, seen: CSR, count: int, rng: np.random.Generator) -> CSR:
    """The held-out items of a sample of `count` users who have any, as active as users are overall.

    Users are ordered by how many items they have in `seen`, and every n-th is taken, from a random
    first one. The result has the shape of `held_out`; all others' rows are empty.
    """
    users = np.flatnonzero(held_out.degrees() > 0)
    if count >= len(users):
        return held_out
    shuffled = rng.permutation(users)  # equally active users are in random order
    ordered = shuffled[np.argsort(seen.degrees()[shuffled], kind="stable")]
    at = ((rng.random() + np.arange(count)) * len(users) / count).astype(np.int64)
    return of_users(held_out, ordered[at])


def of_users(held_out: CSR, users: NDArray) -> CSR:
    """The held-out items of some users; all others' rows are empty."""
    keep = np.zeros(held_out.n_users, np.bool_)
    keep[users] = True
    return subset(held_out, np.repeat(keep, held_out.degrees()))


def part_of(train: CSR, share: float) -> CSR:
    """The interactions of every n-th user, for measuring: fewer users, but all item columns.

    share: of the users, above 0; at least one is kept.
    """
    count = max(1, min(train.n_users, math.ceil(share * train.n_users)))
    return rows_of(train, np.arange(count) * train.n_users // count)
