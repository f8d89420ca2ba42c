"""The race: the finalists (`lineup`) meet on fresh splits, and the mean decides."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from search.machine.cluster import Failure
from search.record.compared import comparison
from search.record.events import ReplicateRaced
from search.record.folder import save_arrays
from search.record.result import Decided, Finalist
from search.record.state import RunState, TrialRecord
from search.stages.context import RunFailedError, Stages
from search.stages.lineup import first_default, granted, memory_of, who_races
from search.stages.lists import lists_file, save_lists
from search.stages.replicates import (
    Racer,
    Standing,
    compare_with,
    fresh_splits,
    load_per_user,
    per_user_file,
    run_race,
    standings,
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
    racers = [run.state.trials[trial] for trial in grid.racers]
    planned, replicates = grid.planned, grid.replicates
    limit = time.monotonic() + LATE * (granted(run, choosing)(racers) + choosing)
    if replicates < 1:
        return without_race(run, racers[0])
    if grid is not run.state.grid:
        run.journal.append(grid, sync=True)
    splits = fresh_splits(run.split, run.plan, run.settings.seed, replicates)
    folder = run.folder.path
    already = {
        key
        for key, row in run.state.race.items()
        if row.crossed
        and row.replicate < replicates
        and row.config_id in grid.racers
        and per_user_file(folder, *key).exists()
        and (not run.spec.blend or lists_file(folder, *key).exists())
    }
    there = set(already)  # rows of a race before --extend are made again: their lists are gone
    total = len(racers) * replicates + len(rivals)
    names = " and ".join(baseline_name(task.rival.name) for task in rivals)
    more = replicates - planned
    also = f" ({planned} planned, {more} more in the time that is left)" if more > 0 else ""
    also += f"; at the same time {names} on validation" if rivals else ""
    run.display.note(
        f"{counted(len(racers), 'finalist')} on {counted(replicates, 'fresh split')} "
        f"of train + valid{also}"
    )
    done, what = len(already), f"trainings{' and rivals' if rivals else ''}"
    run.display.parts(done, total, what)
    unchosen = {task.rival.name for task in rivals}
    patience = max(limit, time.monotonic() + PATIENCE_S)

    def late() -> bool:
        whole = whole_splits(there, grid.racers, replicates)
        return time.monotonic() > limit and 0 < whole < replicates

    def enough() -> bool:
        only_rivals_left = len(there) == len(racers) * replicates
        return late() or (only_rivals_left and time.monotonic() > patience)

    work = run_race(
        run.cluster,
        run.resources,
        run.data,
        [Racer(t.id, t.training) for t in racers],
        splits,
        run.settings.seed,
        already,
        rivals,
        enough,
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
        run.journal.append(_raced(run, task, answer), sync=True)
        there.add((task.config_id, task.replicate))
        if late():
            work.close()
            break
    if (whole := whole_splits(there, grid.racers, replicates)) < replicates:
        run.display.note(f"no time for the rest of the race: {whole} of {replicates} splits")
        replicates = whole
    if unchosen:
        slow = " and ".join(baseline_name(name) for name in sorted(unchosen))
        run.display.note(
            f"{slow} took longer than the race: chosen before the test if there is time"
        )
    run.refresh()
    ids = {t.id for t in racers}
    rows = rows_that_count(run.state)
    sound = sound_splits([row for row in rows if row.config_id in ids], planned, replicates)
    if sound < replicates:
        run.display.note(
            f"a finalist failed on a split beyond the planned ones: {sound} of {replicates} count"
        )
        replicates = sound
    table = standings(
        [r for r in rows if r.config_id in ids and r.replicate < replicates], replicates
    )
    if not table:
        raise RunFailedError("every finalist failed in the race (causes in race.csv)")
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


def sound_splits(rows: Iterable[ReplicateRaced], planned: int, replicates: int) -> int:
    """How many of the splits count: those before the first failure on a split beyond `planned`.

    A failure on a planned split costs the race that finalist. One on a split that was added because
    there was time costs the race that split and those after it, but no finalist.
    """
    failed = {(row.config_id, row.replicate) for row in rows if row.failed}
    out = {name for name, replicate in failed if replicate < planned}
    spoilt = [r for name, r in failed if planned <= r < replicates and name not in out]
    return min(spoilt, default=replicates)


def rows_that_count(state: RunState) -> list[ReplicateRaced]:
    """The race's results, without those of versions before ADR 169, which measured differently."""
    return [row for row in state.race.values() if row.crossed or row.failed]


def whole_splits(there: Collection[tuple[str, int]], racers: Sequence[str], replicates: int) -> int:
    """How many splits, counted from the first one, have a result of every racer.

    there: the racer's id and the split of each result.
    """
    return next(
        (r for r in range(replicates) if any((name, r) not in there for name in racers)), replicates
    )


def _raced(run: Stages, task: ReplicateTask, answer: ReplicateResult | Failure) -> ReplicateRaced:
    """What the journal keeps of a finalist on one split."""
    raced = ReplicateRaced(
        config_id=task.config_id,
        replicate=task.replicate,
        seed=task.seed,
        split_seed=task.split_seed,
    )
    if isinstance(answer, Failure):
        return replace(raced, error=answer.error, cause=answer.cause)
    return replace(
        raced,
        value=answer.value,
        best_epoch=answer.best_epoch,
        seconds=answer.seconds,
        crossed=True,
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
