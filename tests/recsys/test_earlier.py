"""A model of earlier data, asked about newer data."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.earlier import Earlier, Matched
from recsys.interactions import CSR, no_pairs
from recsys.models import config_from_flat, fit_model
from recsys.models.catalogue import Catalogue
from recsys.recommending import Recommender


def test_the_earlier_model_in_terms_of_the_new_data() -> None:
    class Scores:
        def score_users(self, users: np.ndarray) -> np.ndarray:
            return np.array([[10.0 * u, 10.0 * u + 1, 10.0 * u + 2] for u in users], np.float32)

    users, items = np.array([2, -1, 0]), np.array([1, -1, 0, 2])
    matched = Matched(users, items, no_pairs(3, 3))
    liked = np.repeat([0, 1, 2], [5, 6, 7])  # users of each item
    pairs = np.concatenate([np.arange(n) for n in (5, 6, 7)])
    model = Earlier(Scores(), matched, CSR.from_pairs(pairs, liked, 7, 3))
    least = np.finfo(np.float32).min
    assert model.score_users(np.array([0, 1, 2])).tolist() == [
        [21, least, 20, 22],
        [6, least, 5, 7],
        [1, least, 0, 2],
    ]


class Constant:
    def score_users(self, users: np.ndarray) -> np.ndarray:
        return np.tile(np.array([3, 2, 1], np.float32), (len(users), 1))


def test_a_known_user_with_nothing_left_gets_what_was_popular() -> None:
    """All that they have is held out of the newer data, so the model was trained without it."""
    had = CSR.from_pairs(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2]), 3, 3)
    left = CSR.from_pairs(np.array([0, 2, 2]), np.array([0, 1, 2]), 3, 3)
    every = np.arange(3)
    model = Earlier(Constant(), Matched(every, every, had), left)
    assert model.score_users(every).tolist() == [[3, 2, 1], [1, 1, 1], [3, 2, 1]]


NOTHING_LEFT = {
    "slim": {"model": "slim", "slim_neighbours": 5},
    "ials": {"model": "ials", "ials_factors": 4, "epochs": 3},
    "lfm": {"lr": 0.1, "epochs": 3, "latent_factors": 4},
}


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_the_comparison_and_serving_agree_on_who_has_nothing(name: str) -> None:
    rng = np.random.default_rng(0)
    items = np.minimum(rng.geometric(0.15, 400), 20) - 1
    left = CSR.from_pairs(rng.integers(1, 40, 400), items, 40, 20)  # of user 0 nothing is left
    config = config_from_flat(NOTHING_LEFT[name])
    model = fit_model(config, left, rng=rng)
    users, matched = np.arange(4), Matched(np.arange(40), np.arange(20), left)
    found = np.argsort(-Earlier(model, matched, left).score_users(users), axis=1, kind="stable")
    served = Recommender(model, config, left).recommend(
        users, no_pairs(4, 20), 20, exclude_seen=False
    )
    assert served.source == ["popular", "model", "model", "model"]
    assert found.tolist() == served.items.tolist()


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
