"""A space as the unit cube: configs as rows of numbers between 0 and 1, and back.

A range has one column, on the scale on which the space draws from it; so has a choice among
numbers, such that 128 factors lie between 64 and 256; a choice among words has a column for each
word.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.space.domains import Bundle, Choice, Constant, FloatRange, IntRange, Param, Value
from search.space.spec import SearchSpec

Rows: TypeAlias = NDArray[np.float64]  # (n, width)

ABSENT = 0.5  # the number of a parameter that a config does not have: in the middle
APART = 0.7  # the number in the column of the chosen word, so that two words are about 1 apart


@dataclass(frozen=True, eq=False)
class _Numbers:
    """A range, or a choice among numbers, in one column.

    low, high: its ends, in logarithms where `log`. options: the numbers of a choice, in the space's
    order.
    """

    name: str
    domain: IntRange | FloatRange | Choice
    low: float
    high: float
    log: bool
    options: Rows | None = None  # their places in the cube
    width: int = 1

    def row(self, value: Value | None) -> list[float]:
        if value is None:
            return [ABSENT]
        if self.high <= self.low:
            return [0.0]
        place = math.log(float(value)) if self.log else float(value)
        return [min(max((place - self.low) / (self.high - self.low), 0.0), 1.0)]

    def value(self, row: Rows) -> Value:
        if self.options is not None:
            assert isinstance(self.domain, Choice)
            return self.domain.options[int(np.argmin(np.abs(self.options - row[0])))]
        place = self.low + float(row[0]) * (self.high - self.low)
        nearest = self.domain.nearest(math.exp(place) if self.log else place)
        assert nearest is not None
        return nearest

    def draw(self, count: int, rng: np.random.Generator) -> Rows:
        if self.options is None:
            return rng.random((count, 1))
        return self.options[rng.integers(len(self.options), size=count)][:, None]

    def moved(self, rows: Rows, width: float, rng: np.random.Generator) -> Rows:
        if self.options is None:
            steps = width * rng.standard_normal(rows.shape)
            moved: Rows = np.clip(rows + steps, 0.0, 1.0)
            return moved
        return np.where(rng.random(rows.shape) < REDRAWN, self.draw(len(rows), rng), rows)


@dataclass(frozen=True, eq=False)
class _Words:
    """A choice that has no order, with a column for each option."""

    name: str
    options: tuple[Value, ...]

    @property
    def width(self) -> int:
        return len(self.options)

    def row(self, value: Value | None) -> list[float]:
        return [APART * (value is not None and value == option) for option in self.options]

    def value(self, row: Rows) -> Value:
        return self.options[int(np.argmax(row))]

    def draw(self, count: int, rng: np.random.Generator) -> Rows:
        rows = np.zeros((count, self.width))
        rows[np.arange(count), rng.integers(self.width, size=count)] = APART
        return rows

    def moved(self, rows: Rows, width: float, rng: np.random.Generator) -> Rows:  # noqa: ARG002
        drawn = rng.random((len(rows), 1)) < REDRAWN
        return np.where(drawn, self.draw(len(rows), rng), rows)


REDRAWN = 0.5  # the share of the choices to be moved that are drawn anew
MOVED = 0.3  # the share of the parameters that a move changes; at least two on average


class Cube:
    """The searched parameters of a space; those with a single value have no place in it.

    width: the number of columns of a row.
    """

    def __init__(self, spec: SearchSpec) -> None:
        self._spec = spec
        several = [p for p in spec.searched() if not _single(p)]
        self._only = {p.name: _ends(p)[0] for p in spec.searched() if _single(p)}
        self._depends = _depends(spec)
        always = spec.sample(np.random.default_rng(0)) if not self._depends else None
        self._axes = [_axis(p) for p in several if always is None or p.name in always]
        ends = np.cumsum([0, *(axis.width for axis in self._axes)])
        self._parts = [slice(a, b) for a, b in pairwise(ends.tolist())]
        self.width = int(ends[-1])

    @property
    def fixed(self) -> bool:
        """Whether all configs have the same parameters, so that any row is the row of a config."""
        return not self._depends

    def rows(self, configs: Iterable[Mapping[str, Value]]) -> Rows:
        """The rows (n, width) of n configs, each given as its active parameters by name."""
        rows = [[x for axis in self._axes for x in axis.row(c.get(axis.name))] for c in configs]
        return np.array(rows, np.float64).reshape(len(rows), self.width)

    def config(self, row: Rows) -> dict[str, Value]:
        """The config of a row (width,): the nearest value of each active parameter."""
        values = {
            axis.name: axis.value(row[part])
            for axis, part in zip(self._axes, self._parts, strict=True)
        }
        return self._spec.choose(lambda p: (values | self._only)[p.name])

    def draw(self, count: int, rng: np.random.Generator) -> Rows:
        """`count` rows drawn evenly from the cube."""
        return self._settled(self._drawn(count, rng))

    def names(self) -> tuple[str, ...]:
        """The parameters that have a place in it, in the order of the space."""
        return tuple(axis.name for axis in self._axes)

    def exchanged(self, count: int, rng: np.random.Generator) -> Rows:
        """`count` rows drawn evenly, and for each of `names` the same rows with only that parameter
        drawn again: (1 + names, count, width).
        """
        first, second = self._drawn(count, rng), self._drawn(count, rng)
        found = [self._settled(first)]
        for part in self._parts:
            rows = first.copy()
            rows[:, part] = second[:, part]
            found.append(self._settled(rows))
        return np.stack(found)

    def _drawn(self, count: int, rng: np.random.Generator) -> Rows:
        """Rows drawn evenly, with numbers for parameters that their configs do not have."""
        columns = [axis.draw(count, rng) for axis in self._axes]
        return np.hstack(columns) if columns else np.zeros((count, 0))

    def near(self, rows: Rows, count: int, width: float, rng: np.random.Generator) -> Rows:
        """`count` rows, each one of `rows` with some parameters moved by about `width`."""
        moved = rows[rng.integers(len(rows), size=count)]
        share = max(MOVED, min(1.0, 2 / max(len(self._axes), 1)))
        for axis, part in zip(self._axes, self._parts, strict=True):
            change = rng.random((count, 1)) < share
            moved[:, part] = np.where(
                change, axis.moved(moved[:, part], width, rng), moved[:, part]
            )
        return self._settled(moved)

    def _settled(self, rows: Rows) -> Rows:
        """The same rows, with ABSENT for parameters that their configs do not have."""
        return rows if self.fixed else self.rows(self.config(row) for row in rows)


def _ends(param: Param) -> tuple[Value, ...]:
    assert not isinstance(param.domain, Constant)
    return param.domain.corners()


def _single(param: Param) -> bool:
    return len(set(_ends(param))) == 1


def _depends(spec: SearchSpec) -> bool:
    """Whether one config of a space can have parameters that another does not have."""
    vary: set[str] = set()
    for param in spec.params:
        asked = {name for name, _ in param.when}
        if param.models() is not None:
            asked.add("model")
        if asked & vary:
            return True
        if param in spec.searched() and not _single(param):
            vary |= param.sets()
    return False


def _axis(param: Param) -> _Numbers | _Words:
    domain = param.domain
    if isinstance(domain, FloatRange):
        low, high = float(domain.low), float(domain.high)
        if domain.log:
            low, high = math.log(low), math.log(high)
        return _Numbers(param.name, domain, low, high, domain.log)
    if isinstance(domain, IntRange):
        # as the space draws: every whole number takes up the same room
        half = domain.step / 2
        low, high = domain.low - half, domain.high + half
        if domain.log:
            low, high = math.log(domain.low - 0.5), math.log(domain.high + 0.5)
        return _Numbers(param.name, domain, low, high, domain.log)
    assert isinstance(domain, Choice | Bundle)
    options = domain.options
    numbers = [float(o) for o in options if isinstance(o, int | float) and not isinstance(o, bool)]
    if not isinstance(domain, Choice) or len(numbers) < len(options):
        return _Words(param.name, tuple(options))
    log = min(numbers) > 0
    scaled = np.log(numbers) if log else np.array(numbers)
    low, high = float(scaled.min()), float(scaled.max())
    if high <= low:  # numbers that differ only in the last bit
        return _Words(param.name, tuple(options))
    return _Numbers(param.name, domain, low, high, log, (scaled - low) / (high - low))
