"""Lengths of trials, from the rungs of the scheduler and the pace of a search."""

from __future__ import annotations

from recsys.models.base import Size
from search.propose.lengths import Lengths
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
