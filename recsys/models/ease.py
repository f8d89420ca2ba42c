"""EASE, a linear item-item model in closed form (Steck 2019). Shapes: U users, I items."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pydantic import Field

from recsys.interactions import CSR
from recsys.models.base import Cost, ModelConfig, Size
from recsys.models.linear import LinearModel, gram, matrix

# A dense I x I solve: 12,000 items are 0.6 GB in float32 and about a minute a lambda.
MAX_ITEMS = 12_000
# From here on the solve is in float32: half the memory and time, and an error far below what
# moves a ranking, as lambda keeps the matrix well conditioned.
SINGLE_FROM = 4_000


class EaseConfig(ModelConfig):
    """ease_l2: lambda, the ridge on the item-item weights."""

    model: ClassVar[str] = "ease"
    shorts: ClassVar[dict[str, str]] = {"ease_l2": "l2"}
    ease_l2: float = Field(250.0, gt=0, le=1e9)


class EASE(LinearModel):
    """Weights with a zero diagonal that rebuild each user's history (Steck 2019, equation 8).

    With G = X'X + l2 I and P = G^-1, the weights are -P_ij / P_jj off the diagonal. Memory: see
    `cost`.
    """

    def __init__(self, positives: CSR | None = None, l2: float | None = None) -> None:
        """Untrained, or solved at once for `positives` and `l2`."""
        self._gram_of: tuple[CSR, NDArray] | None = None
        if positives is not None and l2 is not None:
            self.solve(EaseConfig(ease_l2=l2), positives)

    def solve(self, config: EaseConfig, positives: CSR, threads: int = 1) -> None:  # noqa: ARG002
        """Solving the same object again on the same positives reuses X'X."""
        if self._gram_of is None or self._gram_of[0] is not positives:
            self._x = matrix(positives)
            self._gram_of = (positives, gram(self._x, SINGLE_FROM))
        self._weights = _ease_weights(self._gram_of[1].copy(), config.ease_l2)

    def arrays(self) -> dict[str, NDArray]:
        """As in `LinearModel`; X'X, kept for solving again, is dropped."""
        self._gram_of = None  # of no use to a trained model
        return super().arrays()

    @staticmethod
    def cost(config: EaseConfig, size: Size) -> Cost:  # noqa: ARG004
        """Three matrices of I x I while solving, beside the float32 weights; I^3 operations."""
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
