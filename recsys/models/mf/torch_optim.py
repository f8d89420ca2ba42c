"""The optimisers of the torch engine, with gradients summed in dense buffers.

A table is a weight of the model, a matrix (rows, d) or a vector (rows,); tables are numbered in the
order in which an optimiser gets them. `add` sums gradients into the buffer of a table; `step`
applies the buffer and clears it. Adam is torch's own, over whole tables. Adagrad and SGD move only
rows that have a gradient, so they may visit either these rows or all of them. On a CPU, time
depends on the memory that is read, so only these rows are visited. On a GPU, it depends more on the
number of operations, and finding the rows takes longer than a pass over a whole table, unless that
is very large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.models.mf.config import Adagrad, Adam, Sgd

ADAGRAD_EPS = 1e-10  # torch.optim.Adagrad's
# A GPU passes over a table of up to so many elements faster than it finds the rows with a gradient.
WHOLE = 1 << 25


_ADAM = ("step", "exp_avg", "exp_avg_sq")  # torch.optim.Adam's own names


class DenseAdam:
    """torch.optim.Adam: every step moves all rows, and weight decay applies to all of them."""

    def __init__(self, tables: Sequence[nn.Parameter], config: Adam) -> None:
        self._tables = list(tables)
        for table in self._tables:
            table.grad = torch.zeros_like(table)
        self._adam = torch.optim.Adam(
            self._tables, lr=config.lr, weight_decay=config.weight_decay, fused=True
        )

    def add(self, table: int, rows: Tensor, gradient: Tensor) -> None:
        """Add `gradient`, one entry or row for each of `rows`, to table number `table`.

        rows: int64; one row may occur several times.
        """
        buffer = self._tables[table].grad
        assert buffer is not None
        buffer.index_add_(0, rows, gradient)

    def tensors(self) -> list[Tensor]:
        """Everything in memory besides the weights."""
        held = [table.grad for table in self._tables if table.grad is not None]
        states = self._adam.state.values()
        return held + [t for state in states for t in state.values() if isinstance(t, Tensor)]

    def state(self) -> list[Tensor]:
        """What Adam keeps from step to step; empty before the first one."""
        known = self._adam.state
        return [known[t][key] for t in self._tables if known[t] for key in _ADAM]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Continue from a `state`, which is not copied."""
        for number, table in enumerate(self._tables if state else ()):
            values = state[len(_ADAM) * number : len(_ADAM) * (number + 1)]
            self._adam.state[table] = dict(zip(_ADAM, values, strict=True))

    def step(self) -> None:
        """Move every row by the summed gradients, and clear these."""
        self._adam.step()
        self._adam.zero_grad(set_to_none=False)


class TouchedRows:
    """Adagrad or SGD on the rows that have a gradient.

    Adagrad (Duchi et al. 2011): G += g^2 (per element; per row, the mean of g^2 over the row),
    starting at 0, then w -= lr x g / (sqrt(G) + 1e-10). A row without a gradient does not move, so
    the result is that of the dense optimiser. whole: every row of a table is visited if the table
    has at most so many elements; by default `WHOLE` on a GPU and 0 on a CPU.
    """

    def __init__(
        self, tables: Sequence[nn.Parameter], config: Adagrad | Sgd, whole: int | None = None
    ) -> None:
        self._tables = [table.detach() for table in tables]
        if whole is None:
            whole = 0 if self._tables[0].device.type == "cpu" else WHOLE
        self._whole = [table.numel() <= whole for table in tables]
        self._buffers = [torch.zeros_like(table) for table in self._tables]
        self._touched: list[list[Tensor]] = [[] for _ in self._tables]
        self._lr = config.lr
        self._squares: list[Tensor] | None = None
        if isinstance(config, Adagrad):
            per_row = {"element": False, "row": True}[config.per]
            self._squares = [
                torch.zeros_like(t[:, :1] if per_row and t.ndim == 2 else t) for t in self._tables
            ]

    def add(self, table: int, rows: Tensor, gradient: Tensor) -> None:
        """Add `gradient`, one entry or row for each of `rows`, to table number `table`.

        rows: int64; one row may occur several times.
        """
        self._buffers[table].index_add_(0, rows, gradient)
        self._touched[table].append(rows)

    def tensors(self) -> list[Tensor]:
        """Everything in memory besides the weights."""
        return [*self._buffers, *(self._squares or ())]

    def state(self) -> list[Tensor]:
        """What is kept from step to step: the sums of Adagrad, nothing for SGD."""
        return self._squares or []

    def restore(self, state: Sequence[Tensor]) -> None:
        """Copy back a `state`."""
        for mine, theirs in zip(self.state(), state, strict=True):
            mine.copy_(theirs)

    def step(self) -> None:
        """Move the rows that have a gradient by the summed gradients, and clear these."""
        for number, (weights, buffer) in enumerate(zip(self._tables, self._buffers, strict=True)):
            if not self._touched[number]:
                continue
            if self._whole[number]:
                self._touched[number].clear()
                self._step_whole(number)
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

    def _step_whole(self, number: int) -> None:
        weights, gradient = self._tables[number], self._buffers[number]
        if self._squares is None:
            weights.sub_(gradient, alpha=self._lr)
        else:
            squares = self._squares[number]
            if squares.shape == weights.shape:
                squares.addcmul_(gradient, gradient)
            else:
                squares += gradient.square().mean(1, keepdim=True)
            weights.addcdiv_(gradient, squares.sqrt().add_(ADAGRAD_EPS), value=-self._lr)
        gradient.zero_()


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
