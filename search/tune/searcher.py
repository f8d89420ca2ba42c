"""Our searcher for Ray Tune, which tells Optuna what really happened.

A trial that ASHA stopped is PRUNED with its intermediate values (Ray 2.60's own searcher calls it
COMPLETE with its last value), a failed one is FAIL with its error, and a complete one has its
best value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ray.tune.search import Searcher

from search.propose import memory as memories
from search.propose import study as studies
from search.propose.allocation import Terms, terms_of
from search.propose.distributions import suggest
from search.propose.lengths import Lengths
from search.propose.methods import Methods
from search.propose.new_configs import NoNewConfigError
from search.propose.proposers import Proposer, proposer, proposer_of_method
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.domains import Value
from search.space.spec import SearchSpec
from search.space.strategies import SEARCHERS
from search.space.trial import TrialConfig, trial_id
from search.tune.lengths import lengths_of
from search.tune.outcome import AT_ONCE, OBJECTIVE, TRIAL, Report, judge

OnNew = Callable[[TrialConfig], None]


@dataclass
class _Open:
    """A trial that was handed out and has not ended.

    steps: the pairs (epoch, best objective so far) that Optuna knows of.
    """

    trial: studies.Trial
    steps: list[tuple[int, float]] = field(default_factory=list)


class StudySearch(Searcher):
    """Hands out the trials of a run, in order of their numbers, and keeps the Optuna study.

    A suggestion is a dict with the trial in it (`trial_of`), because Ray wants a dict.

    trials: those in the run's journal. First come the ones that have not ended, then the configs
    that the space lists in `enqueue`, then what its searcher proposes, until the run has `budget`
    trials in all. on_new: called with each new trial before anyone can run it, so that the journal
    knows it first. where: the folder of the run, for messages. lengths: how long a trial may be,
    and what it costs. terms: how trials are dealt out among methods. handed: what is added to the
    suggestion of a trial, by its id, that had begun in an earlier session. fit: says how many
    trials fit at once now; each suggestion says how many run or fit as it is made, since they share
    what the driver can take. Raises ConfigError where `trials` do not fit the space.

    No config is handed out twice, since a second training would only repeat the first. Where no
    config is left the search is over, and `exhausted` is set.
    """

    def __init__(
        self,
        spec: SearchSpec,
        trials: Sequence[StudyTrial] = (),
        *,
        seed: int,
        budget: int | None = None,
        on_new: OnNew | None = None,
        where: str = "the run",
        lengths: Lengths | None = None,
        terms: Terms | None = None,
        handed: Callable[[str], dict[str, Any]] = lambda _: {},
        fit: Callable[[], int] = lambda: 1,
    ) -> None:
        super().__init__(metric=OBJECTIVE, mode="max")
        self.spec = spec
        self._lengths = lengths or lengths_of(spec)
        self.seed = seed
        self._handed, self._fit = handed, fit
        self.budget = spec.trials if budget is None else budget
        self.on_new = on_new
        self.study = studies.remake(spec, trials, where)
        self.exhausted = False
        self._finished = False
        self._ended = sum(trial.state != State.RUNNING for trial in trials)
        learns = SEARCHERS[spec.searcher].learns
        # What proposes instead of the study itself, where a space has methods or many trials.
        self._memory: Methods | Proposer | None = None
        if learns and spec.methods():
            make = partial(proposer_of_method, lengths=self._lengths)
            self._memory = Methods(spec, trials, make, terms or terms_of(spec))
        elif learns and not SEARCHERS[spec.searcher].of_study:
            self._memory = proposer(spec, self._lengths)
            self._memory.add_all(t for t in trials if t.state != State.RUNNING)
        self._outgrows = learns and self._memory is None
        self._again = studies.unfinished(self.study)
        # What they had reached, which they will report again: known before they do.
        self._before = {t.number: t.steps for t in trials if t.state == State.RUNNING}
        self._count = len(trials)
        self._keys = {self._key(trial.params) for trial in trials}
        self._listed = SEARCHERS[spec.searcher].listed(spec)
        self._open: dict[str, _Open] = {}  # by Tune's id

    def next_id(self) -> str:
        """The id of the trial that the next `suggest` hands out."""
        return trial_id(self._again[0].number if self._again else self._count)

    def finish(self) -> None:
        """Hand out no more trials; those that are running continue as usual."""
        self._finished = True

    # --- Ray's interface --------------------------------------------------------------------

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The config of the next trial, or Searcher.FINISHED."""
        if self._finished or not (self._again or self._count < self.budget):
            return str(Searcher.FINISHED)
        again = bool(self._again)
        try:
            known, trial = self._restarted() if again else self._new()
        except NoNewConfigError:
            self.exhausted = True
            self.finish()
            return str(Searcher.FINISHED)
        at_once = max(self._fit(), len(self._open))
        self._open[trial_id] = known
        return {TRIAL: trial, AT_ONCE: at_once} | (self._handed(trial_id) if again else {})

    def _restarted(self) -> tuple[_Open, TrialConfig]:
        mine = studies.restart(self.study, self._again.pop(0))
        params = suggest(self.spec, mine)
        if (memory := self._remembering()) is not None:
            memory.begin(mine.number, params)
        known = _Open(mine)
        for epoch, value in self._before.pop(mine.number):
            self._step(known, epoch, value)
        return known, self._config(mine.number, params)

    def _new(self) -> tuple[_Open, TrialConfig]:
        listed = next((params for params in self._listed if not self._had(params)), None)
        memory, proposed = self._remembering(), None
        if memory is not None and listed is None:
            proposed = memory.propose(self.seed, self._count, self._had)
        mine, params = studies.start(
            self.study,
            self.spec,
            self.seed,
            self._count,
            proposed if listed is None else listed,  # a space of constants lists an empty config
            self._had,
        )
        if memory is not None and proposed is None:
            memory.begin(self._count, params)
        self._count += 1
        trial = self._config(mine.number, params)
        self._keys.add(self._key(params))
        if self.on_new is not None:
            self.on_new(trial)
        return _Open(mine), trial

    def _remembering(self) -> Methods | Proposer | None:
        """What proposes instead of the study, if anything; of trials too many for a study, a
        Memory.
        """
        many = self._ended >= memories.LIMIT or len(self._open) >= memories.SHOWN
        if self._outgrows and many:
            self._outgrows = False
            self._memory = memories.Memory.of(self.spec, self.study)
            for known in self._open.values():
                self._memory.begin(known.trial.number, known.trial.params)
                for step, value in known.steps:
                    self._memory.report(known.trial.number, step, value)
        return self._memory

    def _config(self, number: int, params: dict[str, Value]) -> TrialConfig:
        return TrialConfig.of(self.spec, params, self.seed, number, self._lengths.fit)

    def _key(self, params: Mapping[str, Value]) -> str:
        return self.spec.train_config(params).key()

    def _had(self, params: Mapping[str, Value]) -> bool:
        return self._key(params) in self._keys

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep an intermediate value: the best so far at an epoch."""
        if (known := self._open.get(trial_id)) is not None:
            self._keep(known, Report.of(result))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell Optuna how a trial ended. A trial that never reported has not ended: it will run
        again.
        """
        if trial_id not in self._open or not (result or error):
            return
        known = self._open.pop(trial_id)
        report = Report.of(result)
        end = judge(report, death="the trial's process died" if error else None)
        if end.state != State.FAILED:
            # Ray does not pass on the report after which a trial was stopped.
            self._keep(known, report)
        studies.tell(self.study, known.trial, end.state, end.value, end.cause)
        self._ended += 1
        if self._memory is not None:
            self._memory.tell(known.trial.number, end.state, end.value, end.cause)

    def _keep(self, known: _Open, report: Report | None) -> None:
        step, value = (report.epoch, report.objective) if report is not None else (0, None)
        # A trial whose worker died runs again from its first epoch: known epochs are skipped.
        last = known.steps[-1][0] if known.steps else 0
        if value is not None and math.isfinite(value) and step > last:
            self._step(known, int(step), float(value))

    def _step(self, known: _Open, step: int, value: float) -> None:
        known.steps.append((step, value))
        known.trial.report(value, step)
        if self._memory is not None:
            self._memory.report(known.trial.number, step, value)

    # --- Ray saves searchers for a restore that is never done: the run's journal has it all ----

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
