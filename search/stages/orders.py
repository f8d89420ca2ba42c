"""How much the order of a split flatters: the winner's config on what other orders would hold out.

Known only where the data has times, and measured after everything is decided. Orders differ in how
many items a user has in the test, and so in what any list can reach: therefore popularity is
measured as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np

from recsys.evaluation import evaluate
from recsys.interactions import CSR, subset
from recsys.models import fit_model
from recsys.rivals import POPULARITY
from recsys.split import HoldOut, SplitPlan, held_out, training_part
from recsys.split_plan import Order
from search.record.result import RivalTested, Tested, tested
from search.stages.context import Stages, TaskFailedError, time_until
from search.stages.winner import FinalTraining, winner_training
from search.stages.work import Work, side_by_side
from search.tune.reserve import SPARE

Values = tuple[float, float]  # of the winner and of popularity


def by_order(run: Stages) -> dict[str, Values] | str | None:
    """By order of the split, the run's metric for the winner and for popularity; in its place why
    it was not measured. None where there is nothing to measure: no test, data without times or with
    a test part of its own.

    The winner is trained once more for each order, except for the one that the test has measured.
    """
    metric, own = run.spec.metric, tested(run.state)
    if own is None or own.values is None:
        return None
    parts = dict(_parts(run))
    known: dict[str, Values] = {}
    if run.plan.order in parts and (measured := _of_test(own, metric, run.plan.order)):
        known[run.plan.order] = measured
        del parts[run.plan.order]
    if not parts:
        return None
    needed = (own.seconds or 0.0) * len(parts) * SPARE / min(run.resources.concurrent, len(parts))
    if (left := time_until(run.deadline)) is not None and needed > left:
        return _said(run, "no time was left")
    run.display.note(f"the same config on splits by {' and '.join(parts)}, for comparison")
    winner = winner_training(run, "orders")
    trains = (winner.config,)
    works = [Work(order_task, (winner, *part, metric), trains) for part in parts.values()]
    try:
        found = side_by_side(run, *works, what="other splits")
    except TaskFailedError as failure:  # the model is there: the run does not need these
        return _said(run, failure.why)
    return known | dict(zip(parts, found, strict=True))


def _said(run: Stages, why: str) -> str:
    run.display.note(f"nothing is said of other orders of the split: {why}")
    return why


def _of_test(own: Tested, metric: str, order: Order) -> Values | None:
    """The values that the test has measured, over the users with a history."""
    if (found := own.with_history) is not None:
        mine, theirs = found.winner, found.rivals.get(POPULARITY.name)
    elif order == "time":  # by an earlier version, whose test includes users without a history
        return None
    else:
        rival = own.baselines.get(POPULARITY.name, RivalTested())
        mine, theirs = (own.values or {}).get(metric), (rival.test or {}).get(metric)
    return None if mine is None or theirs is None else (mine, theirs)


def _parts(run: Stages) -> Iterator[tuple[str, tuple[CSR, CSR]]]:
    """(order, (train, test)) of every order that the data has."""
    data, plan = run.dataset.interactions, run.plan
    if plan.test is None or run.dataset.ready_test is not None or not data.ordered:
        return
    assert run.split.test is not None
    share = HoldOut("ratio", run.split.test.nnz / data.csr.nnz)
    for order in get_args(Order):
        if order not in data.orders:
            continue
        # a count of each user's items, or all since a date: by the other order an equal share
        per_user = plan.order != "time" and order != "time"
        rule = plan.test if per_user or plan.test.kind == "ratio" else share
        masks = held_out(run.dataset, SplitPlan(order, rule), run.settings.seed)
        assert masks.test is not None
        train = training_part(data, ~masks.test, order)
        # users without a history would lower the mean, and other orders have no such users
        known_E = np.repeat(train.degrees() > 0, data.csr.degrees())
        test = subset(data.csr, masks.test & known_E)
        if train.nnz and test.nnz:
            yield order, (train, test)


def order_task(winner: FinalTraining, train: CSR, test: CSR, metric: str) -> Values:
    """The metric of the winner's config and of popularity on one split, in a worker."""
    rng = np.random.default_rng(winner.seed)
    popularity = fit_model(POPULARITY.configs[0], train, rng=rng)
    one, other = (
        evaluate(model, train, test, [metric], threads=winner.threads).values[metric]
        for model in (winner.train(train), popularity)
    )
    return one, other
