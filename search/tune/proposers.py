"""The proposers of configs, which learn from the trials they are told of, by a space's searcher."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from recsys.models import ModelConfig
from recsys.models.base import Size
from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec
from search.tune.memory import Memory
from search.tune.new_configs import Known
from search.tune.pace import Pace, whole_work
from search.tune.samplers import STARTUP, STARTUP_OF_METHOD
from search.tune.scheduler import make_scheduler
from search.tune.study import StudyTrial
from search.tune.surrogate.proposer import Surrogate


class Proposer(Protocol):
    """Learns from trials and proposes the next one. `number` is a trial's number in the run."""

    def add_all(self, ended: Iterable[StudyTrial]) -> None:
        """Take in ended trials of earlier sessions, in order of their numbers."""

    def begin(self, number: int, params: Mapping[str, Value]) -> None:
        """Trial `number` starts to run with these parameters, which were not proposed here."""

    def propose(self, seed: int, number: int, known: Known) -> dict[str, Value]:
        """The parameters of trial `number`, which are not yet `known`; it counts as running from
        now on. seed: the run's. Raises NoNewConfigError where no new config is left.
        """

    def report(self, number: int, step: int, value: float) -> None:
        """A begun trial reported its best value so far, after `step` epochs."""

    def tell(self, number: int, state: State, value: float | None, cause: str | None) -> None:
        """A begun trial ended in `state`, with `value`, or because of `cause`."""


@dataclass(frozen=True)
class Lengths:
    """How long trials may be and what they cost. pace: None where they are as long as the space
    has them. size: of the data they train on; None: all of them count as equally expensive.
    """

    pace: Pace | None = None
    size: Size | None = None

    def cost(self) -> Callable[[ModelConfig], float] | None:
        """What the whole training of a config costs, compared with others; None: all the same."""
        if self.pace is not None:
            return self.pace.whole_seconds
        size = self.size
        return None if size is None else lambda config: whole_work(config, size)


def _optuna(spec: SearchSpec, startup: int, lengths: Lengths) -> Proposer:  # noqa: ARG001
    return Memory(spec, startup)


def _surrogate(spec: SearchSpec, startup: int, lengths: Lengths) -> Proposer:
    pace = lengths.pace
    rungs = make_scheduler(spec, paced=pace is not None).rungs_of
    fit = None if pace is None else pace.fit
    return Surrogate(spec, startup, rungs, fit, lengths.cost())


AS_LONG = Lengths()  # as the space has them

# Of the searchers that learn, by their words in `search.space.strategies.SEARCHERS`.
PROPOSERS: dict[str, Callable[[SearchSpec, int, Lengths], Proposer]] = {
    "gp": _surrogate,
    "tpe": _optuna,
}


def proposer(spec: SearchSpec, lengths: Lengths) -> Proposer:
    """The proposer of a space without methods."""
    return PROPOSERS[spec.searcher](spec, STARTUP, lengths)


def proposer_of_method(spec: SearchSpec, lengths: Lengths) -> Proposer:
    """The proposer of the part of a space that one method has."""
    return PROPOSERS[spec.searcher](spec, STARTUP_OF_METHOD, lengths)
