"""EASE, a linear item-item model in closed form. Shapes: U users, I items.

Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data".
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from pydantic import Field

from recsys.errors import DivergedError
from recsys.interactions import CSR
from recsys.models.base import Cost, Size
from recsys.models.linear import GRAM_CELLS, LinearModel, gram, matrix
from recsys.models.weighted import WeightedConfig, weights_of_pairs

# The solution is dense: for 12,000 items a float32 matrix of I x I has 0.6 GB, and a solution takes
# about a minute.
MAX_ITEMS = 12_000
# With at least so many items, it is solved in float32: half the memory and time, and an error far
# too small to change a ranking, as lambda keeps the matrix well conditioned.
SINGLE_FROM = 4_000
MIRRORED = 64  # rows at a time, of which there is a copy


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

        Raises DivergedError where there is no solution in double precision either.
        """
        self.__dict__.pop("_weights", None)  # two of them at once would be the peak
        known = self._gram_of
        if known is None or known[0] is not positives or known[1] != config.weight:
            self._gram_of = None
            self._x = matrix(positives, weights_of_pairs(positives, config.weight))
            dtype = np.float32 if positives.n_items >= SINGLE_FROM else np.float64
            known = self._gram_of = (positives, config.weight, gram(self._x, dtype))
        weights = _ease_weights(known[2].copy(), config.ease_l2)
        if weights is None and known[2].dtype == np.float32:
            # a small lambda, and items alike: without what is kept, there is memory for a double
            known = self._gram_of = None
            weights = _ease_weights(gram(self._x, np.float64), config.ease_l2)
        if weights is None:
            raise DivergedError(1, config.key())
        self._weights = weights

    def arrays(self) -> dict[str, NDArray]:
        """As in `LinearModel`; X'X, kept in case of another `solve`, is dropped."""
        self._gram_of = None  # of no use to a trained model
        return super().arrays()

    @staticmethod
    def cost(config: EaseConfig, size: Size) -> Cost:  # noqa: ARG004
        """X'X, which is kept, and what is solved in its place; in double precision, float32
        weights besides. Where single precision does not do, the one in double precision is alone.
        I^3 operations.
        """
        cell = 12 if size.items >= SINGLE_FROM else 20
        pairs = 20 * size.positives + 12 * min(GRAM_CELLS, size.items**2)
        rows = 24 * MIRRORED * size.items
        return Cost(memory=cell * size.items**2 + pairs + rows, work=1.0 * size.items**3)


def _ease_weights(gram_II: NDArray, l2: float) -> NDArray[np.float32] | None:
    """EASE's weights, float32 (I, I), or None where these cannot be found in the precision of the
    Gram matrix, which is overwritten.
    """
    assert l2 > 0, l2
    gram_II[np.diag_indices_from(gram_II)] += gram_II.dtype.type(l2)
    potrf, potri = scipy.linalg.get_lapack_funcs(("potrf", "potri"), (gram_II,))
    factor, info = potrf(gram_II.T, lower=True, clean=False, overwrite_a=True)
    if info == 0:
        factor, info = potri(factor, lower=True, overwrite_c=True)
    if info:
        return None
    inverse = factor.T  # in rows, with its upper triangle
    _mirror(inverse)
    inverse += 0.0  # no zero below zero, whose sign would be that of a weight
    with np.errstate(all="ignore"):
        inverse /= -np.diag(inverse).copy()
    np.fill_diagonal(inverse, 0.0)
    if not math.isfinite(inverse.max(initial=0.0)) or not math.isfinite(inverse.min(initial=0.0)):
        return None
    return np.ascontiguousarray(inverse, np.float32)


def _mirror(square_II: NDArray) -> None:
    """Copy the upper triangle into the lower one, in place."""
    for low in range(0, len(square_II), MIRRORED):
        high = low + MIRRORED
        square_II[high:, low:high] = square_II[low:high, high:].T
        corner = np.triu(square_II[low:high, low:high])
        square_II[low:high, low:high] = corner + np.triu(corner, 1).T
