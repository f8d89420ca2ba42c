"""The Optuna study of a run: its trials, its samplers, its file. The only file with optuna.

The run's journal is the truth. `remake` derives the study from it, in memory, where a session
begins; `as_journal` is its text for `study.journal`, which Optuna's own tools open.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import optuna
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from recsys.errors import ConfigError
from recsys.kernels.normal import log_tails
from search.record.events import State
from search.record.state import TrialRecord
from search.space.domains import Bundle, Choice, Constant, FloatRange, IntRange, Param, Value
from search.space.spec import SearchSpec
from search.tune.allocation import MethodTrials, Terms, next_method

OPTUNA_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.RUNNING: TrialState.RUNNING,
}
ERROR_LENGTH = 2000


@dataclass(frozen=True)
class StudyTrial:
    """A trial as the study knows it.

    value: best objective. steps: (epoch, best objective so far) in ascending epochs. error: why
    it failed.
    """

    number: int
    params: dict[str, Value]
    state: State
    value: float | None = None
    steps: tuple[tuple[int, float], ...] = ()
    error: str | None = None


def from_journal(trial: TrialRecord, metric: str) -> StudyTrial:
    """A trial of the journal, with the best value of `metric` so far at each of its epochs."""
    best, steps = -math.inf, []
    if trial.rows:
        for epoch, value in zip(trial.column("epoch"), trial.column(metric), strict=True):
            assert epoch is not None
            best = max(best, -math.inf if value is None else value)
            if math.isfinite(best):
                steps.append((int(epoch), best))
    error = trial.cause or trial.error
    return StudyTrial(
        trial.number, dict(trial.params), trial.state, trial.value, tuple(steps), error
    )


class _Lines(BaseJournalBackend):
    """The lines of Optuna's journal format, kept in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for line in self.lines[log_number_from:])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]


def as_journal(trials: Sequence[FrozenTrial], name: str) -> str:
    """A study of these trials as the text of a journal file, in which it is called `name`.

    `optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(path)))`
    opens such a file, and so does Optuna's dashboard.
    """
    lines = _Lines()
    quiet()
    study = optuna.create_study(
        study_name=name, storage=JournalStorage(lines), direction="maximize"
    )
    study.add_trials(trials)
    return "".join(lines.lines)


@cache
def _compile_tails() -> None:
    """Give Optuna's TPE, which spends most of a proposal on tails of normal distributions, one at a
    time in Python, a compiled function for them. It is taken where its numbers are Optuna's own to
    the last bit, so no proposal differs (ADR 164).
    """
    from optuna.samplers._tpe import _truncnorm

    plain = _truncnorm._log_ndtr

    def log_ndtr(values: np.ndarray) -> np.ndarray:
        found = np.empty(values.shape)
        log_tails(np.ascontiguousarray(values, np.float64).ravel(), found.reshape(-1), 2.0)
        return found

    sample = np.concatenate([np.linspace(-200, 10, 800), -np.geomspace(1e-300, 1, 100), [0.0]])
    if np.array_equal(log_ndtr(sample), plain(sample)):
        _truncnorm._log_ndtr = log_ndtr


STARTUP, STARTUP_OF_METHOD = 10, 5  # random trials before anything is learned from


def _tpe(seed: int, startup: int) -> optuna.samplers.BaseSampler:
    _compile_tails()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            group=True,
            constant_liar=True,
            n_startup_trials=startup,
        )


def _random(seed: int, startup: int = 0) -> optuna.samplers.BaseSampler:  # noqa: ARG001
    return optuna.samplers.RandomSampler(seed=seed)


# What proposes a config where none is listed beforehand, by the words of
# `search.space.strategies.SEARCHERS`; None: nothing does, the search is over.
SAMPLERS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler] | None] = {
    "tpe": _tpe,
    "random": _random,
    "grid": None,
}


def sampler(
    spec: SearchSpec, seed: int, number: int, attempt: int = 0, startup: int = STARTUP
) -> optuna.samplers.BaseSampler:
    """The sampler of one trial; a further `attempt` where what the first proposed is known.

    It depends on the run's seed and the trial's number, not on what was drawn before. So a
    resumed search proposes what an uninterrupted one would, and never repeats its first draws.
    """
    entropy = [seed, number, attempt] if attempt else [seed, number]
    state = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    # A listed config leaves nothing to propose.
    return (SAMPLERS[spec.searcher] or _random)(state, startup)


def distribution(param: Param) -> BaseDistribution:
    """The one translation of a domain into Optuna's terms."""
    match param.domain:
        case Choice(options=options):
            return CategoricalDistribution(options)
        case Bundle():
            return CategoricalDistribution(param.domain.options)
        case IntRange(low=low, high=high, log=log, step=step):
            return IntDistribution(low, high, log=log, step=step)
        case FloatRange(low=low, high=high, log=log, step=step):
            return FloatDistribution(low, high, log=log, step=step)
        case Constant():
            raise AssertionError(f"{param.name} is a constant")


class NoNewConfigError(Exception):
    """Every config that could be found was tried already: the space is through."""


Known = Callable[[Mapping[str, Value]], bool]


class NewConfigs(optuna.samplers.BaseSampler):
    """The sampler of one trial, which never proposes a config that the run has had.

    It draws a whole config as Optuna itself would with `sampler`, so where the first draw is new
    nothing differs from that. Otherwise further draws follow: by the same sampler, then
    uniformly from what a countable space has left, or at random from the whole space. Raises
    NoNewConfigError where none of them is new.
    """

    def __init__(
        self, spec: SearchSpec, seed: int, number: int, known: Known, startup: int = STARTUP
    ) -> None:
        self._spec, self._seed, self._number, self._known = spec, seed, number, known
        self._startup = startup
        self._base = sampler(spec, seed, number, startup=startup)
        self._params: dict[str, Value] = {}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What `sampler` draws together; Optuna asks for it before `sample_relative`."""
        return self._base.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All of the config is chosen here, which Optuna asks for before anything else."""
        for attempt in range(SAMPLER_ATTEMPTS):
            if attempt:
                self._base = sampler(self._spec, self._seed, self._number, attempt, self._startup)
                search_space = self._base.infer_relative_search_space(study, trial)
            relative = self._base.sample_relative(study, trial, search_space)
            self._params = self._complete(study, trial, relative)
            if not self._known(self._params):
                return relative
        self._params = _another(self._spec, self._seed, self._number, self._known)
        return {}

    def _complete(
        self, study: Study, trial: FrozenTrial, relative: Mapping[str, Any]
    ) -> dict[str, Value]:
        """The config that Optuna would make of what was drawn together."""

        def pick(param: Param) -> Value:
            domain = distribution(param)
            if domain.single():
                return _only_value(domain)
            if param.name in relative:
                value: Value = relative[param.name]
                if domain._contains(domain.to_internal_repr(value)):
                    return value
            return self._base.sample_independent(study, trial, param.name, domain)

        return self._spec.choose(pick)

    def sample_independent(
        self,
        study: Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002
    ) -> Any:
        """The value that `sample_relative` has chosen already."""
        return self._params[param_name]


SAMPLER_ATTEMPTS, RANDOM_ATTEMPTS, LISTED = 10, 1000, 10_000


def _only_value(domain: BaseDistribution) -> Value:
    """The value of a distribution that has one."""
    if isinstance(domain, CategoricalDistribution):
        return domain.choices[0]
    assert isinstance(domain, IntDistribution | FloatDistribution)
    return domain.low


def _another(spec: SearchSpec, seed: int, number: int, known: Known) -> dict[str, Value]:
    """A config that is not `known`, drawn without regard to results."""
    rng = np.random.default_rng([seed, number, SAMPLER_ATTEMPTS])
    if all(p.domain.values() is not None for p in spec.searched()):
        left = [config for config in islice(spec.grid(), LISTED) if not known(config)]
        if left:
            return left[int(rng.integers(len(left)))]
    for _ in range(RANDOM_ATTEMPTS):
        params = spec.sample(rng)
        if not known(params):
            return params
    raise NoNewConfigError


def suggest(spec: SearchSpec, trial: Trial) -> dict[str, Value]:
    """The active parameters of a trial; those that are not active never reach the sampler."""

    def ask(param: Param) -> Value:
        match distribution(param):
            case CategoricalDistribution(choices=choices):
                return trial.suggest_categorical(param.name, choices)
            case IntDistribution(low=low, high=high, log=log, step=step):
                return trial.suggest_int(param.name, low, high, log=log, step=step)
            case FloatDistribution(low=low, high=high, log=log, step=step):
                return trial.suggest_float(param.name, low, high, log=log, step=step)
        raise AssertionError(param)

    return spec.choose(ask)


def start(
    study: Study,
    spec: SearchSpec,
    seed: int,
    number: int,
    listed: dict[str, Value] | None,
    known: Known,
) -> tuple[Trial, dict[str, Value]]:
    """A new trial, which must get `number`, and its active parameters.

    They are the `listed` ones, or else proposed, and then not yet `known`. Raises NoNewConfigError
    where there are none; the study may then have a failed trial that nobody made.
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


class Memory:
    """The trials of a space as its sampler sees them: all, until they are many.

    What TPE needs for a proposal grows with the trials, to a fifth of a second at 5,000. Where
    `LIMIT` have ended, `KEPT` are remembered: a fifth of them the best, the others an even part
    of the rest, so that it still knows where bad ones lie. Trials have their number in the run.
    """

    def __init__(self, spec: SearchSpec, startup: int) -> None:
        self._spec, self._startup = spec, startup
        self._study = optuna.create_study(direction="maximize")
        self._open: dict[int, Trial] = {}
        self._ended = 0

    @staticmethod
    def of(spec: SearchSpec, study: Study) -> Memory:
        """The memory of a run's study; its trials that have not ended are to `begin` again."""
        memory = Memory(spec, STARTUP)
        memory.add_all(t for t in study.get_trials(deepcopy=False) if t.state.is_finished())
        return memory

    def add_all(self, ended: Iterable[FrozenTrial]) -> None:
        """Trials that have ended, in order: what would be left of them if each came by itself."""
        kept: list[FrozenTrial] = []
        for trial in ended:
            kept.append(trial)
            if len(kept) > LIMIT:
                kept = remembered(kept, KEPT)
        self._study.add_trials(kept)
        self._ended = len(kept)

    def begin(self, number: int, params: Mapping[str, Value]) -> None:
        """A trial with these parameters."""
        self._study.sampler = _random(0)
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
        self._open[number] = trial
        return params

    def report(self, number: int, step: int, value: float) -> None:
        """An intermediate value of a trial that was begun."""
        self._open[number].report(value, step)

    def tell(self, number: int, state: State, value: float | None, cause: str | None) -> None:
        """How a trial that was begun ended."""
        tell(self._study, self._open.pop(number), state, value, cause)
        self._grown()

    def _grown(self) -> None:
        self._ended += 1
        if self._ended <= LIMIT:
            return
        trials = self._study.get_trials(deepcopy=False)
        kept = remembered([t for t in trials if t.state.is_finished()], KEPT)
        running = {number: trials[trial.number] for number, trial in self._open.items()}
        self._study, self._open = optuna.create_study(direction="maximize"), {}
        self._study.add_trials(kept)
        self._ended = len(kept)
        for number, trial in running.items():
            self.begin(number, trial.params)
            for step, value in trial.intermediate_values.items():
                self._open[number].report(value, step)


LIMIT, KEPT = 900, 600


def remembered(ended: list[FrozenTrial], most: int) -> list[FrozenTrial]:
    """`most` of some trials in their order: a fifth the best, the others evenly from the rest."""

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
    best, rest = places[: most // 5], sorted(places[most // 5 :])
    count = most - len(best)
    chosen = {*best, *(rest[n * len(rest) // count] for n in range(count))}
    return [trial for place, trial in enumerate(ended) if place in chosen]


class Methods:
    """A memory for each method of a space, and which method the next trial is of.

    A sampler that chose the method along with everything else would see each parameter only in the
    trials of its method, group by group; here each method is searched as if it were the space.
    """

    def __init__(
        self, spec: SearchSpec, trials: Iterable[StudyTrial], where: str, terms: Terms
    ) -> None:
        """`trials`: those that have ended count, in order of their numbers."""
        self._terms = terms
        param = spec.method()
        assert param is not None
        self._name = param.name
        specs = {str(value): spec.of_method(value) for value in spec.methods()}
        self._memories = {name: Memory(one, STARTUP_OF_METHOD) for name, one in specs.items()}
        self._ended = {name: MethodTrials() for name in specs}
        self._running: dict[str, set[int]] = {name: set() for name in specs}
        self._of: dict[int, str] = {}
        self._through: set[str] = set()  # methods without a config that is left to try
        known: dict[str, list[FrozenTrial]] = {name: [] for name in specs}
        for trial in sorted(trials, key=lambda t: t.number):
            if trial.state != State.RUNNING:
                name = str(trial.params[self._name])
                known[name].append(_frozen(specs[name], trial, where))
                self._ended[name].add(trial.number, _value_of(trial))
        for name, memory in self._memories.items():
            memory.add_all(known[name])

    def begin(self, number: int, params: Mapping[str, Value]) -> None:
        """Trial `number` of the run, with these parameters, for the memory of its method."""
        name = str(params[self._name])
        self._memories[name].begin(number, params)
        self._begun(number, name)

    def propose(self, seed: int, number: int, known: Known) -> dict[str, Value]:
        """A new config of the method whose turn it is; NoNewConfigError where none has one."""
        while left := [name for name in self._memories if name not in self._through]:
            running = {name: len(numbers) for name, numbers in self._running.items()}
            name = next_method(left, self._ended, running, self._terms)
            try:
                params = self._memories[name].propose(seed, number, known)
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
        """An intermediate value of a trial that was begun."""
        self._memories[self._of[number]].report(number, step, value)

    def tell(self, number: int, state: State, value: float | None, cause: str | None) -> None:
        """How a trial that was begun ended."""
        name = self._of.pop(number)
        self._memories[name].tell(number, state, value, cause)
        self._running[name].discard(number)
        self._ended[name].add(number, None if state == State.FAILED else value)


def _value_of(trial: StudyTrial) -> float | None:
    """What a trial that has ended reached; None of one that failed or never reported."""
    match trial.state:
        case State.COMPLETE:
            return trial.value
        case State.PRUNED:
            return trial.steps[-1][1] if trial.steps else None
    return None


def unfinished(study: Study) -> list[FrozenTrial]:
    """The trials that have not ended, by number."""
    return [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]


def restart(study: Study, frozen: FrozenTrial) -> Trial:
    """An unfinished trial, to run again."""
    # Its parameters are known: a sampler that models something would only lose time.
    study.sampler = _random(0)
    return Trial(study, frozen._trial_id)


def tell(study: Study, trial: Trial, state: State, value: float | None, cause: str | None) -> None:
    """How a trial ended: COMPLETE with `value`, PRUNED without one, FAILED because of `cause`."""
    if state == State.FAILED:
        trial.set_user_attr("error", str(cause)[:ERROR_LENGTH])
    study.tell(trial, value if state == State.COMPLETE else None, state=OPTUNA_STATES[state])


def remake(spec: SearchSpec, trials: Iterable[StudyTrial], where: str) -> Study:
    """A study in memory with these trials, as `frozen` has them."""
    quiet()
    study = optuna.create_study(direction="maximize")
    study.add_trials(frozen(spec, trials, where))
    return study


def frozen(spec: SearchSpec, trials: Iterable[StudyTrial], where: str) -> list[FrozenTrial]:
    """Trials as Optuna has them, under the same numbers.

    Running trials are RUNNING again, without intermediate values, for they run afresh. `where`:
    what a message names, the folder of the run. Raises ConfigError where the trials do not fit
    the space or their numbers are not 0, 1, 2, ...
    """
    found = []
    for expected, trial in enumerate(sorted(trials, key=lambda t: t.number)):
        if trial.number != expected:
            raise ConfigError(f"{where}: trial {expected} is missing from the journal")
        found.append(_frozen(spec, trial, where))
    return found


def _frozen(spec: SearchSpec, trial: StudyTrial, where: str) -> FrozenTrial:
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


MIN_TRIALS = 8


# Times that trials are drawn again for an interval, and trials in all of these.
DRAWS, DRAWN = 40, 8_000


@dataclass(frozen=True)
class Shares:
    """Share of each parameter in what made trials good, largest first, adding up to 1.

    intervals: the middle nine tenths of each share where the trials are drawn again with
    replacement: how much of it hangs on single trials.
    """

    shares: dict[str, float]
    intervals: dict[str, tuple[float, float]]


def importance(study: Study, rng: np.random.Generator) -> Shares:
    """What mattered, by PED-ANOVA (Watanabe, Bansal, Hutter, 2023), which compares where the best
    trials lie with where all lie, and knows conditional parameters.

    All trials count: one that was stopped early with the last value it had, which was too low. With
    fewer than 8 trials that have a value, or where all scored the same, nothing can be said.
    """
    told = [trial for t in study.get_trials(deepcopy=False) if (trial := _with_value(t))]
    shares = _shares(told)
    draws = min(DRAWS, DRAWN // max(len(told), 1)) if shares else 0
    again = [
        _shares([told[n] for n in rng.integers(len(told), size=len(told))]) for _ in range(draws)
    ]
    known = [one for one in again if one]
    intervals = {}
    for name in shares if len(known) > 1 else ():
        low, high = np.quantile([one.get(name, 0.0) for one in known], (0.05, 0.95))
        intervals[name] = float(low), float(high)
    return Shares(shares, intervals)


def _with_value(trial: FrozenTrial) -> FrozenTrial | None:
    """A trial as one that came to its end, with the last value that it had; None without one."""
    if trial.state == TrialState.COMPLETE:
        return trial
    if trial.state != TrialState.PRUNED or not trial.intermediate_values:
        return None
    value = trial.intermediate_values[max(trial.intermediate_values)]
    if not math.isfinite(value):
        return None
    return create_trial(params=trial.params, distributions=trial.distributions, value=value)


def _shares(trials: list[FrozenTrial]) -> dict[str, float]:
    if len(trials) < MIN_TRIALS or len({trial.value for trial in trials}) < 2:
        return {}
    # The best tenth, but at least five trials where there are that many.
    quantile = min(0.5, max(0.1, 5 / len(trials)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return {param: float(share) for param, share in ranked}
