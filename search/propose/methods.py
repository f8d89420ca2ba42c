"""The methods of a space, each searched as if it were the space."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from search.propose.allocation import MethodTrials, Terms, next_method
from search.propose.new_configs import Known, NoNewConfigError
from search.propose.proposers import Proposer
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec


class Methods:
    """A proposer for each method of a space, and which method the next trial is of.

    A sampler that chose the method along with everything else would see each parameter only in the
    trials of its method, group by group; here each method is searched as if it were the space.
    """

    def __init__(
        self,
        spec: SearchSpec,
        trials: Iterable[StudyTrial],
        make: Callable[[SearchSpec], Proposer],
        terms: Terms,
    ) -> None:
        """trials: of the run; only ended ones count, in order of their numbers. make: gives the
        proposer of one method, from that method's part of the space. terms: how trials are dealt
        out among methods.
        """
        self._terms = terms
        param = spec.method()
        assert param is not None
        self._name = param.name
        specs = {str(value): spec.of_method(value) for value in spec.methods()}
        self._proposers = {name: make(one) for name, one in specs.items()}
        self._ended = {name: MethodTrials() for name in specs}
        self._running: dict[str, set[int]] = {name: set() for name in specs}
        self._of: dict[int, str] = {}
        self._through: set[str] = set()  # methods with no config left to try
        known: dict[str, list[StudyTrial]] = {name: [] for name in specs}
        for trial in sorted(trials, key=lambda t: t.number):
            if trial.state != State.RUNNING:
                name = str(trial.params[self._name])
                known[name].append(trial)
                self._ended[name].add(trial.number, _value_of(trial), _whole(trial.state))
        for name, proposer in self._proposers.items():
            proposer.add_all(known[name])

    def begin(self, number: int, params: Mapping[str, Value]) -> None:
        """Tell the proposer of its method that trial `number` of the run has these parameters."""
        name = str(params[self._name])
        self._proposers[name].begin(number, params)
        self._begun(number, name)

    def propose(self, seed: int, number: int, known: Known) -> dict[str, Value]:
        """A new config of the method whose turn it is, or of the next one that has any; raises
        NoNewConfigError where no method has one.
        """
        while left := [name for name in self._proposers if name not in self._through]:
            running = {name: len(numbers) for name, numbers in self._running.items()}
            name = next_method(left, self._ended, running, self._terms)
            try:
                params = self._proposers[name].propose(seed, number, known)
            except NoNewConfigError:
                self._through.add(name)
                continue
            self._begun(number, name)
            return params
        raise NoNewConfigError

    def _begun(self, number: int, name: str) -> None:
        self._of[number] = name
        self._running[name].add(number)

    def report(self, number: int, step: int, value: float) -> None:
        """A begun trial reported an intermediate value, after `step` epochs."""
        self._proposers[self._of[number]].report(number, step, value)

    def tell(self, number: int, state: State, value: float | None, cause: str | None) -> None:
        """A begun trial ended in `state`, with `value`, or because of `cause`."""
        name = self._of.pop(number)
        self._proposers[name].tell(number, state, value, cause)
        self._running[name].discard(number)
        self._ended[name].add(number, None if state == State.FAILED else value, _whole(state))


def _whole(state: State) -> bool:
    """Whether more epochs would have given no more, or nothing."""
    return state != State.PRUNED


def _value_of(trial: StudyTrial) -> float | None:
    """The best value of an ended trial; None if it failed or never reported."""
    match trial.state:
        case State.COMPLETE:
            return trial.value
        case State.PRUNED:
            return trial.steps[-1][1] if trial.steps else None
        case State.FAILED:
            return None
        case State.RUNNING:
            raise AssertionError(trial)
