"""The race: the finalists (`lineup`) meet on fresh splits, and the mean decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from recsys.models import ModelConfig
from search.machine.cluster import Failure
from search.record.compared import comparison
from search.record.events import RacePlanned, ReplicateRaced
from search.record.folder import save_arrays
from search.record.result import Decided, Finalist
from search.record.state import TrialRecord
from search.stages.context import RunFailedError, Stages
from search.stages.going_on import goes_on, more_of, rows_of
from search.stages.lineup import first_default, granted, memory_of, room_left, who_races
from search.stages.lists import lists_file, save_lists
from search.stages.replicates import (
    Racer,
    Standing,
    compare_with,
    fresh_splits,
    load_per_user,
    per_user_file,
    run_race,
    sound_splits,
    standings,
    whole_part,
)
from search.stages.rivals import ChoiceTask, Chosen, event_of, to_choose
from search.stages.work import PATIENCE_S
from search.tune.replicate import ReplicateResult, ReplicateTask
from search.words import baseline_name, counted

LATE = 1.15  # a race that takes so many times its seconds ends with the splits that are done


def race(run: Stages) -> Decided:
    """Finalists on fresh splits; the winner by the mean, with paired tests.

    Raises RunFailedError where all of them failed.
    """
    rivals = to_choose(run)
    choosing = run.reserve.rivals_need().choosing / run.resources.concurrent if rivals else 0.0
    grid = who_races(run, choosing)
    if grid.replicates < 1:
        return without_race(run, run.state.trials[grid.racers[0]])
    if grid is not run.state.grid:
        run.journal.append(grid, sync=True)
    more, splits = grid.replicates - grid.planned, counted(grid.replicates, "fresh split")
    also = f" ({grid.planned} planned, {more} more in the time that is left)" if more > 0 else ""
    if rivals:
        names = " and ".join(baseline_name(task.rival.name) for task in rivals)
        also += f"; at the same time {names} on validation"
    run.display.note(f"{counted(len(grid.racers), 'finalist')} on {splits} of train + valid{also}")
    if grid.epochs:
        most = max(grid.epochs.values())
        run.display.note(
            f"{counted(len(grid.epochs), 'finalist')} of these, still getting better when the "
            f"search ended them, may train for up to {counted(most, 'epoch')}"
        )
    racers = [run.state.trials[trial] for trial in grid.racers]
    seconds = granted(run, choosing, grid.epochs or {})(racers)
    grid, done = meet(run, grid, seconds + choosing, rivals, again=True)
    while done and (further := goes_on(run, grid)) is not None:
        run.display.note(f"there is time for more: {more_of(grid, further)}")
        run.journal.append(further, sync=True)
        racers = [run.state.trials[trial] for trial in further.racers]
        seconds = room_left(run)(racers)
        grid, done = meet(run, further, seconds)
    return outcome(run, grid)


def meet(
    run: Stages,
    grid: RacePlanned,
    seconds: float,
    rivals: Sequence[ChoiceTask] = (),
    *,
    again: bool = False,
) -> tuple[RacePlanned, bool]:
    """Train the racers on the splits where they have no result yet; what of the race is whole then,
    and whether there was time for all of it.

    seconds: there are for it; where it takes `LATE` times as many, it ends early. rivals: to be
    chosen at the same time. again: whether trainings that failed are tried again.
    """
    folder, racers = run.folder.path, [run.state.trials[trial] for trial in grid.racers]
    limit = time.monotonic() + LATE * seconds
    failed: set[tuple[str, int]] = set()
    if not again:
        failed = {(row.config_id, row.replicate) for row in rows_of(run, grid) if row.failed}
    already = failed | {
        key
        for row in rows_of(run, grid)
        if not row.failed
        and per_user_file(folder, *(key := (row.config_id, row.replicate))).exists()
        and (not run.spec.blend or lists_file(folder, *key).exists())
    }
    there = set(already)  # rows of a race before --extend are made again: their lists are gone
    trainings = len(racers) * grid.replicates
    total, done = trainings + len(rivals), len(already)
    what = f"trainings{' and rivals' if rivals else ''}"
    run.display.parts(done, total, what)
    unchosen = {task.rival.name for task in rivals}
    patience = max(limit, time.monotonic() + PATIENCE_S)

    def late() -> bool:
        over = time.monotonic() > limit
        return over and len(there) < trainings and whole_part(grid, there).replicates > 0

    def enough() -> bool:
        return late() or (len(there) == trainings and time.monotonic() > patience)

    work = run_race(
        run.cluster,
        run.resources,
        run.data,
        [Racer(t.id, in_race(grid, t)) for t in racers],
        fresh_splits(run.split, run.plan, run.settings.seed, grid.replicates),
        run.settings.seed,
        already,
        rivals,
        enough,
        one_by_one=bool(grid.joining),  # so that some are whole if there is no time for all
    )
    for task, answer in work:
        done += 1
        run.display.progress(done, total, what)
        if isinstance(task, ChoiceTask):
            unchosen.discard(task.rival.name)
            if isinstance(answer, Chosen):
                run.journal.append(event_of(task, answer), sync=True)
            continue  # a choice that failed here is tried again before the test
        assert not isinstance(answer, Chosen)
        if isinstance(answer, ReplicateResult):
            path = per_user_file(folder, task.config_id, task.replicate)
            save_arrays(path, users=answer.users, values=answer.per_user)
            if answer.lists is not None:
                save_lists(lists_file(folder, task.config_id, task.replicate), answer.lists)
        else:
            failed.add((task.config_id, task.replicate))
        run.journal.append(_raced(run, grid, task, answer), sync=True)
        there.add((task.config_id, task.replicate))
        if late():
            work.close()
            break
    run.refresh()
    if unchosen:
        slow = " and ".join(baseline_name(name) for name in sorted(unchosen))
        run.display.note(
            f"{slow} took longer than the race: chosen before the test if there is time"
        )
    whole = whole_part(grid, there, failed)
    if whole.replicates < grid.replicates:
        run.display.note(
            f"no time for the rest of the race: {whole.replicates} of {grid.replicates} splits"
        )
    for name in grid.racers:
        if name not in whole.racers:
            bad = any(name == one for one, _ in failed)
            why = f"{name} failed" if bad else f"no time for {name} on every split"
            run.display.note(f"{why}: it does not count")
    return whole, len(there) == trainings


def in_race(grid: RacePlanned, trial: TrialRecord) -> ModelConfig:
    """The config of a finalist, with the epochs that it may have in the race."""
    epochs = grid.epochs_of(trial.id)
    return trial.training if epochs is None else trial.training.at_most(epochs)


def outcome(run: Stages, grid: RacePlanned) -> Decided:
    """The decision of a race that is over. Raises RunFailedError where every finalist failed."""
    rows = rows_of(run, grid)
    replicates = sound_splits(rows, grid.planned, grid.replicates)
    if replicates < grid.replicates:
        run.display.note(
            "a finalist failed on a split beyond the planned ones: "
            f"{replicates} of {grid.replicates} count"
        )
    table = standings((row for row in rows if row.replicate < replicates), replicates)
    if not table:
        raise RunFailedError("every finalist failed in the race (causes in race.csv)")
    racers = [run.state.trials[trial] for trial in grid.racers]
    return race_summary(run, table, racers, replicates)


def without_race(run: Stages, best: TrialRecord) -> Decided:
    """The decision where there is no race: the best trial of the search wins."""
    if run.spec.race.finalists:
        run.display.note(
            f"no time for a race on fresh splits: {best.id}, the best trial of the search, wins"
        )
    default = first_default(run)
    return Decided(
        winner=best.id,
        epochs=best.best_epoch or best.epochs,
        replicates=0,
        finalists=(),
        is_default=default is not None and default.id == best.id,
    )


def _raced(
    run: Stages, grid: RacePlanned, task: ReplicateTask, answer: ReplicateResult | Failure
) -> ReplicateRaced:
    """What the journal keeps of a finalist on one split."""
    raced = ReplicateRaced(
        config_id=task.config_id,
        replicate=task.replicate,
        seed=task.seed,
        split_seed=task.split_seed,
        epochs=grid.epochs_of(task.config_id),
    )
    if isinstance(answer, Failure):
        return replace(raced, error=answer.error, cause=answer.cause)
    return replace(
        raced,
        value=answer.value,
        best_epoch=answer.best_epoch,
        seconds=answer.seconds,
        crossed=True,
        sampled=None if run.pace is None else run.pace.users,
        device=run.trained_on(answer.device),
    )


def race_summary(
    run: Stages, table: list[Standing], racers: list[TrialRecord], replicates: int
) -> Decided:
    """The standings and the comparisons of the winner."""
    users = run.split.train.n_users
    rng = np.random.default_rng([run.settings.seed, 7])

    def per_user(config_id: str) -> np.ndarray:
        return load_per_user(run.folder.path, config_id, replicates, users)

    default = first_default(run)
    names: dict[str, str] = {}
    best = table[0]
    if run.spec.race.smallest_wins:
        table = smallest_first(run, table, racers, per_user)
    winner = table[0]
    if winner is not best:
        names[best.id] = f"{best.id}, the best of the race and larger,"
    elif len(table) > 1:
        names[table[1].id] = f"the runner-up {table[1].id}"
    if default is not None and default.id != winner.id and any(s.id == default.id for s in table):
        also = ""
        if default.id in names:
            also = " (also the runner-up)" if winner is best else " (also the best of the race)"
        names[default.id] = f"the first default config {default.id}{also}"
    found = compare_with(table, list(names), per_user, rng) if names else {}
    search_value = {t.id: t.value for t in racers}
    return Decided(
        winner=winner.id,
        epochs=winner.epochs,
        replicates=replicates,
        finalists=tuple(
            Finalist(
                id=s.id,
                mean=s.mean,
                values=s.values,
                best_epochs=s.best_epochs,
                search_value=search_value[s.id],
            )
            for s in table
        ),
        comparisons=tuple(comparison(rival, c, names[rival]) for rival, c in found.items()),
        is_default=default is not None and default.id == winner.id,
    )


def smallest_first(
    run: Stages,
    table: list[Standing],
    racers: list[TrialRecord],
    per_user: Callable[[str], np.ndarray],
) -> list[Standing]:
    """The standings, with the smallest model that is not proven worse than the best moved first.

    per_user: the values (R, U) of a finalist, by its id.
    """
    best = table[0]
    rng = np.random.default_rng([run.settings.seed, 9])
    found = compare_with(table, [s.id for s in table[1:]], per_user, rng)
    size = {trial.id: memory_of(run, trial) for trial in racers}
    level = [best, *(s for s in table[1:] if not (found[s.id].proven and found[s.id].gain > 0))]
    smallest = min(level, key=lambda s: size[s.id])
    if smallest is not best:
        share = size[smallest.id] / size[best.id]
        run.display.note(
            f"{smallest.id} takes {share:.0%} of the memory of {best.id} and is not proven worse: "
            "the smaller wins"
        )
    return [smallest, *(s for s in table if s is not smallest)]
