"""The optimisers of the torch engine, over gradients accumulated in dense buffers.

A table is a weight of the model: a matrix of rows or a vector. `add` sums gradients into the
buffer of a table, `step` applies and clears it. Adam is torch's own over whole tables; Adagrad
and SGD visit only the rows that were touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.models.mf.config import Adagrad, Adam, Sgd

ADAGRAD_EPS = 1e-10  # torch.optim.Adagrad's


class DenseAdam:
    """torch.optim.Adam: every row moves every step, weight decay acts on all of them."""

    def __init__(self, tables: Sequence[nn.Parameter], config: Adam) -> None:
        self._tables = list(tables)
        for table in self._tables:
            table.grad = torch.zeros_like(table)
        self._adam = torch.optim.Adam(
            self._tables, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )

    def add(self, table: int, rows: Tensor, gradient: Tensor) -> None:
        buffer = self._tables[table].grad
        assert buffer is not None
        buffer.index_add_(0, rows, gradient)

    def tensors(self) -> list[Tensor]:
        """Everything held beside the weights."""
        held = [table.grad for table in self._tables if table.grad is not None]
        states = self._adam.state.values()
        return held + [t for state in states for t in state.values() if isinstance(t, Tensor)]

    def step(self) -> None:
        self._adam.step()
        self._adam.zero_grad(set_to_none=False)


class TouchedRows:
    """Adagrad or SGD on the rows that got a gradient.

    Adagrad: G += g^2 (per element; per row: the mean of g^2 over the row), starting at 0, then
    w -= lr x g / (sqrt(G) + 1e-10). A row without a gradient does not move, so visiting only
    touched rows equals the dense optimiser.
    """

    def __init__(self, tables: Sequence[nn.Parameter], config: Adagrad | Sgd) -> None:
        self._tables = [table.detach() for table in tables]
        self._buffers = [torch.zeros_like(table) for table in self._tables]
        self._touched: list[list[Tensor]] = [[] for _ in self._tables]
        self._lr = config.lr
        self._squares: list[Tensor] | None = None
        if isinstance(config, Adagrad):
            per_row = config.per == "row"
            self._squares = [
                torch.zeros_like(t[:, :1] if per_row and t.ndim == 2 else t) for t in self._tables
            ]

    def add(self, table: int, rows: Tensor, gradient: Tensor) -> None:
        self._buffers[table].index_add_(0, rows, gradient)
        self._touched[table].append(rows)

    def tensors(self) -> list[Tensor]:
        """Everything held beside the weights."""
        return [*self._buffers, *(self._squares or ())]

    def step(self) -> None:
        for number, (weights, buffer) in enumerate(zip(self._tables, self._buffers, strict=True)):
            if not self._touched[number]:
                continue
            rows = torch.unique(torch.cat(self._touched[number]))
            self._touched[number].clear()
            gradient = buffer[rows]
            buffer[rows] = 0.0
            if self._squares is None:
                weights[rows] -= self._lr * gradient
                continue
            squares = self._squares[number]
            power = gradient.square()
            if squares.shape != weights.shape:
                power = power.mean(1, keepdim=True)
            total = squares[rows] + power
            squares[rows] = total
            weights[rows] -= self._lr * gradient / (total.sqrt() + ADAGRAD_EPS)


OPTIMIZERS: dict[type, Callable[[Sequence[nn.Parameter], Any], DenseAdam | TouchedRows]] = {
    Adam: DenseAdam,
    Adagrad: TouchedRows,
    Sgd: TouchedRows,
}


def make_optimizer(
    tables: Sequence[nn.Parameter], config: Adam | Adagrad | Sgd
) -> DenseAdam | TouchedRows:
    """The optimiser that a config asks for."""
    return OPTIMIZERS[type(config)](tables, config)
