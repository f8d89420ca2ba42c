"""Whether the models of a space fit into memory, found out before anything starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from recsys.errors import ConfigError
from recsys.models import ModelConfig
from recsys.models.base import Size
from search.space.load import override
from search.space.spec import SearchSpec
from search.tune.need import trial_bytes
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
    """The space without the methods whose models are too large for `concurrent` trials at a time.

    size: of the training data. memory: bytes of this machine. threads: of a trial. note: called
    with a line for each method that is left out, and where some models of the others are too large.
    Raises ConfigError where nothing fits.
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
    """The space without the methods of which not even one trial fits on any node of a cluster.

    size: of the training data. largest: bytes that the node with the most memory offers. threads:
    of a trial. note: called with a line for each method that is left out. Raises ConfigError where
    nothing fits, or where a config of the other methods fits on no node.
    """

    def needed(config: ModelConfig) -> int:
        return trial_bytes(config, size, threads)

    has = f"the node with the most memory offers {_gb(largest)}"
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
    """The space without the methods of which not even the smallest config fits, and configs of the
    other methods. Raises ConfigError where no method is left.

    needed: bytes that a config needs. most: bytes that there are. told, has, expected: for
    messages, what is trained, the memory there is, and what would help.
    """
    methods = spec.methods()
    parts = {m: list(spec.of_method(m).examples()) for m in methods} or {"": list(spec.examples())}
    least = {method: min(map(needed, configs)) for method, configs in parts.items()}
    out = [method for method, bytes_ in least.items() if bytes_ > most]
    if len(out) == len(parts):
        raise ConfigError(
            f"{spec.name}: {told} need at least {_gb(min(least.values()))}, and {has}: expected "
            f"{expected}"
        )
    for method in out:
        note(f"left out: {method}: {told} would need {_gb(least[method])}, and {has}")
    left = [method for method in parts if method not in out]
    if out and not spec.is_table:
        spec = without(spec, left)
    return spec, [config for method in left for config in parts[method]]


def without(spec: SearchSpec, left: Sequence[object]) -> SearchSpec:
    """The space with only the methods `left`."""
    param = spec.method()
    assert param is not None
    return override(spec, [f"{param.name}=[{', '.join(map(str, left))}]"])


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
