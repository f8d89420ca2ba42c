"""Pairs that do not all count alike: by their rating, or by how often they occur.

Hu, Koren and Volinsky 2008 take observations as a confidence that grows with the value, linearly
(section 4) or with its logarithm (equation 6). Shapes: U users, I items, E pairs.
"""

from __future__ import annotations

from typing import ClassVar, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.interactions import CSR
from recsys.models.base import ModelConfig

Weight = Literal["none", "log", "linear"]
WEIGHT, NO_WEIGHT = "weight", "none"  # the parameter, and its default


class WeightedConfig(ModelConfig):
    """The config of a model that can weigh its pairs; see `weights_of_pairs`.

    weight: how the weight of a pair grows with its value: "none" (all are 1), "log" or "linear".
    """

    unsaid: ClassVar[tuple[str, ...]] = (WEIGHT,)
    weight: Weight = "none"

    @property
    def weighs(self) -> bool:
        """Whether training needs the values of pairs."""
        return {"none": False, "log": True, "linear": True}[self.weight]

    @property
    def compiled(self) -> str:
        """See `ModelConfig.compiled`: pairs with weights have their own functions."""
        return f"{self.model}-weighted" if self.weighs else self.model


def weighs(config: ModelConfig) -> bool:
    """Whether training `config` needs the values of pairs."""
    return isinstance(config, WeightedConfig) and config.weighs


def weights_of_pairs(positives: CSR, weight: Weight) -> NDArray[np.float32] | None:
    """The weight of each pair of `positives`, float32 (E,), above 0 and with mean 1; None where all
    are alike.

    For values v, they are proportional to v if `weight` is "linear", and to log(1 + v) if it is
    "log". The mean of 1 keeps other parameters, such as the strength of a regulariser, in the range
    that they have without weights; a pair of somebody whom the model does not know has the weight
    1. Raises ConfigError where there are no values.
    """
    if weight == "none":
        return None
    if positives.values is None:
        raise ConfigError(
            f"weight is {weight}: these pairs have no values: expected ratings or counts "
            "(load(..., values=True)), or weight none",
            WEIGHT,
        )
    values = positives.values.astype(np.float64)
    match weight:
        case "log":
            strength = np.log1p(values)
        case "linear":
            strength = values
        case _:
            assert_never(weight)
    mean = strength.mean() if len(strength) else 1.0
    found: NDArray[np.float32] = (strength / mean).astype(np.float32)
    # a value of next to nothing beside others is still a pair
    return np.maximum(found, np.finfo(np.float32).tiny)


def in_order_of_items(positives: CSR, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """`weights` (E,), aligned with `positives`, as they are aligned with the transposed pairs."""
    # rows of users are in order, so those of one item stay in the order of users
    return np.ascontiguousarray(weights[np.argsort(positives.indices, kind="stable")])


def user_totals(positives: CSR, weights: NDArray | None) -> NDArray:
    """The sum of the weights of each user's pairs, float64 (U,); without weights their number,
    int64.
    """
    if weights is None:
        return positives.degrees()
    return np.bincount(positives.users(), weights, positives.n_users)


def item_totals(positives: CSR, weights: NDArray | None) -> NDArray:
    """The sum of the weights of each item's pairs, float64 (I,); without weights their number,
    int64.
    """
    if weights is None:
        return positives.item_counts()
    return np.bincount(positives.indices, weights, positives.n_items)
