"""Compiles the kernels of some models once, so that workers need not all do it at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from importlib import import_module

from recsys.errors import DivergedError, UserError
from recsys.models import ModelConfig, model_of

RANKING = ("recsys.kernels.bounds", "recsys.kernels.topk")


def warm_up_models(
    configs: Iterable[ModelConfig], *, threads: int = 1, note: Callable[[str], None]
) -> float:
    """Compile, or load from disk, what ranks items and what trains the models of `configs`; returns
    the seconds it took.

    configs: the first one of each model is used. threads: of the CPU. note: called with a line of
    text where a model can't be trained on the few items of its warm-up; workers then compile it.
    """
    started = time.perf_counter()
    for kernels in RANKING:
        import_module(kernels)  # compiles them, as their signatures are known
    firsts: dict[str, ModelConfig] = {}
    for config in configs:
        firsts.setdefault(config.model, config)
    for name, config in firsts.items():
        try:
            model_of(config).warm_up(config, threads=threads)
        except (UserError, DivergedError) as error:
            note(f"{name} is not compiled before the first trial: {error}")
    return time.perf_counter() - started
