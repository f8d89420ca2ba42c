"""Item neighbours by cosine similarity. Shapes: U users, I items."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.interactions import CSR
from recsys.models.base import Cost, ModelConfig, Size
from recsys.models.ease import SINGLE_FROM
from recsys.models.linear import LinearModel, gram, matrix


class ItemKnnConfig(ModelConfig):
    """knn_neighbours: how many nearest items are kept for each item. knn_shrink: added to the
    denominator of the cosine, so that similarities of rare items count for less."""

    model: ClassVar[str] = "item_knn"
    knn_neighbours: int = Field(100, gt=0, le=1_000_000)
    knn_shrink: float = Field(10.0, ge=0, le=1e6)


class ItemKNN(LinearModel):
    """Cosine similarity between items, the nearest of each kept; dense I x I."""

    def __init__(
        self, positives: CSR | None = None, neighbours: int = 100, shrink: float = 10.0
    ) -> None:
        """Untrained, or fitted at once to `positives`."""
        if positives is not None:
            self.solve(ItemKnnConfig(knn_neighbours=neighbours, knn_shrink=shrink), positives)

    def solve(self, config: ItemKnnConfig, positives: CSR) -> None:
        neighbours, shrink = config.knn_neighbours, config.knn_shrink
        self._x = matrix(positives)
        similar = gram(self._x, SINGLE_FROM)
        norm = np.sqrt(similar.diagonal())
        np.fill_diagonal(similar, 0.0)
        with np.errstate(invalid="ignore"):  # 0 / 0 of items that nobody has, without shrinkage
            similar /= np.outer(norm, norm) + shrink
        np.nan_to_num(similar, copy=False)
        if neighbours < len(similar):
            cut = np.partition(similar, -neighbours, axis=1)[:, -neighbours]
            similar[similar < cut[:, None]] = 0.0
        self._weights = np.ascontiguousarray(similar.T, np.float32)

    @staticmethod
    def cost(config: ItemKnnConfig, size: Size) -> Cost:  # noqa: ARG004
        cell = 4 if size.items >= SINGLE_FROM else 8
        mean = size.positives / max(size.users, 1)
        return Cost(
            memory=(2 * cell + 4) * size.items**2, work=size.positives * mean + size.items**2
        )
