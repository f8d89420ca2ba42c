"""The best items of users without scoring all of them, for models whose score is a dot product.

A score is u . v + b. After a rotation that puts most of the items' lengths into the first h of d
dimensions, the Cauchy-Schwarz inequality bounds what the others can add:

    u . v + b  <=  u_h . v_h + |u_rest| |v_rest| + b

The right side is a product of vectors of h + 2 dimensions. Items are looked at from the longest to
the shortest, chunk by chunk, and only those whose bound reaches the worst of a user's k best so far
are scored: on Gowalla half a percent. So no table of all scores is written, and the result is that
of the full ranking (with scores added up as they are here: sums in another order may differ in
their last bit). The idea of pruning inner products by a part of the dimensions and the length of
the rest is from Teflioudi and Gemulla 2016 (LEMP) and Li et al. 2017 (FEXIPRO).

Shapes: U users, I items, d factors, B users of a tile, W items of a chunk, k places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.interactions import CSR
from recsys.scoring import Vectors

CHUNK = 4096  # items whose bounds are held at a time: a tile of them fits into a core's cache
LEAST_ITEMS = 4096  # all scores of a smaller catalogue fit there
LEAST_USERS = 1024  # the rotation costs as much as ranking some hundred users
HEADS = (8, 16, 32, 64, 128)  # how many dimensions a bound may keep
PROBED_USERS, PROBED_ITEMS = 32, 4096  # a sample, to judge how much a bound rules out
# Nanoseconds, to compare the two ways; only their ratios matter (docs/experiments.md).
BY_DIMENSION, LOOK, SELECT, SCORE, SCORE_DIMENSION = 0.035, 0.8, 4.5, 60.0, 0.1
NOT_YET = 1.5  # how many times more items are scored than the final k-th best would let through
WORTH = 0.75  # of the time of scoring everything: bounds have to be at least that fast
LARGEST = 1e15  # length of a vector: far below the overflow of float32


@dataclass(frozen=True, eq=False)
class Bounds:
    """users (U, d), items (I, d) and bias (I,), the items from the longest to the shortest.

    order (I,): the item at each place. rotation (d, h): onto the dimensions that are kept. heads
    (I filled up to whole chunks, h + 2): the items' side of bounds. chunk: W. lengths: of the
    longest (item, bias) vector of each chunk. margin: the part of a length that rounding may hide.
    """

    users: NDArray[np.float32]
    items: NDArray[np.float32]
    bias: NDArray[np.float32]
    order: NDArray[np.int32]
    rotation: NDArray[np.float32]
    heads: NDArray[np.float32]
    chunk: int
    lengths: NDArray[np.float32]
    margin: float

    def tile(
        self, users_B: NDArray[np.int32], size: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The users' side of their bounds, (size, h + 2), with zeros after the last user; and upper
        limits of the lengths of their vectors, (B,), including the 1 that multiplies the bias.
        """
        u = self.users[users_B]
        whole, ones = squares(u), np.ones(len(u), np.float32)
        out = np.zeros((size, self.heads.shape[1]), np.float32)
        out[: len(u)] = _head(u @ self.rotation, whole, ones, self.margin)
        return out, np.sqrt(whole + 1) * np.float32(1 + self.margin)


def squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The squared length of each row."""
    return np.einsum("nd,nd->n", vectors, vectors)


def _head(
    kept: NDArray[np.float32],
    whole: NDArray[np.float32],
    last: NDArray[np.float32],
    margin: float,
) -> NDArray[np.float32]:
    """(kept dimensions, length of the rest with the margin, `last`) of each vector.

    kept: its kept dimensions. whole: the squared length of all its dimensions.
    """
    rest = np.maximum(whole - squares(kept), 0) + np.float32(margin**2) * (whole + last * last)
    return np.hstack([kept, np.sqrt(rest)[:, None], last[:, None]])


def bounds_for(vectors: Vectors, n_users: int, k: int) -> Bounds | None:
    """The bounds to rank `n_users` users with, or None if scoring everything is not slower.

    The choice depends on the model, on k and on whether there are many users, not on which.
    """
    items, dims = vectors.items.shape
    if n_users < LEAST_USERS or items < LEAST_ITEMS or k > items // 16:
        return None
    bias = np.zeros(items, np.float32) if vectors.bias is None else vectors.bias
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(squares(vectors.items) + bias * bias)
        most = np.sqrt(squares(vectors.users).max())
    if not (lengths.max() < LARGEST and most < LARGEST):  # also if anything is NaN
        return None
    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    margin = float(np.sqrt(8 * (dims + 16) * np.finfo(np.float32).eps))
    some = order[np.arange(PROBED_ITEMS) * items // PROBED_ITEMS]
    people = np.arange(PROBED_USERS) * len(vectors.users) // PROBED_USERS
    rotation = _rotation(
        vectors.users[people], vectors.items[some], bias[some], margin, k * PROBED_ITEMS / items
    )
    if rotation is None:
        return None
    ordered, bias = np.ascontiguousarray(vectors.items[order]), np.ascontiguousarray(bias[order])
    chunk = -(-items // -(-items // CHUNK))  # of equal size, for matrix products of whole chunks
    heads = np.zeros((-(-items // chunk) * chunk, rotation.shape[1] + 2), np.float32)
    heads[:items] = _head(ordered @ rotation, squares(ordered), bias, margin)
    users = np.ascontiguousarray(vectors.users)
    longest = lengths[order][::chunk]
    return Bounds(users, ordered, bias, order, rotation, heads, chunk, longest, margin)


def _rotation(
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    bias: NDArray[np.float32],
    margin: float,
    k: float,
) -> NDArray[np.float32] | None:
    """The rotation (d, h) onto the dimensions that a bound keeps; None if it would rule out too
    little.

    users, items, bias: a sample of all. k: how many of its items correspond to the k best of all.
    """
    dims = items.shape[1]
    _, axes = np.linalg.eigh((items.T @ items).astype(np.float64))
    axes = np.ascontiguousarray(axes[:, ::-1].astype(np.float32))
    place = len(bias) - max(1, round(k))
    floors = np.partition(users @ items.T + bias, place, axis=1)[:, place, None]
    u, v, ones = users @ axes, items @ axes, np.ones(len(users), np.float32)
    whole_u, whole_v = squares(u), squares(v)
    best, found = WORTH * (BY_DIMENSION * dims + SELECT), None
    for head in HEADS:
        if head >= dims:
            break
        one = _head(u[:, :head], whole_u, ones, margin)
        other = _head(v[:, :head], whole_v, bias, margin)
        share = float((one @ other.T >= floors).mean())
        scored = NOT_YET * share * (SCORE + SCORE_DIMENSION * dims)
        cost = BY_DIMENSION * (head + 2) + LOOK + scored
        if cost < best:
            best, found = cost, axes[:, :head]
    return None if found is None else np.ascontiguousarray(found)


class Ranker:
    """Ranks tiles of users by bounds; keeps the memory of one thread from tile to tile."""

    def __init__(self, bounds: Bounds, seen: CSR, tile: int, k: int) -> None:
        self.bounds, self.seen, self.tile = bounds, seen, tile
        self.best = np.empty((tile, k), np.float32)
        self.items = np.empty((tile, k), np.int32)
        self.sizes = np.zeros(tile, np.int64)
        self.products = np.empty((tile, bounds.chunk), np.float32)
        self.scored = 0

    def rank(self, users_B: NDArray[np.int32], out_Bk: NDArray[np.int32]) -> None:
        """Write the best unseen items of at most `tile` users to `out_Bk`, best first, then -1."""
        # imported here: see evaluation._rank
        import torch

        from recsys.kernels.bounds import in_order, take_chunk

        bounds, rows = self.bounds, len(users_B)
        k = self.best.shape[1]
        side, lengths = bounds.tile(users_B, self.tile)
        heads, products = torch.from_numpy(bounds.heads), torch.from_numpy(self.products)
        for chunk, longest in enumerate(bounds.lengths):
            full = self.sizes[:rows] == k
            if full.all() and (lengths * longest < self.best[:rows, 0]).all():
                break  # no later item is long enough for any user
            first = chunk * bounds.chunk
            torch.mm(torch.from_numpy(side), heads[first : first + bounds.chunk].T, out=products)
            self.scored += take_chunk(
                self.products,
                rows,
                first,
                min(bounds.chunk, len(bounds.order) - first),
                users_B,
                bounds.users,
                bounds.items,
                bounds.bias,
                bounds.order,
                self.seen.indptr,
                self.seen.indices,
                self.best,
                self.items,
                self.sizes,
            )
        in_order(self.best, self.items, self.sizes, rows, out_Bk)
