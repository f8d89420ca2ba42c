"""From the best trials to the result: race, test, refit, and the summary of it all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recsys.blending import USERS
from recsys.models import model_of
from recsys.split import Split
from search.machine.cluster import Failure
from search.machine.cores import usable_cores
from search.record.compared import comparison
from search.record.events import RacePlanned, ReplicateRaced, State
from search.record.folder import save_arrays
from search.record.result import Decided, Finalist
from search.record.state import RunState, TrialRecord
from search.stages.context import RunFailedError, Stages
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
from search.stats import expected_reach
from search.tune.pace import size_of, watched_users
from search.tune.replicate import ReplicateResult, ReplicateTask
from search.tune.reserve import after_race
from search.words import baseline_name, counted

Cost = Callable[[TrialRecord], float]  # seconds of a training


def honest_trials(run: Stages) -> list[TrialRecord]:
    """Trials that may win, best first: completed ones and those that were under way when the time
    was up, which were proposed last, from the most trials; pruned ones where there are none of
    these.
    """
    known = [t for t in run.state.in_order() if t.value is not None and not t.leaky]
    found = [t for t in known if t.may_win] or [t for t in known if t.state == State.PRUNED]
    return sorted(found, key=lambda t: (-(t.value or 0.0), t.number))


def first_default(run: Stages) -> TrialRecord | None:
    """The trial of the first config of `enqueue`, which a user would have run without a search."""
    if not run.spec.enqueue:
        return None
    first = run.state.in_order()[:1]
    return first[0] if first and first[0].value is not None else None


def finalists(run: Stages) -> list[TrialRecord]:
    """The trials that race: the best of different configs, and the first default."""
    ranked = honest_trials(run)
    chosen: list[TrialRecord] = []
    configs: list[dict[str, Any]] = []
    if not ranked:
        raise RunFailedError("no honest trial has a value: nothing can win")
    for trial in ranked:
        if trial.config not in configs and len(chosen) < max(1, run.spec.race.finalists):
            chosen.append(trial)
            configs.append(trial.config)
    default = first_default(run)
    if default is not None and default.config not in configs and not default.leaky:
        # where time is short the last to be left out, unless the search itself had cut it off
        chosen.insert(1 if default.may_win else len(chosen), default)
    if run.spec.race.prefer == "small":
        return chosen + smaller_ones(run, ranked, chosen)
    if run.spec.blend:  # before more of the same method, which a blend gains less by
        first = {chosen[0].id}
        if default is not None and default.may_win:
            first.add(default.id)
        kept = [t for t in chosen if t.id in first]
        kept += [t for t in others_to_blend(run, ranked, kept[:1]) if t not in kept]
        return kept + [t for t in chosen if t not in kept]
    return chosen


def smaller_ones(
    run: Stages, ranked: list[TrialRecord], chosen: list[TrialRecord]
) -> list[TrialRecord]:
    """The smallest trials that the search cannot tell from the best, smaller than it, each of
    another size; as many as there are finalists.
    """
    best = ranked[0]
    users = watched_users(run.split.train, run.split.valid)
    least = (best.value or 0.0) - expected_reach(users)
    sizes = {memory_of(run, trial) for trial in chosen}
    found: list[TrialRecord] = []
    near = [t for t in ranked if (t.value or 0.0) >= least]
    for trial in sorted(near, key=lambda t: memory_of(run, t)):
        size = memory_of(run, trial)
        if size < memory_of(run, best) and size not in sizes:
            sizes.add(size)
            found.append(max((t for t in near if memory_of(run, t) == size), key=_value))
    return found[: run.spec.race.finalists]


def _value(trial: TrialRecord) -> float:
    return trial.value or 0.0


def memory_of(run: Stages, trial: TrialRecord) -> int:
    """Bytes that a trial's model takes, roughly (`Cost.memory`)."""
    config = trial.training
    return model_of(config).cost(config, size_of(run.split.train)).memory


def method_of(run: Stages, trial: TrialRecord) -> Any:
    """The method that a trial is of; where the space has none, its model."""
    method = run.spec.method()
    return trial.training.model if method is None else trial.params.get(method.name)


def others_to_blend(
    run: Stages, ranked: list[TrialRecord], chosen: list[TrialRecord]
) -> list[TrialRecord]:
    """The best trial of each method that is not among the chosen, best first: a blend lives on
    variety. As many as a blend has members, and as many more as there are finalists beside the
    best, since they may be these.
    """
    found: dict[Any, TrialRecord] = {}
    for trial in ranked:
        found.setdefault(method_of(run, trial), trial)
    there = {method_of(run, trial) for trial in chosen}
    most = run.spec.blend + max(1, run.spec.race.finalists) - 1
    return [trial for name, trial in found.items() if name not in there][:most]


def race(run: Stages) -> Decided:
    """Finalists on fresh splits; the winner by the mean, with paired tests."""
    rivals = to_choose(run)
    choosing = run.reserve.rivals_need().choosing / run.resources.concurrent if rivals else 0.0
    grid = who_races(run, choosing)
    racers = [run.state.trials[trial] for trial in grid.racers]
    planned, replicates = grid.planned, grid.replicates
    seconds = seconds_left(run, choosing)(racers) * dearer(run, racers)
    limit = time.monotonic() + LATE * (seconds + choosing)
    if replicates < 1:
        best = racers[0]
        if run.spec.race.finalists:
            run.display.note(
                f"no time for a race on fresh splits: {best.id}, the best trial of the search, wins"
            )
        epochs = best.best_epoch or best.epochs
        default = first_default(run)
        return Decided(
            winner=best.id,
            epochs=epochs,
            replicates=0,
            finalists=(),
            is_default=default is not None and default.id == best.id,
        )
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
    total = len(racers) * replicates + len(rivals)
    names = " and ".join(baseline_name(task.rival.name) for task in rivals)
    more = replicates - planned
    also = f" ({planned} planned, {more} more in the time that is left)" if more > 0 else ""
    also += f"; beside them {names} on validation" if rivals else ""
    run.display.note(
        f"{counted(len(racers), 'finalist')} on {counted(replicates, 'fresh split')} "
        f"of train + valid{also}"
    )
    done = len(already)
    work = run_race(
        run.cluster,
        run.resources,
        run.data,
        [Racer(t.id, t.training) for t in racers],
        splits,
        run.settings.seed,
        already,
        rivals,
    )
    for task, answer in work:
        done += 1
        run.display.progress(done, total)
        if isinstance(task, ChoiceTask):
            if isinstance(answer, Chosen):
                run.journal.append(event_of(task, answer), sync=True)
            continue  # what has failed here is tried again before the test
        assert not isinstance(answer, Chosen)
        if isinstance(answer, ReplicateResult):
            path = per_user_file(folder, task.config_id, task.replicate)
            save_arrays(path, users=answer.users, values=answer.per_user)
            if answer.lists is not None:
                save_lists(lists_file(folder, task.config_id, task.replicate), answer.lists)
        run.journal.append(_raced(task, answer), sync=True)
        whole = whole_splits(rows_that_count(run.folder.cached_state()), racers, replicates)
        if time.monotonic() > limit and 0 < whole < replicates:
            work.close()
            run.display.note(f"the race ends for want of time: {whole} of {replicates} splits")
            replicates = whole
            break
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


def who_races(run: Stages, choosing: float) -> RacePlanned:
    """The finalists that there is time for, and on how many splits; as decided before where a race
    is resumed, for some of its results are known by now. A race on more splits than planned takes
    no longer than the trials did: who asked for a short search wants one.

    choosing: seconds that the choice of the rivals beside it takes.
    """
    asked = finalists(run)
    ids = tuple(trial.id for trial in asked)
    known = run.state.grid
    if known is not None and known.asked == ids:
        return known
    concurrent, shape, cost = run.resources.concurrent, run.spec.race, costs(run)
    planned = shape.replicates if shape.finalists else 0
    racers, fitting = fit_race(asked, planned, concurrent, seconds_left(run, choosing), cost)
    replicates = fitting
    if fitting == planned > 0 and shape.up_to and run.deadline and not run.settings.settles:
        members = len(racers) if run.spec.blend else 0
        each = sum(map(cost, racers)) * dearer(run, racers) / concurrent
        each += weighing(run.split, members)
        searched = sum(session.trials_s for session in run.state.sessions)
        spare = min(room_left(run, choosing)(racers), searched)
        replicates = with_spare(planned, shape.up_to, each, spare)
    found = tuple(trial.id for trial in racers)
    return RacePlanned(asked=ids, racers=found, planned=fitting, replicates=replicates)


def sound_splits(rows: Iterable[ReplicateRaced], planned: int, replicates: int) -> int:
    """On how many of the splits nobody failed who had finished the planned ones: a failure on a
    split that was raced because there was time costs the splits from there on, and no finalist.
    """
    failed = {(row.config_id, row.replicate) for row in rows if row.failed}
    out = {name for name, replicate in failed if replicate < planned}
    spoilt = [r for name, r in failed if planned <= r < replicates and name not in out]
    return min(spoilt, default=replicates)


def rows_that_count(state: RunState) -> list[ReplicateRaced]:
    """What was raced, without what a version from before ADR 169 measured in another way."""
    return [row for row in state.race.values() if row.crossed or row.failed]


def whole_splits(
    rows: Iterable[ReplicateRaced], racers: Iterable[TrialRecord], replicates: int
) -> int:
    """How many of the splits, from the first on, have a result of every racer."""
    there = {(row.config_id, row.replicate) for row in rows}
    ids = [trial.id for trial in racers]
    return next(
        (r for r in range(replicates) if any((name, r) not in there for name in ids)), replicates
    )


def _raced(task: ReplicateTask, answer: ReplicateResult | Failure) -> ReplicateRaced:
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
    )


MIN_RACERS, MIN_REPLICATES = 2, 2
LATE = 1.15  # times its seconds: then a race ends with the splits that it has
LEAST_SHARE = 0.05  # of a time budget: a race that takes no longer is run however late it is


def seconds_left(run: Stages, choosing: float = 0.0) -> Callable[[Sequence[TrialRecord]], float]:
    """How many seconds, counted as those of the trials were, a race of some trials may take: as
    many as there is room for, and a few however late it is.
    """
    room = room_left(run, choosing)
    if run.deadline is None or (budget := run.settings.time_budget) is None:
        return room
    return lambda racers: max(room(racers), LEAST_SHARE * budget) / dearer(run, racers)


def dearer(run: Stages, racers: Sequence[TrialRecord]) -> float:
    """How many times as long as in the search these take in the race, where they are evaluated on
    all users and not on a sample.
    """
    if (pace := run.pace) is None or pace.users is None:
        return 1.0
    busy = sum(trial.busy_s for trial in racers)
    spent = (s for trial in racers if trial.columns for s in trial.column("eval_seconds"))
    evaluating = sum(seconds or 0.0 for seconds in spent)
    more = watched_users(run.split.train, run.split.valid) / pace.users - 1
    return 1 + max(more, 0.0) * min(evaluating / busy, 1.0) if busy else 1.0


def room_left(run: Stages, choosing: float = 0.0) -> Callable[[Sequence[TrialRecord]], float]:
    """How many seconds of the time budget there are for a race of some trials; below 0 where it is
    late.

    choosing: what the choice of the rivals beside it takes of them. Test and refit need some as
    well: they train the winner, or a blend's members side by side, so what they leave depends on
    who races. A blend's members are trained twice, the winner at most as often.
    """
    if run.deadline is None:
        return lambda _: float("inf")
    left = 0.85 * (run.deadline - time.monotonic())
    rivals, workers, cost = run.reserve.rivals_need(), run.resources.concurrent, costs(run)

    def seconds(racers: Sequence[TrialRecord]) -> float:
        each = sorted(map(cost, racers), reverse=True)
        members, dearest = sum(each[: run.spec.blend]) / workers, max(each, default=0.0)
        after = after_race(dearest, members, rivals, workers)
        return left - choosing - after

    return seconds


def costs(run: Stages) -> Cost:
    """`full_seconds`, but for trials that the clock cut off, which patience might have ended soon:
    no more than the longest that completed of the same method took, or themselves.
    """
    longest: dict[Any, float] = {}
    for trial in run.state.in_order():
        if trial.state == State.COMPLETE:
            method = method_of(run, trial)
            longest[method] = max(trial.busy_s, longest.get(method, 0.0))

    def cost(trial: TrialRecord) -> float:
        seconds = full_seconds(trial)
        if not trial.cut_off:
            return seconds
        return min(seconds, max(longest.get(method_of(run, trial), seconds), trial.busy_s))

    return cost


def full_seconds(trial: TrialRecord) -> float:
    """About how long a trial's config takes to its end: of one that was stopped early, more than it
    took."""
    planned = trial.config.get("epochs")
    if trial.state != State.PRUNED or not planned or not trial.epochs:
        return trial.busy_s
    return float(trial.busy_s * planned / trial.epochs)


def fit_race(
    racers: list[TrialRecord],
    replicates: int,
    concurrent: int,
    seconds: Callable[[Sequence[TrialRecord]], float],
    cost: Cost = full_seconds,
) -> tuple[list[TrialRecord], int]:
    """Fewer replicates, then fewer finalists (the worst first), where time is short.

    seconds: that a race of some finalists may take. A finalist takes about as long as its trial
    did. Two on two splits are the least that tells something; where they do not fit, as few of the
    dearest are left out (never the first, which is to be beaten) as lets most of the others race.
    Where that does not help: two on one split, and where not even these, 0: no race.
    """
    chosen, r = _fit(racers, replicates, concurrent, seconds, cost)
    least = min(MIN_REPLICATES, replicates)
    if r >= least:
        return chosen, r
    others, best = racers, (chosen[:0], 0)
    while len(others) > MIN_RACERS:
        dearest = max(others[1:], key=cost)
        others = [t for t in others if t is not dearest]
        found = _fit(others, replicates, concurrent, seconds, cost)
        if found[1] >= least and len(found[0]) > len(best[0]):
            best = found
    return best if best[0] else (chosen, r)


def with_spare(replicates: int, most: int, each: float, left: float) -> int:
    """On how many splits to race, `replicates` to `most`: as many as the time left allows.

    A search that ends before its budget leaves minutes, and each further split makes the race, and
    what a blend gains over its winner, easier to tell from luck. How many is decided before the
    first result, so that nothing is looked at twice.

    each: seconds that a split takes. left: seconds for all of them.
    """
    return max(replicates, min(most, int(left / max(each, 1e-9))))


WEIGHING_S = 5e-4  # of a core: what a blend's weights take for a user's lists by one finalist


def weighing(split: Split, members: int) -> float:
    """About how many seconds the weights of a blend take for each split of the race."""
    return WEIGHING_S * members * min(split.train.n_users, USERS) / usable_cores()


def _fit(
    racers: list[TrialRecord],
    replicates: int,
    concurrent: int,
    seconds: Callable[[Sequence[TrialRecord]], float],
    cost: Cost,
) -> tuple[list[TrialRecord], int]:
    def too_long(n: int, r: int) -> bool:
        return sum(map(cost, racers[:n])) * r / concurrent > seconds(racers[:n])

    n, r = len(racers), replicates
    while too_long(n, r) and (r > MIN_REPLICATES or n > MIN_RACERS):
        if r > MIN_REPLICATES:
            r -= 1
        else:
            n -= 1
    while r > 0 and too_long(n, r):
        r -= 1
    return racers[: max(n, 1)], r


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
    if run.spec.race.prefer == "small":
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
    """The standings with the smallest model first that is not proven worse than the best."""
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
