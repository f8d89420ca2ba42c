"""What proposes configs from the trials that it was told of, by the searcher of a space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from search.propose.lengths import Lengths
from search.propose.memory import Memory
from search.propose.new_configs import Known
from search.propose.samplers import STARTUP, STARTUP_OF_METHOD
from search.propose.surrogate.proposer import Surrogate
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec


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
class Learner:
    """What makes a proposer, from its space, the trials that are random before it learns, and the
    lengths of trials. startup, startup_of_method: how many those are, in a space and where a method
    has a proposer of its own.
    """

    make: Callable[[SearchSpec, int, Lengths], Proposer]
    startup: int
    startup_of_method: int


def _optuna(spec: SearchSpec, startup: int, lengths: Lengths) -> Proposer:  # noqa: ARG001
    return Memory(spec, startup)


# By the words of `search.space.strategies.SEARCHERS`, of those that learn.
PROPOSERS = {
    "gp": Learner(Surrogate, 5, 5),
    "tpe": Learner(_optuna, STARTUP, STARTUP_OF_METHOD),
}


def proposer(spec: SearchSpec, lengths: Lengths) -> Proposer:
    """The proposer of a space without methods."""
    learner = PROPOSERS[spec.searcher]
    return learner.make(spec, learner.startup, lengths)


def proposer_of_method(spec: SearchSpec, lengths: Lengths) -> Proposer:
    """The proposer of the part of a space that one method has."""
    learner = PROPOSERS[spec.searcher]
    return learner.make(spec, learner.startup_of_method, lengths)
