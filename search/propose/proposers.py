"""The proposers of configs, which learn from the trials they are told of, by a space's searcher."""

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
class Learner:
    """A searcher that learns. make: makes its proposer, from a space, how many trials are random
    before it learns, and the lengths of trials. startup, startup_of_method: that number, in a space
    and where each method has a proposer of its own.
    """

    make: Callable[[SearchSpec, int, Lengths], Proposer]
    startup: int
    startup_of_method: int


def _optuna(spec: SearchSpec, startup: int, lengths: Lengths) -> Proposer:  # noqa: ARG001
    return Memory(spec, startup)


# Of the searchers that learn, by their words in `search.space.strategies.SEARCHERS`.
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
