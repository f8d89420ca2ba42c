"""How a trial ended: judged here alone, for the journal, the screen and Optuna alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from search.record.events import Reason, State

OBJECTIVE = "objective"


@dataclass(frozen=True)
class Outcome:
    """The state of a trial that is over, and why.

    value: its best, None where no finite one was reported. cause: of a failure, in one line.
    error: the same at length, with the traceback where there is one.
    """

    state: State
    reason: Reason
    value: float | None = None
    cause: str | None = None
    error: str | None = None


def judge(
    result: Mapping[str, Any] | None, stopped_by: Reason | None = None, death: str | None = None
) -> Outcome:
    """What the last report of a trial means.

    result: has `objective` (the best so far), `stop` (why it ended by itself, else None), and
        `error` with `cause` where it raised; empty or None where nothing was reported.
    stopped_by: why the whole search stops, if it does; else ASHA stopped the trial.
    death: why there is no further report, where its worker died in every attempt.

    A value that is not finite is a failure, whatever else is said.
    """
    result = result or {}
    value = result.get(OBJECTIVE)
    known = float(value) if value is not None and math.isfinite(value) else None
    if death is not None:
        return Outcome(State.FAILED, Reason.WORKER, known, death)
    if result.get("error") or result.get("cause"):
        cause = str(result.get("cause") or result["error"])
        return Outcome(State.FAILED, Reason.ERROR, known, cause, result.get("error"))
    if known is None and result:
        cause = f"no finite {OBJECTIVE} was reported, got {value}"
        return Outcome(State.FAILED, Reason.ERROR, None, cause)
    if result.get("stop") is not None:
        return Outcome(State.COMPLETE, Reason(result["stop"]), known)
    return Outcome(State.PRUNED, stopped_by or Reason.ASHA, known)
