"""What a finalist brings home from a fresh split: nobody chooses the epoch they are measured at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recsys.blending import depth_of, voters
from recsys.data import load
from recsys.evaluation import Evaluation, evaluate
from recsys.interactions import CSR
from recsys.models import EpochReport
from recsys.models.blend import top_lists
from recsys.models.ease import EaseConfig
from recsys.models.ials import IalsConfig
from recsys.models.mf.config import TrainConfig
from recsys.split import Split, SplitPlan, make_split
from search.machine.cluster import Failure
from search.tune import replicate
from search.tune.replicate import (
    Crossed,
    ReplicateResult,
    ReplicateTask,
    measuring,
    run_replicate,
)
from search.tune.worker import Trial, TrialData

NOTHING = CSR(np.zeros(3, np.int64), np.zeros(0, np.int32), 4)
FRESH = CSR(np.zeros(3, np.int64), np.zeros(0, np.int32), 4)
TASK = ReplicateTask("t0003", 2, EaseConfig(ease_l2=50.0), seed=11, split_seed=5)
DATA = TrialData(NOTHING, NOTHING, None, "map@5", ("map@5",), (), 1, "cpu")
HARD = {
    "lr": 0.3, "latent_factors": 8, "batch_size": 1, "epochs": 7, "patience": 0, "loss": "bpr",
    "neg_mode": "hard", "num_candidate_neg_samples": 20, "num_hard_neg_samples": 3,
    "optimizer": "adagrad",
}  # fmt: skip
USERS = np.array([1, 4, 5, 9], np.int32)


def halves(users: np.ndarray, seed: int) -> np.ndarray:
    """Whether each user is of the half that is looked at first, found from outside: of one epoch
    that this half finds better, the others take the values."""
    crossed = Crossed(users, seed)
    crossed.take(np.zeros(len(users)))
    first = []
    for at in range(len(users)):
        probe = Crossed(users, seed)
        probe.take(np.zeros(len(users)))
        changed = probe.take((np.arange(len(users)) == at).astype(float))
        first.append(users[0] not in changed)
    return np.array(first)  # True: chooses together with the first user


class TestCrossed:
    def test_each_half_is_measured_where_the_other_is_best(self) -> None:
        together = halves(USERS, 5)
        assert together.sum() == 2
        mine, theirs = np.flatnonzero(together), np.flatnonzero(~together)
        crossed = Crossed(USERS, 5)
        table = np.zeros((3, 4))
        table[:, mine] = [[0.1, 0.3], [0.5, 0.7], [0.2, 0.2]]  # best: the second epoch
        table[:, theirs] = [[0.4, 0.4], [0.6, 0.0], [0.9, 0.1]]  # best: the third
        assert crossed.take(table[0]).tolist() == USERS.tolist()
        assert crossed.take(table[1]).tolist() == USERS[theirs].tolist()
        assert crossed.take(table[2]).tolist() == USERS[mine].tolist()
        assert crossed.per_user[mine].tolist() == [0.2, 0.2]
        assert crossed.per_user[theirs].tolist() == [0.6, 0.0]

    def test_one_user_alone_has_no_others(self) -> None:
        crossed = Crossed(np.array([7], np.int32), 5)
        changed = [crossed.take(np.array([value])).tolist() for value in (0.1, 0.3, 0.2)]
        assert changed == [[7], [7], []]
        assert crossed.per_user.tolist() == [0.3]

    def test_of_equal_epochs_the_first(self) -> None:
        crossed = Crossed(USERS, 5)
        crossed.take(np.full(4, 0.5))
        assert crossed.take(np.full(4, 0.5)).size == 0

    def test_halves_are_of_the_split_alone(self) -> None:
        users = np.arange(40, dtype=np.int32)
        assert halves(users, 5).tolist() == halves(users, 5).tolist()
        assert halves(users, 5).tolist() != halves(users, 6).tolist()
        assert halves(users, 5).sum() == 20

    @given(
        arrays(float, st.tuples(st.integers(1, 6), st.integers(2, 9)), elements=st.floats(0, 1)),
        st.integers(0, 3),
    )
    def test_a_user_s_own_value_never_chooses(self, table: np.ndarray, seed: int) -> None:
        users = np.arange(table.shape[1], dtype=np.int32)
        together = halves(users, seed)
        crossed = Crossed(users, seed)
        for epoch in table:
            crossed.take(epoch)
        slow = np.empty(len(users))
        for chosen in (together, ~together):
            best = int(np.argmax([epoch[~chosen].mean() for epoch in table]))
            slow[chosen] = table[best, chosen]
        assert crossed.per_user.tolist() == slow.tolist()

    def test_pure_luck_earns_nothing(self) -> None:
        rng = np.random.default_rng(3)
        table = rng.normal(size=(60, 400))  # 60 epochs that are all the same but for noise
        crossed = Crossed(np.arange(400, dtype=np.int32), 1)
        for epoch in table:
            crossed.take(epoch)
        error = 1 / np.sqrt(400)
        assert table.mean(axis=1).max() > 2 * error  # what the best epoch would have claimed
        assert abs(crossed.per_user.mean()) < 2 * error


class Training:
    """A training that was thought up: the values of four users by epoch, then `error` if any."""

    model, device = None, "cpu"

    def __init__(self, table: Sequence[Sequence[float]], error: Exception | None = None) -> None:
        self.table, self.error = np.array(table), error
        self.seen: list[tuple[Any, int, TrialData]] = []

    def __call__(self, config: Any, seed: int, data: TrialData) -> Training:
        self.seen.append((config, seed, data))
        return self

    def epochs(self) -> Iterator[EpochReport]:
        best = int(np.argmax(self.table.mean(axis=1)))
        for n, values in enumerate(self.table):
            means = {"map@5": float(values.mean())}
            found = Evaluation(means, USERS, {"map@5": values})
            yield EpochReport(n + 1, 0.5, means, best + 1, 0.0, 1.0, 0.0, None, found)
        if self.error is not None:
            raise self.error


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a `Training` in the place of the real one."""
    monkeypatch.setattr(replicate, "limit_threads", lambda threads: None)
    return lambda training: monkeypatch.setattr(replicate, "Trial", training)


def test_a_replicate_is_what_others_chose_on_the_fresh_split(train: Any) -> None:
    training = Training([[0.1] * 4, [0.6] * 4, [0.2] * 4])
    train(training)
    found = run_replicate(TASK, DATA, FRESH, NOTHING)
    assert isinstance(found, ReplicateResult)
    assert (found.value, found.best_epoch) == (pytest.approx(0.6), 2)
    assert found.users.tolist() == USERS.tolist()
    assert found.per_user.tolist() == [0.6] * 4
    assert found.lists is None
    ((config, seed, data),) = training.seen
    assert (config, seed) == (EaseConfig(ease_l2=50.0), 11)
    assert data.train is FRESH
    assert data.valid is NOTHING


def test_a_replicate_that_fails_says_why(train: Any) -> None:
    train(Training([[0.1] * 4], error=ValueError("no")))
    found = run_replicate(TASK, DATA, FRESH, NOTHING)
    assert isinstance(found, Failure)
    assert found.cause == "ValueError: no"
    assert found.error.startswith("Traceback")


def test_what_a_node_lacks_is_raised_where_there_are_other_nodes(train: Any) -> None:
    train(Training([[0.1] * 4], error=ImportError("libx.so")))
    assert isinstance(run_replicate(TASK, DATA, FRESH, NOTHING), Failure)
    with pytest.raises(ImportError, match=r"libx\.so"):
        run_replicate(TASK, replace(DATA, joined=True), FRESH, NOTHING)


@pytest.fixture(scope="module")
def split() -> Split:
    return make_split(load("demo"), SplitPlan(), 42)


@pytest.mark.parametrize("config", [IalsConfig(epochs=6, patience=0), EaseConfig()])
def test_values_and_lists_are_of_the_same_epoch(split: Split, config: Any) -> None:
    """Against the slow twin: trained to each epoch anew, evaluated, and chosen afterwards."""
    data = TrialData(split.train, split.valid, None, "map@5", ("map@5",), (), 1, "cpu", blend=True)
    task = ReplicateTask("t0001", 0, config, seed=3, split_seed=8)
    found = run_replicate(task, data, split.train, split.valid)
    assert isinstance(found, ReplicateResult)
    last = getattr(config, "epochs", 1)
    users = voters(split.train, split.valid, 8)
    tables, lists = [], []
    for epochs in range(1, last + 1):
        so_far = config.for_epochs(epochs)
        trial = Trial(so_far, 3, replace(data, valid=split.valid))
        for _ in trial.model.train(so_far, split.train, None, rng=trial.rng):
            pass
        tables.append(evaluate(trial.model, split.train, split.valid, ["map@5"]))
        lists.append(top_lists(trial.model, split.train, users, depth_of("map@5")))
    everybody = tables[0].users
    assert found.users.tolist() == everybody.tolist()
    table = np.array([one.per_user["map@5"] for one in tables])
    together = halves(everybody, 8)
    assert found.lists is not None
    assert np.array_equal(users, everybody)  # few enough to be asked all
    for chosen in (together, ~together):
        best = int(np.argmax(table[:, ~chosen].mean(axis=1)))
        assert found.per_user[chosen].tolist() == table[best, chosen].tolist()
        assert np.array_equal(found.lists.items[chosen], lists[best].items[chosen])
        # a product may round differently beside other rows
        np.testing.assert_allclose(
            found.lists.scores[chosen], lists[best].scores[chosen], 1e-4, 1e-5
        )
    assert found.value == pytest.approx(found.per_user.mean())
    assert found.best_epoch == int(np.argmax(table.mean(axis=1))) + 1


@pytest.mark.parametrize(
    "config", [IalsConfig(epochs=6, patience=0), TrainConfig.from_flat(HARD), EaseConfig()]
)
def test_a_sample_chooses_the_epoch_by_which_the_others_are_measured(
    split: Split, config: Any
) -> None:
    """Against the slow twin: trained to each epoch anew, evaluated, and chosen afterwards."""
    data = TrialData(split.train, split.valid, None, "map@5", ("map@5",), (), 1, "cpu", blend=True)
    task = ReplicateTask("t0001", 0, config, seed=3, split_seed=8)
    sampled = replace(data, sampled=30)
    found = run_replicate(task, sampled, split.train, split.valid)
    assert isinstance(found, ReplicateResult)
    if config.most_epochs is None:  # there is nothing to choose, and everybody is evaluated once
        whole = run_replicate(task, data, split.train, split.valid)
        assert isinstance(whole, ReplicateResult)
        assert found.per_user.tolist() == whole.per_user.tolist()
        return
    watched = measuring(task, sampled, split.train, split.valid).watched
    assert watched is not None
    asked = np.flatnonzero(watched.degrees() > 0)
    trial = Trial(config, 3, replace(data, watched=watched))
    tables, lists = [], []
    for report in trial.epochs():
        assert report.evaluation is not None
        assert report.evaluation.users.tolist() == asked.tolist()
        tables.append(evaluate(trial.model, split.train, split.valid, ["map@5"]))
        lists.append(top_lists(trial.model, split.train, tables[0].users, depth_of("map@5")))
    everybody = tables[0].users
    assert len(asked) == 30 < len(everybody)
    assert found.users.tolist() == everybody.tolist()
    assert found.lists is not None
    table = np.array([one.per_user["map@5"] for one in tables])
    together, choose = halves(everybody, 8), np.isin(everybody, asked)
    epochs = []
    for measured in (together, ~together):
        assert (choose & ~measured).sum() == 15
        best = int(np.argmax(table[:, choose & ~measured].mean(axis=1)))
        assert found.per_user[measured].tolist() == table[best, measured].tolist()
        assert np.array_equal(found.lists.items[measured], lists[best].items[measured])
        epochs.append(best)
    assert len(set(epochs)) == 2  # so that two copies are told from one, and from the last weights
    assert found.best_epoch == int(np.argmax(table[:, choose].mean(axis=1))) + 1


def test_a_sample_of_more_than_everybody_is_everybody(split: Split) -> None:
    data = TrialData(split.train, split.valid, None, "map@5", ("map@5",), (), 1, "cpu")
    task = ReplicateTask("t0001", 0, IalsConfig(epochs=4, patience=0), seed=3, split_seed=8)
    found = run_replicate(task, replace(data, sampled=10_000), split.train, split.valid)
    whole = run_replicate(task, data, split.train, split.valid)
    assert isinstance(found, ReplicateResult)
    assert isinstance(whole, ReplicateResult)
    assert found.per_user.tolist() == whole.per_user.tolist()
    assert found.best_epoch == whole.best_epoch
