"""EASE, a linear item-item model in closed form. Shapes: U users, I items.

Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data".
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pydantic import Field

from recsys.interactions import CSR
from recsys.models.base import Cost, Size
from recsys.models.linear import LinearModel, gram, matrix
from recsys.models.weighted import WeightedConfig, weights_of_pairs

# The solution is dense: for 12,000 items a float32 matrix of I x I has 0.6 GB, and a solution takes
# about a minute.
MAX_ITEMS = 12_000
# With at least so many items, it is solved in float32: half the memory and time, and an error far
# too small to change a ranking, as lambda keeps the matrix well conditioned.
SINGLE_FROM = 4_000


class EaseConfig(WeightedConfig):
    """ease_l2: lambda of the paper, the ridge penalty on the item-item weights. weight: see
    `WeightedConfig`.
    """

    model: ClassVar[str] = "ease"
    shorts: ClassVar[dict[str, str]] = {"ease_l2": "l2", "weight": "weight"}
    ease_l2: float = Field(250.0, gt=0, le=1e9)


class EASE(LinearModel):
    """Item-item weights with a zero diagonal that best rebuild each user's history from the rest of
    it (Steck 2019, equation 8).

    With G = X'X + l2 I and P = G^-1, the weights are -P_ij / P_jj off the diagonal. X has the
    weights of the pairs, so heavy pairs both are rebuilt and rebuild others more. Memory: see
    `cost`.
    """

    def __init__(self, positives: CSR | None = None, l2: float | None = None) -> None:
        """An untrained model, or with `positives` (CSR of U x I) and `l2`, a trained one."""
        self._gram_of: tuple[CSR, str, NDArray] | None = None
        if positives is not None and l2 is not None:
            self.solve(EaseConfig(ease_l2=l2), positives)

    def solve(self, config: EaseConfig, positives: CSR, threads: int = 1) -> None:  # noqa: ARG002
        """Fit to `positives`; solving the same object again on the same positives, with the same
        `weight`, reuses X'X.
        """
        known = self._gram_of
        if known is None or known[0] is not positives or known[1] != config.weight:
            self._x = matrix(positives, weights_of_pairs(positives, config.weight))
            known = self._gram_of = (positives, config.weight, gram(self._x, SINGLE_FROM))
        self._weights = _ease_weights(known[2].copy(), config.ease_l2)

    def arrays(self) -> dict[str, NDArray]:
        """As in `LinearModel`; X'X, kept in case of another `solve`, is dropped."""
        self._gram_of = None  # of no use to a trained model
        return super().arrays()

    @staticmethod
    def cost(config: EaseConfig, size: Size) -> Cost:  # noqa: ARG004
        """Three I x I matrices while solving, besides the float32 weights; I^3 operations."""
        single = size.items >= SINGLE_FROM
        cell = 4 if single else 8
        return Cost(memory=(3 * cell + 4) * size.items**2, work=1.0 * size.items**3)


def _ease_weights(gram_II: NDArray, l2: float) -> NDArray[np.float32]:
    """EASE's weights, float32 (I, I); overwrites the Gram matrix."""
    assert l2 > 0, l2
    gram_II[np.diag_indices_from(gram_II)] += gram_II.dtype.type(l2)
    factor, low = scipy.linalg.cho_factor(gram_II.T, lower=True, overwrite_a=True)
    (potri,) = scipy.linalg.get_lapack_funcs(("potri",), (factor,))
    inverse, info = potri(factor, lower=low, overwrite_c=True)
    assert info == 0, info
    # potri fills one triangle; the other still holds the input
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return np.ascontiguousarray(weights, np.float32)
