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
RATE = 4e10  # floating-point operations a second of a dense solve on one core; 8e10 were measured
SHARE = 0.1  # of a time budget, for choosing a rival


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
# with near items only: for catalogues too large for EASE's dense solve, elsewhere as good (ADR 100)
SLIM = Rival(
    "slim",
    tuple(SlimConfig.from_flat({"slim_l2": l2, "slim_neighbours": 100}) for l2 in SLIM_GRID),
    "slim_l2",
)


def rivals_for(n_items: int) -> tuple[Rival, ...]:
    """The rivals for data with `n_items` items: popularity, and a linear model that is feasible."""
    return POPULARITY, EASE if n_items <= MAX_ITEMS else SLIM


@dataclass(frozen=True)
class Needed:
    """Seconds that the rivals take. choosing: their configs on validation. training: once more, for
    the test.
    """

    choosing: float = 0.0
    training: float = 0.0


def seconds_for(size: Size, budget: float, measured: Mapping[str, float] = {}) -> Needed:
    """About how many seconds the rivals take on data of a size, in a run of `budget` seconds.

    Each is chosen within `SHARE` of the budget. measured: seconds of a training by model, as far as
    known, which are used instead of an estimate.
    """
    choosing = training = 0.0
    for rival in rivals_for(size.items):
        each = [
            measured.get(one.model, model_of(one).cost(one, size).work / RATE)
            for one in rival.configs
        ]
        choosing += min(sum(each), SHARE * budget)
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

    size = Size(train.n_users, train.n_items, train.nnz)
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
