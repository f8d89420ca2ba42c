"""RP3beta: items reached by walks of three steps. Shapes: U users, I items.

Paudel et al. 2017, "Updatable, Accurate, Diverse, and Scalable Recommendations for Interactive
Applications".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys.interactions import CSR
from recsys.models.base import Cost, Size
from recsys.models.linear import SparseLinear, matrix
from recsys.models.neighbours import nearest_cost, nearest_items
from recsys.models.weighted import (
    WeightedConfig,
    item_totals,
    user_totals,
    weights_of_pairs,
)


class Rp3betaConfig(WeightedConfig):
    """rp3_alpha: the exponent of both transition probabilities, from item to user and from user to
    item. rp3_beta: how strongly popular items are penalised. rp3_neighbours: how many items are
    kept for each item of a history. weight: see `WeightedConfig`.
    """

    model: ClassVar[str] = "rp3beta"
    shorts: ClassVar[dict[str, str]] = {
        "rp3_neighbours": "k",
        "rp3_alpha": "alpha",
        "rp3_beta": "beta",
        "weight": "weight",
    }
    rp3_neighbours: int = Field(200, gt=0, le=1_000_000)
    rp3_alpha: float = Field(0.8, ge=0, le=4)
    rp3_beta: float = Field(0.4, ge=0, le=4)


class RP3beta(SparseLinear):
    """Item-item weights from walks of three steps: for i and j, the sum of (1 / n_i)^alpha x
    (1 / n_u)^alpha over the users u who have both, divided by n_j^beta. n counts the users of an
    item, or the items of a user. Only the largest weights of each row are kept.

    With a `weight`, a step takes a pair in proportion to its weight w, so that each 1 is w and each
    n a sum of weights; a user's first step too, so histories have w^alpha.
    """

    def solve(self, config: Rp3betaConfig, positives: CSR, threads: int = 1) -> None:
        """Sum over the walks and keep the largest weights; see `nearest_items`."""
        weights = weights_of_pairs(positives, config.weight)
        # who has no pairs is reached by no walk
        counts = _or_one(item_totals(positives, weights))
        activity = _or_one(user_totals(positives, weights))
        steps = None if weights is None else _powers(weights, config.rp3_alpha)
        self.become(
            matrix(positives, steps),
            nearest_items(
                positives,
                config.rp3_neighbours,
                weight=(activity**-config.rp3_alpha).astype(np.float32),
                left=(counts**config.rp3_alpha).astype(np.float32),
                right=(counts**config.rp3_beta).astype(np.float32),
                pairs=steps,
                threads=threads,
            ),
        )

    @staticmethod
    def cost(config: Rp3betaConfig, size: Size) -> Cost:
        """The cost of finding the nearest items; see `nearest_cost`."""
        return nearest_cost(config.rp3_neighbours, size, weighted=config.weighs)


def _or_one(totals: NDArray) -> NDArray[np.float64]:
    """Totals as float64, with 1 for nothing."""
    return np.where(totals > 0, totals, 1).astype(np.float64)


def _powers(weights: NDArray[np.float32], exponent: float) -> NDArray[np.float32]:
    """`weights` (E,) to a power, float32, above 0."""
    raised = (weights.astype(np.float64) ** exponent).astype(np.float32)
    return np.clip(raised, np.finfo(np.float32).tiny, np.finfo(np.float32).max)
