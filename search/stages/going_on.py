"""What a race does with the time that is left when it is over: further splits and finalists.

A race is planned by what trainings took in the search, with a margin. When it is over, its own
trainings have shown what they take, and often there is time for more. Only the clock decides on it,
never a value that the race has measured: to go on until something is proven would prove too much.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
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
    with_spare,
)
from search.stages.replicates import rows_that_count, sound_splits
from search.stages.rivals import to_choose
from search.tune.reserve import in_turns
from search.words import counted


def goes_on(run: Stages, grid: RacePlanned) -> RacePlanned | None:
    """The race `grid`, of which every training is done, with what there is still time for; None
    where that is nothing, where a split does not count since a finalist failed there, or where the
    search has no time budget or is to save time. Who failed does not race on.

    In this order, as many as fit of the first that fits at all: splits up to two; the finalists
    near the best one that had been left out; splits up to `race.replicates`; the other finalists;
    and splits up to `race.up_to`, on which the race takes no longer than the trials did.
    """
    if run.deadline is None or run.settings.settles:
        return None
    trials, shape, workers = run.state.trials, run.spec.race, run.resources.concurrent
    rows = rows_of(run, grid)
    everybody = rows_of(run, replace(grid, racers=grid.asked))
    failed = {row.config_id for row in everybody if row.failed}
    racers = [trials[name] for name in grid.racers if name not in failed]
    if not racers or sound_splits(rows, grid.planned, grid.replicates) < grid.replicates:
        return None
    grid = replace(grid, racers=tuple(one.id for one in racers), joining=None, time=None)
    asked = [trials[name] for name in grid.asked if name not in failed]
    choosing = run.reserve.rivals_need().choosing if to_choose(run) else 0.0
    cost, room = cost_in_race(run, grid), room_left(run, choosing)

    def left(several: Sequence[TrialRecord]) -> float:
        """Seconds for more of the race of these finalists, of whom a blend is made after it."""
        return room(several) - grid.replicates * weighed(several)

    def weighed(several: Sequence[TrialRecord]) -> float:
        return weighing(run.split, len(several)) if run.spec.blend else 0.0

    def splits(most: int, seconds: float) -> RacePlanned | None:
        done = grid.replicates

        def taking(replicates: int) -> float:
            more = replicates - done
            each = [cost(one) for _ in range(more) for one in racers]
            return in_turns(each, workers) + more * weighed(racers)

        replicates = with_spare(done, most, taking, seconds)
        return replace(grid, replicates=replicates) if replicates > done else None

    def finalists(candidates: Sequence[TrialRecord]) -> RacePlanned | None:
        joining: list[TrialRecord] = []
        for one in candidates:
            several = [*joining, one]
            each = [cost(other) for other in several for _ in range(grid.replicates)]
            if one not in racers and in_turns(each, workers) <= left([*racers, *several]):
                joining = several
        names = tuple(one.id for one in joining)
        return replace(grid, racers=grid.racers + names, joining=names) if names else None

    raced = sum(row.seconds or 0.0 for row in rows) / workers
    spare = sum(session.trials_s for session in run.state.sessions) - raced
    now = left(racers)
    return (
        splits(min(MIN_REPLICATES, shape.replicates), now)
        or finalists(close_ones(run, asked))
        or splits(shape.replicates, now)
        or finalists(asked)
        or splits(shape.up_to or 0, min(now, spare))
    )


def cost_in_race(run: Stages, grid: RacePlanned) -> Cost:
    """Seconds of a training in the race: of who raced, the mean of those it took there; of any
    other trial, what the search says, times what the racers have taken of that.
    """
    took: dict[str, list[float]] = defaultdict(list)
    for row in rows_of(run, grid):
        if row.seconds is not None:
            took[row.config_id].append(row.seconds)
    known = [run.state.trials[name] for name in took]
    said, longer = costs(run), dearer(run, known)
    mean = {name: float(np.mean(seconds)) for name, seconds in took.items()}
    foreseen = longer * sum(map(said, known))
    off = sum(mean.values()) / foreseen if foreseen > 0 else 1.0

    def cost(trial: TrialRecord) -> float:
        seconds = mean.get(trial.id)
        return longer * off * said(trial) if seconds is None else seconds

    return cost


def rows_of(run: Stages, grid: RacePlanned) -> list[ReplicateRaced]:
    """The results that count of a race's finalists on its splits, trained for as many epochs as
    they may have in it: before an extension of the run these may have been others.
    """
    return [
        row
        for row in rows_that_count(run.state)
        if row.config_id in grid.racers
        and row.replicate < grid.replicates
        and row.epochs == grid.epochs_of(row.config_id)
    ]


def more_of(before: RacePlanned, grid: RacePlanned) -> str:
    """What `grid` has more than `before`, in words."""
    if grid.joining:
        return counted(len(grid.joining), "further finalist")
    return counted(grid.replicates - before.replicates, "further fresh split")
