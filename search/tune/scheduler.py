"""Which trials are ended early. ASHA in epochs (Li et al., MLSys 2020, the stopping variant).

At each rung (grace, grace x factor, grace x factor^2, ... epochs) a trial continues only if its
best value so far is within the best 1/factor of those that reached the rung before or with it.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from recsys.models import ModelConfig
from search.record.events import Reason
from search.space.domains import Value
from search.space.spec import SearchSpec
from search.tune.outcome import OBJECTIVE, Report, trial_of
from search.tune.pace import paced_rungs, space_rungs


class ToTheEnd(FIFOScheduler):
    """Runs trials in Ray's order, every one of them to its end.

    A subclass that ends trials says at which epochs it decides. Reports have `epoch` and
    `objective`, the best value so far: give a scheduler to `TuneConfig` without metric and mode.
    """

    _metric = OBJECTIVE
    ends_for = Reason.STOPPED  # the reason noted for a trial that it ends

    def __init__(self, spec: SearchSpec, paced: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.paced = paced
        self._waiting: deque[Trial] = deque()  # as they came; some have started meanwhile

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_waiting": deque()}  # Ray's own objects, which it never needs again

    def on_trial_add(self, _: Any, trial: Trial) -> None:
        """A trial is there to be run: a new one, or one that is tried again."""
        self._waiting.append(trial)

    def choose_trial_to_run(self, _: Any) -> Trial | None:
        """The trial that has waited for longest, None where none waits. Ray's own way to it goes
        through all trials that ever were, after each event.
        """
        while self._waiting and self._waiting[0].status != Trial.PENDING:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None

    def on_trial_result(self, _: Any, trial: Trial, result: dict[str, Any]) -> str:  # noqa: ARG002
        """Ray's STOP for a trial that has said its last word, so that its worker is not asked once
        more; else CONTINUE.
        """
        report = Report.of(result)
        over = report is not None and report.last
        return str(TrialScheduler.STOP if over else TrialScheduler.CONTINUE)

    @staticmethod
    def rungs(spec: SearchSpec, epochs: int | None = None) -> list[int]:  # noqa: ARG004
        """The epochs at which it decides, ascending; a trial has to report at each of them.

        epochs: of a trial whose length was chosen for it (`search.tune.pace`); None: those of the
        space.
        """
        return []

    def rungs_of(self, config: ModelConfig) -> list[int]:
        """The epochs at which it decides about a trial of this config."""
        return self.rungs(self.spec, config.most_epochs if self.paced else None)

    def replay(
        self,
        name: str,
        reports: Iterable[tuple[int, float]],
        config: ModelConfig,
        params: Mapping[str, Value],
    ) -> None:
        """Take in what a trial ("t0007") reported before a resume: (epoch, best so far) pairs.

        config: what it trains. params: what was chosen for it.

        Feed every trial of the journal, running ones too. A running one trains again and
        reports the same values; the decisions made about it stand.
        """


class Rungs:
    """What was reached at each rung, and what that means for the next trial.

    Differs from Ray's bracket: values are the best so far at the rung itself; while a rung holds
    fewer than `factor` trials all go on (Ray stops the second trial of a search for being worse
    than the first), or all that are `near` the best of them; a decision once made stands; and a
    report that passed several rungs counts only in the last of them, since its value at the others
    is not known.
    """

    def __init__(self, factor: int, near: float | None = None) -> None:
        """near: part of the best value; None: any is near enough."""
        self.factor, self.near = factor, near
        self.recorded: list[dict[str, float]] = []
        self._ascending: list[list[float]] = []  # the same values, for each rung

    def record(self, name: str, rungs: Sequence[int], epoch: int, value: float) -> int | None:
        """Note the best value so far of trial `name`; returns the rung (from 0) that it has now
        reached for the first time, else None.

        rungs: the epochs at which this trial is judged, ascending.
        """
        passed = sum(rung <= epoch for rung in rungs)
        while len(self.recorded) < len(rungs):
            self.recorded.append({})
            self._ascending.append([])
        if not passed or name in self.recorded[passed - 1]:
            return None
        self.recorded[passed - 1][name] = value
        insort(self._ascending[passed - 1], value)
        return passed - 1

    def survives(self, name: str, rung: int) -> bool:
        """Whether a trial is among the best 1/factor of a rung, rounded up; tied trials count as
        the better ones. With fewer than `factor` there, whether it is near the best of them.
        """
        count, mine = len(self.recorded[rung]), self.recorded[rung][name]
        if count < self.factor:
            best = self._ascending[rung][-1]
            return self.near is None or best - mine <= (1 - self.near) * abs(best)
        better = count - bisect_right(self._ascending[rung], mine)
        return better * self.factor < count

    def decide(self, name: str, rungs: Sequence[int], epoch: int, value: float) -> str:
        """What becomes of a trial after this report: Ray's STOP or CONTINUE.

        rungs: the epochs at which it is judged, ascending. value: its best so far.
        """
        if not math.isfinite(value):
            # Nothing is better or worse than NaN: let in, it would never be stopped.
            return TrialScheduler.STOP if math.isnan(value) else TrialScheduler.CONTINUE
        rung = self.record(name, rungs, epoch, value)
        if rung is None or self.survives(name, rung):
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP


NEAR = 0.7  # of the best value: the first trials of a method go on if they have so much (ADR 199)
Peers = tuple[str, Value | None]  # a model, and a method where the space has methods


class EpochASHA(ToTheEnd):
    """Ends the trials that are not among the best 1/factor of a rung.

    A trial that ended of its own accord, out of patience or after all epochs, stays in the rungs it
    reached. Each model and each method of the space has rungs of its own, since epochs of those
    that learn at different speeds cannot be compared. Trials of different lengths are compared
    after the same part of their lengths.

    Where a space has methods the first trials of each are many. So of those a trial that is far
    below the better one is stopped, which it is not in a space without methods.
    """

    ends_for = Reason.ASHA

    def __init__(self, spec: SearchSpec, paced: bool = False) -> None:
        super().__init__(spec, paced)
        self.reached: dict[Peers, Rungs] = {}

    def _of(self, config: ModelConfig, params: Mapping[str, Value]) -> Rungs:
        """The rungs of those that a trial is compared with. params: what was chosen for it."""
        method = self.spec.method_of(params)
        peers = config.model, method
        if peers not in self.reached:
            near = None if method is None else NEAR
            self.reached[peers] = Rungs(self.spec.reduction_factor, near)
        return self.reached[peers]

    @staticmethod
    def rungs(spec: SearchSpec, epochs: int | None = None) -> list[int]:
        """The rungs of the space; for a trial with `epochs` of its own, at fixed parts of these."""
        if epochs is not None:
            return paced_rungs(epochs, spec.reduction_factor)
        return space_rungs(spec)

    def on_trial_result(self, _: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Ray's STOP after the last report and for a trial that falls behind; else CONTINUE."""
        longest = trial_of(trial.config).train.most_epochs if self.paced else None
        report = Report.of(result)
        if report is not None and (
            report.last or report.epoch >= (longest or self.spec.max_epochs)
        ):
            return str(TrialScheduler.STOP)
        return self._decide(trial, report)

    def on_trial_complete(self, _: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Record the trial's last report in its rung, whatever ended the trial."""
        self._decide(trial, Report.of(result))

    def _decide(self, trial: Trial, report: Report | None) -> str:
        if report is None or report.objective is None:  # it ended without a report
            return str(TrialScheduler.CONTINUE)
        # Our id of a trial stays the same after a resume; Ray's does not.
        ours = trial_of(trial.config)
        reached = self._of(ours.train, ours.params)
        rungs = self.rungs_of(ours.train)
        return reached.decide(ours.id, rungs, report.epoch, report.objective)

    def replay(
        self,
        name: str,
        reports: Iterable[tuple[int, float]],
        config: ModelConfig,
        params: Mapping[str, Value],
    ) -> None:
        """Record the finite values at the trial's rungs; nothing is decided."""
        reached, rungs = self._of(config, params), self.rungs_of(config)
        for epoch, value in reports:
            if epoch in rungs and math.isfinite(value):
                reached.record(name, rungs, epoch, value)

    def debug_string(self) -> str:
        """How full each rung is, for Ray's own status."""
        sizes = (
            f"{model if method is None else method} {rung}: {len(values)}"
            for (model, method), reached in self.reached.items()
            for rung, values in enumerate(reached.recorded, 1)
        )
        return f"trials at each rung: {', '.join(sizes)}"


# By the words of `search.space.strategies.SCHEDULERS`.
SCHEDULERS: dict[str, type[ToTheEnd]] = {"asha": EpochASHA, "none": ToTheEnd}


def rungs(spec: SearchSpec) -> list[int]:
    """The epochs at which the scheduler of a space decides; a trial has to report at each."""
    return SCHEDULERS[spec.scheduler].rungs(spec)


def make_scheduler(spec: SearchSpec, paced: bool = False) -> ToTheEnd:
    """The scheduler that a space asks for. paced: whether each trial has a length of its own."""
    return SCHEDULERS[spec.scheduler](spec, paced)
