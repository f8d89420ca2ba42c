"""Item neighbours by cosine similarity. Shapes: U users, I items."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from recsys.interactions import CSR
from recsys.models.base import Cost, Size
from recsys.models.linear import SparseLinear, matrix
from recsys.models.neighbours import nearest_by_cosine, nearest_cost
from recsys.models.weighted import WeightedConfig, weights_of_pairs


class ItemKnnConfig(WeightedConfig):
    """knn_neighbours: how many nearest items are kept for each item. knn_shrink: added to the
    denominator of the cosine, so that similarities of rare items count for less. weight: see
    `WeightedConfig`.
    """

    model: ClassVar[str] = "item_knn"
    shorts: ClassVar[dict[str, str]] = {
        "knn_neighbours": "k",
        "knn_shrink": "shrink",
        "weight": "weight",
    }
    knn_neighbours: int = Field(100, gt=0, le=1_000_000)
    knn_shrink: float = Field(10.0, ge=0, le=1e6)


class ItemKNN(SparseLinear):
    """Cosine similarity between items; only the nearest items of each item are kept. Ties go to the
    lower item. Columns and histories have the weights of the pairs.
    """

    def solve(self, config: ItemKnnConfig, positives: CSR, threads: int = 1) -> None:
        """Find the nearest items of each item; see `nearest_by_cosine`."""
        pairs = weights_of_pairs(positives, config.weight)
        nearest = nearest_by_cosine(
            positives,
            config.knn_neighbours,
            shrink=config.knn_shrink,
            pairs=pairs,
            threads=threads,
        )
        self.become(matrix(positives, pairs), nearest.T.tocsr())

    @staticmethod
    def cost(config: ItemKnnConfig, size: Size) -> Cost:
        """The cost of finding the nearest items; see `nearest_cost`."""
        return nearest_cost(config.knn_neighbours, size, weighted=config.weighs)
