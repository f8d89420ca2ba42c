"""SLIM without I x I: each item is rebuilt from its nearest items only.

Ning and Karypis 2011, section 4.3 (fsSLIM: columns restricted to near items), with a ridge penalty
instead of their elastic net, so that a column is one small linear system. EASE (Steck 2019) solves
all items at once; here they are solved one by one, for a catalogue of any size.
Shapes: U users, I items, k near items, H head items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import scipy.linalg.lapack
import scipy.sparse
from numpy.typing import NDArray
from pydantic import Field

from recsys.errors import DivergedError
from recsys.interactions import CSR
from recsys.models.base import Cost, Size
from recsys.models.linear import GRAM_CELLS, SparseLinear, gram, matrix
from recsys.models.neighbours import nearest_by_cosine, nearest_cost, side_by_side, transposed
from recsys.models.weighted import WeightedConfig, in_order_of_items, weights_of_pairs

HEAD = 8_192  # the counts of so many most popular items are a dense matrix, of 268 MB


class SlimConfig(WeightedConfig):
    """slim_l2: the ridge penalty on the weights. slim_neighbours: k, the number of items that each
    item is rebuilt from. slim_shrink: added to the denominator of the cosine that chooses them.
    weight: see `WeightedConfig`.
    """

    model: ClassVar[str] = "slim"
    shorts: ClassVar[dict[str, str]] = {
        "slim_neighbours": "k",
        "slim_l2": "l2",
        "weight": "weight",
    }
    slim_neighbours: int = Field(200, gt=0, le=4_000)
    slim_l2: float = Field(100.0, gt=0, le=1e9)
    slim_shrink: float = Field(10.0, ge=0, le=1e6)


class SLIM(SparseLinear):
    """Item-item weights by ridge regression of each item on its k nearest items. With a `weight`,
    the histories that are rebuilt, and those that nearness is measured on, have the weights of the
    pairs.
    """

    def __init__(self) -> None:
        """An untrained model."""
        self._near: tuple[CSR, int, float, str, scipy.sparse.csr_matrix] | None = None
        self._met: tuple[CSR, str, _Met] | None = None

    def solve(self, config: SlimConfig, positives: CSR, threads: int = 1) -> None:
        """Fit to `positives`.

        Solving the same object again on the same positives with the same `weight` reuses the
        counts, and with the same neighbours and shrink, also the nearest items.

        Raises DivergedError where an item's system has no solution.
        """
        self.__dict__.pop("_weights", None)  # two of them at once would be the peak
        pairs = weights_of_pairs(positives, config.weight)
        wanted = (config.slim_neighbours, config.slim_shrink, config.weight)
        if self._near is None or self._near[0] is not positives or self._near[1:4] != wanted:
            near = nearest_by_cosine(
                positives,
                config.slim_neighbours,
                shrink=config.slim_shrink,
                pairs=pairs,
                threads=threads,
            )
            self._near = (positives, *wanted, near)
        known = self._met
        if known is None or known[0] is not positives or known[1] != config.weight:
            known = self._met = (positives, config.weight, _Met.of(positives, pairs))
        near = self._near[4]
        columns = _columns(known[2], near, config, threads)
        by_target = scipy.sparse.csr_matrix((columns, near.indices, near.indptr), near.shape)
        self.become(matrix(positives, pairs), by_target.T.tocsr())

    def arrays(self) -> dict[str, NDArray]:
        """As in `SparseLinear`; what was kept in case of another `solve` is dropped."""
        self._near = self._met = None  # of no use to a trained model
        return super().arrays()

    @staticmethod
    def cost(config: SlimConfig, size: Size) -> Cost:
        """The counts of the head, the nearest items, and a k x k system for each item, which is
        solved in double precision where single does not do.
        """
        k = min(config.slim_neighbours, size.items)
        near, head = nearest_cost(k, size, weighted=config.weighs), min(HEAD, size.items) ** 2
        counts = 4 * head + 12 * min(GRAM_CELLS, head)
        return Cost(
            memory=counts + near.memory + 12 * size.positives + 24 * (k + 1) ** 2,
            work=near.work + size.items * (k**3 / 3 + 10 * k**2),
        )


@dataclass(frozen=True, eq=False)
class _Met:
    """Counts from which the systems of all items are made, whatever the ridge penalty.

    head: int32 (I,), the place of an item among the H most popular ones, or -1. together: float32
    (H, H), how many users have both of two head items. weights: of the pairs, by item and by user,
    float32 (E,); then counts are sums of the products of two of them.
    """

    by_user: CSR
    by_item: CSR
    head: NDArray[np.int32]
    together: NDArray[np.float32]
    weights: tuple[NDArray[np.float32], NDArray[np.float32]] | None

    @staticmethod
    def of(by_user: CSR, pairs: NDArray[np.float32] | None) -> _Met:
        popular = np.sort(np.argsort(-by_user.item_counts(), kind="stable")[:HEAD])
        head = np.full(by_user.n_items, -1, np.int32)
        head[popular] = np.arange(len(popular), dtype=np.int32)
        gram_HH = gram(matrix(by_user, pairs)[:, popular], np.float32)
        weights = None if pairs is None else (in_order_of_items(by_user, pairs), pairs)
        return _Met(by_user, transposed(by_user), head, gram_HH, weights)


def _columns(
    met: _Met, near: scipy.sparse.csr_matrix, config: SlimConfig, threads: int
) -> NDArray[np.float32]:
    """The weights of each item's near items, aligned with `near.indices`."""
    from recsys.models.kernels.neighbours import block, block_weighted

    by_user, by_item = met.by_user, met.by_item
    weights = np.zeros(near.nnz, np.float32)
    indptr, indices = near.indptr, near.indices.astype(np.int32)
    widest = int(np.diff(indptr).max(initial=0)) + 1

    def work(thread: int) -> None:
        place = np.full(by_user.n_items, -1, np.int32)
        memory = np.empty(widest * widest, np.float32)
        for item in range(thread, by_user.n_items, threads):
            low, high = indptr[item], indptr[item + 1]
            n = int(high - low)
            if not n:
                continue
            # the item itself comes last: its row is the right-hand side of the system
            items = np.append(indices[low:high], np.int32(item))
            normal = memory[: (n + 1) ** 2].reshape(n + 1, n + 1)
            rows = (
                *(items, place, met.head, met.together, by_item.indptr, by_item.indices),
                *(by_user.indptr, by_user.indices),
            )
            if met.weights is None:
                block(*rows, normal)
            else:
                block_weighted(*rows, *met.weights, normal)
            right = normal[n, :n].copy()
            system = normal[:n, :n]
            counts_n = system.diagonal().astype(float)
            system[np.diag_indices(n)] += np.float32(config.slim_l2)
            _, found, info = scipy.linalg.lapack.sposv(system, right, lower=0)
            if info:  # nearly singular in single precision: a small l2, and items alike
                exact = system.astype(float)
                exact[np.diag_indices(n)] = counts_n + config.slim_l2
                _, found, info = scipy.linalg.lapack.dposv(exact, right.astype(float))
            if info:
                raise DivergedError(1, config.key())
            weights[low:high] = found

    side_by_side(work, range(threads), threads)
    return weights
