"""What a sampler sees of many trials: the best of them, and an even part of the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import optuna
from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from search.propose.distributions import suggest
from search.propose.new_configs import Known, NoNewConfigError
from search.propose.redraw import NewConfigs
from search.propose.samplers import STARTUP, random_sampler
from search.propose.study import frozen_trial, tell
from search.propose.trials import StudyTrial, best_and_even
from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec


class Memory:
    """The trials of a space as its sampler sees them: all, until they are many.

    The time that TPE needs for a proposal grows with the trials, to a fifth of a second at 5,000.
    Once `LIMIT` have ended, `KEPT` are remembered: a fifth of them the best, the others an even
    part of the rest, so that it still knows where bad ones lie. Trials have their number in the
    run.

    TPE counts a running trial among the bad ones. It sees the first `SHOWN` of the running trials,
    and each of the others once it has ended (ADR 179).
    """

    def __init__(self, spec: SearchSpec, startup: int) -> None:
        self._spec, self._startup = spec, startup
        self._study = optuna.create_study(direction="maximize")
        self._open: dict[int, Trial] = {}
        self._hidden: dict[int, StudyTrial] = {}
        self._stubs: set[int] = set()  # of the study: where hidden trials were proposed
        self._ended = 0

    @staticmethod
    def of(spec: SearchSpec, study: Study) -> Memory:
        """The memory of a run's study; its trials that have not ended are to `begin` again."""
        memory = Memory(spec, STARTUP)
        memory._add(t for t in study.get_trials(deepcopy=False) if t.state.is_finished())
        return memory

    def add_all(self, ended: Iterable[StudyTrial]) -> None:
        """Take in ended trials, in order; remembers the same as if they had come one at a time."""
        self._add(frozen_trial(self._spec, trial, "the search") for trial in ended)

    def _add(self, ended: Iterable[FrozenTrial]) -> None:
        kept: list[FrozenTrial] = []
        for trial in ended:
            kept.append(trial)
            if len(kept) > LIMIT:
                kept = remembered(kept, KEPT)
        self._study.add_trials(kept)
        self._ended = len(kept)

    def begin(self, number: int, params: Mapping[str, Value]) -> None:
        """Trial `number`, with these parameters, starts to run."""
        if len(self._open) >= SHOWN:
            self._hidden[number] = StudyTrial(number, dict(params), State.RUNNING)
            return
        self._study.sampler = random_sampler(0)
        self._study.enqueue_trial(dict(params))
        self._open[number] = self._study.ask()
        suggest(self._spec, self._open[number])

    def propose(self, seed: int, number: int, known: Known) -> dict[str, Value]:
        """The parameters of a new trial, which are not yet `known`; else NoNewConfigError."""
        self._study.sampler = NewConfigs(self._spec, seed, number, known, self._startup)
        trial = self._study.ask()
        try:
            params = suggest(self._spec, trial)
            if known(params):  # all of it is given: no sampler was asked
                raise NoNewConfigError
        except NoNewConfigError:
            tell(self._study, trial, State.FAILED, None, "no config is left that was not tried")
            raise
        if len(self._open) >= SHOWN:
            tell(self._study, trial, State.FAILED, None, "hidden while it runs")
            self._stubs.add(trial.number)
            self._hidden[number] = StudyTrial(number, dict(params), State.RUNNING)
        else:
            self._open[number] = trial
        return params

    def report(self, number: int, step: int, value: float) -> None:
        """A begun trial reported an intermediate value, after `step` epochs."""
        if (hidden := self._hidden.get(number)) is not None:
            self._hidden[number] = replace(hidden, steps=(*hidden.steps, (step, value)))
        else:
            self._open[number].report(value, step)

    def tell(self, number: int, state: State, value: float | None, cause: str | None) -> None:
        """A begun trial ended in `state`, with `value`, or because of `cause`."""
        if (hidden := self._hidden.pop(number, None)) is not None:
            ended = replace(hidden, state=state, value=value, error=cause)
            self._study.add_trial(frozen_trial(self._spec, ended, "the search"))
        else:
            tell(self._study, self._open.pop(number), state, value, cause)
        self._grown()

    def _grown(self) -> None:
        self._ended += 1
        if self._ended <= LIMIT:
            return
        trials = self._study.get_trials(deepcopy=False)
        ended = [t for t in trials if t.state.is_finished() and t.number not in self._stubs]
        kept = remembered(ended, KEPT)
        running = {number: trials[trial.number] for number, trial in self._open.items()}
        self._study, self._open = optuna.create_study(direction="maximize"), {}
        self._stubs.clear()
        self._study.add_trials(kept)
        self._ended = len(kept)
        for number, trial in running.items():
            self.begin(number, trial.params)
            for step, value in trial.intermediate_values.items():
                self._open[number].report(value, step)


LIMIT, KEPT, SHOWN = 900, 600, 256


def remembered(ended: list[FrozenTrial], most: int) -> list[FrozenTrial]:
    """At most `most` of the `ended` trials, in their order: a fifth of them the best, the others
    spread evenly over the rest.
    """

    def rank(trial: FrozenTrial) -> tuple[int, int, float]:
        values = trial.intermediate_values
        match trial.state:
            case TrialState.COMPLETE:
                return (0, 0, -(trial.value or 0.0))
            case TrialState.PRUNED if values:
                return (1, -max(values), -values[max(values)])
        return (2, 0, 0.0)

    if len(ended) <= most:
        return ended
    places = sorted(range(len(ended)), key=lambda place: rank(ended[place]))
    return [ended[place] for place in best_and_even(np.array(places), most, most // 5)]
