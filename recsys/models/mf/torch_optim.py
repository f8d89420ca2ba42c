"""The optimisers of the torch engine, over gradients accumulated in dense buffers.

A table is a weight of the model: a matrix of rows or a vector. `add` sums gradients into the
buffer of a table, `step` applies and clears it. Adam is torch's own over whole tables. Adagrad and
SGD move only rows with a gradient, so they may visit those alone, or every row: a CPU counts what
it reads, a GPU what it is told, and finding the rows takes it longer than passing over all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recsys.models.mf.config import Adagrad, Adam, Sgd

ADAGRAD_EPS = 1e-10  # torch.optim.Adagrad's
# Elements of a table that a GPU passes over sooner than it finds the rows that were touched.
WHOLE = 1 << 25


_ADAM = ("step", "exp_avg", "exp_avg_sq")  # torch.optim.Adam's own names


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
        """Sum `gradient` into rows of table number `table`; a row may be named several times."""
        buffer = self._tables[table].grad
        assert buffer is not None
        buffer.index_add_(0, rows, gradient)

    def tensors(self) -> list[Tensor]:
        """Everything held beside the weights."""
        held = [table.grad for table in self._tables if table.grad is not None]
        states = self._adam.state.values()
        return held + [t for state in states for t in state.values() if isinstance(t, Tensor)]

    def state(self) -> list[Tensor]:
        """What is remembered from step to step; nothing before the first one."""
        known = self._adam.state
        return [known[t][key] for t in self._tables if known[t] for key in _ADAM]

    def restore(self, state: Sequence[Tensor]) -> None:
        """See `state`."""
        for number, table in enumerate(self._tables if state else ()):
            values = state[len(_ADAM) * number : len(_ADAM) * (number + 1)]
            self._adam.state[table] = dict(zip(_ADAM, values, strict=True))

    def step(self) -> None:
        """Apply what was summed, to every row, and clear it."""
        self._adam.step()
        self._adam.zero_grad(set_to_none=False)


class TouchedRows:
    """Adagrad or SGD on the rows that got a gradient.

    Adagrad: G += g^2 (per element; per row: the mean of g^2 over the row), starting at 0, then
    w -= lr x g / (sqrt(G) + 1e-10). A row without a gradient does not move, so visiting only
    touched rows equals the dense optimiser. whole: tables of up to so many elements are passed
    over whole; None: `WHOLE` on a GPU, none on a CPU.
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
        """Sum `gradient` into rows of table number `table`; a row may be named several times."""
        self._buffers[table].index_add_(0, rows, gradient)
        self._touched[table].append(rows)

    def tensors(self) -> list[Tensor]:
        """Everything held beside the weights."""
        return [*self._buffers, *(self._squares or ())]

    def state(self) -> list[Tensor]:
        """What is remembered from step to step: Adagrad's sums."""
        return self._squares or []

    def restore(self, state: Sequence[Tensor]) -> None:
        """See `state`."""
        for mine, theirs in zip(self.state(), state, strict=True):
            mine.copy_(theirs)

    def step(self) -> None:
        """Apply what was summed, to the rows that were named, and clear it."""
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
