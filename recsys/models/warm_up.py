"""Compiles the kernels of some models once, so that workers need not all do it at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module

from recsys.errors import DivergedError, UserError
from recsys.kernels.jit import cache_folder
from recsys.models import ModelConfig, model_of
from recsys.safe_files import locked

RANKING = (
    "recsys.kernels.bounds",
    "recsys.kernels.topk",
    "recsys.models.kernels.blend",
    "recsys.models.kernels.lists",
)


def warm_up_models(
    configs: Iterable[ModelConfig], *, threads: int = 1, note: Callable[[str], None]
) -> float:
    """Compile, or load from disk, what ranks items and what trains the models of `configs`; returns
    the seconds it took.

    configs: of each model, the first one of those that call the same functions is used. threads: of
    the CPU. note: called with a line of text where a model can't be trained on the few items of its
    warm-up; workers then compile it.
    """
    started = time.perf_counter()
    for kernels in RANKING:
        import_module(kernels)  # compiles them, as their signatures are known
    firsts: dict[str, ModelConfig] = {}
    for config in configs:
        firsts.setdefault(config.compiled, config)
    for name, config in firsts.items():
        try:
            model_of(config).warm_up(config, threads=threads)
        except (UserError, DivergedError) as error:
            note(f"{name} is not compiled before the first trial: {error}")
    return time.perf_counter() - started


def warm_up_machine(config: ModelConfig, *, threads: int = 1) -> None:
    """Have what trains the model of `config` compiled once on this machine.

    The first process that asks compiles it, and others wait meanwhile; the folder of the compiled
    code remembers it. Where there is no such folder, every process compiles for itself, later.
    """
    if (folder := cache_folder()) is None:
        return
    done = folder / f"{config.compiled}.compiled"
    with suppress(OSError):
        if done.exists():
            return
        with locked(folder / "compiling.lock"):
            if not done.exists():
                warm_up_models([config], threads=threads, note=lambda _: None)
                done.touch()
