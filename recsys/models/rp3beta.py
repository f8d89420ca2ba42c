"""RP3beta: items reached by walks of three steps. Shapes: U users, I items.

Paudel et al. 2017, "Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive
Applications".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.interactions import CSR
from recsys.models.base import Cost, ModelConfig, Size
from recsys.models.linear import SparseLinear
from recsys.models.neighbours import nearest_cost, nearest_items


class Rp3betaConfig(ModelConfig):
    """rp3_alpha: the exponent of both transition probabilities, from item to user and from user to
    item. rp3_beta: how strongly popular items are penalised. rp3_neighbours: how many items are
    kept for each item of a history.
    """

    model: ClassVar[str] = "rp3beta"
    shorts: ClassVar[dict[str, str]] = {
        "rp3_neighbours": "k",
        "rp3_alpha": "alpha",
        "rp3_beta": "beta",
    }
    rp3_neighbours: int = Field(200, gt=0, le=1_000_000)
    rp3_alpha: float = Field(0.8, ge=0, le=4)
    rp3_beta: float = Field(0.4, ge=0, le=4)


class RP3beta(SparseLinear):
    """Item-item weights from walks of three steps: for i and j, the sum of (1 / n_i)^alpha x
    (1 / n_u)^alpha over the users u who have both, divided by n_j^beta. n counts the users of an
    item, or the items of a user. Only the largest weights of each row are kept.
    """

    def solve(self, config: Rp3betaConfig, positives: CSR, threads: int = 1) -> None:
        """Sum over the walks and keep the largest weights; see `nearest_items`."""
        counts = np.maximum(positives.item_counts(), 1).astype(np.float64)
        activity = np.maximum(positives.degrees(), 1).astype(np.float64)
        self.become(
            positives,
            nearest_items(
                positives,
                config.rp3_neighbours,
                weight=(activity**-config.rp3_alpha).astype(np.float32),
                left=(counts**config.rp3_alpha).astype(np.float32),
                right=(counts**config.rp3_beta).astype(np.float32),
                threads=threads,
            ),
        )

    @staticmethod
    def cost(config: Rp3betaConfig, size: Size) -> Cost:
        """The cost of finding the nearest items; see `nearest_cost`."""
        return nearest_cost(config.rp3_neighbours, size)
