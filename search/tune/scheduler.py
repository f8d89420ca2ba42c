"""Which trials are ended early. ASHA in epochs (Li et al., MLSys 2020, the stopping variant).

At each rung (grace, grace x factor, grace x factor^2, ... epochs) a trial continues only if its
best value so far is within the best 1/factor of those that reached the rung before or with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.space.spec import SearchSpec
from search.tune.outcome import OBJECTIVE


class ToTheEnd(FIFOScheduler):
    """Ray's order of trials, and every one of them runs to its end.

    A subclass that ends trials says at which epochs it decides. Reports have `epoch` and
    `objective`, the best value so far: give a scheduler to `TuneConfig` without metric and mode.
    """

    _metric = OBJECTIVE

    def __init__(self, spec: SearchSpec) -> None:
        super().__init__()
        self.spec = spec

    @staticmethod
    def rungs(spec: SearchSpec) -> list[int]:  # noqa: ARG004
        """The epochs at which it decides, ascending; a trial has to report at each of them."""
        return []

    def replay(self, name: str, reports: Iterable[tuple[int, float]], model: str) -> None:
        """Take in what a trial ("t0007") reported before a resume: (epoch, best so far) pairs.

        model: what it trains.

        Feed every trial of the journal, running ones too. A running one trains again and
        reports the same values; the decisions made about it stand.
        """


class Rungs:
    """What was reached at each rung, and what that means for the next trial.

    Differs from Ray's bracket: values are best-so-far at the rung itself, the rung's own size
    has to reach `factor` before anything is stopped (Ray stops the second trial of a search for
    being worse than the first), a decision once made stands, and a report that passed several
    rungs counts in the last of them only, because what it was worth at the others is not known.
    """

    def __init__(self, epochs: list[int], factor: int) -> None:
        self.factor = factor
        self.recorded: dict[int, dict[str, float]] = {epoch: {} for epoch in epochs}

    def record(self, name: str, epoch: int, value: float) -> int | None:
        """Note a best value so far; returns the rung if it is new there, else None."""
        passed = [rung for rung in self.recorded if rung <= epoch]
        if not passed or name in self.recorded[passed[-1]]:
            return None
        self.recorded[passed[-1]][name] = value
        return passed[-1]

    def survives(self, name: str, rung: int) -> bool:
        """Whether a trial is within the best 1/factor of a rung, rounded up; ties do well."""
        values = self.recorded[rung]
        better = sum(value > values[name] for value in values.values())
        return len(values) < self.factor or better * self.factor < len(values)

    def decide(self, name: str, epoch: int, value: float) -> str:
        """What becomes of a trial with this report: Ray's STOP or CONTINUE."""
        if not math.isfinite(value):
            # Nothing is better or worse than NaN: let in, it would never be stopped.
            return TrialScheduler.STOP if math.isnan(value) else TrialScheduler.CONTINUE
        rung = self.record(name, epoch, value)
        if rung is None or self.survives(name, rung):
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP


class EpochASHA(ToTheEnd):
    """Ends the trials that are not within the best 1/factor of a rung.

    A trial that ended by itself, for patience or after all epochs, stays in the rungs it
    reached. Each model has rungs of its own: an epoch of one is not an epoch of another.
    """

    def __init__(self, spec: SearchSpec) -> None:
        super().__init__(spec)
        self.reached: dict[str, Rungs] = {}

    def _of(self, model: str) -> Rungs:
        if model not in self.reached:
            self.reached[model] = Rungs(self.rungs(self.spec), self.spec.reduction_factor)
        return self.reached[model]

    @staticmethod
    def rungs(spec: SearchSpec) -> list[int]:
        found, epoch = [], spec.grace_epochs
        while epoch < spec.max_epochs:
            found.append(epoch)
            epoch *= spec.reduction_factor
        return found

    def on_trial_result(self, _: Any, trial: Trial, result: dict[str, Any]) -> str:
        if result.get("epoch", 0) >= self.spec.max_epochs:
            return str(TrialScheduler.STOP)
        return self._decide(trial, result)

    def on_trial_complete(self, _: Any, trial: Trial, result: dict[str, Any]) -> None:
        self._decide(trial, result)  # its place in a rung counts, whatever ended it

    def _decide(self, trial: Trial, result: dict[str, Any]) -> str:
        if OBJECTIVE not in result:  # it ended without a report
            return str(TrialScheduler.CONTINUE)
        # Our id of a trial, unlike Ray's, is the same after a resume.
        ours = trial.config["trial"]
        reached = self._of(ours.train.model)
        return reached.decide(ours.id, result["epoch"], result[OBJECTIVE])

    def replay(self, name: str, reports: Iterable[tuple[int, float]], model: str) -> None:
        reached = self._of(model)
        for epoch, value in reports:
            if epoch in reached.recorded and math.isfinite(value):
                reached.record(name, epoch, value)

    def debug_string(self) -> str:
        sizes = (
            f"{model} {rung}: {len(values)}"
            for model, reached in self.reached.items()
            for rung, values in reached.recorded.items()
        )
        return f"trials at each rung: {', '.join(sizes)}"


# By the words of `search.space.strategies.SCHEDULERS`.
SCHEDULERS: dict[str, type[ToTheEnd]] = {"asha": EpochASHA, "none": ToTheEnd}


def rungs(spec: SearchSpec) -> list[int]:
    """The epochs at which the scheduler of a space decides; a trial has to report at each."""
    return SCHEDULERS[spec.scheduler].rungs(spec)


def make_scheduler(spec: SearchSpec) -> ToTheEnd:
    """The scheduler that a space asks for."""
    return SCHEDULERS[spec.scheduler](spec)
