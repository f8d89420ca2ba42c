"""Whether the models of a space fit into memory, found out before anything starts.

A new run leaves out the methods that do not fit. One that is resumed or extended cannot: its space
stays as it is, so what does not fit any more is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recsys.errors import ConfigError
from recsys.models import ModelConfig
from recsys.models.base import Size
from search.machine.cluster import Cluster, Resources
from search.machine.nodes import Place
from search.record.planned import searched_for
from search.record.result import blended, decided
from search.record.settings import Settings
from search.record.standing import leader
from search.record.state import RunState, TrialRecord
from search.space.domains import Value
from search.space.load import override
from search.space.spec import SearchSpec
from search.tune.need import trial_bytes, usual_bytes
from search.words import counted, gigabytes

SHARE = 0.8  # of a machine's memory: the driver, Ray and the data need some as well
FEWER = "fewer at a time (--cpus-per-trial)"
LARGER = "a node with more memory (ray start --memory)"


def resources_on(
    cluster: Cluster, spec: SearchSpec, settings: Settings, size: Size, place: Place
) -> Resources:
    """What a trial gets on `cluster`, and how many run at once. size: of the training data. place:
    which nodes trials may run on. Raises ConfigError where no node can run a trial.
    """
    cpus, gpus = settings.cpus_per_trial, settings.gpus_per_trial
    memory = 0  # a single machine is not asked for any
    if place.memory is not None:
        memory = usual_bytes(spec.examples(), size, cpus, place.memory)
    return cluster.preflight(cpus, gpus, settings.device, memory)


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
    here = _Here(size, memory, concurrent, threads)
    expected = f"a space of smaller models, or {FEWER}"
    spec, left = _fitting(spec, here.needed, here.most, here.told, here.has, expected, note)
    here.note_large(left, note)
    return spec


def fit_nodes(
    spec: SearchSpec,
    size: Size,
    largest: int,
    threads: int,
    note: Callable[[str], None],
    among: str = "",
) -> SearchSpec:
    """The space without the methods of which not even one trial fits on any node of a cluster.

    size: of the training data. largest: bytes that the node with the most memory offers. threads:
    of a trial. note: called with a line for each method that is left out. among: as in `Place`.
    Raises ConfigError where nothing fits, or where a config of the other methods fits on no node.
    """

    def needed(config: ModelConfig) -> int:
        return trial_bytes(config, size, threads)

    has = _offered(largest, among)
    expected = f"a space of smaller models, or {LARGER}"
    told = f"trials on {size.items:,} items"
    spec, left = _fitting(spec, needed, largest, told, has, expected, note)
    worst = max(left, key=needed)
    if needed(worst) > largest:
        raise ConfigError(
            f"{spec.name}: {told} with {worst.label()} need {gigabytes(needed(worst))} of memory, "
            f"and {has}: expected {expected}"
        )
    return spec


# --- a run that goes on ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Left:
    """What a run that is resumed or extended may still train.

    run: its name. spec: the space of its new trials; None where none is to be made. trials: those
    that have not ended, and the one that is ahead, or has won the race, with the other members of a
    blend that is handed over. Without any other one the run still comes to its end.
    """

    run: str
    spec: SearchSpec | None
    trials: tuple[TrialRecord, ...]

    @staticmethod
    def of(run: str, spec: SearchSpec, state: RunState, *, extends: bool) -> Left:
        """spec: the space, with the number of trials that the run is to have in all. extends:
        whether trials are added, so that a search that was done goes on.
        """
        trials = state.in_order()
        over = not extends and searched_for(state, spec.trials)
        wanted = {trial.id for trial in trials if not trial.finished}
        if over and (race := decided(state)) is not None:
            wanted.add(race.winner)
            if (blend := blended(state)) is not None and blend.handed_over:
                wanted |= {member.id for member in blend.members}
        elif not spec.is_table and (first := leader(trials)) is not None:
            wanted.add(first.id)
        new = not over and spec.trials > len(trials)
        return Left(run, spec if new else None, tuple(t for t in trials if t.id in wanted))

    def new(self) -> dict[Value, list[ModelConfig]]:
        """Configs that represent the new trials, by method."""
        return {} if self.spec is None else by_method(self.spec)


def check_nodes(
    left: Left, size: Size, largest: int, threads: int, among: str = "", *, widened: bool = False
) -> None:
    """Raises ConfigError where a config that a run may still train fits on no node of a cluster.

    Placed all the same, such a trial would die for lack of memory in each of its attempts.

    widened: whether --set has changed the space of the new trials. Other parameters are those of
    `fit_nodes`.
    """

    def needed(config: ModelConfig) -> int:
        return trial_bytes(config, size, threads)

    def check(what: str, config: ModelConfig, otherwise: str) -> None:
        if needed(config) > largest:
            raise ConfigError(
                f"--run {left.run}: {what} needs {gigabytes(needed(config))} of memory on "
                f"{size.items:,} items, and {_offered(largest, among)}: expected {LARGER}, or "
                f"{otherwise}"
            )

    smaller = f"a new run of a space of smaller models (--warm-start {left.run})"
    for trial in left.trials:
        check(trial.title, trial.training, smaller)
    for configs in left.new().values():
        worst = max(configs, key=needed)
        less = "values of --set that need less" if widened else smaller
        check(f"a new trial with {worst.label()}", worst, less)


def check_memory(
    left: Left,
    size: Size,
    memory: int,
    concurrent: int,
    threads: int,
    note: Callable[[str], None],
) -> None:
    """Raises ConfigError where not even the smallest config of a method that a run may still train
    fits into this machine: a new run would leave that method out. Parameters are those of
    `fit_memory`.
    """
    here, new = _Here(size, memory, concurrent, threads), left.new()
    for method, configs in new.items():
        least = min(map(here.needed, configs))
        if least > here.most and left.spec is not None and not left.spec.is_table:
            what = f"{method}: " if method else ""
            raise ConfigError(
                f"--run {left.run}: {what}{here.told} need at least {gigabytes(least)}, and "
                f"{here.has}: expected a machine with more, or {FEWER}"
            )
    here.note_large([*(t.training for t in left.trials), *itertools.chain(*new.values())], note)


# --- what both have in common ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Here:
    """The memory of this machine, and what trials need of it. Fields as in `fit_memory`."""

    size: Size
    memory: int
    concurrent: int
    threads: int

    @property
    def most(self) -> int:
        return int(SHARE * self.memory)

    @property
    def told(self) -> str:
        return f"{counted(self.concurrent, 'trial')} at a time on {self.size.items:,} items"

    @property
    def has(self) -> str:
        return f"this machine has {gigabytes(self.memory)} of memory"

    def needed(self, config: ModelConfig) -> int:
        return self.concurrent * trial_bytes(config, self.size, self.threads)

    def note_large(self, configs: Sequence[ModelConfig], note: Callable[[str], None]) -> None:
        large = max(map(self.needed, configs), default=0)
        if large > SHARE * self.memory:
            note(
                f"note: the largest models of this space need {gigabytes(large)} of memory, "
                f"{self.told}, and this machine has {gigabytes(self.memory)} (--cpus-per-trial 2 "
                "trains fewer at a time)"
            )


def by_method(spec: SearchSpec) -> dict[Value, list[ModelConfig]]:
    """Configs that represent a space, by method; all under "" where it has no methods."""
    methods = spec.methods()
    return {m: list(spec.of_method(m).examples()) for m in methods} or {"": list(spec.examples())}


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
    parts = by_method(spec)
    least = {method: min(map(needed, configs)) for method, configs in parts.items()}
    out = [method for method, bytes_ in least.items() if bytes_ > most]
    if len(out) == len(parts):
        raise ConfigError(
            f"{spec.name}: {told} need at least {gigabytes(min(least.values()))}, and {has}: "
            f"expected {expected}"
        )
    for method in out:
        note(f"left out: {method}: {told} would need {gigabytes(least[method])}, and {has}")
    left = [method for method in parts if method not in out]
    if out and not spec.is_table:
        spec = without(spec, left)
    return spec, [config for method in left for config in parts[method]]


def without(spec: SearchSpec, left: Sequence[object]) -> SearchSpec:
    """The space with only the methods `left`."""
    param = spec.method()
    assert param is not None
    return override(spec, [f"{param.name}=[{', '.join(map(str, left))}]"])


def _offered(largest: int, among: str) -> str:
    return f"{among}the node with the most memory offers {gigabytes(largest)}"
