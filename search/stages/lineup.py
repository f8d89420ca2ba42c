"""Who races, on how many fresh splits: the finalists of a search, and what there is time for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from recsys.blending import USERS
from recsys.models import model_of
from recsys.split import Split
from search.machine.cores import usable_cores
from search.record.events import RacePlanned, State
from search.record.standing import contenders
from search.record.state import TrialRecord
from search.stages.context import RunFailedError, Stages
from search.stats import expected_reach
from search.tune.pace import size_of, watched_users
from search.tune.reserve import after_race

Cost = Callable[[TrialRecord], float]  # seconds of a training

MIN_RACERS, MIN_REPLICATES = 2, 2
FAR = 0.15  # of the best value; of 36 members of blends 34 were at .93 of it or above (ADR 171)
LEAST_SHARE = 0.05  # of a time budget: a race that takes no longer is run however late it is
WEIGHING_S = 5e-4  # of a core: what a blend's weights take for a user's lists by one finalist


def first_default(run: Stages) -> TrialRecord | None:
    """The trial of the first config of `enqueue`, which a user would have run without a search."""
    if not run.spec.enqueue:
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
        # where time is short the last to be left out, unless the search itself had cut it off
        chosen.insert(1 if default.may_win else len(chosen), default)
    if run.spec.race.smallest_wins:
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
    variety. At most as many as a blend has members, and one more for each finalist beside the best,
    since the first of them may be those finalists.
    """
    found: dict[Any, TrialRecord] = {}
    for trial in ranked:
        found.setdefault(method_of(run, trial), trial)
    there = {method_of(run, trial) for trial in chosen}
    most = run.spec.blend + max(1, run.spec.race.finalists) - 1
    return [trial for name, trial in found.items() if name not in there][:most]


# --- on how many splits --------------------------------------------------------------------------


def who_races(run: Stages, choosing: float) -> RacePlanned:
    """The finalists that there is time for, and on how many splits.

    A race that is resumed keeps what was decided before its first result. A race on more splits
    than planned takes no longer than the trials did: who asked for a short search wants one.

    choosing: seconds that the choice of the rivals beside it takes.
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


def close_ones(run: Stages, asked: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The best of them, the first default, and whom the search saw less than `FAR` below the best:
    others rarely win or help a blend, and cost splits where time is short.
    """
    default, least = first_default(run), (1 - FAR) * _value(asked[0])
    return [t for t in asked if t is asked[0] or t is default or _value(t) >= least]


def seconds_left(run: Stages, choosing: float = 0.0) -> Callable[[Sequence[TrialRecord]], float]:
    """`granted` in seconds as trials took them, which may have been evaluated on fewer users."""
    seconds = granted(run, choosing)
    return lambda racers: seconds(racers) / dearer(run, racers)


def granted(run: Stages, choosing: float = 0.0) -> Callable[[Sequence[TrialRecord]], float]:
    """How many seconds a race of some trials may take: as many as there is room for, and a few
    however late it is.
    """
    room = room_left(run, choosing)
    if run.deadline is None or (budget := run.settings.time_budget) is None:
        return room
    return lambda racers: max(room(racers), LEAST_SHARE * budget)


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
    if trial.state != State.PRUNED or not trial.epochs:
        return trial.busy_s
    planned = trial.training.most_epochs
    return trial.busy_s if planned is None else trial.busy_s * planned / trial.epochs


def fit_race(
    racers: list[TrialRecord],
    replicates: int,
    concurrent: int,
    seconds: Callable[[Sequence[TrialRecord]], float],
    cost: Cost = full_seconds,
) -> tuple[list[TrialRecord], int]:
    """Fewer replicates, then fewer finalists (the worst first), where time is short.

    seconds: that a race of some finalists may take. A finalist takes about as long as its trial
    did. Two finalists on two splits are the least that tells something. Where they do not fit, the
    dearest are left out, as few as it takes for most of the others to race, and never the first,
    which is to be beaten. Where that does not help: two on one split; where not even these fit, 0
    splits: no race.
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


def with_spare(replicates: int, most: int, each: float, left: float) -> int:
    """On how many splits to race, `replicates` to `most`: as many as the time left allows.

    A search that ends before its budget leaves minutes, and each further split makes the race, and
    what a blend gains over its winner, easier to tell from luck. How many is decided before the
    first result, so that nothing is looked at twice.

    each: seconds that a split takes. left: seconds for all of them.
    """
    return max(replicates, min(most, int(left / max(each, 1e-9))))


def weighing(split: Split, members: int) -> float:
    """About how many seconds the weights of a blend take for each split of the race."""
    return WEIGHING_S * members * min(split.train.n_users, USERS) / usable_cores()
