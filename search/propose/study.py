"""The Optuna study of a run: its trials, and what happens to each of them.

The run's journal is the source of truth: `remake` derives the study from it, in memory, when a
session begins.
"""

from __future__ import annotations

from collections.abc import Iterable

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from recsys.errors import ConfigError
from search.propose.distributions import distribution, suggest
from search.propose.new_configs import Known, NoNewConfigError
from search.propose.redraw import NewConfigs
from search.propose.samplers import SAMPLERS, random_sampler, sampler
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec

OPTUNA_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.RUNNING: TrialState.RUNNING,
}
ERROR_LENGTH = 2000


def start(
    study: Study,
    spec: SearchSpec,
    seed: int,
    number: int,
    listed: dict[str, Value] | None,
    known: Known,
) -> tuple[Trial, dict[str, Value]]:
    """A new trial, which must get `number`, and its active parameters.

    These are the `listed` ones if given, else proposed ones that are not yet `known`. seed: the
    run's. Raises NoNewConfigError where no new config is left; the study may then hold a failed
    trial that the run does not have.
    """
    if listed is not None:
        study.sampler = sampler(spec, seed, number)
        study.enqueue_trial(listed)
    elif SAMPLERS[spec.searcher] is None:
        raise NoNewConfigError
    else:
        study.sampler = NewConfigs(spec, seed, number, known)
    trial = study.ask()
    assert trial.number == number, "someone else writes to this study"
    try:
        params = suggest(spec, trial)
        if listed is None and known(params):  # all of it is given: no sampler was asked
            raise NoNewConfigError
    except NoNewConfigError:
        tell(study, trial, State.FAILED, None, "no config is left that was not tried")
        raise
    return trial, params


def unfinished(study: Study) -> list[FrozenTrial]:
    """The trials that have not ended, by number."""
    return [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]


def restart(study: Study, frozen: FrozenTrial) -> Trial:
    """An unfinished trial, to run again."""
    # Its parameters are known: a sampler that learns would only waste time.
    study.sampler = random_sampler(0)
    return Trial(study, frozen._trial_id)


def tell(study: Study, trial: Trial, state: State, value: float | None, cause: str | None) -> None:
    """Tell the study how a trial ended: COMPLETE with `value`, PRUNED without one, or FAILED
    because of `cause`.
    """
    if state == State.FAILED:
        trial.set_user_attr("error", str(cause)[:ERROR_LENGTH])
    study.tell(trial, value if state == State.COMPLETE else None, state=OPTUNA_STATES[state])


def remake(spec: SearchSpec, trials: Iterable[StudyTrial], where: str) -> Study:
    """A study in memory with these trials; parameters and errors as for `frozen`."""
    quiet()
    study = optuna.create_study(direction="maximize")
    study.add_trials(frozen(spec, trials, where))
    return study


def frozen(spec: SearchSpec, trials: Iterable[StudyTrial], where: str) -> list[FrozenTrial]:
    """The trials in Optuna's form, under the same numbers.

    Running trials are RUNNING again, without intermediate values, since they run anew. where: the
    folder of the run, for messages. Raises ConfigError where the trials do not fit the space or
    their numbers are not 0, 1, 2, ...
    """
    found = []
    for expected, trial in enumerate(sorted(trials, key=lambda t: t.number)):
        if trial.number != expected:
            raise ConfigError(f"{where}: trial {expected} is missing from the journal")
        found.append(frozen_trial(spec, trial, where))
    return found


def frozen_trial(spec: SearchSpec, trial: StudyTrial, where: str) -> FrozenTrial:
    """A trial in Optuna's form; see `frozen`. Raises ConfigError if it does not fit the space."""
    distributions = {p.name: distribution(p) for p in spec.searched() if p.name in trial.params}
    state = OPTUNA_STATES[trial.state]
    steps = dict(trial.steps) if state.is_finished() else {}
    value = trial.value if state == TrialState.COMPLETE else None
    if state == TrialState.PRUNED and steps:
        value = steps[max(steps)]  # as Optuna itself does when it is told
    error = {"error": trial.error[:ERROR_LENGTH]} if trial.error else {}
    try:
        spec.flat(trial.params)
        return create_trial(
            state=state,
            value=value,
            params=trial.params,
            distributions=distributions,
            intermediate_values=steps,
            user_attrs=error if state == TrialState.FAIL else {},
        )
    except ValueError as problem:
        reason = " ".join(str(problem).split())
        raise ConfigError(
            f"{where}: trial {trial.number} of the journal does not fit the space: {reason}"
        ) from None


def quiet() -> None:
    """Keep Optuna's progress lines off the screen: the run has a display of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
