"""Popularity: everybody gets the same list. Shapes: U users, I items, B users of a block."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.base import ClosedForm, Cost, ListScorer, ModelConfig, Size


class PopularityConfig(ModelConfig):
    """It has no parameters."""

    model: ClassVar[str] = "popularity"


class Popularity(ClosedForm):
    """An item's score is its number of training users, the same for everybody."""

    def __init__(self, positives: CSR | None = None) -> None:
        """An untrained model, or with `positives` (CSR of U x I), a trained one."""
        self._counts = np.zeros(0, np.float32)
        if positives is not None:
            self.solve(PopularityConfig(), positives)

    def solve(self, config: PopularityConfig, positives: CSR, threads: int = 1) -> None:  # noqa: ARG002
        """Count the users of each item."""
        self._counts = positives.item_counts().astype(np.float32)

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """The counts, float32 (B, I), as a read-only view that repeats one row."""
        return np.broadcast_to(self._counts, (len(users), len(self._counts)))

    def list_scorer(self, config: PopularityConfig, seen: CSR) -> ListScorer:  # noqa: ARG002
        """The same counts for every list, whatever is in it."""
        return lambda lists: self.score_users(np.arange(lists.n_users))

    def arrays(self) -> dict[str, NDArray]:
        """`counts`, float32 (I,)."""
        return {"counts": self._counts}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Popularity:
        """The model that returned these `arrays`."""
        model = cls()
        model._counts = arrays["counts"]
        return model

    @staticmethod
    def cost(config: PopularityConfig, size: Size) -> Cost:  # noqa: ARG004
        """One pass over the pairs."""
        return Cost(memory=12 * size.items, work=float(size.positives))
