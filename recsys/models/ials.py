"""iALS: a factorization by weighted least squares over all pairs, solved exactly for one side at a
time.

Hu, Koren and Volinsky 2008, with the regulariser of Rendle et al. 2022 ("Revisiting the
Performance of iALS on Item Recommendation Benchmarks"). Shapes: U users, I items, d factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys.errors import DivergedError
from recsys.interactions import CSR
from recsys.models.base import (
    Cost,
    EpochReport,
    ListScorer,
    Model,
    Size,
)
from recsys.models.epochs import run_epochs
from recsys.models.neighbours import side_by_side, transposed
from recsys.models.progress import Checkpoints
from recsys.models.weighted import (
    WeightedConfig,
    in_order_of_items,
    user_totals,
    weights_of_pairs,
)
from recsys.scoring import Vectors, product_with

# Rows of one compiled call: Ctrl-C never waits for more than that.
ROWS = 256


class IalsConfig(WeightedConfig):
    """The loss has three terms for scores s: the sum of w x (1 - s)^2 over the positives, the sum
    of alpha x s^2 over all pairs, and the regulariser. The regulariser adds
    ials_l2 x (n_u + alpha x I)^nu x |p_u|^2 for a user whose n_u is the sum of the weights w of
    their pairs, and likewise for each item. Without `weight`, each w is 1 and n_u the number of
    items; with it, see `WeightedConfig`.

    ials_factors: d. ials_alpha: the weight of every pair, positive or not. ials_l2: the strength of
    the regulariser. ials_nu: 1 regularises active users and popular items more, 0 all alike.
    epochs: an epoch solves both sides once. patience: how many epochs in a row without a new best
    end the training; 0: never.
    """

    model: ClassVar[str] = "ials"
    shorts: ClassVar[dict[str, str]] = {
        "ials_factors": "d",
        "ials_alpha": "alpha",
        "ials_l2": "l2",
        "weight": "weight",
    }
    ials_factors: int = Field(64, gt=0, le=2048)
    ials_alpha: float = Field(0.1, gt=0, le=1e4)
    ials_l2: float = Field(0.003, gt=0, le=1e4)
    ials_nu: float = Field(1.0, ge=0, le=2)
    epochs: int = Field(16, gt=0, le=1000)
    patience: int = Field(3, ge=0)

    def for_epochs(self, epochs: int) -> Self:
        """The same config with `epochs` epochs and a patience of 0, so that all of them run."""
        return self.model_copy(update={"epochs": epochs, "patience": 0})


class IALS(Model):
    """Factors of users and items by least squares over all pairs; a score is their dot product."""

    def __init__(
        self, user_factors: NDArray[np.float32], item_factors: NDArray[np.float32]
    ) -> None:
        """user_factors: float32 (U, d). item_factors: float32 (I, d). Both are kept, not copied."""
        self.user_factors, self.item_factors = user_factors, item_factors

    @classmethod
    def create(
        cls, config: IalsConfig, n_users: int, n_items: int, *, rng: np.random.Generator
    ) -> IALS:
        """Random item factors with the standard deviation of the paper, 0.1 / sqrt(d), and user
        factors of 0, which training solves first.
        """
        d = config.ials_factors
        items = rng.standard_normal((n_items, d), np.float32) * np.float32(0.1 / np.sqrt(d))
        return cls(np.zeros((n_users, d), np.float32), items)

    def train(
        self,
        config: IalsConfig,
        positives: CSR,
        held_out: CSR | None,
        *,
        metric: str = "map@50",
        metrics: Sequence[str] = (),
        threads: int = 1,
        time_limit: float | None = None,
        checkpoints: Checkpoints | None = None,
        **_: Any,
    ) -> Iterator[EpochReport]:
        """See `Model.train`. An epoch solves the users, then the items; its loss is the mean of
        (1 - s)^2 over the positives, whatever their weights. The result does not depend on
        `threads`.

        Raises DivergedError also where a user's or item's system has no solution.
        """
        solver = _Solver(self, config, positives, threads)
        return run_epochs(
            solver.epoch,
            self,
            _Factors(self),
            positives,
            held_out,
            key=config.key(),
            epochs=config.epochs,
            patience=config.patience,
            metric=metric,
            metrics=metrics,
            threads=threads,
            time_limit=time_limit,
            engine=solver,
            checkpoints=checkpoints,
        )

    @classmethod
    def warm_up(cls, config: IalsConfig, *, threads: int = 1) -> None:
        """See `Model.warm_up`. The default config with the same `weight` is trained instead of
        `config`, which with many factors would take long even on three items.
        """
        super().warm_up(IalsConfig.from_flat({"weight": config.weight}), threads=threads)

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """The dot products of the users with every item, float32 (len(users), I)."""
        return np.asarray(self.user_factors[users] @ self.item_factors.T)

    def list_scorer(self, config: IalsConfig, seen: CSR) -> ListScorer:  # noqa: ARG002
        """Solves the users of the lists as training does, with the trained items and a weight of 1
        for each pair.

        The scorer raises DivergedError, with epoch 0, where a system has no solution.
        """
        items = np.ascontiguousarray(self.item_factors)
        base, scored = _base(config, items), product_with(items)

        def scores(lists: CSR) -> NDArray[np.float32]:
            users = np.empty((lists.n_users, items.shape[1]), np.float32)
            _half_step(config, lists, items, base, users, threads=1, epoch=0)
            return scored(users)

        return scores

    def vectors(self) -> Vectors:
        """The factors of both sides, without biases."""
        return Vectors(self.user_factors, self.item_factors)

    def arrays(self) -> dict[str, NDArray]:
        """`user_factors` (U, d) and `item_factors` (I, d), float32."""
        return {"user_factors": self.user_factors, "item_factors": self.item_factors}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> IALS:
        """The model that returned these `arrays`, on the same memory."""
        return cls(arrays["user_factors"], arrays["item_factors"])

    @staticmethod
    def cost(config: IalsConfig, size: Size) -> Cost:
        """The factors, their best copy and the pairs; an epoch takes 2 d^2 operations for each pair
        and d^3 / 3 for each user and item.
        """
        d = config.ials_factors
        rows = size.users + size.items
        return Cost(
            memory=8 * rows * d + (24 if config.weighs else 12) * size.positives + 16 * d * d,
            work=float(config.epochs) * (2 * size.positives * d**2 + rows * d**3 / 3),
        )


class _Solver:
    """Solves users and items in turn; the number of threads does not change the result."""

    def __init__(self, model: IALS, config: IalsConfig, positives: CSR, threads: int) -> None:
        self._model, self._config, self._threads = model, config, threads
        self._sides = (positives, transposed(positives))
        own = weights_of_pairs(positives, config.weight)
        self._weights = (None, None) if own is None else (own, in_order_of_items(positives, own))
        self._pairs = max(positives.nnz, 1)
        self._epoch = 0

    def epoch(self) -> float:
        """Solve both sides; returns the mean squared error of the positives."""
        from recsys.models.kernels.ials import squared_error

        self._epoch += 1
        users, items = self._model.user_factors, self._model.item_factors
        self._solve(0, items, users)
        self._solve(1, users, items)
        rows = self._sides[0]
        return squared_error(rows.indptr, rows.indices, users, items, 0, rows.n_users) / self._pairs

    @property
    def state_bytes(self) -> int:
        """The size of `state`, in bytes."""
        return self._model.user_factors.nbytes + self._model.item_factors.nbytes

    def state(self) -> list[NDArray]:
        """The epoch, for error messages, and the factors."""
        model = self._model
        return [np.array(self._epoch), model.user_factors.copy(), model.item_factors.copy()]

    def restore(self, state: Sequence[NDArray]) -> None:
        """See `state`."""
        model = self._model
        self._epoch = int(state[0])
        model.user_factors[:], model.item_factors[:] = state[1:]

    def _solve(self, side: int, fixed: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        _half_step(
            self._config,
            self._sides[side],
            fixed,
            _base(self._config, fixed),
            out,
            weights=self._weights[side],
            threads=self._threads,
            epoch=self._epoch,
        )


def _base(config: IalsConfig, fixed: NDArray[np.float32]) -> NDArray[np.float32]:
    """What all pairs add to the system of every row, float32 (d, d)."""
    return np.ascontiguousarray(np.float32(config.ials_alpha) * (fixed.T @ fixed))


def _half_step(
    config: IalsConfig,
    rows: CSR,
    fixed: NDArray[np.float32],
    base: NDArray[np.float32],
    out: NDArray[np.float32],
    *,
    weights: NDArray[np.float32] | None = None,
    threads: int,
    epoch: int,
) -> None:
    """Solve one side, float32 (rows, d), into `out`; `base` is of `_base`. weights: of the pairs of
    `rows`, float32; None: all are 1.

    DivergedError, with the epoch, where a system has no solution.
    """
    from recsys.models.kernels.ials import memory, solve_rows, solve_weighted_rows

    counts = user_totals(rows, weights) + config.ials_alpha * rows.n_items
    ridge = (config.ials_l2 * counts**config.ials_nu).astype(np.float32)

    def work(first: int) -> int:
        last = min(first + ROWS, rows.n_users)
        normal, right = memory(fixed.shape[1])
        rest = (fixed, base, ridge, out, normal, right, first, last)
        if weights is None:
            return int(solve_rows(rows.indptr, rows.indices, *rest))
        return int(solve_weighted_rows(rows.indptr, rows.indices, weights, *rest))

    failed = side_by_side(work, range(0, rows.n_users, ROWS), threads)
    if max(failed, default=-1) >= 0:
        raise DivergedError(epoch, config.key())


class _Factors:
    """The factors, as `run_epochs` keeps them."""

    def __init__(self, model: IALS) -> None:
        self._model = model

    def copy(self, into: tuple[NDArray, NDArray] | None = None) -> tuple[NDArray, NDArray]:
        model = self._model
        if into is None:
            return model.user_factors.copy(), model.item_factors.copy()
        into[0][:], into[1][:] = model.user_factors, model.item_factors
        return into

    def arrays(self, copied: tuple[NDArray, NDArray]) -> list[NDArray]:
        return [factors.copy() for factors in copied]

    def from_arrays(self, arrays: Sequence[NDArray]) -> tuple[NDArray, NDArray]:
        users, items = arrays
        return users.copy(), items.copy()

    def load(self, copied: tuple[NDArray, NDArray]) -> None:
        self._model.user_factors[:], self._model.item_factors[:] = copied
