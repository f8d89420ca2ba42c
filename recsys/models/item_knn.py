"""Item neighbours by cosine similarity. Shapes: U users, I items."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.interactions import CSR
from recsys.models.base import Cost, ModelConfig, Size
from recsys.models.linear import SparseLinear, pairs_met
from recsys.models.neighbours import nearest_items


class ItemKnnConfig(ModelConfig):
    """knn_neighbours: how many nearest items are kept for each item. knn_shrink: added to the
    denominator of the cosine, so that similarities of rare items count for less."""

    model: ClassVar[str] = "item_knn"
    knn_neighbours: int = Field(100, gt=0, le=1_000_000)
    knn_shrink: float = Field(10.0, ge=0, le=1e6)


class ItemKNN(SparseLinear):
    """Cosine similarity between items; of each item the nearest are kept, ties by lower item."""

    def solve(self, config: ItemKnnConfig, positives: CSR, threads: int = 1) -> None:
        norm = np.sqrt(positives.item_counts()).astype(np.float32)
        nearest = nearest_items(
            positives,
            config.knn_neighbours,
            weight=np.ones(positives.n_users, np.float32),
            left=norm,
            right=norm,
            shrink=config.knn_shrink,
            threads=threads,
        )
        self.become(positives, nearest.T.tocsr())

    @staticmethod
    def cost(config: ItemKnnConfig, size: Size) -> Cost:
        kept = size.items * min(config.knn_neighbours, size.items)
        return Cost(memory=24 * kept + 12 * size.positives, work=4 * pairs_met(size))
