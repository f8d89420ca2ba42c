"""ASHA in epochs: weak trials are stopped early (Li et al., MLSys 2020, the stopping variant).

At each rung (grace, grace x factor, grace x factor^2, ... epochs) a trial goes on only if its
best value so far is within the best 1/factor of those that reached the rung before or with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from search.space.spec import SearchSpec
from search.tune.outcome import OBJECTIVE


def rungs(spec: SearchSpec) -> list[int]:
    """The epochs at which ASHA decides, ascending; a trial has to report at each of them."""
    if spec.scheduler == "none":
        return []
    found, epoch = [], spec.grace_epochs
    while epoch < spec.max_epochs:
        found.append(epoch)
        epoch *= spec.reduction_factor
    return found


def make_scheduler(spec: SearchSpec) -> TrialScheduler:
    """The scheduler that a space asks for."""
    return FIFOScheduler() if spec.scheduler == "none" else EpochASHA(spec)


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

    # --- what Ray calls a bracket -------------------------------------------------------------

    def on_result(self, trial: Trial, epoch: int, value: float) -> str:
        if not math.isfinite(value):
            # Nothing is better or worse than NaN: let in, it would never be stopped.
            return TrialScheduler.STOP if math.isnan(value) else TrialScheduler.CONTINUE
        name = trial_name(trial)
        rung = self.record(name, epoch, value)
        if rung is None or self.survives(name, rung):
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP

    def debug_str(self) -> str:
        sizes = ", ".join(f"{rung}: {len(values)}" for rung, values in self.recorded.items())
        return f"trials at each rung: {sizes}"


def trial_name(trial: Trial) -> str:
    """Our id of a Tune trial, which is the same after a resume."""
    return str(trial.config["id"])


class EpochASHA(AsyncHyperBandScheduler):
    """Ray's asynchronous scheduler with our rungs. Reports need `epoch` and `objective`.

    A trial that ended by itself, for patience or after all epochs, stays in the rungs it
    reached. Give it to `TuneConfig` without metric and mode: it has its own.
    """

    def __init__(self, spec: SearchSpec) -> None:
        super().__init__(
            time_attr="epoch",
            metric=OBJECTIVE,
            mode="max",
            max_t=spec.max_epochs,
            grace_period=spec.grace_epochs,
            reduction_factor=spec.reduction_factor,
        )
        self.rungs = Rungs(rungs(spec), spec.reduction_factor)
        self._brackets = [self.rungs]

    def on_trial_add(self, _: Any, trial: Trial) -> None:
        # There is one bracket; Ray's own draws it from numpy's global generator.
        self._trial_info[trial.trial_id] = self.rungs

    def replay(self, name: str, reports: Iterable[tuple[int, float]]) -> None:
        """Take in what a trial ("t0007") reported before a resume: (epoch, best so far) pairs.

        Feed every trial of the journal, running ones too. A running one trains again and
        reports the same values; the decisions made about it stand.
        """
        for epoch, value in reports:
            if epoch in self.rungs.recorded and math.isfinite(value):
                self.rungs.record(name, epoch, value)
