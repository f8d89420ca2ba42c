"""What any config of a space would have done, learned from recorded trainings.

A config that was recorded does what it did. For all others a forest has learned the curves of
validation and test, and another the seconds of an epoch. What the first misses on a held-out config
nearby is added back as noise, fixed for a config, so that no searcher finds a world that is
smoother than the real one; nearby, for it misses bad configs by more than good ones. `check` says
how well the forest ranks unseen configs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold, cross_val_predict

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
    ) -> None:
        """users: that the metric on validation is a mean of. size: of what was trained on."""
        self.spec, self.recorded, self.users, self.size = spec, recorded, users, size
        self._known = {_key(p): curve for p, curve in zip(params, recorded, strict=True)}
        x = np.array([self.encode(p) for p in params])
        self._spread = np.maximum(np.ptp(x, axis=0), 1e-9)
        self._x = x / self._spread
        self._length = max(len(c.valid) for c in recorded)
        curves = np.array([self._row(c) for c in recorded])
        seconds = np.log([c.seconds for c in recorded])
        self._curves = _forest().fit(x, curves)
        self._seconds = _forest().fit(x, seconds)
        fold = KFold(5, shuffle=True, random_state=0)
        self._guessed = cross_val_predict(_forest(), x, curves, cv=fold)
        self._missed = curves - self._guessed
        self._seen = curves

    @staticmethod
    def load(path: Path) -> World:
        """The world of a file that `record` wrote."""
        about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        spec = load_spec(about["space"], about["set"])
        frame = pd.read_parquet(path)
        curves, params = [], []
        for number, rows in frame.groupby("config"):
            seconds = float((rows.train_seconds + rows.eval_seconds).mean())
            curves.append(Curve(rows.valid.to_numpy(float), rows.test.to_numpy(float), seconds))
            params.append(about["params"][int(str(number))])
        size = Size(**about["size"]) if "size" in about else None  # recorded by earlier versions
        return World(spec, curves, params, about["users"], size)

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
        x = np.array([self.encode(params)])
        near = np.argsort(((self._x - x / self._spread) ** 2).sum(1), kind="stable")[:NEAR]
        missed = self._missed[near[int.from_bytes(key[:4], "big") % len(near)]]
        row = np.maximum(self._curves.predict(x)[0] + missed, 0.0)
        seconds = float(np.exp(self._seconds.predict(x)[0]))
        valid, test = row[: self._length], row[self._length :]
        patience = self.spec.train_config(params).to_flat().get("patience") or 0
        end = natural_end(valid, int(patience))
        return Curve(valid[:end], test[:end], seconds)

    def check(self) -> dict[str, float]:
        """Rank correlation of guessed and true best values of configs left out of the forest."""
        n = self._length
        best = [
            spearmanr(self._guessed[:, part].max(1), self._seen[:, part].max(1)).statistic
            for part in (slice(0, n), slice(n, None))
        ]
        return {"valid": float(best[0]), "test": float(best[1])}


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


TREES, NEAR = 100, 5


def _key(params: Mapping[str, Value]) -> bytes:
    return hashlib.sha256(json.dumps(dict(params), sort_keys=True).encode()).digest()


def _forest() -> Any:
    return RandomForestRegressor(TREES, min_samples_leaf=2, n_jobs=1, random_state=0)
