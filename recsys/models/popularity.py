"""Popularity: everybody gets the same list."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.models.base import Cost, EpochReport, Model, ModelConfig, Size, one_report


class PopularityConfig(ModelConfig):
    """Nothing to choose."""

    model: ClassVar[str] = "popularity"


class Popularity(Model):
    """Every user gets the items with most training users first."""

    def __init__(self, positives: CSR | None = None) -> None:
        self._counts = np.zeros(0, np.float32)
        if positives is not None:
            self._counts = positives.item_counts().astype(np.float32)

    @classmethod
    def create(
        cls,
        config: PopularityConfig,  # noqa: ARG003
        n_users: int,  # noqa: ARG003
        n_items: int,  # noqa: ARG003
        *,
        rng: np.random.Generator,  # noqa: ARG003
    ) -> Popularity:
        return cls()

    def train(
        self,
        config: PopularityConfig,  # noqa: ARG002
        positives: CSR,
        held_out: CSR | None,
        *,
        metric: str = "map@50",
        metrics: Sequence[str] = (),
        threads: int = 1,
        **_: Any,
    ) -> Iterator[EpochReport]:
        began = time.perf_counter()
        self._counts = positives.item_counts().astype(np.float32)
        yield one_report(
            self, positives, held_out, metric=metric, metrics=metrics, threads=threads, began=began
        )

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        return np.broadcast_to(self._counts, (len(users), len(self._counts)))

    def arrays(self) -> dict[str, NDArray]:
        return {"counts": self._counts}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray]) -> Popularity:
        model = cls()
        model._counts = arrays["counts"]
        return model

    @staticmethod
    def cost(config: PopularityConfig, size: Size) -> Cost:  # noqa: ARG004
        return Cost(memory=12 * size.items, work=float(size.positives))
