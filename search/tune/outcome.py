"""What Ray carries between driver and workers: the trial there, its reports back. And how a trial
ended: judged here alone, for the journal, the screen and Optuna alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from recsys.models.progress import Stop
from search.record.events import EpochRow, Reason, State
from search.space.trial import TrialConfig

TRIAL = "trial"  # the key of a trial in the dict by which Ray hands it to a worker
AT_ONCE = "at_once"  # the key of how many trials run at once, as of when this one was made
OBJECTIVE = "objective"  # the field of a `Report` that Ray compares trials by


def trial_of(config: Mapping[str, Any]) -> TrialConfig:
    """The trial in what Ray hands to a worker."""
    found: TrialConfig = config[TRIAL]
    return found


class Epochs(list[EpochRow]):
    """The epochs of a report, with a short text: Ray writes each report into messages that nobody
    reads.
    """

    def __repr__(self) -> str:
        return f"<{len(self)} epochs>"


class Brief:
    """For Tune's class of workers: a report brings what we report, and nothing that Tune would add.
    That would be the whole trial again, the time in three forms, and the machine.
    """

    def get_auto_filled_metrics(self, *_: object, **__: object) -> dict[str, Any]:
        """What Tune adds to each report."""
        return {}


@dataclass(frozen=True)
class Report:
    """What a worker says of its trial. Ray carries it as a flat dict, which `flat` writes and `of`
    and `taken` read.

    epoch: how many epochs were trained. objective: the best value so far, that of `best_epoch`.
    stop: why the training ended of its own accord, else None. rows: of the epochs since the last
    report. error, cause: as in `Outcome`. test: values on the test items by metric, in report
    tables only. checkpoint: where one lies that no earlier report has named
    (`search.tune.checkpoints`). device: what it trains on, as the worker chose it.
    """

    epoch: int = 0
    objective: float | None = None
    best_epoch: int | None = None
    stop: Stop | None = None
    rows: Sequence[EpochRow] = ()
    error: str | None = None
    cause: str | None = None
    test: Mapping[str, float] | None = None
    checkpoint: Any = None
    device: str | None = None

    def flat(self) -> dict[str, Any]:
        """What Ray carries: the fields that are set."""
        known = {name: value for name, value in vars(self).items() if value is not None}
        return known | {"rows": Epochs(self.rows)}

    @property
    def last(self) -> bool:
        """Whether the worker has nothing more to say of this trial."""
        return self.stop is not None or self.error is not None or self.cause is not None

    @staticmethod
    def of(result: Mapping[str, Any] | None) -> Report | None:
        """The report that Ray carried, beside Ray's own keys; None where nothing was reported."""
        return Report(**{k: v for k, v in result.items() if k in _REPORTED}) if result else None

    @staticmethod
    def taken(result: dict[str, Any]) -> Report:
        """The report, as `of` reads it. Takes its large fields out of `result`, since Tune keeps
        the last result of each trial.
        """
        report = Report.of(result) or Report()
        for name in ("rows", "checkpoint"):
            result.pop(name, None)
        return report


_REPORTED = frozenset(one.name for one in fields(Report))


@dataclass(frozen=True)
class Outcome:
    """The state of a trial that is over, and why.

    value: its best value, None where no finite one was reported. cause: why it failed, in one line.
    error: the same in full, with the traceback where there is one.
    """

    state: State
    reason: Reason
    value: float | None = None
    cause: str | None = None
    error: str | None = None


def judge(
    report: Report | None, stopped_by: Reason | None = None, death: str | None = None
) -> Outcome:
    """What the last report of a trial means.

    report: None where nothing was reported.
    stopped_by: why it was stopped, where it did not end of its own accord.
    death: why there is no further report, where its worker died in every attempt.

    A value that is not finite is a failure, whatever else was reported.
    """
    said = report or Report()
    value = said.objective
    known = float(value) if value is not None and math.isfinite(value) else None
    if death is not None:
        return Outcome(State.FAILED, Reason.WORKER, known, death)
    if said.error or said.cause:
        return Outcome(State.FAILED, Reason.ERROR, known, said.cause or said.error, said.error)
    if known is None and report is not None:
        cause = f"no finite {OBJECTIVE} was reported, got {value}"
        return Outcome(State.FAILED, Reason.ERROR, None, cause)
    if said.stop is not None:
        return Outcome(State.COMPLETE, Reason(said.stop), known)
    return Outcome(State.PRUNED, stopped_by or Reason.STOPPED, known)
