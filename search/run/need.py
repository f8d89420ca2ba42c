"""Whether what a space trains fits into the memory of this machine, said before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recsys.errors import ConfigError
from recsys.evaluation import TILE
from recsys.models import ModelConfig, model_of
from recsys.models.base import Size
from search.space.load import override
from search.space.spec import SearchSpec
from search.tune.pace import configs_of
from search.words import counted

WORKER = 250 * 2**20  # bytes of a worker with its libraries
SHARE = 0.8  # of the memory: the driver, Ray and the data need some as well


def fit_memory(
    spec: SearchSpec,
    size: Size,
    memory: int,
    concurrent: int,
    threads: int,
    note: Callable[[str], None],
) -> SearchSpec:
    """The space without the methods that `concurrent` trials at a time have no memory for.

    memory: bytes of this machine. threads: of a trial. What is left out, and a space of which a
    part is too large, is noted in a line. Raises ConfigError where nothing fits.
    """
    most = int(SHARE * memory)

    def needed(config: ModelConfig) -> int:
        scores = 4 * TILE * size.items * threads
        return concurrent * (model_of(config).cost(config, size).memory + scores + WORKER)

    methods = spec.methods()
    parts = {m: configs_of(spec.of_method(m)) for m in methods} or {"": configs_of(spec)}
    least = {method: min(map(needed, configs)) for method, configs in parts.items()}
    out = [method for method, bytes_ in least.items() if bytes_ > most]
    told = f"{counted(concurrent, 'trial')} at a time on {size.items:,} items"
    if len(out) == len(parts):
        raise ConfigError(
            f"{spec.name}: {told} need at least {_gb(min(least.values()))}, and this machine has "
            f"{_gb(memory)} of memory: expected a space of smaller models, or fewer at a time "
            "(--cpus-per-trial)"
        )
    for method in out:
        note(
            f"left out: {method}, of which {told} would need {_gb(least[method])} of this "
            f"machine's {_gb(memory)} of memory"
        )
    left = [method for method in parts if method not in out]
    large = max(max(map(needed, parts[method])) for method in left)
    if large > most:
        note(
            f"note: the largest models of this space need {_gb(large)} of memory, {told}, and this "
            f"machine has {_gb(memory)} (--cpus-per-trial 2 trains fewer at a time)"
        )
    return without(spec, left) if out and spec.purpose == "search" else spec


def without(spec: SearchSpec, left: Sequence[object]) -> SearchSpec:
    """The space with only these methods."""
    param = spec.method()
    assert param is not None
    return override(spec, [f"{param.name}=[{', '.join(map(str, left))}]"])


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
