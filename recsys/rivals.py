"""What a tuned model must beat: simple models, each chosen on validation from a short list.

They are trained through the same door as every other model; what is particular to a rival is in
its row of `RIVALS` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.interactions import CSR
from recsys.models import ModelConfig, new_model
from recsys.models.ease import MAX_ITEMS, EaseConfig
from recsys.models.popularity import PopularityConfig

EASE_GRID = (30.0, 60.0, 125.0, 250.0, 500.0, 1000.0, 2000.0)


@dataclass(frozen=True)
class Rival:
    """configs: what is tried, the first of equals wins. max_items: not tried above that many."""

    name: str
    configs: tuple[ModelConfig, ...]
    max_items: int | None = None


RIVALS = (
    Rival("popularity", (PopularityConfig(),)),
    Rival("ease", tuple(EaseConfig(ease_l2=l2) for l2 in EASE_GRID), MAX_ITEMS),
)


@dataclass(frozen=True)
class Choice:
    """The config that validation chose. config and value are None where the rival was not tried:
    `reason` then says why. metrics: of the chosen config on validation. tried: every config with
    its value."""

    config: ModelConfig | None
    value: float | None
    reason: str | None
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
) -> Choice:
    """The rival's best config by the first of `metrics` on `valid`. Errors as in `evaluate`."""
    if rival.max_items is not None and train.n_items > rival.max_items:
        reason = (
            f"{rival.name.upper()} needs a dense {train.n_items:,} x {train.n_items:,} solve; "
            f"not done above {rival.max_items:,} items"
        )
        return Choice(None, None, reason, {})
    found = []
    model = new_model(rival.configs[0], train, rng)
    for config in rival.configs:
        *_, report = model.train(
            config, train, valid, rng=rng, metric=metrics[0], metrics=metrics, threads=threads
        )
        found.append((config, report.best_value, report.metrics))
    config, value, values = max(found, key=lambda row: row[1])
    return Choice(config, value, None, values, tuple((c, v) for c, v, _ in found))
