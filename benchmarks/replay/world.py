"""What any config of a space would have done, drawn from what recorded trainings leave open.

A config that was recorded did what it did. Between those, curves of validation and test are a few
shapes (their principal components), each as much as a Gaussian process says, and the seconds of an
epoch another. A world is one draw from these processes and not their mean, which would be smoother
than any real space: it goes through what was recorded and is as rough between as the data are.
Noise comes on top, as much as two trainings of nearly the same config differ, fixed for a config.
`check` says how well the means of the processes rank unseen configs.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold

from recsys.models.base import Size
from search.space.domains import FloatRange, IntRange, Value
from search.space.load import load_spec
from search.space.spec import SearchSpec


@dataclass(frozen=True, eq=False)
class Curve:
    """A training to its end: validation and test (E,) after each epoch, seconds of one epoch."""

    valid: NDArray[np.float64]
    test: NDArray[np.float64]
    seconds: float


class World:
    """All trainings of a space on one data set."""

    def __init__(
        self,
        spec: SearchSpec,
        recorded: list[Curve],
        params: list[Mapping[str, Value]],
        users: int,
        size: Size | None,
        draw: int = 0,
        fits: Fits | None = None,
    ) -> None:
        """users: that the metric on validation is a mean of. size: of what was trained on. draw:
        the number of the world, of all that are as likely. fits: of another draw of the same.
        """
        self.spec, self.recorded, self.users, self.size = spec, recorded, users, size
        self._known = {_key(p): curve for p, curve in zip(params, recorded, strict=True)}
        x = np.array([self.encode(p) for p in params])
        self._spread = np.maximum(np.ptp(x, axis=0), 1e-9)
        self._x = x / self._spread
        self._length = max(len(c.valid) for c in recorded)
        self._rows = np.array([self._row(c) for c in recorded])
        self._draw, rng = draw, np.random.default_rng(draw)
        self._shapes = Shapes(self._rows)
        values = [*self._shapes.parts.T, np.log([c.seconds for c in recorded])]
        self.fits = [fitted(self._x, of) for of in values] if fits is None else fits
        *self._drawn, self._seconds = [
            Drawn(self._x, of, fit.kernel_, rng) for of, fit in zip(values, self.fits, strict=True)
        ]

    @staticmethod
    def load(path: Path, draws: int) -> list[World]:
        """So many worlds of a file that `record` wrote."""
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        spec = load_spec(about["space"], about["set"])
        frame = pd.read_parquet(path)
        curves, params = [], []
        for number, rows in frame.groupby("config"):
            seconds = float((rows.train_seconds + rows.eval_seconds).mean())
            curves.append(Curve(rows.valid.to_numpy(float), rows.test.to_numpy(float), seconds))
            params.append(about["params"][int(str(number))])
        size = Size(**about["size"]) if "size" in about else None  # recorded by earlier versions
        world = partial(World, spec, curves, params, about["users"], size)
        first = world()
        return [first, *(world(draw, first.fits) for draw in range(1, draws))]

    def _row(self, curve: Curve) -> NDArray[np.float64]:
        """Both curves at the same length: what was never trained stays at the last value."""
        return np.concatenate([_padded(c, self._length) for c in (curve.valid, curve.test)])

    def encode(self, params: Mapping[str, Value]) -> list[float]:
        """A config as numbers; -1 for a parameter that it does not have."""
        row = []
        for param in self.spec.searched():
            value = params.get(param.name)
            if value is None:
                row.append(-1.0)
            elif isinstance(param.domain, FloatRange | IntRange):
                row.append(
                    float(np.log(max(float(value), 1e-9))) if param.domain.log else float(value)
                )
            else:
                row.append(float(list(param.domain.values() or ()).index(value)))
        return row

    def curve(self, params: Mapping[str, Value]) -> Curve:
        """What training this config would have reported; the same whenever it is asked for."""
        key = _key(params)
        if key in self._known:
            return self._known[key]
        x = np.array(self.encode(params)) / self._spread
        rng = np.random.default_rng([self._draw, *key[:8]])
        parts = [drawn.at(x) + drawn.noise * rng.standard_normal() for drawn in self._drawn]
        near = np.argsort(((self._x - x) ** 2).sum(1), kind="stable")[:NEAR]
        row = self._shapes.row(np.array(parts)) + self._shapes.rest[rng.choice(near)]
        row = np.maximum(row, 0.0)
        valid, test = row[: self._length], row[self._length :]
        patience = self.spec.train_config(params).to_flat().get("patience") or 0
        end = natural_end(valid, int(patience))
        return Curve(valid[:end], test[:end], float(np.exp(self._seconds.at(x))))

    def worth(self, params: Mapping[str, Value]) -> tuple[float, float]:
        """What a config reaches on validation, and on test after the same epoch, without the noise
        of a training.
        """
        x = np.array(self.encode(params)) / self._spread
        row = self._shapes.row(np.array([drawn.at(x) for drawn in self._drawn]))
        valid, test = row[: self._length], row[self._length :]
        best = int(valid.argmax())
        return float(valid[best]), float(test[best])

    def seconds_of(self, trials: int, workers: int) -> float:
        """How long so many workers take for so many trainings to their end, as recorded."""
        whole = float(np.mean([c.seconds * len(c.valid) for c in self.recorded]))
        return trials * whole / workers

    def check(self) -> dict[str, float]:
        """Rank correlation of guessed and true best values of configs that no process saw."""
        guessed = np.empty_like(self._rows)
        for known, unseen in KFold(5, shuffle=True, random_state=0).split(self._x):
            shapes = Shapes(self._rows[known])
            means = [fitted(self._x[known], of).predict(self._x[unseen]) for of in shapes.parts.T]
            guessed[unseen] = [shapes.row(parts) for parts in np.array(means).T]
        n = self._length
        best = [
            spearmanr(guessed[:, part].max(1), self._rows[:, part].max(1)).statistic
            for part in (slice(0, n), slice(n, None))
        ]
        return {"valid": float(best[0]), "test": float(best[1])}


Fits = list[GaussianProcessRegressor]


class Shapes:
    """Rows of curves (n, length) as a few shapes that are added.

    parts (n, shapes): how much of each shape a row has. rest (n, length): what is left of it then.
    """

    def __init__(self, rows: NDArray[np.float64]) -> None:
        self._mean = rows.mean(axis=0)
        left, sizes, shapes = np.linalg.svd(rows - self._mean, full_matrices=False)
        self.parts: NDArray[np.float64] = (left * sizes)[:, :SHAPES]
        self._shapes = shapes[:SHAPES]
        self.rest: NDArray[np.float64] = rows - self._mean - self.parts @ self._shapes

    def row(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The row (length,) that has these parts (shapes,)."""
        made: NDArray[np.float64] = self._mean + parts @ self._shapes
        return made


class Drawn:
    """A function of configs, drawn from a Gaussian process after values (n,) at configs x (n, w).

    As a draw from before anything was known, of random waves (Rahimi and Recht, 2007), set right by
    what is known (Matheron's rule; Wilson and others, 2020). noise: how far a value is from it.
    """

    def __init__(
        self,
        x: NDArray[np.float64],
        values: NDArray[np.float64],
        kernel: Any,
        rng: np.random.Generator,
    ) -> None:
        """kernel: that `fitted` found for these values."""
        self._middle, self._scale = float(values.mean()), float(values.std()) or 1.0
        self._x = x
        self._covariance = kernel.k1
        variance, lengths = kernel.k1.k1.constant_value, kernel.k1.k2.length_scale
        noise = kernel.k2.noise_level
        self.noise = self._scale * float(np.sqrt(noise))
        # waves of a Matern 5/2 kernel: normal directions, lengths of a t distribution
        turns = rng.standard_normal((WAVES, x.shape[1])) / lengths
        self._turns = turns * np.sqrt(5 / rng.chisquare(5, size=(WAVES, 1)))
        self._phases = rng.uniform(0, 2 * np.pi, WAVES)
        self._heights = rng.standard_normal(WAVES) * np.sqrt(2 * variance / WAVES)
        known = (values - self._middle) / self._scale
        missed = known - self._before(x) - np.sqrt(noise) * rng.standard_normal(len(x))
        covariance = self._covariance(x) + (noise + JITTER) * np.eye(len(x))
        self._weights = np.linalg.solve(covariance, missed)

    def _before(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        waves: NDArray[np.float64] = np.cos(x @ self._turns.T + self._phases) @ self._heights
        return waves

    def at(self, x: NDArray[np.float64]) -> float:
        """At a config (w,)."""
        here = x[None, :]
        drawn = self._before(here) + self._covariance(here, self._x) @ self._weights
        return self._middle + self._scale * float(drawn[0])


def fitted(x: NDArray[np.float64], values: NDArray[np.float64]) -> GaussianProcessRegressor:
    """A process with the likeliest variance, lengths and noise, in that order."""
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(
        np.ones(x.shape[1]), length_scale_bounds=(0.05, 20.0), nu=2.5
    ) + WhiteKernel(0.1, (1e-5, 2.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length at its bound
        return GaussianProcessRegressor(kernel, normalize_y=True).fit(x, values)


def natural_end(valid: NDArray[np.float64], patience: int) -> int:
    """How many epochs a training has that ends after `patience` epochs without a better one."""
    best, at = -np.inf, 0
    for epoch, value in enumerate(valid, 1):
        if value > best:
            best, at = value, epoch
        elif 0 < patience <= epoch - at:
            return epoch
    return len(valid)


def _padded(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    return np.concatenate([values, np.full(length - len(values), values[-1])])


SHAPES, WAVES, JITTER = 6, 1000, 1e-8
NEAR = 5  # recorded configs of which one lends an unseen one what the shapes leave of its curve


def _key(params: Mapping[str, Value]) -> bytes:
    return hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode()).digest()
