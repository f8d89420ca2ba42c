"""Searches in simulated time: workers, trials that report epoch after epoch, and who decides.

`Player` is what a row of the benchmark does; `ours` is the searcher and the scheduler that ship.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from benchmarks.replay.world import Curve, World
from recsys.models.base import Size
from search.propose.distributions import suggest
from search.propose.study import quiet
from search.record.events import State
from search.space.domains import Value
from search.space.load import override
from search.space.spec import SearchSpec
from search.tune.lengths import lengths_of
from search.tune.outcome import trial_of
from search.tune.scheduler import make_scheduler
from search.tune.searcher import StudySearch
from search.tune.settled import Settling


@dataclass
class Live:
    """A trial that runs: its config, curve and how far it is."""

    id: str
    params: Mapping[str, Value]
    curve: Curve
    epoch: int = 0
    best: float = -math.inf
    most: int | None = None  # epochs, where its player wants fewer than all

    @property
    def length(self) -> int:
        return len(self.curve.valid) if self.most is None else min(self.most, len(self.curve.valid))


@dataclass(frozen=True)
class Found:
    """The best of a search so far: at `time` seconds, on validation, and that model on test."""

    time: float
    valid: float
    test: float


@dataclass
class Log:
    """What a search has found when, how many trials it began and finished, and when it was over."""

    found: list[Found] = field(default_factory=list)
    begun: int = 0
    finished: int = 0
    end: float = 0.0  # seconds, when its last trial was over

    def at(self, time: float) -> Found:
        """The best by this time; zeros before the first epoch."""
        before = [f for f in self.found if f.time <= time]
        return before[-1] if before else Found(time, 0.0, 0.0)


class Player(ABC):
    """Proposes configs and says which trials end early."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        self.spec, self.seed, self.count = spec, seed, 0

    @abstractmethod
    def propose(self, time: float) -> tuple[str, Mapping[str, Value], int | None] | None:
        """Id, config and most epochs of the next trial; None where there is none."""

    def goes_on(self, trial: Live) -> bool:  # noqa: ARG002
        """Whether a trial that has just reported goes on."""
        return True

    def ended(self, trial: Live, by_itself: bool) -> None:  # noqa: B027
        """A trial is over; who learns from that does it here."""


def simulate(world: World, player: Player, workers: int, seconds: float) -> Log:
    """Run a search until `seconds` have passed on each of its workers."""
    log = Log()
    queue: list[tuple[float, int, Live]] = []  # when the next epoch of a trial is done
    order = 0

    def begin(now: float) -> None:
        nonlocal order
        proposed = player.propose(now)
        if proposed is None:
            return
        name, params, most = proposed
        trial = Live(name, params, world.curve(params), most=most)
        log.begun += 1
        order += 1
        heapq.heappush(queue, (now + trial.curve.seconds, order, trial))

    for _ in range(workers):
        begin(0.0)
    best = -math.inf
    while queue:
        now, number, trial = heapq.heappop(queue)
        if now > seconds:
            log.end = seconds
            break
        value = float(trial.curve.valid[trial.epoch])
        if value > best:
            best = value
            log.found.append(Found(now, value, float(trial.curve.test[trial.epoch])))
        trial.epoch += 1
        trial.best = max(trial.best, value)
        by_itself = trial.epoch >= trial.length
        if not by_itself and player.goes_on(trial):
            heapq.heappush(queue, (now + trial.curve.seconds, number, trial))
            continue
        log.end = now
        log.finished += by_itself and trial.epoch == len(trial.curve.valid)
        player.ended(trial, by_itself)
        begin(now)
    return log


class UnderRay(Player):
    """A searcher and a scheduler of Ray's interfaces, and their trials."""

    _search: Searcher
    _scheduler: TrialScheduler
    _trials: dict[str, Any]

    def goes_on(self, trial: Live) -> bool:
        result = _result(trial)
        stop = self._scheduler.on_trial_result(None, self._trials[trial.id], result)
        if stop == TrialScheduler.CONTINUE:
            self._search.on_trial_result(trial.id, result)
        return bool(stop == TrialScheduler.CONTINUE)

    def ended(self, trial: Live, by_itself: bool) -> None:
        result = _result(trial) | {"stop": "epochs" if by_itself else None}
        if by_itself:
            self._scheduler.on_trial_complete(None, self._trials[trial.id], result)
        self._search.on_trial_complete(trial.id, result)


class Ours(UnderRay):
    """The searcher and the scheduler that ship."""

    def __init__(
        self, spec: SearchSpec, seed: int, size: Size | None, settling: Settling | None = None
    ) -> None:
        """size: of what is trained on. settling: what ends it where more trials gain too little."""
        super().__init__(spec, seed)
        self._settling = settling
        lengths = lengths_of(spec, size=size)
        self._search = StudySearch(spec, seed=seed, budget=10**6, lengths=lengths)
        self._scheduler = make_scheduler(spec)
        self._rungs = set(self._scheduler.rungs(spec))
        self._trials: dict[str, Any] = {}

    def propose(self, time: float) -> tuple[str, Mapping[str, Value], int | None] | None:  # noqa: ARG002
        if self._settling is not None and self._settling.reached:
            return None
        name = self._search.next_id()
        config = self._search.suggest(name)
        if not isinstance(config, dict):
            return None
        self._trials[name] = SimpleNamespace(trial_id=name, config=config)
        return name, trial_of(config).params, None

    def goes_on(self, trial: Live) -> bool:
        return trial.epoch not in self._rungs or super().goes_on(trial)

    def ended(self, trial: Live, by_itself: bool) -> None:
        super().ended(trial, by_itself)
        if self._settling is not None:
            self._settling.add(State.COMPLETE if by_itself else State.PRUNED, trial.best)


def _result(trial: Live) -> dict[str, Any]:
    return {"epoch": trial.epoch, "objective": trial.best, "training_iteration": trial.epoch}


class Random(Player):
    """Random configs, every one to its end."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        super().__init__(spec, seed)
        self._rng = np.random.default_rng([seed, 1])

    def propose(self, time: float) -> tuple[str, Mapping[str, Value], int | None] | None:  # noqa: ARG002
        self.count += 1
        return f"r{self.count}", self.spec.sample(self._rng), None


class OneEpoch(Random):
    """One epoch of random configs in a third of the time, then the best ones to their end."""

    def __init__(self, spec: SearchSpec, seed: int, until: float) -> None:
        super().__init__(spec, seed)
        self._until = until
        self._looked: list[tuple[float, Mapping[str, Value]]] = []
        self._left: list[Mapping[str, Value]] | None = None

    def propose(self, time: float) -> tuple[str, Mapping[str, Value], int | None] | None:
        if time < self._until:
            name, params, _ = super().propose(time)  # type: ignore[misc]
            return name, params, 1
        if self._left is None:
            self._left = [p for _, p in sorted(self._looked, key=lambda pair: -pair[0])]
        if not self._left:
            return None
        self.count += 1
        return f"r{self.count}", self._left.pop(0), None

    def ended(self, trial: Live, by_itself: bool) -> None:  # noqa: ARG002
        if self._left is None:
            self._looked.append((trial.best, trial.params))


class Tpe(Player):
    """Optuna with its default sampler, every trial to its end."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        super().__init__(spec, seed)
        quiet()
        self._study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed)
        )
        self._open: dict[str, optuna.trial.Trial] = {}

    def propose(self, time: float) -> tuple[str, Mapping[str, Value], int | None] | None:  # noqa: ARG002
        trial = self._study.ask()
        self._open[str(trial.number)] = trial
        return str(trial.number), suggest(self.spec, trial), None

    def ended(self, trial: Live, by_itself: bool) -> None:  # noqa: ARG002
        self._study.tell(self._open.pop(trial.id), trial.best)


class StockRay(UnderRay):
    """Ray's own OptunaSearch and ASHAScheduler, as they come."""

    def __init__(self, spec: SearchSpec, seed: int) -> None:
        super().__init__(spec, seed)
        quiet()

        def space(trial: optuna.trial.Trial) -> None:
            suggest(spec, trial)

        sampler = optuna.samplers.TPESampler(seed=seed)
        self._search = OptunaSearch(space, metric="objective", mode="max", sampler=sampler)
        self._scheduler = ASHAScheduler(
            time_attr="epoch", metric="objective", mode="max", max_t=spec.max_epochs
        )
        self._trials: dict[str, Any] = {}

    def propose(self, time: float) -> tuple[str, Mapping[str, Value], int | None] | None:  # noqa: ARG002
        self.count += 1
        name = f"s{self.count}"
        config = self._search.suggest(name)
        if config is None or config == Searcher.FINISHED:
            return None
        self._trials[name] = _Trial(name)
        self._scheduler.on_trial_add(None, self._trials[name])
        return name, config, None


class _Trial:
    """What Ray's scheduler looks at in a trial."""

    def __init__(self, name: str) -> None:
        self.trial_id = name
        self.config: dict[str, Any] = {}


Maker = Callable[[World, int, float], Player]


def ours(settings: str = "") -> Maker:
    """Ours, with settings as `--set` takes them, between blanks: `searcher=tpe trials=50`.

    Raises ConfigError, as soon as it is played, for settings that a space refuses.
    """
    changes = settings.split()

    def make(world: World, seed: int, _: float) -> Ours:
        spec = override(world.spec, changes) if changes else world.spec
        return Ours(spec, seed, world.size)

    return make


def _auto(world: World, seed: int) -> Ours:
    """As with `--time-budget auto`."""
    settling = Settling(world.users, world.spec.race.replicates)
    return Ours(world.spec, seed, world.size, settling)


ROWS: dict[str, Maker] = {
    "random": lambda world, seed, _: Random(world.spec, seed),
    "one epoch, then the best": lambda world, seed, end: OneEpoch(world.spec, seed, end / 3),
    "Optuna, no pruning": lambda world, seed, _: Tpe(world.spec, seed),
    "Ray's OptunaSearch + ASHA": lambda world, seed, _: StockRay(world.spec, seed),
    "ours": ours(),
    "ours, TPE": ours("searcher=tpe"),
    "ours, rungs that keep half": ours("reduction_factor=2"),
    "ours, without enqueue": ours("enqueue=[]"),
    "ours, ends by itself": lambda world, seed, _: _auto(world, seed),
}
