"""The Optuna study of a run: its file, its samplers, its trials. The only file with optuna.

The run's journal is the truth; the study is derived from it. `rebuild` makes it anew on resume.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from recsys.errors import ConfigError
from search.record.events import State
from search.record.state import TrialRecord
from search.space.domains import Bundle, Choice, Constant, FloatRange, IntRange, Param, Value
from search.space.spec import SearchSpec

OPTUNA_STATES = {
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.RUNNING: TrialState.RUNNING,
}
STATES = {theirs: ours for ours, theirs in OPTUNA_STATES.items()} | {
    TrialState.WAITING: State.RUNNING
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


class _StudyFile(JournalFileBackend):
    """Optuna's journal file without lock and fsync.

    One process writes it, under the lock of the run folder. A process that is killed leaves no
    lock for the next to wait on, and what it had written is with the kernel already; after a
    power cut the study is made anew from the run's journal.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with Path(self._file_path).open("ab") as stream:
            stream.write(lines.encode())


def storage(path: Path) -> JournalStorage:
    """The study file as an Optuna storage; made if it is not there."""
    return JournalStorage(_StudyFile(str(path)))


def open_study(path: Path, name: str | None = None) -> optuna.Study:
    """The study in a file, to read it; its name is the run's: by default the folder's."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such study; expected the study.journal of a run")
    return optuna.load_study(study_name=name or study_name(path), storage=storage(path))


def connect(path: Path, name: str) -> optuna.Study:
    """The study in a file, to go on with it; made if it is not there."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):  # killed while writing: what follows must not be glued on
        os.truncate(path, whole)
    if whole:
        return optuna.load_study(study_name=name, storage=storage(path))
    return optuna.create_study(study_name=name, storage=storage(path), direction="maximize")


def study_name(path: Path) -> str:
    """`runs/NAME/study.journal` holds the study NAME."""
    return path.resolve().parent.name


def sampler(
    spec: SearchSpec, seed: int, number: int, attempt: int = 0
) -> optuna.samplers.BaseSampler:
    """The sampler of one trial; a further `attempt` where what the first proposed is known.

    It depends on the run's seed and the trial's number, not on what was drawn before. So a
    resumed search goes on as an uninterrupted one would, and never repeats its first draws.
    """
    entropy = [seed, number, attempt] if attempt else [seed, number]
    state = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    if spec.searcher != "tpe":
        return optuna.samplers.RandomSampler(seed=state)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=state, multivariate=True, group=True, constant_liar=True
        )


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

    def __init__(self, spec: SearchSpec, seed: int, number: int, known: Known) -> None:
        self._spec, self._seed, self._number, self._known = spec, seed, number, known
        self._base = sampler(spec, seed, number)
        self._params: dict[str, Value] = {}

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._base.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All of the config is chosen here, which Optuna asks for before anything else."""
        for attempt in range(SAMPLER_ATTEMPTS):
            if attempt:
                self._base = sampler(self._spec, self._seed, self._number, attempt)
                search_space = self._base.infer_relative_search_space(study, trial)
            relative = self._base.sample_relative(study, trial, search_space)
            self._params = self._complete(study, trial, relative)
            if not self._known(self._params):
                return relative
        self._params = _another(self._spec, self._seed, self._number, self._known)
        return {}

    def _complete(
        self, study: optuna.Study, trial: FrozenTrial, relative: Mapping[str, Any]
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
        study: optuna.Study,  # noqa: ARG002
        trial: FrozenTrial,  # noqa: ARG002
        param_name: str,
        param_distribution: BaseDistribution,  # noqa: ARG002
    ) -> Any:
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
    if all(p.domain.values() is not None for p in spec.searched()):  # type: ignore[union-attr]
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


def fixed_configs(spec: SearchSpec) -> Iterator[dict[str, Value]]:
    """The configs that are tried whatever the results: `enqueue`, then the grid."""
    yield from (dict(entry) for entry in spec.enqueue)
    if spec.searcher == "grid":
        yield from spec.grid()


def keys(study: optuna.Study, spec: SearchSpec) -> set[str]:
    """`TrainConfig.key()` of every config that the study has."""
    found = set()
    for trial in study.get_trials(deepcopy=False):
        # One that waits, or whose process died while it was proposed, has no config yet.
        with suppress(ConfigError):
            found.add(spec.train_config(trial.params).key())
    return found


def start(
    study: optuna.Study,
    spec: SearchSpec,
    seed: int,
    number: int,
    fixed: dict[str, Value] | None,
    known: Known,
) -> tuple[Trial, dict[str, Value]]:
    """A new trial, which must get `number`, and its active parameters.

    With `fixed` they are those, otherwise such as are not `known`. Raises NoNewConfigError, and
    the trial is a failed one then: there is no way to take it back.
    """
    study.sampler = (
        sampler(spec, seed, number) if fixed is not None else NewConfigs(spec, seed, number, known)
    )
    if fixed is not None:
        study.enqueue_trial(fixed)
    trial = study.ask()
    assert trial.number == number, "someone else writes to this study"
    try:
        params = suggest(spec, trial)
        if fixed is None and known(params):  # all of it is given: no sampler was asked
            raise NoNewConfigError
    except NoNewConfigError:
        tell(study, trial, State.FAILED, None, "no config is left that was not tried")
        raise
    return trial, params


def unfinished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have not ended, by number."""
    return [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]


def restart(study: optuna.Study, frozen: FrozenTrial) -> Trial:
    """An unfinished trial of the file, to run again."""
    # Its parameters are known: a sampler that models something would only lose time.
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    return study.ask() if frozen.state == TrialState.WAITING else Trial(study, frozen._trial_id)


def tell(
    study: optuna.Study, trial: Trial, state: State, value: float | None, cause: str | None
) -> None:
    """How a trial ended: COMPLETE with `value`, PRUNED without one, FAILED because of `cause`."""
    if state == State.FAILED:
        trial.set_user_attr("error", str(cause)[:ERROR_LENGTH])
    study.tell(trial, value if state == State.COMPLETE else None, state=OPTUNA_STATES[state])


def records(study: optuna.Study) -> list[StudyTrial]:
    """All trials of a study, by number."""
    return [
        StudyTrial(
            trial.number,
            dict(trial.params),
            STATES[trial.state],
            trial.value if trial.state.is_finished() else None,
            tuple(sorted(trial.intermediate_values.items())),
            trial.user_attrs.get("error"),
        )
        for trial in study.get_trials(deepcopy=False)
    ]


def rebuild(
    path: Path, spec: SearchSpec, trials: Iterable[StudyTrial], name: str | None = None
) -> None:
    """Write the study file of a run anew: the same trials under the same numbers.

    Running trials are RUNNING again, without intermediate values, for they run afresh. The
    file is replaced in one step. Raises ConfigError where the trials do not fit the space or
    their numbers are not 0, 1, 2, ...
    """
    quiet()
    handle, temporary = tempfile.mkstemp(prefix=".study-", dir=path.parent)
    os.close(handle)
    try:
        new = optuna.create_study(
            study_name=name or study_name(path),
            storage=storage(Path(temporary)),
            direction="maximize",
        )
        for expected, trial in enumerate(sorted(trials, key=lambda t: t.number)):
            if trial.number != expected:
                raise ConfigError(f"{path.parent}: trial {expected} is missing from the journal")
            new.add_trial(_frozen(spec, trial, path))
        # Optuna's own files are readable to others; mkstemp's are not
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _frozen(spec: SearchSpec, trial: StudyTrial, path: Path) -> FrozenTrial:
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
            f"{path.parent}: trial {trial.number} of the journal does not fit the space: {reason}"
        ) from None


def quiet() -> None:
    """Keep Optuna's progress lines off the screen: the run has a display of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)


MIN_TRIALS = 8


def importance(study: optuna.Study) -> dict[str, float]:
    """Share of each parameter in what made trials good, largest first; sums to 1.

    PED-ANOVA (Watanabe, Bansal, Hutter, 2023), which compares where the best trials lie with
    where all lie, and knows conditional parameters. Empty with fewer than 8 complete trials or
    where all scored the same: then nothing can be said.
    """
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < MIN_TRIALS or len({trial.value for trial in done}) < 2:
        return {}
    # The best tenth, but at least five trials where there are that many.
    quantile = min(0.5, max(0.1, 5 / len(done)))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return {param: float(share) for param, share in ranked}
