"""Exact negative sampling without replacement, vectorised, on any torch device.

Shapes: B requests, N draws per request, M items taken, U users, I items.

The free items of a user are numbered 0..free-1 in ascending order. A draw is such a number r; its
item is r plus the number of excluded items at or below that item, which a binary search over
`row[k] - k` finds (these do not decrease within a user's sorted row). All users share one sorted
array of keys, so a whole batch takes one `searchsorted`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.interactions import CSR

# Draws are 62-bit integers modulo the number of free items, with a bias below I / 2^62.
_WIDE = 2**62
PAD = -1


class TorchSampler:
    """Draws from the items outside each user's row of `excluded`, a CSR of U x I.

    free: int64 (U,), how many items of each user can be drawn. generator: torch's, on `device`.
    """

    def __init__(self, excluded: CSR, device: torch.device, generator: torch.Generator) -> None:
        self.device, self.generator = device, generator
        degrees = torch.from_numpy(excluded.degrees().copy())
        self.min_free = excluded.n_items - int(degrees.max()) if len(degrees) else 0
        self._start = torch.from_numpy(excluded.indptr.copy()).to(device)
        self._stride = excluded.n_items + 1
        users = torch.from_numpy(excluded.users().copy()).long()
        position = torch.arange(excluded.nnz) - torch.from_numpy(excluded.indptr.copy())[users]
        items = torch.from_numpy(excluded.indices.copy()).long()
        self._keys = (users * self._stride + items - position).to(device)
        self.free = (excluded.n_items - degrees).to(device)  # int64 (U,)

    def tensors(self) -> list[Tensor]:
        """Everything in memory, to be counted."""
        return [self._start, self._keys, self.free]

    def draw(self, users_B: Tensor, count: int, each_B: Tensor | None = None) -> Tensor:
        """Distinct free items of users_B (int64) in random order, int64 (B, count), padded with -1.

        each_B: int64 (B,), how many of the `count` items to draw in each row; None draws all. A
        user with fewer free items gets all of them. Every ordered choice is equally likely.
        """
        free_B = self.free[users_B]
        want_B = free_B.clamp(max=count)
        if each_B is not None:
            want_B = torch.minimum(want_B, each_B)
        if self.min_free > 2 * count:
            ranks = self._by_rejection(free_B, want_B, count)
        else:
            ranks = torch.empty((len(users_B), count), dtype=torch.int64, device=self.device)
            crowded = free_B <= 2 * count
            few, many = crowded.nonzero()[:, 0], (~crowded).nonzero()[:, 0]
            ranks[few] = self._by_sorting(free_B[few], want_B[few], count)
            ranks[many] = self._by_rejection(free_B[many], want_B[many], count)
        return self._items(users_B, ranks)

    def _items(self, users_B: Tensor, ranks_BN: Tensor) -> Tensor:
        base_B1 = (users_B * self._stride)[:, None]
        found = torch.searchsorted(self._keys, base_B1 + ranks_BN.clamp(min=0), right=True)
        below = found - self._start[users_B][:, None]
        return torch.where(ranks_BN >= 0, ranks_BN + below, PAD)

    def _uniform(self, free: Tensor, shape: tuple[int, ...]) -> Tensor:
        wide = torch.randint(_WIDE, shape, device=self.device, generator=self.generator)
        return wide % free.clamp(min=1)

    def _by_rejection(self, free_B: Tensor, want_B: Tensor, count: int) -> Tensor:
        """Draw, then redraw whatever repeats an earlier draw of its row until nothing does.

        No step looks at which item a number stands for, so all items are treated alike and the
        result is uniform over ordered choices.
        """
        ranks = self._uniform(free_B[:, None], (len(free_B), count))
        column = torch.arange(count, device=self.device)
        # Columns that are not wanted hold distinct negative numbers: never repeated.
        ranks = torch.where(column < want_B[:, None], ranks, -1 - column)
        if count == 1:
            return ranks
        pending = torch.arange(len(free_B), device=self.device)
        while len(pending):
            part = ranks[pending]
            ordered, order = part.sort(dim=1, stable=True)
            repeats = torch.zeros_like(part, dtype=torch.bool)
            repeats.scatter_(1, order[:, 1:], ordered[:, 1:] == ordered[:, :-1])
            hit = repeats.any(1).nonzero()[:, 0]
            pending, part, repeats = pending[hit], part[hit], repeats[hit]
            row, col = repeats.nonzero(as_tuple=True)
            part[row, col] = self._uniform(free_B[pending[row]], (len(row),))
            ranks[pending] = part
        return ranks

    def _by_sorting(self, free_B: Tensor, want_B: Tensor, count: int) -> Tensor:
        """Random keys for at most 2N free items, sorted: exact however few are free."""
        width = max(count, min(2 * count, self._stride - 1))
        column = torch.arange(width, device=self.device)
        shape = (len(free_B), width)
        keys = torch.rand(shape, device=self.device, generator=self.generator, dtype=torch.float64)
        keys = torch.where(column < free_B[:, None], keys, 2.0)
        ranks = keys.argsort(dim=1)[:, :count]
        return torch.where(column[:count] < want_B[:, None], ranks, PAD)


def keep_others(extra_BN: Tensor, taken_BM: Tensor, count: int) -> Tensor:
    """The first `count` items of each row of `extra_BN` that are not in `taken_BM`, padded with -1.

    All are int64. If a row of `extra_BN` has M + K distinct uniform draws, the result is K uniform
    draws from the items outside `taken_BM`.
    """
    taken = (extra_BN[:, :, None] == taken_BM[:, None, :]).any(2) | (extra_BN < 0)
    order = taken.to(torch.int8).argsort(dim=1, stable=True)[:, :count]
    return extra_BN.masked_fill(taken, PAD).gather(1, order)
