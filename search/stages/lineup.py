"""Who races, and on how many fresh splits: the finalists of a search, and the time there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsys.blending import USERS
from recsys.models import bytes_of
from recsys.models.base import Size
from recsys.split import Split
from search.machine.cores import usable_cores
from search.record.events import RacePlanned, State
from search.record.standing import contenders
from search.record.state import TrialRecord
from search.stages.context import RunFailedError, Stages, time_until
from search.stats import expected_reach
from search.tune.reserve import LATE_SHARE, after_race, in_full, in_turns, together
from search.tune.sampling import watched_users

Cost = Callable[[TrialRecord], float]  # estimated seconds of a training

MIN_RACERS, MIN_REPLICATES = 2, 2
FAR = 0.15  # of the best value; 34 of 36 members of blends were at .93 of it or above (ADR 171)
LEAST_SHARE = 0.05  # of a time budget: a race that takes no longer is run however late it is
LEARNING = 0.8  # of its epochs: a trial whose best one is later was still learning at its end
LONGER = 2  # times the epochs of the search: the most that such a trial has in the race
WEIGHING_S = 5e-4  # seconds of a core to weigh one finalist's list of one user


def first_default(run: Stages) -> TrialRecord | None:
    """The trial of the first config of `enqueue`, which a user would have run without a search.

    None where there is none, or only those of a warm start, and where it has no value.
    """
    if not (run.spec.enqueue and run.settings.has_default):
        return None
    first = run.state.in_order()[:1]
    return first[0] if first and first[0].value is not None else None


def finalists(run: Stages) -> list[TrialRecord]:
    """The trials that race: the best of different configs, and the first default.

    Raises RunFailedError where no trial that may win has a value.
    """
    ranked = contenders(run.state.in_order())
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
        # the last to be left out where time is short, unless the search itself had cut it off
        chosen.insert(1 if default.may_win else len(chosen), default)
    if run.spec.race.smallest_wins:
        return chosen + smaller_ones(run, ranked, chosen)
    if run.spec.blend:  # other methods before more of the same, which a blend gains less by
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
    """The trials with the smallest models, of those that are smaller than the best one and that the
    search cannot tell from it: one of each size, at most as many as there are finalists.
    """
    best = ranked[0]
    sampled = None if (pace := run.pace) is None else pace.users  # values are those of a sample
    users = sampled or watched_users(run.split.train, run.split.valid)
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
    """Bytes that a trial's model takes, roughly."""
    return bytes_of(trial.training, Size.of(run.split.train))


def method_of(run: Stages, trial: TrialRecord) -> Any:
    """The method of a trial; its model where the space has no methods."""
    method = run.spec.method_of(trial.params)
    return trial.training.model if method is None else method


def others_to_blend(
    run: Stages, ranked: list[TrialRecord], chosen: list[TrialRecord]
) -> list[TrialRecord]:
    """The best trial of each method that none of the chosen has, best first: a blend needs variety.

    ranked: the trials that may race, best first. At most as many as a blend has members, and one
    more for each finalist but the best, since the first of them may be finalists anyway.
    """
    found: dict[Any, TrialRecord] = {}
    for trial in ranked:
        found.setdefault(method_of(run, trial), trial)
    there = {method_of(run, trial) for trial in chosen}
    most = run.spec.blend + max(1, run.spec.race.finalists) - 1
    return [trial for name, trial in found.items() if name not in there][:most]


# --- on how many splits --------------------------------------------------------------------------


def who_races(run: Stages, choosing: float) -> RacePlanned:
    """The finalists that there is time for, and on how many splits they race.

    A race that is resumed keeps what was decided (`going_on` adds to it). A race on more splits
    than planned takes no longer than the trials did: those who ask for a short search want a short
    run.

    choosing: seconds that choosing the rivals, beside the race, takes.
    """
    asked = finalists(run)
    ids = tuple(trial.id for trial in asked)
    known = run.state.grid
    if known is not None and known.asked == ids:
        return known
    concurrent, shape, cost = run.resources.concurrent, run.spec.race, costs(run)
    planned = shape.replicates if shape.finalists else 0
    seconds = seconds_left(run, choosing)
    racers, fitting = fit_race(asked, planned, concurrent, seconds, cost)
    if fitting < planned:
        near, more = fit_race(close_ones(run, asked), planned, concurrent, seconds, cost)
        racers, fitting = (near, more) if more > fitting else (racers, fitting)
    epochs = who_trains_longer(run, racers, min(fitting, MIN_REPLICATES), choosing)
    if epochs:
        cost = costs(run, epochs)
        while fitting > MIN_REPLICATES and not fits(run, racers, fitting, choosing, epochs):
            fitting -= 1
    replicates = fitting
    if fitting == planned > 0 and shape.up_to and run.deadline and not run.settings.settles:
        members = len(racers) if run.spec.blend else 0
        longer, weighed = dearer(run, racers), weighing(run.split, members)
        each = [cost(one) * longer for one in racers]

        def taking(splits: int) -> float:
            return together(each, concurrent, splits) + splits * weighed

        searched = sum(session.trials_s for session in run.state.sessions)
        spare = min(room_left(run, choosing, epochs)(racers), searched)
        replicates = with_spare(planned, shape.up_to, taking, spare)
    found = tuple(trial.id for trial in racers)
    return RacePlanned(
        asked=ids, racers=found, planned=fitting, replicates=replicates, epochs=epochs or None
    )


def who_trains_longer(
    run: Stages, racers: Sequence[TrialRecord], replicates: int, choosing: float
) -> dict[str, int]:
    """The most epochs of the finalists that have more in the race than in the search, by id.

    Where trials are shortened so that there are enough of them (`search.tune.pace`), good ones may
    end while they still get better. They have up to `LONGER` times as many epochs, but no more than
    the space sets, as far as all racers still fit on `replicates` splits in the time that is left:
    the best one and the first default together, so that these are compared at the same length, then
    one after another. Where the smallest wins, all of them or nobody.

    choosing: as in `who_races`.
    """
    if run.pace is None or run.settings.settles or not replicates:
        return {}
    most = run.spec.max_epochs
    learning = {
        one.id: min(LONGER * one.epochs, most)
        for one in racers
        if still_learning(one) and one.epochs < most
    }
    default = first_default(run)
    first = {racers[0].id, default.id if default is not None else racers[0].id}
    if run.spec.race.smallest_wins:
        first = set(learning)
    epochs = {name: more for name, more in learning.items() if name in first}
    if not fits(run, racers, replicates, choosing, epochs):
        return {}
    for name in learning:
        more = epochs | {name: learning[name]}
        if name not in epochs and fits(run, racers, replicates, choosing, more):
            epochs = more
    return epochs


def still_learning(trial: TrialRecord) -> bool:
    """Whether a trial came to the last of its epochs, and was at its best near it."""
    had = trial.training.most_epochs
    if had is None or trial.state != State.COMPLETE or trial.epochs < had:
        return False
    return (trial.best_epoch or 0) >= LEARNING * had


def fits(
    run: Stages,
    racers: Sequence[TrialRecord],
    replicates: int,
    choosing: float,
    epochs: Mapping[str, int],
) -> bool:
    """Whether there is time for a race of finalists of whom some train longer.

    Parameters are as in `who_trains_longer`; epochs: as it returns them.
    """
    cost, workers = costs(run, epochs), run.resources.concurrent
    each = [cost(one) for _ in range(replicates) for one in racers]
    taken = in_turns(each, workers) * dearer(run, racers)
    return taken <= room_left(run, choosing, epochs)(racers)


def close_ones(run: Stages, asked: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Of the trials `asked`, best first: the best, the first default, and all that are less than
    `FAR` below the best. Others rarely win or help a blend, and cost splits where time is short.
    """
    default, least = first_default(run), (1 - FAR) * _value(asked[0])
    return [t for t in asked if t is asked[0] or t is default or _value(t) >= least]


def seconds_left(run: Stages, choosing: float = 0.0) -> Callable[[Sequence[TrialRecord]], float]:
    """`granted`, in the seconds that the trials took: they may have been evaluated on fewer users
    than the race is.
    """
    seconds = granted(run, choosing)
    return lambda racers: seconds(racers) / dearer(run, racers)


def granted(
    run: Stages, choosing: float = 0.0, epochs: Mapping[str, int] | None = None
) -> Callable[[Sequence[TrialRecord]], float]:
    """How many seconds a race of given trials may take: as many as are left for it, and at least
    `LEAST_SHARE` of the time budget, however late it is.
    """
    room = room_left(run, choosing, epochs)
    if run.deadline is None or (budget := run.settings.time_budget) is None:
        return room
    return lambda racers: max(room(racers), LEAST_SHARE * budget)


def room_left(
    run: Stages, choosing: float = 0.0, epochs: Mapping[str, int] | None = None
) -> Callable[[Sequence[TrialRecord]], float]:
    """How many seconds of the time budget are left for a race of given trials; below 0 where it is
    too late.

    choosing: how many of them choosing the rivals, beside the race, takes. Test and refit need
    some as well: they train the winner, or a blend's members side by side, so what they leave
    depends on who races. A blend's members are trained twice, the winner at most as often.
    """
    if (left := time_until(run.deadline)) is None:
        return lambda _: float("inf")
    usable, cost = LATE_SHARE * left, final_costs(run, epochs)
    rivals, workers = run.reserve.rivals_need(), run.resources.concurrent

    def seconds(racers: Sequence[TrialRecord]) -> float:
        each = sorted(map(cost, racers), reverse=True)
        members, dearest = together(each[: run.spec.blend], workers), max(each, default=0.0)
        after = after_race(dearest, members, rivals, workers)
        return usable - choosing - after

    return seconds


def dearer(run: Stages, racers: Sequence[TrialRecord]) -> float:
    """How many times longer the racers take in the race, where all users are evaluated at the end,
    than in the search, where a sample may do.
    """
    if (pace := run.pace) is None or pace.users is None:
        return 1.0
    busy = sum(trial.busy_s for trial in racers)
    more = watched_users(run.split.train, run.split.valid) / pace.users
    once = sum(total(trial, "eval_seconds") / max(1, len(trial.rows)) for trial in racers)
    return 1 + once * more / busy if busy else 1.0


def more_epochs(run: Stages, epochs: Mapping[str, int] | None) -> Mapping[str, int]:
    """The `epochs`; where these are None, those of the race that began (`RacePlanned.epochs`)."""
    if epochs is None and run.state.grid is not None:
        epochs = run.state.grid.epochs
    return epochs or {}


def costs(run: Stages, epochs: Mapping[str, int] | None = None) -> Cost:
    """Estimated seconds of a full training (`full_seconds`).

    epochs: as in `more_epochs`: by id, of trials that may train longer than in the search.
    For a trial that the clock cut off, which patience might soon have ended: at most those of the
    longest completed trial of its method, and at least what it has taken.
    """
    longest: dict[Any, float] = {}
    for trial in run.state.in_order():
        if trial.state == State.COMPLETE:
            method = method_of(run, trial)
            longest[method] = max(trial.busy_s, longest.get(method, 0.0))

    longer = more_epochs(run, epochs)

    def cost(trial: TrialRecord) -> float:
        seconds = full_seconds(trial)
        if trial.id in longer:
            return seconds * longer[trial.id] / (trial.training.most_epochs or 1)
        if not trial.cut_off:
            return seconds
        return min(seconds, max(longest.get(method_of(run, trial), seconds), trial.busy_s))

    return cost


def final_costs(run: Stages, epochs: Mapping[str, int] | None = None) -> Cost:
    """Estimated seconds of a training for the test or for good: it has more pairs, is not
    evaluated, and ends with the epoch that was best, where one of a trial goes on for as long as it
    has patience. epochs: as in `costs`.
    """
    cost, longer = costs(run, epochs), more_epochs(run, epochs)

    def final(trial: TrialRecord) -> float:
        seconds = cost(trial)
        if not trial.columns:
            return seconds
        trained, evaluated = total(trial, "train_seconds"), total(trial, "eval_seconds")
        if trained:
            seconds *= trained / (trained + evaluated)
        if trial.state == State.COMPLETE and trial.best_epoch and trial.id not in longer:
            seconds *= trial.best_epoch / trial.epochs
        split = run.split
        rest = split.valid.nnz + (0 if split.test is None else split.test.nnz)
        return seconds * (1 + rest / split.train.nnz)

    return final


def total(trial: TrialRecord, column: str) -> float:
    """The seconds of all reported epochs of a trial; 0 where none was reported."""
    return sum(seconds or 0.0 for seconds in trial.column(column)) if trial.columns else 0.0


def full_seconds(trial: TrialRecord) -> float:
    """About how many seconds a full training of a trial's config takes: for a trial that was
    stopped early, more than it took.
    """
    if trial.state != State.PRUNED or not trial.epochs:
        return trial.busy_s
    return in_full(trial.busy_s, trial.epochs, trial.training)


def fit_race(
    racers: list[TrialRecord],
    replicates: int,
    concurrent: int,
    seconds: Callable[[Sequence[TrialRecord]], float],
    cost: Cost = full_seconds,
) -> tuple[list[TrialRecord], int]:
    """The finalists that race, and on how many splits: where time is short, on fewer splits, then
    fewer finalists (the worst are left out first).

    racers: best first. replicates: the splits that are planned. concurrent: trainings at once.
    seconds: how many a race of given finalists may take. cost: of one finalist on one split.

    Two finalists on two splits are the least that shows anything. Where they do not fit, the most
    expensive are left out, so that as many of the others as possible race; but never the first,
    which is the one to beat. Where that does not help, two race on one split; where not even these
    fit, the answer is 0 splits: no race.
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


def _fit(
    racers: list[TrialRecord],
    replicates: int,
    concurrent: int,
    seconds: Callable[[Sequence[TrialRecord]], float],
    cost: Cost,
) -> tuple[list[TrialRecord], int]:
    def too_long(n: int, r: int) -> bool:
        each = [cost(one) for one in racers[:n]] if r else []
        return together(each, concurrent, r) > seconds(racers[:n])

    n, r = len(racers), replicates
    while too_long(n, r) and (r > MIN_REPLICATES or n > MIN_RACERS):
        if r > MIN_REPLICATES:
            r -= 1
        else:
            n -= 1
    while r > 0 and too_long(n, r):
        r -= 1
    return racers[: max(n, 1)], r


def with_spare(replicates: int, most: int, taking: Callable[[int], float], left: float) -> int:
    """On how many splits to race, `replicates` to `most`: as many as the time left allows.

    A search that ends before its budget leaves minutes, and with each further split the race, and
    the gain of a blend over its winner, are easier to tell from luck. The number is decided by
    seconds alone, so that no result can influence it.

    taking: seconds of a race on so many splits. left: seconds for all splits.
    """
    fitting = (r for r in range(most, replicates, -1) if taking(r) <= left)
    return next(fitting, replicates)


def weighing(split: Split, members: int) -> float:
    """About how many seconds the weights of a blend take for each split of the race."""
    return WEIGHING_S * members * min(split.train.n_users, USERS) / usable_cores()
