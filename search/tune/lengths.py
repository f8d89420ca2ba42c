"""Lengths of trials, from the rungs of the scheduler and the pace of a search."""

from __future__ import annotations

from dataclasses import replace

from recsys.models.base import Size
from search.propose.lengths import Lengths
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.spec import SearchSpec
from search.tune.pace import Pace
from search.tune.scheduler import make_scheduler
from search.tune.work import whole_work


def lengths_of(spec: SearchSpec, pace: Pace | None = None, size: Size | None = None) -> Lengths:
    """The lengths of the trials of a space, and what they cost: seconds, or else operations.

    pace: None where trials are as long as the space has them. size: of what they train on; without
    it and a pace they all count as equally dear.
    """
    judged = make_scheduler(spec, paced=pace is not None).rungs_of
    if pace is not None:
        return Lengths(judged, pace.fit, pace.whole_seconds)
    if size is None:
        return Lengths(judged)
    return Lengths(judged, cost=lambda config: whole_work(config, size))


def as_long_as(trial: StudyTrial, epochs: int | None, longest: int | None) -> StudyTrial:
    """What a trial of at most `epochs` epochs says of the same training with at most `longest`.

    It is complete with the best value at the last of these, if it came so far or had lost patience
    before; a shorter one that used up its epochs counts as stopped there.
    """
    if trial.state not in (State.COMPLETE, State.PRUNED) or None in (epochs, longest):
        return trial
    assert epochs is not None and longest is not None
    steps = tuple(step for step in trial.steps if step[0] <= longest)
    last = trial.steps[-1][0] if trial.steps else 0
    if steps and last >= longest < epochs:
        return replace(trial, state=State.COMPLETE, value=steps[-1][1], steps=steps)
    if trial.state == State.COMPLETE and epochs <= last < longest:
        return replace(trial, state=State.PRUNED)
    return trial
