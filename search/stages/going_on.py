"""What a race does with the time that is left when it is over: further splits and finalists.

A race is planned by what trainings took in the search, with a margin. When it is over, its own
trainings have shown what they take, and often there is time for more. Only the clock decides on it,
never a value that the race has measured: to go on until something is proven would prove too much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from search.record.events import RacePlanned, ReplicateRaced
from search.record.state import TrialRecord
from search.stages.context import Stages
from search.stages.lineup import (
    MIN_REPLICATES,
    Cost,
    close_ones,
    costs,
    dearer,
    room_left,
    weighing,
)
from search.stages.replicates import rows_that_count
from search.tune.reserve import together
from search.words import counted


def goes_on(run: Stages, grid: RacePlanned) -> RacePlanned | None:
    """The race `grid`, of which every training is done, with what there is still time for; None
    where that is nothing, or the search has no time budget or is to save time.

    In this order, as many as fit of the first that fits at all: splits up to two; the finalists
    near the best one that had been left out; splits up to those that were planned; the other
    finalists; and splits up to `race.up_to`, on which the race takes no longer than the trials did.
    """
    if run.deadline is None or run.settings.settles:
        return None
    trials, shape, workers = run.state.trials, run.spec.race, run.resources.concurrent
    asked = [trials[name] for name in grid.asked]
    racers = [trials[name] for name in grid.racers]
    cost, room = cost_in_race(run, racers), room_left(run)
    left = room(racers)
    raced = sum(row.seconds or 0.0 for row in rows_of(run, grid.racers)) / workers
    spare = min(left, sum(session.trials_s for session in run.state.sessions) - raced)

    def splits(most: int, seconds: float) -> RacePlanned | None:
        members = len(racers) if run.spec.blend else 0
        each, weighed = [cost(one) for one in racers], weighing(run.split, members)
        fitting = (
            more
            for more in range(most - grid.replicates, 0, -1)
            if together(each, workers, more) + more * weighed <= seconds
        )
        if (more := next(fitting, 0)) == 0:
            return None
        return replace(grid, replicates=grid.replicates + more, joining=None, time=None)

    def finalists(candidates: Sequence[TrialRecord]) -> RacePlanned | None:
        weighed = weighing(run.split, 1) * grid.replicates if run.spec.blend else 0.0
        joining: list[TrialRecord] = []
        for one in candidates:
            several = [*joining, one]
            each = [cost(other) for other in several]
            seconds = together(each, workers, grid.replicates) + len(several) * weighed
            if one not in racers and seconds <= room([*racers, *several]):
                joining = several
        if not joining:
            return None
        names = tuple(one.id for one in joining)
        return replace(grid, racers=grid.racers + names, joining=names, time=None)

    return (
        splits(min(MIN_REPLICATES, shape.replicates), left)
        or finalists(close_ones(run, asked))
        or splits(shape.replicates, left)
        or finalists(asked)
        or splits(shape.up_to or 0, spare)
    )


def cost_in_race(run: Stages, racers: Sequence[TrialRecord]) -> Cost:
    """Seconds of a training in the race: of one of the `racers`, the mean of those it took there;
    of any other, what the search says, times what the others have taken of that.
    """
    took: dict[str, list[float]] = defaultdict(list)
    for row in rows_of(run, [one.id for one in racers]):
        if row.seconds is not None:
            took[row.config_id].append(row.seconds)
    said, longer = costs(run), dearer(run, racers)
    known = [one for one in racers if one.id in took]
    mean = {one.id: float(np.mean(took[one.id])) for one in known}
    foreseen = longer * sum(map(said, known))
    off = sum(mean.values()) / foreseen if foreseen > 0 else 1.0

    def cost(trial: TrialRecord) -> float:
        seconds = mean.get(trial.id)
        return longer * off * said(trial) if seconds is None else seconds

    return cost


def rows_of(run: Stages, racers: Collection[str]) -> list[ReplicateRaced]:
    """The results that count of these finalists, by their ids."""
    return [row for row in rows_that_count(run.state) if row.config_id in racers]


def more_of(before: RacePlanned, grid: RacePlanned) -> str:
    """What `grid` has more than `before`, in words."""
    if grid.joining:
        return counted(len(grid.joining), "further finalist")
    return counted(grid.replicates - before.replicates, "further fresh split")
