"""Whether what a space trains fits into the memory there is, said before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recsys.errors import ConfigError
from recsys.models import ModelConfig
from recsys.models.base import Size
from search.space.load import override
from search.space.spec import SearchSpec
from search.tune.need import trial_bytes
from search.tune.pace import configs_of
from search.words import counted

SHARE = 0.8  # of a machine's memory: the driver, Ray and the data need some as well


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
    told = f"{counted(concurrent, 'trial')} at a time on {size.items:,} items"

    def needed(config: ModelConfig) -> int:
        return concurrent * trial_bytes(config, size, threads)

    spec, left = _fitting(
        spec,
        needed,
        int(SHARE * memory),
        told,
        f"this machine has {_gb(memory)} of memory",
        "a space of smaller models, or fewer at a time (--cpus-per-trial)",
        note,
    )
    large = max(map(needed, left))
    if large > SHARE * memory:
        note(
            f"note: the largest models of this space need {_gb(large)} of memory, {told}, and this "
            f"machine has {_gb(memory)} (--cpus-per-trial 2 trains fewer at a time)"
        )
    return spec


def fit_nodes(
    spec: SearchSpec, size: Size, largest: int, threads: int, note: Callable[[str], None]
) -> SearchSpec:
    """The space without the methods of which no node of a cluster has memory for a single trial.

    largest: bytes that the node with most memory gives away. What is left out is noted in a line.
    Raises ConfigError where nothing fits, or where a config of what is left fits on no node.
    """

    def needed(config: ModelConfig) -> int:
        return trial_bytes(config, size, threads)

    has = f"the node with most memory gives away {_gb(largest)}"
    expected = "a space of smaller models, or a node with more memory (ray start --memory)"
    told = f"trials on {size.items:,} items"
    spec, left = _fitting(spec, needed, largest, told, has, expected, note)
    worst = max(left, key=needed)
    if needed(worst) > largest:
        raise ConfigError(
            f"{spec.name}: {told} with {worst.label()} need {_gb(needed(worst))} of memory, and "
            f"{has}: expected {expected}"
        )
    return spec


def _fitting(
    spec: SearchSpec,
    needed: Callable[[ModelConfig], int],
    most: int,
    told: str,
    has: str,
    expected: str,
    note: Callable[[str], None],
) -> tuple[SearchSpec, list[ModelConfig]]:
    """The space without the methods of which not even the smallest config fits, and configs of
    what is left. Raises ConfigError where nothing is.
    """
    methods = spec.methods()
    parts = {m: configs_of(spec.of_method(m)) for m in methods} or {"": configs_of(spec)}
    least = {method: min(map(needed, configs)) for method, configs in parts.items()}
    out = [method for method, bytes_ in least.items() if bytes_ > most]
    if len(out) == len(parts):
        raise ConfigError(
            f"{spec.name}: {told} need at least {_gb(min(least.values()))}, and {has}: expected "
            f"{expected}"
        )
    for method in out:
        note(f"left out: {method}, of which {told} would need {_gb(least[method])}: {has}")
    left = [method for method in parts if method not in out]
    if out and not spec.is_table:
        spec = without(spec, left)
    return spec, [config for method in left for config in parts[method]]


def without(spec: SearchSpec, left: Sequence[object]) -> SearchSpec:
    """The space with only these methods."""
    param = spec.method()
    assert param is not None
    return override(spec, [f"{param.name}=[{', '.join(map(str, left))}]"])


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
