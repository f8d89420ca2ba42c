"""A Gaussian process of the values that configs reach, learned from all epochs seen of trials.

A value of a config is known after some part of its training. The process has two terms over the
configs: one is the same at every part of a training, the other changes with it. So the value of a
trial at an early rung says something about the end of that config and of its neighbours: as much
as rungs and ends have agreed so far. Kernels are Matérn 5/2 with a length for each column
(Rasmussen and Williams, 2006, chapter 4.2); lengths and variances are the most likely ones under
broad priors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
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

# Mean and spread of each prior, in logarithms, for values of variance 1: of the lengths of a column
# and over parts, of the variances of the term that stays, of the one that changes, and of noise.
LENGTH, PART_LENGTH = (math.log(0.8), 0.8), (math.log(0.7), 0.7)
STAYS, CHANGES, NOISE = (math.log(0.7), 1.0), (math.log(0.2), 1.0), (math.log(0.05), 1.2)
END = np.ones(1)  # the part of a whole training
BLOCK = 128  # rows
JITTER = 1e-6  # added to the variance of a value, so that equal rows can be told apart
ROUNDED = 1e-7  # the part of a variance that is lost in rounding where functions are drawn
APART = 12  # steps between two of them that are drawn from all plausible ones
STEPS = 25  # of the search for the most likely lengths and variances
FAR = 3.0  # how far, in spreads, each of them may be from the mean of its prior


@dataclass(frozen=True, eq=False)
class Seen:
    """Observations. rows (n, width): the configs; parts (n,): how much of their training was done,
    1 at its end; values (n,): with mean 0 and variance 1, or nearly.
    """

    rows: Rows
    parts: Values
    values: Values

    def __len__(self) -> int:
        return len(self.values)


class GaussianProcess:
    """A Gaussian process given what was `seen`."""

    def __init__(
        self, seen: Seen, logs: Values, solved: tuple[Values, Values] | None = None
    ) -> None:
        """logs: of lengths and variances (`likely`). solved: the root (n, n) of the covariance of
        `seen` and its solution (n,) for their values, where they are known.
        """
        self._seen, self._logs = seen, logs
        if solved is not None:
            self._root, self._weights = solved
            return
        with one_thread():
            covariance = _covariance(seen.rows, seen.parts, seen.rows, seen.parts, logs)
            covariance[np.diag_indices_from(covariance)] += self.noise
            root = np.asarray(np.linalg.cholesky(covariance), np.float64)
            self._root, self._weights = root, cho_solve((root, True), seen.values)

    @property
    def noise(self) -> float:
        """The variance of a value that no other config knows of."""
        return math.exp(self._logs[-1]) + JITTER

    def at_end(self, rows: Rows) -> tuple[Values, Values]:
        """Mean and standard deviation, (n,) each, of what the configs of rows (n, width) reach at
        the end of their training.
        """
        mean, left = np.empty(len(rows)), np.empty(len(rows))
        with one_thread():
            for part in _blocks(len(rows)):
                across = _covariance(rows[part], END, self._seen.rows, self._seen.parts, self._logs)
                explained = solve_triangular(self._root, across.T, lower=True, check_finite=False)
                mean[part] = across @ self._weights
                left[part] = self._end_variance - np.square(explained, out=explained).sum(0)
        return mean, np.sqrt(np.maximum(left, 1e-9))

    def drawn_at_end(self, rows: Rows, count: int, rng: np.random.Generator) -> Values:
        """`count` functions (count, n) that agree with what was seen, drawn from the process, at
        the configs of rows (n, width).
        """
        with one_thread():
            across = _covariance(rows, END, self._seen.rows, self._seen.parts, self._logs)
            explained = solve_triangular(self._root, across.T, lower=True)
            left = _covariance(rows, END, rows, END, self._logs) - explained.T @ explained
            left[np.diag_indices_from(left)] += ROUNDED * self._end_variance
            root = np.linalg.cholesky(left)
            drawn: Values = rng.standard_normal((count, len(rows))) @ root.T
            return across @ self._weights + drawn

    @property
    def _end_variance(self) -> float:
        """The variance of the value at the end of a config of which nothing is known."""
        return math.exp(self._logs[-3]) + math.exp(self._logs[-2])

    def supposing(self, rows: Rows) -> GaussianProcess:
        """The process as if these configs had ended, each with the value expected of it.

        The root grows by rows at its end; expected values change no weight of what was seen, and
        have none themselves.
        """
        seen, count, more = self._seen, len(self._seen), len(rows)
        ends = np.ones(more)
        with one_thread():
            across = _covariance(rows, ends, seen.rows, seen.parts, self._logs)
            below = solve_triangular(self._root, across.T, lower=True, check_finite=False)
            left = _covariance(rows, ends, rows, ends, self._logs) - below.T @ below
            left[np.diag_indices_from(left)] += self.noise
            root = np.zeros((count + more, count + more))
            root[:count, :count], root[count:, :count] = self._root, below.T
            root[count:, count:] = np.linalg.cholesky(left)
        supposed = Seen(
            np.vstack([seen.rows, rows]),
            np.concatenate([seen.parts, ends]),
            np.concatenate([seen.values, across @ self._weights]),
        )
        weights = np.concatenate([self._weights, np.zeros(more)])
        return GaussianProcess(supposed, self._logs, (root, weights))


def likely(seen: Seen) -> Values:
    """Logarithms (width + 4,) of the lengths and variances under which `seen` is most likely: the
    lengths of the columns, the length over parts, the variances of the term that stays, of the
    term that changes, and of the noise.
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


def plausible(seen: Seen, count: int, rng: np.random.Generator) -> Values:
    """`count` draws (count, width + 4) of the logarithms that `likely` finds the most likely of,
    from all that `seen` leaves plausible, by elliptical slice sampling (Murray, Adams and MacKay,
    2010).
    """
    means, spreads = _priors(seen.rows.shape[1])
    squares = np.square(seen.rows[:, None, :] - seen.rows[None, :, :])
    parts = np.square(seen.parts[:, None] - seen.parts[None, :])

    def fits(away: Values) -> float:
        """The logarithm of the likelihood, up to a constant. away: from the means, in spreads."""
        unlikely = loss(means + spreads * away, squares, parts, seen.values)[0]
        return -math.inf if math.isinf(unlikely) else 0.5 * float(away @ away) - unlikely

    away = (likely(seen) - means) / spreads
    found = []
    with one_thread():
        for step in range(1, count * APART + 1):
            away = _sliced(away, fits, rng)
            if step % APART == 0:
                found.append(means + spreads * away)
    return np.array(found)


def _sliced(at: Values, fits: Callable[[Values], float], rng: np.random.Generator) -> Values:
    """A step of elliptical slice sampling from `at`, under a prior of variance 1 around 0."""
    other = rng.standard_normal(len(at))
    level = fits(at) + math.log(1 - rng.random())
    turn = rng.uniform(0, 2 * math.pi)
    low, high = turn - 2 * math.pi, turn
    while turn and fits(new := at * math.cos(turn) + other * math.sin(turn)) <= level:
        low, high = (turn, high) if turn < 0 else (low, turn)
        turn = rng.uniform(low, high)
    return new if turn else at


def loss(logs: Values, squares: Values, parts: Values, values: Values) -> tuple[float, Values]:
    """How unlikely `values` (n,) are under these `logs`, and `logs` under their priors; and the
    gradient by `logs`.

    squares (n, n, width): squared distances by column; parts (n, n): squared distances of parts.
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
    """The covariances (n, m) of values of configs a (n, width) after `parts_a` of their training
    and of b (m, width) after `parts_b`; a single part holds for all rows.
    """
    width = a.shape[1]
    lengths = np.exp(-logs[:width])
    a, b = a * lengths, b * lengths
    squares_a, squares_b = np.square(a).sum(1)[:, None], np.square(b).sum(1)[None, :]
    stays, changes = np.exp(logs[width + 1 : width + 3])
    covariance = np.empty((len(a), len(b)))
    for part in _blocks(len(a)):
        squares = np.maximum(squares_a[part] + squares_b - 2 * a[part] @ b.T, 0.0)
        at = parts_a if len(parts_a) == 1 else parts_a[part]
        apart = np.square(at[:, None] - parts_b[None, :]) * math.exp(-2 * logs[width])
        covariance[part] = _matern(squares) * (stays + changes * _matern(apart))
    return covariance


def _blocks(count: int) -> Iterator[slice]:
    """The rows of a matrix in parts that stay in the processor's cache, which halves the time."""
    for start in range(0, count, BLOCK):
        yield slice(start, start + BLOCK)


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
    """The derivative of `_matern` by squared distances."""
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
    """A context in which linear algebra has one thread: the cores belong to the workers, and
    results are the same whatever the number of cores.
    """
    limited: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return limited
