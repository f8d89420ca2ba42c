"""A model of earlier data, asked about the users and items of newer data: they are matched by ids.

Shapes: U users and I items of the newer data, B users of a block.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.data.ids import spelled_as
from recsys.interactions import CSR
from recsys.models.catalogue import Catalogue
from recsys.receivers import receivers_of, texts
from recsys.scoring import Scorer


@dataclass(frozen=True, eq=False)
class Matched:
    """Users (U,) and items (I,) of newer data by their internal ids in the earlier data, -1 where
    there is none. there: what each user has in the earlier data.
    """

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    there: CSR

    @staticmethod
    def of(user_ids: NDArray, item_ids: NDArray, earlier: Catalogue) -> Matched:
        """user_ids, item_ids: the original ids of the newer data."""
        codes = [
            receivers_of(spelled_as(texts(ids), old), old).codes
            for ids, old in ((user_ids, earlier.user_ids), (item_ids, earlier.item_ids))
        ]
        return Matched(codes[0], codes[1], earlier.seen)

    @property
    def nothing(self) -> bool:
        """Whether the earlier data have none of these users and none of these items."""
        return bool((self.users < 0).all() and (self.items < 0).all())

    def pairs(self, newer: CSR) -> CSR:
        """The pairs of `newer` (U x I) whose user and item the earlier data have, in their ids."""
        users, items = self.users[newer.users()], self.items[newer.indices]
        both = (users >= 0) & (items >= 0)
        there = self.there
        return CSR.from_pairs(users[both], items[both], there.n_users, there.n_items)


@dataclass(frozen=True, eq=False)
class Earlier:
    """A model of the earlier data as a scorer of the users and items of the newer data.

    trained: what the model was trained on, of the users and items of the earlier data. Users of
    whom it has nothing get what was popular there, as when the model is served, known or not: of
    them a model has no score, or the values that it began with. Items that are not among the
    earlier data come last.
    """

    model: Scorer
    matched: Matched
    trained: CSR

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """The scores of `users` (B,), float32 (B, I)."""
        items, (popular, has_items) = self.matched.items, self._facts
        codes, known = self.matched.users[users], items >= 0
        rows = np.maximum(codes, 0)
        there = np.array(self.model.score_users(rows.astype(np.int32)))
        there[(codes < 0) | ~has_items[rows]] = popular
        scores = np.full((len(users), len(items)), np.finfo(np.float32).min, np.float32)
        scores[:, known] = there[:, items[known]]
        return scores

    @cached_property
    def _facts(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """How many users an item has in `trained`, and which users have items there."""
        return self.trained.item_counts().astype(np.float32), self.trained.degrees() > 0
