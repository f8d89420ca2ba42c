"""What a parameter of a space can be (a constant, a choice, a bundle, a range) and when it exists.

Values are `int`, `float` or `str`. A bundle is a choice between named sets of constants, for
settings that belong together (a loss and the negatives it can have): the search sees one name,
the training sees the constants behind it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np

from recsys.models import DEFAULT, MODELS, config_of
from recsys.models.base import Parameter

Value: TypeAlias = int | float | str
Pairs: TypeAlias = tuple[tuple[str, Value], ...]


Field = Parameter


def _fields() -> tuple[dict[str, Field], dict[str, frozenset[str]]]:
    """The flat parameters of all models, by name, and the models that have each."""
    fields: dict[str, Field] = {"model": Parameter(str, tuple(MODELS))}
    owners: dict[str, frozenset[str]] = {}
    for model in MODELS:
        for name, field in config_of(model).parameters().items():
            known = fields.setdefault(name, field)
            assert known == field, f"{name} differs between models"
            owners[name] = owners.get(name, frozenset()) | {model}
    return fields, owners


# The parameters that a space may set, and the models that have each.
FIELDS, OWNERS = _fields()
# The words that decide which other parameters exist.
STRUCTURAL = {"model"}.union(*(config_of(model).structural for model in MODELS))
# For a parameter, others that express the same in another way: a config has one of them.
ALTERNATIVES = {
    name: tuple(other for other in ways if other != name)
    for model in MODELS
    for ways in config_of(model).alternatives
    for name in ways
}


# The defaults of parameters that a flat config leaves out where it has them.
UNSAID = {
    name: config_of(model).parameters()[name].default
    for model in MODELS
    for name in config_of(model).unsaid
}


@dataclass(frozen=True)
class Constant:
    """A value that is always the same; not a parameter of the search."""

    value: Value

    def contains(self, value: Value) -> bool:
        """Whether `value` is this one; 1 and 1.0 are the same."""
        return _same(value, self.value)

    def values(self) -> Iterator[Value] | None:
        """The one value there is."""
        return iter((self.value,))

    def plain(self) -> Any:
        """The value itself, as it is in YAML."""
        return self.value


class _Listed(ABC):
    """One of several values: all are equally likely, and each counts as a corner."""

    @abstractmethod
    def values(self) -> Iterator[Value]:
        """All options, for a grid, in the order of the space."""

    def sample(self, rng: np.random.Generator) -> Value:
        """Any option, all equally likely."""
        options = self.corners()
        return options[int(rng.integers(len(options)))]

    def corners(self) -> tuple[Value, ...]:
        """The values that a space is checked with: every option."""
        return tuple(self.values())


@dataclass(frozen=True)
class Choice(_Listed):
    """One of several values, without an order."""

    options: tuple[Value, ...]

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of the options; 1 and 1.0 are the same."""
        return any(_same(value, option) for option in self.options)

    def values(self) -> Iterator[Value]:
        """All options, for a grid, in the order of the space."""
        return iter(self.options)

    def nearest(self, value: Value) -> Value | None:
        """The option that equals `value` or, among numbers, is closest to it; None if none does."""
        if isinstance(value, str):
            return value if value in self.options else None
        numbers = [o for o in self.options if not isinstance(o, str)]
        return min(numbers, key=lambda o: abs(o - value), default=None)

    def plain(self) -> Any:
        """The YAML value that reads back as this choice."""
        return {"choice": list(self.options)}


@dataclass(frozen=True)
class Bundle(_Listed):
    """One of several named sets of constants."""

    sets: tuple[tuple[str, Pairs], ...]

    @property
    def options(self) -> tuple[str, ...]:
        """The names of the sets, which are what the search sees."""
        return tuple(name for name, _ in self.sets)

    def fields(self, option: str) -> dict[str, Value]:
        """The constants of a set, by flat parameter. Raises KeyError for an unknown name."""
        return dict(dict(self.sets)[option])

    def contains(self, value: Value) -> bool:
        """Whether `value` names one of the sets."""
        return value in self.options

    def values(self) -> Iterator[Value]:
        """All names, for a grid, in the order of the space."""
        return iter(self.options)

    def nearest(self, value: Value) -> Value | None:
        """`value` itself where it names one of the sets, else None: names have no distance."""
        return value if value in self.options else None

    def plain(self) -> Any:
        """The YAML value that reads back as this bundle."""
        return {"choice": {name: dict(pairs) for name, pairs in self.sets}}


class _Range:
    """A range between two ends, both included; its kinds define the fields."""

    low: int | float
    high: int | float
    log: bool
    step: int | float | None

    def corners(self) -> tuple[Value, ...]:
        """The values that a space is checked with: both ends."""
        return (self.low, self.high)

    def plain(self) -> Any:
        """The YAML value that reads back as this range."""
        result: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.log:
            result["log"] = True
        return result | ({"step": self.step} if self.step != type(self).step else {})


@dataclass(frozen=True)
class IntRange(_Range):
    """Whole numbers low, low + step, ..., high; both ends included."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    def contains(self, value: Value) -> bool:
        """Whether `value` is an `int` of the range, a whole number of steps above `low`."""
        return (
            isinstance(value, int)
            and self.low <= value <= self.high
            and (value - self.low) % self.step == 0
        )

    def sample(self, rng: np.random.Generator) -> int:
        """Draw uniformly over the steps; with `log`, uniformly in the logarithm from low - 0.5 to
        high + 0.5, and rounded, so that both ends get their full share.
        """
        if self.log:
            exponent = rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5))
            return min(max(round(math.exp(exponent)), self.low), self.high)
        return self.low + self.step * int(rng.integers((self.high - self.low) // self.step + 1))

    def values(self) -> Iterator[Value] | None:
        """Every step, ascending, for a grid."""
        return iter(range(self.low, self.high + 1, self.step))

    def nearest(self, value: Value) -> Value | None:
        """The step closest to a number, which may be outside the range; None for text."""
        if isinstance(value, str):
            return None
        steps = round((value - self.low) / self.step)
        return self.low + self.step * min(max(steps, 0), (self.high - self.low) // self.step)


@dataclass(frozen=True)
class FloatRange(_Range):
    """Numbers from low to high, both included; with `step` only low, low + step, ..., high."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def contains(self, value: Value) -> bool:
        """Whether a number is in the range and, where that has steps, on one of these."""
        if isinstance(value, str) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return abs(steps - round(steps)) < 1e-8

    def sample(self, rng: np.random.Generator) -> float:
        """Draw uniformly in the range, with `log` in its logarithm, or over the steps."""
        if self.log:
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            return min(max(value, self.low), self.high)
        if self.step is None:
            return float(rng.uniform(self.low, self.high))
        return self._at(int(rng.integers(self._steps + 1)))

    @property
    def _steps(self) -> int:
        assert self.step is not None
        return round((self.high - self.low) / self.step)

    def _at(self, k: int) -> float:
        # In decimals, so that 0.1 + 2 x 0.1 is the 0.3 that people write.
        return float(Decimal(repr(self.low)) + k * Decimal(repr(self.step)))

    def values(self) -> Iterator[Value] | None:
        """Every step, ascending, for a grid; None for a range without steps, which is not
        countable.
        """
        if self.low == self.high:
            return iter((self.low,))
        return None if self.step is None else (self._at(k) for k in range(self._steps + 1))

    def nearest(self, value: Value) -> Value | None:
        """The closest number of the range, or of its steps; None for text."""
        if isinstance(value, str):
            return None
        clipped = min(max(float(value), self.low), self.high)
        return clipped if self.step is None else self._at(round((clipped - self.low) / self.step))


Searched: TypeAlias = Choice | Bundle | IntRange | FloatRange
Domain: TypeAlias = Constant | Searched


@dataclass(frozen=True)
class Param:
    """A named domain. when: earlier parameters with values; this one exists only where each of them
    has one of its values.

    A parameter that belongs to one model exists only where that model is chosen.
    """

    name: str
    domain: Domain
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def sets(self) -> set[str]:
        """The flat parameters that this one sets, including its own name."""
        if isinstance(self.domain, Bundle):
            return {self.name}.union(*(dict(pairs) for _, pairs in self.domain.sets))
        return {self.name}

    def options_of(self, name: str) -> set[Value]:
        """The values that it may give the flat parameter `name`, which is one with words."""
        match self.domain:
            case Bundle(sets=sets):
                return {value for _, pairs in sets for key, value in pairs if key == name}
            case Choice(options=options) if self.name == name:
                return set(options)
            case Constant(value=value) if self.name == name:
                return {value}
            case _:
                return set()

    def models(self) -> frozenset[str] | None:
        """The models that have it; None: all of them."""
        names = self.sets()
        owned = [OWNERS[name] for name in names if name in OWNERS]
        return None if "model" in names or not owned else frozenset.union(*owned)

    def active(self, known: Mapping[str, Value]) -> bool:
        """Whether it exists in a config whose earlier parameters are `known`."""
        models = self.models()
        if models is not None and known.get("model", DEFAULT) not in models:
            return False
        return all(
            name in known and any(_same(known[name], v) for v in values)
            for name, values in self.when
        )

    def plain(self) -> Any:
        """The YAML value that reads back as this parameter."""
        value = self.domain.plain()
        if not self.when:
            return value
        body = {"value": value} if isinstance(self.domain, Constant) else value
        return body | {"when": {n: list(v) if len(v) > 1 else v[0] for n, v in self.when}}


def _same(a: Value, b: Value) -> bool:
    # 1 and 1.0 are one value; a number and a text never are
    return isinstance(a, str) == isinstance(b, str) and a == b
