"""How a model is asked for its scores: what ranking needs at least, and what makes it faster.

Shapes: B users of a block, U users, I items, d factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Product = Callable[[NDArray[np.float32]], NDArray[np.float32]]

if TYPE_CHECKING:  # so that a space can be checked without waiting for torch
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Vectors:
    """A model whose score is a dot product. users: float32 (U, d). items: (I, d). bias: (I,), added
    for each item; None in a model without biases.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    bias: NDArray[np.float32] | None = None


class Scorer(Protocol):
    """Anything that scores every item for some users."""

    def score_users(self, users: NDArray) -> NDArray[np.float32]:
        """The scores of `users` for all items, float32 (len(users), I); higher is better."""


@runtime_checkable
class IntoScorer(Protocol):
    """A scorer that can write its scores into memory that is kept from tile to tile.

    New pages for each tile would cost as much as a matrix product, and prevent two threads from
    running side by side.
    """

    def score_into(self, users: NDArray, out_BI: NDArray[np.float32]) -> None:
        """Write `score_users` into `out_BI`, float32 (len(users), I)."""


@runtime_checkable
class VectorScorer(Protocol):
    """A scorer whose score may be a dot product: then most items need no score (`bounds`)."""

    def vectors(self) -> Vectors | None:
        """The vectors of which scores are products; None if they are not."""


@runtime_checkable
class DeviceScorer(Protocol):
    """A scorer that may be on a GPU: its scores are then ranked there."""

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""

    def device_scores(self, users: NDArray) -> Tensor:
        """`score_users` as a tensor on that device."""


def product_with(right: NDArray[np.float32]) -> Product:
    """From left (n, d) to its product with the transpose of right (m, d), float32 (n, m), for
    people who wait for it.

    By torch, whose threads are limited where lists are served: those of numpy wait for each other
    on a busy machine, 30 ms for one user of 10,000 items. Imported here, before the first product,
    since only threads of a torch that is there can be limited.
    """
    import torch

    across = torch.from_numpy(right).T
    return lambda left: torch.mm(torch.from_numpy(left), across).numpy()
