"""Compiled half steps of iALS: the factors of one side are solved, those of the other are fixed.

Shapes: R rows of the side that is solved, C rows of the fixed side, d factors.
"""

# mypy: disallow_untyped_defs=False
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.kernels.jit import kernel

_0, _1 = np.float32(0), np.float32(1)


@kernel(inline=True)
def _begin(normal, right, base, ridge):
    """The system of a row before any of its pairs: `base` with `ridge` on the diagonal, and 0."""
    for i in range(len(right)):
        right[i] = _0
        for j in range(i + 1):
            normal[i, j] = base[i, j]
        normal[i, i] += ridge


@kernel(inline=True)
def _add_outer(normal, right, fixed, items, first, last):
    """Add the outer products of some fixed rows to the lower triangle of `normal`, and the rows
    themselves to `right`.
    """
    d = fixed.shape[1]
    at = first
    while at + 4 <= last:  # four rows a pass: the triangle is read and written a quarter as often
        a, b, c, e = items[at], items[at + 1], items[at + 2], items[at + 3]
        for i in range(d):
            wa, wb, wc, we = fixed[a, i], fixed[b, i], fixed[c, i], fixed[e, i]
            right[i] += wa + wb + wc + we
            for j in range(i + 1):
                normal[i, j] += (
                    wa * fixed[a, j] + wb * fixed[b, j] + wc * fixed[c, j] + we * fixed[e, j]
                )
        at += 4
    while at < last:
        a = items[at]
        for i in range(d):
            wa = fixed[a, i]
            right[i] += wa
            for j in range(i + 1):
                normal[i, j] += wa * fixed[a, j]
        at += 1


@kernel(inline=True)
def _add_weighted(normal, right, fixed, items, weights, first, last):
    """`_add_outer`, with each outer product and each row times the weight of its pair."""
    d = fixed.shape[1]
    at = first
    while at + 4 <= last:
        a, b, c, e = items[at], items[at + 1], items[at + 2], items[at + 3]
        va, vb, vc, ve = weights[at], weights[at + 1], weights[at + 2], weights[at + 3]
        for i in range(d):
            wa, wb = va * fixed[a, i], vb * fixed[b, i]
            wc, we = vc * fixed[c, i], ve * fixed[e, i]
            right[i] += wa + wb + wc + we
            for j in range(i + 1):
                normal[i, j] += (
                    wa * fixed[a, j] + wb * fixed[b, j] + wc * fixed[c, j] + we * fixed[e, j]
                )
        at += 4
    while at < last:
        a = items[at]
        for i in range(d):
            wa = weights[at] * fixed[a, i]
            right[i] += wa
            for j in range(i + 1):
                normal[i, j] += wa * fixed[a, j]
        at += 1


@kernel(inline=True)
def _solve(normal, right, out, row):
    """Solve for one row by Cholesky, in place; False if the matrix is not positive definite."""
    d = len(right)
    for i in range(d):
        for j in range(i):
            total = normal[i, j]
            for m in range(j):
                total -= normal[i, m] * normal[j, m]
            normal[i, j] = total / normal[j, j]
        total = normal[i, i]
        for m in range(i):
            total -= normal[i, m] * normal[i, m]
        if not total > _0:
            return False
        normal[i, i] = np.float32(math.sqrt(total))
        total = right[i]
        for m in range(i):
            total -= normal[i, m] * right[m]
        right[i] = total / normal[i, i]
    for back in range(d):
        i = d - 1 - back
        value = right[i] / normal[i, i]
        right[i] = value
        for m in range(i):
            right[m] -= normal[i, m] * value
    for i in range(d):
        out[row, i] = right[i]
    return True


@kernel()
def solve_rows(indptr, indices, fixed, base, ridge, out, normal, right, first, last):
    """Solve rows first..last-1 of one side into `out`, float32 (R, d).

    indptr: int64 (R+1,), indices: int32, the fixed rows that belong to each row. fixed: float32
    (C, d). base: float32 (d, d), alpha times the Gram matrix of all fixed rows. ridge: float32
    (R,), added to the diagonal. normal, right: float32 (d, d) and (d,), memory of this thread from
    `memory`. Returns -1, or the first row without a solution; rows before it are done.
    """
    for row in range(first, last):
        _begin(normal, right, base, ridge[row])
        _add_outer(normal, right, fixed, indices, indptr[row], indptr[row + 1])
        if not _solve(normal, right, out, row):
            return row
    return -1


@kernel()
def solve_weighted_rows(
    indptr, indices, weights, fixed, base, ridge, out, normal, right, first, last
):
    """`solve_rows` for pairs with `weights`, float32, aligned with `indices`."""
    for row in range(first, last):
        _begin(normal, right, base, ridge[row])
        _add_weighted(normal, right, fixed, indices, weights, indptr[row], indptr[row + 1])
        if not _solve(normal, right, out, row):
            return row
    return -1


@kernel()
def squared_error(indptr, indices, users, items, first, last):
    """The sum of (1 - score)^2 over the pairs of rows first..last-1, float64.

    indptr: int64 (R+1,), indices: int32, the items of each user. users: float32 (R, d). items:
    float32 (C, d).
    """
    total: Any = 0.0
    for row in range(first, last):
        for at in range(indptr[row], indptr[row + 1]):
            score = _0
            for m in range(users.shape[1]):
                score += users[row, m] * items[indices[at], m]
            total += (_1 - score) * (_1 - score)
    return total


def memory(factors: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What one thread needs for `solve_rows`: `normal` (d, d) and `right` (d,), float32."""
    return np.empty((factors, factors), np.float32), np.empty(factors, np.float32)
