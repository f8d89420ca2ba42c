"""What other orders of the split show: which are measured, on whom, and when not."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest

from recsys.data.read import Dataset
from recsys.interactions import CSR, Interactions
from recsys.models import config_from_flat
from recsys.split import HoldOut, SplitPlan, make_split
from recsys.split_plan import Order
from search.record import result
from search.record.state import RunState
from search.space.reader import ORDERS
from search.stages import orders, rivals
from search.stages import test as test_stage
from search.stages.context import TaskFailedError
from search.stages.winner import FinalTraining
from search.summary import ORDER_WORDS, order_words

USERS, ITEMS = 60, 40


def data(timed: bool = True, ordered: bool = True) -> Dataset:
    """Users whose items are spread over time; the last third of them come only at the end."""
    rng = np.random.default_rng(0)
    items = np.concatenate([rng.permutation(ITEMS)[:12] for _ in range(USERS)])
    csr = CSR.from_pairs(np.repeat(np.arange(USERS), 12), items, USERS, ITEMS)
    late = np.where(csr.users() >= 40, 900, 0) + rng.integers(0, 1000, csr.nnz)
    rank = np.tile(np.arange(12), USERS)
    ids = np.arange(USERS), np.arange(ITEMS)
    when = late if timed else None
    return Dataset(Interactions(csr, rank, *ids, ordered=ordered, when=when))


def stages(dataset: Dataset, plan: SplitPlan, deadline: float | None = None) -> Any:
    return SimpleNamespace(
        dataset=dataset,
        plan=plan,
        split=make_split(dataset, plan, 1),
        settings=SimpleNamespace(seed=1),
        spec=SimpleNamespace(metric="ndcg@5"),
        deadline=deadline,
        resources=SimpleNamespace(concurrent=2, largest=None),
        display=SimpleNamespace(note=notes.append),
        state=None,
    )


notes: list[str] = []
TESTED = result.Tested(
    values={"ndcg@5": 0.5},
    baselines={"popularity": {"test": {"ndcg@5": 0.25}}},
    seconds=10.0,
)


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[CSR, CSR]]:
    """The (train, test) of every training that is asked for; each is made here, not in a worker."""
    found: list[tuple[CSR, CSR]] = []
    winner = FinalTraining(config_from_flat({"model": "popularity"}), 1, 1, "cpu")
    monkeypatch.setattr(orders, "tested", lambda state: TESTED)
    monkeypatch.setattr(orders, "winner_training", lambda run, what: winner)

    def here(run: Any, *works: Any, what: str) -> list[Any]:
        found.extend((work.arguments[1], work.arguments[2]) for work in works)
        return [work.function(*work.arguments) for work in works]

    monkeypatch.setattr(orders, "side_by_side", here)
    notes.clear()
    return found


def test_the_other_orders_are_measured_and_its_own_is_the_test(measured: Any) -> None:
    found = orders.by_order(stages(data(), SplitPlan()))
    assert found is not None
    assert list(found) == ["random", "latest", "time"]
    assert found["random"] == (0.5, 0.25)
    assert len(measured) == 2
    for name, (train, test) in zip(("latest", "time"), measured, strict=True):
        assert train.overlap(test) == 0
        assert found[name][0] == found[name][1]  # here the winner is popularity
    assert "latest and time" in notes[0]


def test_by_time_only_people_with_a_history_count(measured: Any) -> None:
    dataset = data()
    run = stages(dataset, SplitPlan("time", HoldOut("ratio", 0.3)))
    found = orders.by_order(run)
    assert found is not None
    assert set(found) == {"random", "latest", "time"}
    train, test = measured[-1]
    assert test.nnz < run.split.test.nnz
    assert (train.degrees()[test.degrees() > 0] > 0).all()


def test_by_time_the_test_is_asked_for_its_own_number(
    measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model on the same people: nothing is trained again, whatever its seed."""
    run = stages(data(), SplitPlan("time", HoldOut("ratio", 0.3)))
    known = result.WithHistory(users=9, winner=0.4, rivals={"popularity": 0.3, "ease": 0.9})
    told = TESTED.model_copy(update={"with_history": known})
    monkeypatch.setattr(orders, "tested", lambda state: told)
    found = orders.by_order(run)
    assert found is not None
    assert found["time"] == (0.4, 0.3)
    assert set(found) == {"random", "latest", "time"} and len(measured) == 2


def test_what_the_test_keeps_is_what_training_again_would_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow twin: the winner's training and popularity on the part that `_parts` makes."""
    dataset, plan = data(), SplitPlan("time", HoldOut("ratio", 0.3))
    run = stages(dataset, plan)
    winner = FinalTraining(config_from_flat({"model": "ease", "ease_l2": 3.0}), 1, 1, "cpu")
    monkeypatch.setattr(test_stage, "winner_training", lambda run, what: winner)
    monkeypatch.setattr(test_stage, "blended", lambda state: None)

    def here(run: Any, *several: Any) -> Any:
        return [[work.function(*work.arguments) for work in works] for works in several[:2]]

    monkeypatch.setattr(test_stage, "needed_and_more", here)
    monkeypatch.setattr(rivals, "chosen", lambda run: {})
    run.state, run.cluster = RunState(), SimpleNamespace(put=lambda part: part)
    run.metrics, run.folder = ("ndcg@5",), SimpleNamespace(path=tmp_path)
    run.trained_on = lambda device: None
    run.resources.cpus_per_trial, run.settings.time_budget = 1, None
    found = test_stage.test(run)
    assert found.with_history is not None and found.users is not None
    assert 0 < found.with_history.users < found.users
    train, test = dict(orders._parts(run))["time"]
    slow = orders.order_task(winner, train, test, "ndcg@5")
    known = found.with_history
    assert (known.winner, known.rivals["popularity"]) == pytest.approx(slow, abs=1e-12)
    assert known.winner != pytest.approx((found.values or {})["ndcg@5"])


def test_lists_in_order_have_no_dates(measured: Any) -> None:
    found = orders.by_order(stages(data(timed=False), SplitPlan("latest", HoldOut("fixed", 2))))
    assert found is not None
    assert list(found) == ["latest", "random"]
    ((_, test),) = measured
    assert (test.degrees() == 2).all()


@pytest.mark.parametrize("why", ["no order", "no test", "given test", "no time", "not tested"])
def test_where_there_is_nothing_to_say(
    why: str, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = data(timed=why != "no order", ordered=why != "no order")
    plan = SplitPlan(test=None) if why == "no test" else SplitPlan()
    run = stages(dataset, plan, deadline=0.0 if why == "no time" else None)
    if why == "given test":
        run.dataset = replace(dataset, ready_test=run.split.test)
    if why == "not tested":
        monkeypatch.setattr(orders, "tested", lambda state: None)
    assert orders.by_order(run) == ("no time was left" if why == "no time" else None)
    assert not measured
    assert bool(notes) == (why == "no time")


def test_there_is_time_with_a_late_deadline(measured: Any) -> None:
    assert orders.by_order(stages(data(), SplitPlan(), deadline=math.inf)) is not None


def test_a_training_that_fails_there_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, what: str) -> Any:
        raise TaskFailedError("order: it diverged")

    monkeypatch.setattr(orders, "side_by_side", fail)
    assert orders.by_order(stages(data(), SplitPlan())) == "order: it diverged"
    assert notes[-1] == "nothing is said of other orders of the split: order: it diverged"


def test_the_words() -> None:
    found = {"latest": (0.3, 0.25), "time": (0.1, 0.125), "random": (0.2, 0.05)}
    told = result.RunResult(metric="map@10", split_orders=found, split_order="time")
    assert order_words(told) == (
        "this split, by one date, shows 0.80 x popularity (map@10 0.1000 against 0.1250); "
        "a split at random would have shown 4.00 x popularity (map@10 0.2000 against 0.0500); "
        "a split by each user's latest items would have shown 1.20 x popularity (map@10 0.3000 "
        "against 0.2500); the winner's map@10 is 200% higher by each user's latest items than by "
        "one date: so much it flatters; the winner's map@10 is 100% higher at random than by one "
        "date: so much it flatters"
    )
    lower = told.model_copy(update={"split_orders": {"latest": (0.2, 0.1), "random": (0.19, 0.1)}})
    assert order_words(lower).endswith(
        "the winner's map@10 is 5% lower at random than by each user's latest items: here it does "
        "not flatter"
    )
    nothing = told.model_copy(update={"split_orders": {"time": (0.0, 0.1), "random": (0.2, 0.1)}})
    assert "flatter" not in order_words(nothing)
    new = result.Newcomers(part="test", new_users=3)
    some = told.model_copy(update={"newcomers": (new,)})
    assert "(map@10 0.1000 against 0.1250, without new users)" in order_words(some)
    assert order_words(some).count("without") == 1
    assert order_words(result.RunResult(metric="map@10")) == ""
    late = result.RunResult(split_orders_skipped="no time was left")
    assert order_words(late).endswith("was not measured: no time was left")


def test_the_words_of_an_earlier_version_and_where_popularity_finds_nothing() -> None:
    found = {"time": (0.1, 0.00004), "random": (0.2, 0.05)}
    told = result.RunResult(metric="map@10", split_orders=found)
    assert order_words(told) == (
        "a split at random shows 4.00 x popularity (map@10 0.2000 against 0.0500); "
        "a split by one date shows map@10 0.1000 against popularity's 0.0000; the winner's map@10 "
        "is 100% higher at random than by one date: so much it flatters"
    )


def test_every_order_has_its_rules_and_its_words() -> None:
    assert tuple(ORDERS) == get_args(Order)
    assert set(ORDER_WORDS) == set(get_args(Order))
