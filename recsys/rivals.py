"""What a tuned model must beat: simple models, whose configs are chosen on validation from short
lists.

They are trained like every other model; what is special about a rival is only in its row here. For
any size of the catalogue, one of them is linear.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import DivergedError
from recsys.interactions import CSR
from recsys.models import ModelConfig, Size, model_of, new_model
from recsys.models.ease import MAX_ITEMS, EaseConfig
from recsys.models.popularity import PopularityConfig
from recsys.models.slim import SlimConfig

EASE_GRID = (30.0, 60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0)
SLIM_GRID = (10.0, 30.0, 100.0, 300.0, 1000.0)
CHEAP = 1e12  # floating-point operations of a whole list that are not worth saving: some seconds
# Operations of `Model.cost` a second on one core: of a dense solve (8e10 were measured), and of
# many small ones with counts looked up one by one (5e8 to 1.3e9 were measured).
RATE = 4e10
RATES = {"slim": 1e9}
SHARE = 0.1  # of a time budget, for choosing a rival
MEMORY = 0.25  # of a machine's memory, for a rival


@dataclass(frozen=True)
class Rival:
    """A simple model to compare with. configs: those that are tried, in the order of `tuned`, the
    parameter in which they differ; among equal ones the first wins.
    """

    name: str
    configs: tuple[ModelConfig, ...]
    tuned: str | None = None


POPULARITY = Rival("popularity", (PopularityConfig(),))
EASE = Rival("ease", tuple(EaseConfig(ease_l2=l2) for l2 in EASE_GRID), "ease_l2")


def _slim(neighbours: int) -> Rival:
    flats = ({"slim_l2": l2, "slim_neighbours": neighbours} for l2 in SLIM_GRID)
    return Rival("slim", tuple(SlimConfig.from_flat(flat) for flat in flats), "slim_l2")


# with near items only: for catalogues too large for EASE's dense solve, elsewhere as good (ADR 100)
SLIM = _slim(100)
# small systems, and a quarter of the neighbours in memory, for what is too large for that
NARROW = _slim(25)
LINEAR = (EASE, SLIM, NARROW)  # the first that there is memory and time for is a rival


@dataclass(frozen=True)
class Allowed:
    """What a rival may take. memory: bytes. seconds: of a training of one of its configs, as far as
    can be told beforehand.
    """

    memory: float = float("inf")
    seconds: float = float("inf")

    @staticmethod
    def of(memory: float, budget: float | None) -> Allowed:
        """A rival's share of a machine with `memory` bytes and of a run of `budget` seconds; None:
        without a budget.
        """
        return Allowed(MEMORY * memory, float("inf") if budget is None else SHARE * budget)

    def fits(self, config: ModelConfig, size: Size) -> bool:
        """Whether a training of `config` on data of a size is allowed."""
        memory = model_of(config).cost(config, size).memory
        return memory <= self.memory and _seconds(config, size) <= self.seconds


def rivals_for(size: Size, allowed: Allowed = Allowed()) -> tuple[Rival, ...]:
    """The rivals for data of a size: popularity, and the first of `LINEAR` that is `allowed`."""
    linear = _linear(size, allowed)
    return (POPULARITY, linear) if isinstance(linear, Rival) else (POPULARITY,)


def why_no_linear(size: Size, allowed: Allowed) -> str | None:
    """Why no linear rival is among `rivals_for`, in one line; None where one is."""
    linear = _linear(size, allowed)
    return None if isinstance(linear, Rival) else linear


def _linear(size: Size, allowed: Allowed) -> Rival | str:
    """The linear rival, or why there is none: what the smallest one lacks."""
    lacks = ""
    for rival in LINEAR:
        if rival is EASE and size.items > MAX_ITEMS:
            continue
        if all(allowed.fits(one, size) for one in rival.configs):
            return rival
        memory = max(model_of(one).cost(one, size).memory for one in rival.configs)
        seconds = max(_seconds(one, size) for one in rival.configs)
        lacks = (
            f"{memory / 1e9:.1f} GB, and a rival may have {allowed.memory / 1e9:.1f} GB, "
            f"{MEMORY:.0%} of the memory"
            if memory > allowed.memory
            else f"about {seconds:,.0f} s for each of its configs, and a rival may have "
            f"{allowed.seconds:,.0f} s, {SHARE:.0%} of the time budget"
        )
    return f"no linear model is compared with: on {size.items:,} items the cheapest needs {lacks}"


def _seconds(config: ModelConfig, size: Size) -> float:
    """About how many seconds a training takes, by its operations."""
    return model_of(config).cost(config, size).work / RATES.get(config.model, RATE)


@dataclass(frozen=True)
class Needed:
    """Seconds that the rivals take. choosing: their configs on validation. training: once more, for
    the test.
    """

    choosing: float = 0.0
    training: float = 0.0


def seconds_for(
    size: Size,
    budget: float,
    measured: Mapping[str, float] = {},
    allowed: Allowed = Allowed(),
) -> Needed:
    """About how many seconds the rivals take on data of a size, in a run of `budget` seconds.

    Each is chosen within `SHARE` of the budget, but one of its configs is always tried. measured:
    seconds of a training by model, as far as known, which are used instead of an estimate. allowed:
    as in `rivals_for`.
    """
    choosing = training = 0.0
    for rival in rivals_for(size, allowed):
        each = [measured.get(one.model, _seconds(one, size)) for one in rival.configs]
        choosing += max(min(each), min(sum(each), SHARE * budget))
        training += max(each)
    return Needed(choosing, training)


@dataclass(frozen=True)
class RivalChoice:
    """The config that was chosen on validation, with its value and all metrics there. tried: every
    config that was tried, with its value, in the order of the list.
    """

    config: ModelConfig
    value: float
    metrics: dict[str, float]
    tried: tuple[tuple[ModelConfig, float], ...] = ()


def choose(
    rival: Rival,
    train: CSR,
    valid: CSR,
    metrics: Sequence[str],
    *,
    rng: np.random.Generator,
    threads: int = 1,
    seconds: float = float("inf"),
) -> RivalChoice:
    """The rival's best config by the first of `metrics` on `valid`.

    A list that takes long is not tried completely, but from its middle towards the better side
    until values fall. No config is begun that would end after `seconds` if it takes as long as the
    one before; at least one is tried, and a config that diverges loses. Raises DivergedError if all
    diverge, and what `evaluate` raises.
    """
    model = new_model(rival.configs[0], train, rng)
    found: dict[int, tuple[float, dict[str, float]]] = {}
    failed: list[DivergedError] = []
    began, last = time.monotonic(), 0.0

    def value(at: int) -> float:
        """The value of the config at a place; -inf outside the list, or if there is no time."""
        nonlocal last
        if not 0 <= at < len(rival.configs):
            return -np.inf
        if at not in found:
            start = time.monotonic()
            if found and start - began + last > seconds:
                return -np.inf
            try:
                *_, report = model.train(
                    rival.configs[at],
                    train,
                    valid,
                    rng=rng,
                    metric=metrics[0],
                    metrics=metrics,
                    threads=threads,
                )
                found[at] = report.best_value, report.metrics
            except DivergedError as error:
                failed.append(error)
                found[at] = -np.inf, {}
            last = time.monotonic() - start
        return found[at][0]

    size = Size.of(train)
    work = sum(model_of(config).cost(config, size).work for config in rival.configs)
    if work <= CHEAP:
        for at in range(len(rival.configs)):
            value(at)
    else:
        _climb(value, len(rival.configs) // 2)
    if len(failed) == len(found):
        raise failed[0]
    best = max(sorted(found), key=lambda at: found[at][0])
    tried = tuple((rival.configs[at], found[at][0]) for at in sorted(found))
    return RivalChoice(rival.configs[best], *found[best], tried)


def _climb(value: Callable[[int], float], start: int) -> None:
    """Ask for values around `start`, then further towards the better side while they rise."""
    here = value(start)
    for step in (1, -1):
        at, best = start + step, here
        while (one := value(at)) > best:
            at, best = at + step, one
        if best > here:
            return
