"""Bounds of a space that the best trials press against, and the settings that widen them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from recsys.errors import ConfigError
from search.record.events import State
from search.record.state import TrialRecord
from search.space.domains import Choice, Constant, FloatRange, IntRange, Value
from search.space.spec import SearchSpec
from search.space.widen import widened
from search.words import short

LEAST, MOST = 5, 10  # limits of how many best trials are looked at: a fifth of all
EDGE = 0.1  # the share of a range next to its end that counts as the end
CHANCE = 0.01  # the most: of so many lying there if the best were spread evenly
FACTOR = 3.0  # by which a logarithmic range grows


@dataclass(frozen=True)
class Pressed:
    """A bound. value: where it is. count: how many of the `best` trials lie at it. setting: for
    `--set`, to widen it.
    """

    name: str
    end: Literal["low", "high"]
    value: Value
    count: int
    best: int
    setting: str

    @property
    def words(self) -> str:
        """The bound in a sentence."""
        what = "highest" if self.end == "high" else "lowest"
        return (
            f"{self.name}: {self.count} of the {self.best} best trials are at the {what} that the "
            f"space allows, {short(self.value)}"
        )


def pressed(spec: SearchSpec, trials: Sequence[TrialRecord]) -> list[Pressed]:
    """The bounds at which more of the best trials lie than chance explains, if the space can be
    widened there. Empty for fewer than 15 trials.
    """
    able = [t for t in trials if t.value is not None and not t.leaky]
    complete = [t for t in able if t.state == State.COMPLETE]
    able = complete if len(complete) >= LEAST else able
    found = []
    for param in spec.searched():
        domain = param.domain
        assert not isinstance(domain, Constant)
        having = [
            t for t in able if param.name in t.params and domain.contains(t.params[param.name])
        ]
        having.sort(key=lambda t: -(t.value or 0.0))
        best = having[: min(MOST, max(LEAST, len(having) // 5))]
        if len(trials) < 15 or len(best) < LEAST:
            continue
        values = [t.params[param.name] for t in best]
        for end in ("low", "high"):
            one = _at(spec, param.name, domain, end, values)
            if one is not None:
                found.append(one)
    return found


def _at(
    spec: SearchSpec, name: str, domain: Any, end: Literal["low", "high"], values: list[Value]
) -> Pressed | None:
    """The bound at one end of a domain, if the values press against it and it can be moved."""
    match domain:
        case Choice(options=options) if len(options) > 1 and not any(
            isinstance(o, str) for o in options
        ):
            bound = max(options) if end == "high" else min(options)
            count, share = sum(v == bound for v in values), 1 / len(options)
            wider = (
                f"params.{name}.choice=[{', '.join(map(_exact, _more(options, end)))}]"
                for _ in range(1)
            )
        case IntRange() | FloatRange() if domain.low < domain.high:
            bound = domain.high if end == "high" else domain.low
            places = [_place(domain, v) for v in values]
            count = sum((1 - p if end == "high" else p) <= EDGE for p in places)
            share = max(EDGE, _share_of_one(domain))
            wider = (f"params.{name}.{end}={_exact(v)}" for v in _further(domain, end))
        case _:
            return None
    if count * 2 < len(values) or _tail(count, len(values), share) > CHANCE:
        return None
    for setting in wider:
        try:
            widened(spec, [setting])
        except ConfigError:
            continue  # beyond the values that the parameter can have
        return Pressed(name, end, bound, count, len(values), setting)
    return None


def _place(domain: IntRange | FloatRange, value: Value) -> float:
    """Where a value lies in its range, from 0 to 1."""
    assert not isinstance(value, str)
    low, high, at = float(domain.low), float(domain.high), float(value)
    if domain.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)


def _share_of_one(domain: IntRange | FloatRange) -> float:
    """The share of a range that a single value takes: large if there are few values."""
    step = domain.step if domain.step is not None else 0.0
    return step / (domain.high - domain.low + step)


def _further(domain: IntRange | FloatRange, end: Literal["low", "high"]) -> Iterator[Value]:
    """New ends further out, the furthest first, with as few digits as that takes."""
    bound = float(domain.high if end == "high" else domain.low)
    span = float(domain.high - domain.low)
    whole = isinstance(domain, IntRange)
    for part in (1.0, 0.5, 0.25):
        if domain.log:
            factor = FACTOR**part
            moved = bound * factor if end == "high" else bound / factor
        else:
            moved = bound + span * part / 2 if end == "high" else bound - span * part / 2
            if domain.low >= 0:
                moved = max(0.0, moved)  # a range of numbers from 0 on does not go below 0
        if domain.step is not None and not domain.log:
            steps = max(1, round(abs(moved - bound) / domain.step))
            moved = bound + domain.step * (steps if end == "high" else -steps)
            yield int(moved) if whole else float(f"{moved:.10g}")
        elif whole:
            yield round(moved)
        else:
            yield _rounded(moved, bound)


def _rounded(moved: float, bound: float) -> float:
    """A new end with two digits, or with as many as it takes to change its distance from the old
    one by at most half.
    """
    rounded = (float(f"{moved:.{digits}g}") for digits in range(2, 17))
    return next((v for v in rounded if abs(v - moved) <= abs(moved - bound) / 2), moved)


def _more(options: Sequence[Any], end: Literal["low", "high"]) -> list[Value]:
    """The options and a further one, as far beyond the last as the last is from the one before."""
    order = sorted(options, reverse=end == "low")
    last, before = order[-1], order[-2]
    ratio = before > 0 and last > 0 and all(isinstance(o, int) for o in options)
    beyond = last * last / before if ratio else last + (last - before)
    whole = all(isinstance(o, int) for o in options)
    return [*options, round(beyond) if whole else float(f"{beyond:.10g}")]


def _exact(value: Value) -> str:
    """A number in as few characters as read back to it."""
    return repr(value).removesuffix(".0")


def _tail(count: int, n: int, share: float) -> float:
    """The probability that at least `count` of `n` values fall into a `share` of a range."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count, n + 1))
