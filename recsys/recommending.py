"""The model in use: the best items for users, for people known by what they like, for anyone else.

Each row of a request is answered in one of three ways, whatever the model. A list of items that
somebody likes is folded in, together with the history of a known user. A known user without such a
list is scored as in the submission. Anyone else gets the items with the most users.

Shapes: R rows, B rows of a block, I items, k places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.evaluation import TILE, torch_threads
from recsys.interactions import CSR, nothing_like, rows_of
from recsys.models import Model, ModelConfig
from recsys.models.base import ListScorer
from recsys.scoring import Product, product_with

MODEL, ITEMS, POPULAR = "model", "items", "popular"

Scores = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # from rows (B,) to scores (B, I)
Best = tuple[NDArray[np.int32], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Ranked:
    """The answers of a request.

    items: int32 (R, k), best first, -1 where there are fewer. scores: float32 (R, k), NaN beside
    -1. source: how each row was answered: `MODEL`, `ITEMS` or `POPULAR`.
    """

    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    source: list[str]


class Recommender:
    """A trained model and the items of its users; what can be prepared is prepared only once."""

    def __init__(self, model: Model, config: ModelConfig, seen: CSR) -> None:
        """seen: U x I, the items of the model's users, in its order."""
        self.model, self.config, self.seen = model, config, seen
        self._counts = seen.item_counts().astype(np.float32)
        self._has_items = seen.degrees() > 0
        self._ready: dict[bool, tuple[Model, ListScorer]] = {}

    def recommend(
        self,
        users: NDArray[np.int64],
        lists: CSR,
        k: int,
        *,
        exclude_seen: bool = True,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Ranked:
        """The k best items of each row.

        users: (R,), -1 for unknown users. lists: CSR (R, I), the items that a known or unknown user
        likes. exclude_seen: leave out the user's items and those of the list. allowed: bool (I,),
        the items that may be recommended; None: all. Raises ConfigError for a k below 1,
        FloatingPointError for a NaN score.
        """
        k = self._places(k)
        # of users in the data without items the model knows as little as of unknown users
        known = (users >= 0) & self._has_items[np.maximum(users, 0)]
        liked = lists.degrees() > 0
        source = np.where(liked, ITEMS, np.where(known, MODEL, POPULAR))
        model, score_lists = self._prepared(exclude_seen)
        every = self._joined(users, lists)

        def of_lists(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            # rows ascend: as many as there are are all of them, in their order
            return score_lists(every if len(rows) == every.n_users else rows_of(every, rows))

        def of_model(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return model.score_few(users[rows])  # the submission's, to the last bit

        def of_counts(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.broadcast_to(self._counts, (len(rows), len(self._counts)))

        ways: dict[str, Scores] = {ITEMS: of_lists, MODEL: of_model, POPULAR: of_counts}
        items = np.full((len(users), k), -1, np.int32)
        scores = np.full((len(users), k), np.nan, np.float32)
        left_out = every if exclude_seen else nothing_like(every)
        for way, score in ways.items():
            rows = np.flatnonzero(source == way)
            if len(rows):
                items[rows], scores[rows] = best(score, left_out, rows, k, allowed)
        return Ranked(items, scores, source.tolist())

    def similar(
        self, items: NDArray[np.int64], k: int, *, allowed: NDArray[np.bool_] | None = None
    ) -> Best:
        """The k items nearest to each of `items` (R,), without itself, and how near they are.

        Nearness is the cosine of vectors if the model has any, otherwise the score for somebody who
        likes only this item. allowed: bool (I,), the items that may be listed; None: all. Raises
        ConfigError for a k below 1, FloatingPointError for a NaN score.
        """
        alone = CSR.from_pairs(np.arange(len(items)), items, len(items), self.seen.n_items)
        k = self._places(k)
        return best(self._nearness(items, alone), alone, np.arange(len(items)), k, allowed)

    def _places(self, k: int) -> int:
        if k < 1:
            raise ConfigError(f"k: expected a whole number from 1, got {k}")
        return min(k, self.seen.n_items)

    def _nearness(self, items: NDArray[np.int64], alone: CSR) -> Scores:
        if self._unit is None:
            _, score_lists = self._prepared(exclude_seen=True)
            return lambda rows: score_lists(rows_of(alone, rows))
        unit, cosines = self._unit
        return lambda rows: cosines(unit[items[rows]])

    @cached_property
    def _unit(self) -> tuple[NDArray[np.float32], Product] | None:
        """The items' vectors with length 1, float32 (I, d), and products with them; None for a
        model without vectors.
        """
        vectors = self.model.vectors()
        if vectors is None:
            return None
        length = np.linalg.norm(vectors.items, axis=1, keepdims=True)
        unit = np.asarray(vectors.items / np.maximum(length, np.finfo(np.float32).tiny))
        return unit, product_with(unit)

    def _prepared(self, exclude_seen: bool) -> tuple[Model, ListScorer]:
        if exclude_seen not in self._ready:
            model = self.model if exclude_seen else self.model.with_seen()
            self._ready[exclude_seen] = model, model.list_scorer(self.config, self.seen)
        return self._ready[exclude_seen]

    def _joined(self, users: NDArray[np.int64], lists: CSR) -> CSR:
        """The items of each row's user together with those of its list."""
        rows = np.flatnonzero(users >= 0)
        if not len(rows):
            return lists
        own = rows_of(self.seen, users[rows])
        size = np.zeros(len(users) + 1, np.int64)
        size[rows + 1] = own.degrees()
        return lists.union(CSR(np.cumsum(size), own.indices, lists.n_items))


def best(
    score: Scores,
    left_out: CSR,
    rows: NDArray[np.int64],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Best:
    """The k best items of some rows.

    score: from rows (B,) to scores (B, I). left_out: (R, I), the items that each row may not get.
    rows: int64, the rows that are asked for. allowed: bool (I,), the items that may be listed;
    None: all. Raises FloatingPointError for a NaN score.
    """
    from recsys.kernels.topk import best_unseen

    items = np.full((len(rows), k), -1, np.int32)
    values = np.full((len(rows), k), np.nan, np.float32)
    if not k:
        return items, values
    with torch_threads(1):
        for low in range(0, len(rows), TILE):
            part = rows[low : low + TILE]
            scores = np.ascontiguousarray(score(part), np.float32)
            if allowed is not None:
                scores = np.where(allowed, scores, np.float32(-np.inf))
            found = items[low : low + TILE]
            index = part.astype(np.int32)
            if (
                best_unseen(scores, index, left_out.indptr, left_out.indices, found, 0, len(part))
                >= 0
            ):
                raise FloatingPointError("the score of a user and an item is NaN")
            if allowed is not None:
                found[~allowed[found]] = -1
            there = found >= 0
            of_found = scores[np.arange(len(part))[:, None], np.maximum(found, 0)]
            values[low : low + TILE] = np.where(there, of_found, np.nan)
    return items, values
