"""What configs reach, learned from all epochs at which trials were seen: a Gaussian process.

A value is known of a config after some part of its training. The process has two terms over the
configs: one is the same at every part of a training, the other changes with it. So what a trial
showed at an early rung says something about the end of that config and of its neighbours, as much
as rungs and ends have gone together so far. Kernels are Matérn 5/2 with a length for each column
(Rasmussen and Williams, 2006, chapter 4.2), lengths and variances the most likely ones under broad
priors.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController

from search.propose.surrogate.cube import Rows

Values: TypeAlias = NDArray[np.float64]

# Mean and spread of each prior, in logarithms, for values of variance 1: the length of a column,
# the length of the parts, the variance of what stays, of what changes, and of the noise.
LENGTH, PART_LENGTH = (math.log(0.8), 0.8), (math.log(0.7), 0.7)
STAYS, CHANGES, NOISE = (math.log(0.7), 1.0), (math.log(0.2), 1.0), (math.log(0.05), 1.2)
END = np.ones(1)  # the part of a whole training
JITTER = 1e-6  # of the variance of a value, so that equal rows can be told apart
STEPS = 25  # of the search for the most likely lengths and variances
FAR = 3.0  # how far from its prior, in spreads, one of them may go


@dataclass(frozen=True, eq=False)
class Seen:
    """What is known. rows (n, width): configs; parts (n,): of their training, 1 is its end; values
    (n,): with mean 0 and variance 1, or nearly.
    """

    rows: Rows
    parts: Values
    values: Values

    def __len__(self) -> int:
        return len(self.values)


class Process:
    """A Gaussian process after what was `seen`, with these `logs` (`likely`)."""

    def __init__(self, seen: Seen, logs: Values) -> None:
        self._seen, self._logs = seen, logs
        with one_thread():
            covariance = _covariance(seen.rows, seen.parts, seen.rows, seen.parts, logs)
            self._root = np.linalg.cholesky(covariance + self.noise * np.eye(len(seen)))
            self._weights = cho_solve((self._root, True), seen.values)

    @property
    def noise(self) -> float:
        """The variance of a value that no other config knows of."""
        return math.exp(self._logs[-1]) + JITTER

    def at_end(self, rows: Rows) -> tuple[Values, Values]:
        """Mean and standard deviation (n,) of what configs reach at the end of their training."""
        with one_thread():
            across = _covariance(rows, END, self._seen.rows, self._seen.parts, self._logs)
            explained = solve_triangular(self._root, across.T, lower=True)
            prior = math.exp(self._logs[-3]) + math.exp(self._logs[-2])
            left = np.maximum(prior - np.square(explained).sum(0), 1e-9)
            return across @ self._weights, np.sqrt(left)

    def supposing(self, rows: Rows) -> Process:
        """As if these configs were at their ends already, with what is expected of them."""
        seen, expected = self._seen, self.at_end(rows)[0]
        return Process(
            Seen(
                np.vstack([seen.rows, rows]),
                np.concatenate([seen.parts, np.ones(len(rows))]),
                np.concatenate([seen.values, expected]),
            ),
            self._logs,
        )


def likely(seen: Seen) -> Values:
    """Logarithms of lengths and variances under which `seen` is most likely: those of the columns,
    then of the parts' length, the variance of what stays, of what changes, and of the noise.
    """
    means, spreads = _priors(seen.rows.shape[1])
    squares = np.square(seen.rows[:, None, :] - seen.rows[None, :, :])
    parts = np.square(seen.parts[:, None] - seen.parts[None, :])
    bounds = list(zip(means - FAR * spreads, means + FAR * spreads, strict=True))
    with one_thread():
        found = minimize(
            loss,
            means,
            args=(squares, parts, seen.values),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": STEPS},
        )
    return np.asarray(found.x)


def loss(logs: Values, squares: Values, parts: Values, values: Values) -> tuple[float, Values]:
    """How unlikely `values` are with these `logs` (and `logs` themselves), and its gradient.

    squares (n, n, width): squared distances by column; parts (n, n): of the parts.
    """
    width = squares.shape[2]
    weights = np.exp(-2 * logs[:width])
    distances = squares @ weights
    near, near_slope = _matern(distances), _matern_slope(distances)
    scale = math.exp(-2 * logs[width])
    alike, alike_slope = _matern(parts * scale), _matern_slope(parts * scale)
    stays, changes, noise = np.exp(logs[width + 1 :])
    covariance = near * (stays + changes * alike)
    covariance[np.diag_indices_from(covariance)] += noise + JITTER
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        return math.inf, np.zeros_like(logs)
    solved = cho_solve((root, True), values)
    inverse = cho_solve((root, True), np.eye(len(values)))
    pull = 0.5 * (inverse - np.outer(solved, solved))  # d loss / d covariance

    gradient = np.empty_like(logs)
    slope = pull * near_slope * (stays + changes * alike)
    gradient[:width] = -2 * weights * np.einsum("ij,ijk->k", slope, squares)
    gradient[width] = -2 * scale * np.sum(pull * near * changes * alike_slope * parts)
    gradient[width + 1] = stays * np.sum(pull * near)
    gradient[width + 2] = changes * np.sum(pull * near * alike)
    gradient[width + 3] = noise * np.trace(pull)
    means, spreads = _priors(width)
    off = (logs - means) / spreads
    value = 0.5 * values @ solved + np.log(np.diag(root)).sum() + 0.5 * off @ off
    return float(value), gradient + off / spreads


def _covariance(a: Rows, parts_a: Values, b: Rows, parts_b: Values, logs: Values) -> Values:
    """Between values at parts of the training of a and of b; one part stands for all."""
    width = a.shape[1]
    lengths = np.exp(-logs[:width])
    a, b = a * lengths, b * lengths
    squares = np.maximum(
        np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None, :] - 2 * a @ b.T, 0.0
    )
    apart = np.square(parts_a[:, None] - parts_b[None, :]) * math.exp(-2 * logs[width])
    stays, changes = np.exp(logs[width + 1 : width + 3])
    covariance = _matern(squares)
    covariance *= stays + changes * _matern(apart)
    return covariance


def _matern(squares: Values) -> Values:
    """The kernel at squared distances."""
    distance = np.sqrt(5 * squares)
    value: Values = distance / 3
    value += 1
    value *= distance
    value += 1
    value *= np.exp(-distance)
    return value


def _matern_slope(squares: Values) -> Values:
    """How it changes with them."""
    distance = np.sqrt(5 * squares)
    slope: Values = -5 / 6 * (1 + distance) * np.exp(-distance)
    return slope


def _priors(width: int) -> tuple[Values, Values]:
    priors = np.array([*[LENGTH] * width, PART_LENGTH, STAYS, CHANGES, NOISE])
    return priors[:, 0], priors[:, 1]


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """A context in which linear algebra has one thread: the cores are the workers', and the same
    numbers come out however many there are.
    """
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited
