"""The test items, read once: the winner, its rivals and the blend, all trained on train + valid.

The winner is trained for the number of epochs that the race has learned.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR
from recsys.models.weighted import weighs
from search.machine.cluster import Failure
from search.record.compared import comparison
from search.record.measured import UserValues, save_test_values
from search.record.result import Blended, BlendTested, RivalTested, Tested, WithHistory, blended
from search.stages.blend import blend_on_test
from search.stages.context import Stages, TaskFailedError, time_until
from search.stages.groups import groups
from search.stages.lineup import final_costs
from search.stages.rivals import RivalOnTest, not_tested, rivals_on_test
from search.stages.winner import FinalTraining, race_decided, winner_training
from search.stages.work import Work, needed_and_more
from search.stats import bootstrap_interval, compare_paired, holm
from search.summary import lost_words
from search.tune.worker import own_device
from search.words import baseline_name


@dataclass(frozen=True, eq=False)
class OnTest:
    """The winner on the test items. device: that it was trained on. weights: of its model, as
    bytes, if a blend needs them.
    """

    found: Evaluation
    seconds: float
    device: str
    weights: bytes | None = None


@dataclass(frozen=True, eq=False)
class BlendOnTest:
    """The blend on the test items."""

    told: BlendTested
    found: Evaluation


def test(run: Stages) -> Tested:
    """The one look at the test items, for the winner, its rivals and the blend.

    Raises TaskFailedError where the winner cannot be tested; the run can do without the others.
    """
    split, metrics = run.split, list(run.metrics)
    if split.test is None:
        return Tested(skipped="the split holds out no test items")
    winner, blend = winner_training(run, "test"), blended(run.state)
    # put once for all tasks: as plain arguments, each of them would send its own copy to a node
    parts = [run.cluster.put(part) for part in (split.train, split.valid, split.test)]
    items = (*parts, metrics)
    works = rivals_on_test(run, winner, items)
    own = parts[:2]
    if split.repeats is not None and weighs(winner.config):
        own = [run.cluster.put(part) for part in split.for_test()]
    arguments = (winner, *own, *items[2:], blend is not None)
    task = Work(test_task, arguments, (winner.config,))
    (on_test,), answers = needed_and_more(run, [task], list(works.values()), "models")
    beside: dict[str, RivalOnTest] = {}
    told: dict[str, RivalTested] = {}
    for name, answer in zip(works, answers, strict=True):
        if isinstance(answer, Failure):
            told[name] = not_tested(run, name, answer)
        else:
            beside[name], told[name] = answer, answer.told
    mine = on_test.found.per_user[metrics[0]]
    rng = np.random.default_rng([run.settings.seed, 8])
    interval = bootstrap_interval(mine, rng)
    compared = {name: compare_paired(mine, one.per_user, rng) for name, one in beside.items()}
    tried, lost = None, None
    if blend and time_for(run, blend):
        done = {} if on_test.weights is None else {winner: on_test.weights}
        try:
            tried = _blend(run, blend, mine, beside, rng, done)
        except TaskFailedError as failure:
            if blend.handed_over:
                lost = failure.why
                run.display.note(f"the winner alone is handed over: {lost_words(lost)}")
            else:
                run.display.note(
                    f"the blend, which is not handed over, is not tested: {failure.why}"
                )
    blend_found = tried.found if tried is not None and blend and blend.handed_over else None
    best = blend_found or on_test.found
    values = UserValues(best.users, best.per_user[metrics[0]])
    save_test_values(run.folder.path, values, split.test, None if blend_found is None else mine)
    rivals = {name: one.found for name, one in beside.items()}
    seen = split.search_data()
    whom = partial(groups, metric=metrics[0], rivals=rivals, seen=seen, test=split.test)
    winners = whom("winner", mine=on_test.found)
    return Tested(
        comparisons=tuple(
            comparison(name, c, f"{baseline_name(name)} on the test items")
            for name, c in holm(compared).items()
        ),
        values=on_test.found.values,
        ci=interval,
        users=len(on_test.found.users),
        baselines=told,
        blend=tried.told if tried is not None else None,
        blend_failed=lost,
        seconds=on_test.seconds,
        device=run.trained_on(on_test.device),
        groups=winners if blend_found is None else whom("blend", mine=blend_found),
        winner_groups=None if blend_found is None else winners,
        with_history=_with_history(metrics[0], on_test.found, rivals, seen),
    )


def _with_history(
    metric: str, winner: Evaluation, rivals: Mapping[str, Evaluation], seen: CSR
) -> WithHistory | None:
    """The values of `metric` over the users with items in `seen`; None where there are none."""
    known_V = seen.degrees()[winner.users] > 0
    if not known_V.any():
        return None

    def mean(one: Evaluation) -> float:
        return float(one.per_user[metric][known_V].mean())

    return WithHistory(
        users=int(known_V.sum()),
        winner=mean(winner),
        rivals={name: mean(one) for name, one in rivals.items()},
    )


def time_for(run: Stages, blend: Blended) -> bool:
    """Whether there is time to test a blend; one that will be handed over is always tested.

    Its members have to be trained for that, except the winner, whose own test has trained it; after
    that the winner is trained once more, on all data.
    """
    left = time_until(run.deadline)
    if blend.handed_over or left is None:
        return True
    winner, trials, cost = race_decided(run).winner, run.state.trials, final_costs(run)
    others = [cost(trials[member.id]) for member in blend.members if member.id != winner]
    longest = max(others, default=0.0)
    needed = cost(trials[winner]) + max(sum(others) / run.resources.concurrent, longest)
    if needed <= left:
        return True
    run.display.note("no time to test the blend, which is not handed over")
    return False


def _blend(
    run: Stages,
    blend: Blended,
    winner: np.ndarray,
    beside: Mapping[str, RivalOnTest],
    rng: np.random.Generator,
    done: Mapping[FinalTraining, bytes],
) -> BlendOnTest:
    """The blend on the test items, compared with the winner and with the rivals `beside` it.

    winner: its values per user. done: see `train_blend`.
    """
    metrics = list(run.metrics)
    found = blend_on_test(run, blend, metrics, done)
    mine = found.per_user[metrics[0]]
    compared = {"winner": compare_paired(mine, winner, rng)}
    compared |= {name: compare_paired(mine, one.per_user, rng) for name, one in beside.items()}
    names = {name: f"{baseline_name(name)} on the test items" for name in beside}
    names["winner"] = "the winner on the test items"
    told = BlendTested(
        values=found.values,
        ci=bootstrap_interval(mine, rng),
        comparisons=tuple(
            comparison(name, c, names[name], "the blend") for name, c in holm(compared).items()
        ),
    )
    return BlendOnTest(told, found)


def test_task(
    winner: FinalTraining, train_items: CSR, valid: CSR, test: CSR, metrics: list[str], keep: bool
) -> OnTest:
    """The winner on the test items, in a worker. keep: whether to return its weights too."""
    started = time.monotonic()
    seen = train_items.union(valid)
    model = winner.train(seen)
    found = evaluate(model, seen, test, metrics, threads=winner.threads, pairs=True)
    seconds = time.monotonic() - started
    device = own_device(winner.device)
    return OnTest(found, seconds, device, model.to_bytes() if keep else None)
