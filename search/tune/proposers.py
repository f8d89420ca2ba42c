"""What proposes configs from the trials that it was told of, by the searcher of a space."""

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
    """Learns from trials and proposes the next. Trials have their number in the run."""

    def add_all(self, ended: Iterable[StudyTrial]) -> None:
        """Trials of earlier sessions that have ended, in order of their numbers."""

    def begin(self, number: int, params: Mapping[str, Value]) -> None:
        """A trial with these parameters, which someone else chose."""

    def propose(self, seed: int, number: int, known: Known) -> dict[str, Value]:
        """The parameters of trial `number`, not yet `known`; NoNewConfigError where none are."""

    def report(self, number: int, step: int, value: float) -> None:
        """The best value so far of a trial that was begun, after `step` epochs."""

    def tell(self, number: int, state: State, value: float | None, cause: str | None) -> None:
        """How a trial that was begun ended: with `value`, or because of `cause`."""


@dataclass(frozen=True)
class Lengths:
    """How long trials may be and what they cost. pace: None where they are as long as the space
    has them. size: of what they train on; None: they all count as equally dear.
    """

    pace: Pace | None = None
    size: Size | None = None

    def cost(self) -> Callable[[ModelConfig], float] | None:
        """What a whole training of a config costs, compared with others."""
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

# By the words of `search.space.strategies.SEARCHERS`, of those that learn.
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
