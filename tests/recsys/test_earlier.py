"""A model of earlier data, asked about newer data."""

from __future__ import annotations

import numpy as np

from recsys.earlier import Earlier, Matched
from recsys.interactions import CSR, no_pairs
from recsys.models.catalogue import Catalogue


def test_the_earlier_model_in_terms_of_the_new_data() -> None:
    class Scores:
        def score_users(self, users: np.ndarray) -> np.ndarray:
            return np.array([[10.0 * u, 10.0 * u + 1, 10.0 * u + 2] for u in users], np.float32)

    users, items = np.array([2, -1, 0]), np.array([1, -1, 0, 2])
    matched = Matched(users, items, no_pairs(3, 3))
    model = Earlier(Scores(), matched, np.array([5, 6, 7], np.float32))
    least = np.finfo(np.float32).min
    assert model.score_users(np.array([0, 1, 2])).tolist() == [
        [21, least, 20, 22],
        [6, least, 5, 7],
        [1, least, 0, 2],
    ]


def test_users_and_items_are_matched_by_their_ids_as_text() -> None:
    seen = CSR.from_pairs(np.array([0, 1]), np.array([2, 0]), 2, 3)
    earlier = Catalogue(np.array([7, 9]), np.array(["a", "b", "c"], object), seen)
    found = Matched.of(np.array(["9", "x", "7"], object), np.array(["c", "new", "a"]), earlier)
    assert found.users.tolist() == [1, -1, 0]
    assert found.items.tolist() == [2, -1, 0]
    assert not found.nothing
    newer = CSR.from_pairs(np.array([0, 0, 1, 2, 2]), np.array([1, 2, 0, 0, 1]), 3, 3)
    pairs = found.pairs(newer)  # those of the unknown user and of the new item are left out
    assert list(zip(pairs.users(), pairs.indices, strict=True)) == [(0, 2), (1, 0)]
    assert pairs.overlap(seen) == 2
    strangers = Matched.of(np.array([1, 2]), np.array([3, 4]), earlier)
    assert strangers.nothing
    assert strangers.pairs(CSR.from_pairs(np.array([0]), np.array([1]), 2, 2)).nnz == 0
