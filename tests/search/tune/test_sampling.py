"""Fewer users: a sample is like all of them, and nobody's items change."""

from __future__ import annotations

import numpy as np

from recsys.interactions import CSR
from search.tune.sampling import part_of, sample_users
from tests.kernels.helpers import random_pairs


def test_sampled_users_are_alike_in_how_active_they_are() -> None:
    rng = np.random.default_rng(5)
    activity = rng.permutation(np.arange(1, 201)) / 400
    user, item = np.nonzero(rng.random((200, 300)) < activity[:, None])
    seen = CSR.from_pairs(user, item, 200, 300)
    held_out = random_pairs(rng, 200, 300, 0.02)
    some = sample_users(held_out, seen, 50, np.random.default_rng(1))
    chosen = np.flatnonzero(some.degrees())
    everyone = np.flatnonzero(held_out.degrees())
    assert len(chosen) == 50
    for u in chosen:
        assert np.array_equal(some.row(int(u)), held_out.row(int(u)))
    # every fiftieth part of the ordered users has one of them: far closer than chance would be
    wanted = np.sort(seen.degrees()[everyone])
    found = np.sort(seen.degrees()[chosen])
    edges = (np.arange(51) * len(everyone) / 50).astype(int)
    for place, degree in enumerate(found):
        low, high = edges[place], min(edges[place + 1], len(wanted) - 1)
        assert wanted[low] <= degree <= wanted[high]


def test_a_sample_of_all_is_all() -> None:
    rng = np.random.default_rng(5)
    held_out = random_pairs(rng, 30, 40, 0.1)
    assert sample_users(held_out, held_out, 30, rng) is held_out


def test_a_part_of_the_users() -> None:
    train = random_pairs(np.random.default_rng(2), 100, 30, 0.2)
    part = part_of(train, 0.1)
    assert (part.n_users, part.n_items) == (10, 30)
    for k in range(10):
        assert np.array_equal(part.row(k), train.row(10 * k))
    assert part_of(train, 1.0).digest() == train.digest()
    assert part_of(train, 0.0).n_users == 1
