"""The race: its work, what it decides, what is made of its winner; against values by hand."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.data import load
from recsys.evaluation import top_items
from recsys.interactions import CSR, no_pairs
from recsys.models.base import Size
from recsys.models.ease import EASE, EaseConfig
from recsys.models.ials import IalsConfig
from recsys.models.mf.config import TrainConfig
from recsys.models.saved import load_model
from recsys.rivals import EASE as EASE_RIVAL
from recsys.rivals import rivals_for
from recsys.split import Split, SplitPlan, make_split
from search.machine.cluster import Failure, Resources
from search.record.events import RacePlanned, ReplicateRaced, StageMarked, StageState
from search.record.folder import save_arrays
from search.record.handed import disagreement, handed_over
from search.record.measured import load_test_items, load_test_values
from search.record.result import Decided
from search.record.state import RunState, Stage, TrialRecord
from search.space.trial import trial_seed
from search.stages import handover
from search.stages import refit as refit_stage
from search.stages import test as test_stage
from search.stages.context import RunFailedError
from search.stages.race import in_race, race, race_summary
from search.stages.replicates import (
    Racer,
    Standing,
    compare_with,
    fresh_splits,
    load_per_user,
    per_user_file,
    rows_that_count,
    run_race,
    sound_splits,
    standings,
    whole_part,
    whole_splits,
)
from search.stages.rivals import ChoiceTask
from search.stages.winner import FinalTraining, winner_training
from search.stages.work import Work, alone
from search.tune.need import asked_bytes, trial_bytes
from search.tune.replicate import ReplicateResult
from search.tune.worker import TrialData
from tests.search.stages.test_lineup import record, run_of

RESOURCES = Resources(1, 0.0, 2, 2)


class Workers:
    """A cluster whose tasks run here, from what a worker would get: a copy through pickle."""

    def __init__(self, answer: Callable[..., Any] | None = None) -> None:
        self.answer = answer
        self.tasks: list[tuple[Any, ...]] = []
        self.memory: list[int] = []  # that each of them asked for
        self.stored: list[Any] = []  # what was put, for all tasks that take it

    def put(self, value: Any) -> Any:
        self.stored.append(value)
        return value

    def map(
        self,
        function: Callable[..., Any],
        tasks: Iterable[tuple[Any, ...]],
        _: Resources,
        memory: Sequence[int] = (),
        enough: Callable[[], bool] = lambda: False,
    ) -> Iterator[tuple[int, Any]]:
        sent = [pickle.loads(pickle.dumps(task)) for task in tasks]
        self.tasks += sent
        self.memory += memory
        for index in reversed(range(len(sent))):  # the last ends first
            if enough():
                return
            yield index, (self.answer or function)(*sent[index])


@pytest.fixture(scope="module")
def split() -> Split:
    return make_split(load("demo"), SplitPlan(), 42)


class TestFreshSplits:
    def test_they_divide_what_the_search_saw_anew(self, split: Split) -> None:
        fresh = list(fresh_splits(split, SplitPlan(), 42, 3))
        whole = split.search_data()
        for one in fresh:
            assert one.test is None  # the race may not look at it
            assert one.search_data().digest() == whole.digest()
            assert split.test is not None
            assert one.search_data().overlap(split.test) == 0
        assert len({one.digest for one in (*fresh, split)}) == 4

    def test_fewer_of_them_are_the_first_of_more(self, split: Split) -> None:
        two, three = (list(fresh_splits(split, SplitPlan(), 42, n)) for n in (2, 3))
        assert [s.digest for s in two] == [s.digest for s in three[:2]]
        assert next(fresh_splits(split, SplitPlan(), 43, 1)).digest != two[0].digest

    def test_their_seeds_are_those_of_old_runs(self, split: Split) -> None:
        seeds = [one.seed for one in fresh_splits(split, SplitPlan(), 42, 2)]
        assert seeds == np.random.SeedSequence([42, 23246]).generate_state(2).tolist()


class TestRunRace:
    FINALISTS = (Racer("t0001", EaseConfig()), Racer("t0007", EaseConfig(ease_l2=9.0)))

    def raced(
        self, split: Split, already: set[tuple[str, int]], answer: Callable[..., Any]
    ) -> tuple[Workers, list[Any]]:
        workers: Any = Workers(answer)
        data = TrialData(split.train, split.valid, None, "map@5", ("map@5",), (), 1, "cpu")
        splits = list(fresh_splits(split, SplitPlan(), 42, 2))
        found = list(run_race(workers, RESOURCES, data, self.FINALISTS, splits, 42, already))
        return workers, found

    def test_each_finalist_meets_each_split_with_a_seed_of_its_own(self, split: Split) -> None:
        splits = list(fresh_splits(split, SplitPlan(), 42, 2))
        workers, found = self.raced(split, set(), lambda _, task, *__: task.replicate)
        assert [(task.config_id, task.replicate) for _, task, *_ in workers.tasks] == [
            *(("t0001", 0), ("t0007", 0), ("t0001", 1), ("t0007", 1))
        ]
        for _, task, _, train, valid in workers.tasks:
            assert train.digest() == splits[task.replicate].train.digest()
            assert valid.digest() == splits[task.replicate].valid.digest()
            assert task.split_seed == splits[task.replicate].seed
            assert task.seed == trial_seed(43 + task.replicate, task.config.key())
        assert all(task.replicate == answer for task, answer in found)

    def test_what_was_raced_before_an_interruption_is_not_raced_again(self, split: Split) -> None:
        already = {("t0001", 0), ("t0007", 1)}
        workers, _ = self.raced(split, already, lambda *_: None)
        assert [(task.config_id, task.replicate) for _, task, *_ in workers.tasks] == [
            *(("t0007", 0), ("t0001", 1))
        ]

    def test_one_whose_worker_kept_dying_is_told_from_the_others(self, split: Split) -> None:
        failure = Failure("the worker died", "x")
        _, found = self.raced(split, set(), lambda _, task, *__: failure if task.replicate else 1)
        assert {task.replicate for task, answer in found if answer == failure} == {1}

    def test_on_a_cluster_each_task_asks_for_its_own_memory(self, split: Split) -> None:
        workers: Any = Workers(lambda *_: None)
        data = TrialData(split.train, split.valid, None, "map@5", ("map@5",), (), 1, "cpu")
        splits = list(fresh_splits(split, SplitPlan(), 42, 1))
        wide = Racer("t0002", IalsConfig(ials_factors=2048))
        there = replace(RESOURCES, largest=10**12)
        rival = ChoiceTask(EASE_RIVAL, ("map@5",), 1, 1, 9.0)
        racers = [*self.FINALISTS, wide]
        list(run_race(workers, there, data, racers, splits, 42, set(), [rival]))
        size = Size.of(split.train)
        configs = [EASE_RIVAL.configs[0], *(racer.config for racer in racers)]
        assert workers.memory == [asked_bytes(config, size, 1, 10**12) for config in configs]
        assert len(set(workers.memory)) > 1
        alone_here, _ = self.raced(split, set(), lambda *_: None)
        assert set(alone_here.memory) == {0}

    def test_a_training_that_is_watched_by_a_sample_asks_for_copies_of_its_weights(
        self, split: Split, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        data = TrialData(split.train, split.valid, None, "map@5", ("map@5",), (), 1, "cpu")
        wide, size = Racer("t0002", IalsConfig(ials_factors=2048)), Size.of(split.train)
        taken = trial_bytes(wide.config, size, 1)
        monkeypatch.setattr("search.tune.need.STEP", taken)  # so that any more is seen
        splits = list(fresh_splits(split, SplitPlan(), 42, 1))
        asked = []
        for sampled in (None, 9):
            workers: Any = Workers(lambda *_: None)
            there, some = replace(RESOURCES, largest=10**12), replace(data, sampled=sampled)
            list(run_race(workers, there, some, [*self.FINALISTS, wide], splits, 42, set()))
            asked.append(workers.memory)
        assert asked == [[taken, taken, taken], [taken, taken, 2 * taken]]

    def test_a_real_replicate_is_measured_on_its_split(self, split: Split) -> None:
        workers: Any = Workers()
        data = TrialData(split.train, split.valid, None, "map@5", ("map@5",), (), 1, "cpu")
        splits = list(fresh_splits(split, SplitPlan(), 42, 1))
        ((_, found),) = run_race(workers, RESOURCES, data, self.FINALISTS[:1], splits, 42, set())
        assert isinstance(found, ReplicateResult)
        assert found.per_user.mean() == pytest.approx(found.value)
        assert np.array_equal(found.users, np.flatnonzero(splits[0].valid.degrees()))


def raced(
    config_id: str, replicate: int, value: float, best_epoch: int = 2, **changes: Any
) -> ReplicateRaced:
    known = {"config_id": config_id, "replicate": replicate, "value": value}
    return ReplicateRaced(**known | {"best_epoch": best_epoch} | changes)  # type: ignore[arg-type]


class TestStandings:
    ROWS = (
        *(raced("t0001", 1, 0.3, 4), raced("t0001", 0, 0.1, 9), raced("t0001", 2, 0.2, 3)),
        *(raced("t0002", 0, 0.4, 7), raced("t0002", 1, 0.1, 2), raced("t0002", 2, 0.4, 5)),
    )

    def test_by_hand(self) -> None:
        first, second = standings(self.ROWS, 3)
        assert (first.id, first.values, first.best_epochs) == ("t0002", (0.4, 0.1, 0.4), (7, 2, 5))
        assert (first.mean, first.epochs) == (pytest.approx(0.3), 5)
        assert (second.id, second.values, second.epochs) == ("t0001", (0.1, 0.3, 0.2), 4)

    def test_of_an_even_number_of_splits_the_middle_is_between_two(self) -> None:
        # 3 and 8: 5.5, which rounds to the even 6
        (one,) = standings([raced("t0001", 0, 0.1, 3), raced("t0001", 1, 0.1, 8)], 2)
        assert one.epochs == 6

    def test_ties_go_to_the_earlier_trial(self):
        rows = [raced(name, r, 0.0) for name in ("t0003", "t0001") for r in range(2)]
        assert [s.id for s in standings(rows, 2)] == ["t0001", "t0003"]

    def test_only_those_that_finished_everywhere(self):
        rows = [raced("t0000", 0, 0.9), raced("t0001", 0, 0.1), raced("t0001", 1, 0.1)]
        failed = raced("t0000", 1, 0.0, cause="diverged")
        assert [s.id for s in standings([*rows, failed], 2)] == ["t0001"]
        assert standings([], 2) == []

    def test_at_least_one_epoch(self):
        assert Standing("t0000", (0.0, 0.0), (0, 0)).epochs == 1


class TestPerUser:
    def test_who_has_nothing_held_out_is_not_a_number(self, tmp_path: Path) -> None:
        for replicate, users, values in ((0, [0, 2], [0.5, 0.25]), (1, [1], [1.0])):
            path = per_user_file(tmp_path, "t0001", replicate)
            save_arrays(path, users=np.array(users), values=np.array(values))
        found = load_per_user(tmp_path, "t0001", 2, 4)
        nan = np.nan
        assert np.array_equal(found, [[0.5, nan, 0.25, nan], [nan, 1, nan, nan]], equal_nan=True)

    def test_the_first_is_compared_with_each_rival(self) -> None:
        table = standings(TestStandings.ROWS, 3)
        # every one of 6 users gains 0.1: of 2^6 patterns of signs two are as far from zero
        values = {"t0002": np.full((1, 6), 0.3), "t0001": np.full((1, 6), 0.2)}
        rng = np.random.default_rng(0)
        found = compare_with(table, ["t0001"], values.__getitem__, rng)["t0001"]
        assert (found.users, found.gain) == (6, pytest.approx(0.1))
        assert found.p == found.p_adjusted == pytest.approx(2 / 64)
        assert found.proven

    def test_two_rivals_are_corrected_for(self) -> None:
        table = standings(TestStandings.ROWS, 3)
        values = {
            "t0002": np.full((1, 6), 0.3),
            "t0001": np.full((1, 6), 0.2),
            "t0000": np.full((1, 6), 0.3),
        }
        rng = np.random.default_rng(0)
        found = compare_with(table, ["t0001", "t0000"], values.__getitem__, rng)
        assert found["t0001"].p_adjusted == pytest.approx(2 * 2 / 64)
        assert not found["t0001"].proven
        assert found["t0000"].p_adjusted == 1


# --- what decides ---------------------------------------------------------------------------------


def test_a_failure_beyond_the_planned_splits_costs_splits_and_nobody():
    rows = [raced(name, r, 0.1) for name in ("t0000", "t0001") for r in range(6)]
    assert sound_splits(rows, 4, 6) == 6
    late = raced("t0001", 4, 0.0, cause="its worker died")
    assert sound_splits([*rows, late], 4, 6) == 4
    assert sound_splits([*rows, late], 6, 6) == 6  # it was planned: the finalist is out
    # who failed on a planned one is out already
    early = raced("t0001", 2, 0.0, cause="it diverged")
    assert sound_splits([*rows, late, early], 4, 6) == 6


def test_who_may_train_longer_has_more_epochs_in_the_race():
    trial = replace(record(1, 0.3), config={"lr": 0.1, "epochs": 10})
    grid = RacePlanned(asked=(), racers=("t0001",), planned=2, replicates=2)
    assert in_race(grid, trial) == trial.training
    longer = in_race(replace(grid, epochs={"t0001": 20}), trial)
    assert longer.to_flat() == trial.training.to_flat() | {"epochs": 20}
    assert in_race(replace(grid, epochs={"t0002": 20}), trial) == trial.training
    patient = replace(trial, config=IalsConfig(epochs=10, patience=3).to_flat())
    assert in_race(replace(grid, epochs={"t0001": 20}), patient) == IalsConfig(
        epochs=20, patience=3
    )


def test_how_many_splits_a_race_has_run_whole():
    assert whole_splits([], "ab", 3) == 0
    assert whole_splits([("a", 0), ("a", 1), ("b", 1)], "ab", 3) == 0
    assert whole_splits([("a", 0), ("b", 0), ("a", 1)], "ab", 3) == 1
    assert whole_splits([(name, r) for name in "ab" for r in range(3)], "ab", 3) == 3


def test_who_came_late_and_has_not_every_split_is_out():
    grid = RacePlanned(
        asked=(), racers=("a", "b", "c"), planned=2, replicates=2, joining=("b", "c")
    )
    there = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 1)]
    assert whole_part(grid, [*there, ("c", 0)]) == grid
    assert whole_part(grid, there) == replace(grid, racers=("a", "b"))
    # nor does who failed
    assert whole_part(grid, [*there, ("c", 0)], [("c", 0)]) == replace(grid, racers=("a", "b"))
    # of further splits the whole ones count, for everybody
    longer = replace(grid, replicates=3, joining=None)
    assert whole_part(longer, [*there, ("c", 0), ("a", 2), ("c", 2)]) == replace(
        longer, replicates=2
    )


def test_what_an_earlier_version_raced_is_raced_again():
    """It was measured at its own best epoch: too high to stand beside the others."""
    rows = [raced("t0000", 0, 0.9), raced("t0000", 1, 0.2, crossed=True)]
    rows.append(ReplicateRaced(config_id="t0001", replicate=0, cause="it diverged"))
    state = RunState(race={(one.config_id, one.replicate): one for one in rows})
    assert rows_that_count(state) == rows[1:]


class TestNoRace:
    @pytest.mark.parametrize(("values", "is_default"), [((0.1, 0.3), False), ((0.3, 0.1), True)])
    def test_the_winner_of_the_search_wins(self, values, is_default):
        trials = [record(n, value) for n, value in enumerate(values)]
        run = run_of(
            *trials,
            settings=("race=none",),
            resources=SimpleNamespace(concurrent=1),
            split=SimpleNamespace(test=None),
        )
        decided = race(run)
        assert decided.winner == max(trials, key=lambda t: t.value or 0).id
        assert decided.is_default is is_default
        assert (decided.epochs, decided.replicates, decided.finalists) == (3, 0, ())

    def test_epochs_of_a_trial_that_was_cut_off(self):
        trial = replace(record(0, 0.1), best_epoch=None)
        run = run_of(
            trial,
            settings=("race=none",),
            resources=SimpleNamespace(concurrent=1),
            split=SimpleNamespace(test=None),
        )
        assert race(run).epochs == 5


def summary_of(tmp_path: Any, values: dict[str, list[list[float]]]) -> Decided:
    """The summary of a race of trials with these values by replicate and user."""
    users = len(next(iter(values.values()))[0])
    (tmp_path / "race").mkdir()
    rows = []
    for name, by_replicate in values.items():
        for r, per_user in enumerate(by_replicate):
            save_arrays(
                per_user_file(tmp_path, name, r), users=np.arange(users), values=np.array(per_user)
            )
            rows.append(raced(name, r, float(np.mean(per_user))))
    trials = [record(int(name[1:]), 0.1) for name in values]
    nobody = CSR(np.zeros(users + 1, np.int64), np.zeros(0, np.int32), 5)
    run = run_of(
        *trials,
        split=SimpleNamespace(train=nobody),
        folder=SimpleNamespace(path=tmp_path),
    )
    run.settings = SimpleNamespace(seed=1, has_default=True)
    replicates = len(next(iter(values.values())))
    return race_summary(run, standings(rows, replicates), trials, replicates)


class TestSummary:
    def test_one_finalist_has_no_rival(self, tmp_path):
        found = summary_of(tmp_path, {"t0000": [[0.5, 0.1], [0.3, 0.2]]})
        assert found.comparisons == ()
        assert found.is_default

    def test_all_the_same(self, tmp_path):
        found = summary_of(tmp_path, {f"t000{n}": [[0.5, 0.0]] * 2 for n in range(3)})
        assert found.winner == "t0000"
        (one,) = found.comparisons
        assert one.words == (
            "the winner and the runner-up t0001 are equal for every one of the 2 users"
        )

    def test_a_lead_that_rounds_to_nothing(self, tmp_path):
        found = summary_of(
            tmp_path, {"t0000": [[0.5, 0.1]] * 2, "t0001": [[0.50002, 0.1], [0.5, 0.10002]]}
        )
        assert found.winner == "t0001"
        (one,) = found.comparisons
        assert one.name == "the first default config t0000 (also the runner-up)"
        assert "are level" in one.words
        assert "by 0.0000" not in one.words

    def test_one_user(self, tmp_path):
        found = summary_of(tmp_path, {"t0000": [[0.1]] * 2, "t0001": [[0.4]] * 2})
        (one,) = found.comparisons
        assert one.words.endswith("by 0.3000 for the only user: one user proves nothing")
        assert not one.proven


# --- the winner -------------------------------------------------------------------------------


def won_by(flat: dict[str, Any], epochs: int, workers: Workers, **more: Any) -> Any:
    """What the last stages read of a run whose race trial t0003 has won."""
    trial = TrialRecord("t0003", 3, {}, flat, 0, 0.0)
    race = Stage("race", StageState.DONE, {"winner": "t0003", "epochs": epochs}, 0.0)
    return SimpleNamespace(
        state=RunState(stages={"race": race}, trials={"t0003": trial}),
        settings=SimpleNamespace(seed=42, time_budget=None, device="cpu", submission_sep=" "),
        resources=Resources(2, 0.0, 2, 1),
        cluster=workers,
        trained_on=lambda device: None,
        deadline=None,
        display=SimpleNamespace(progress=lambda *_: None, parts=lambda *_: None),
        **more,
    )


LFM = {"loss": "bpr", "lr": 0.05, "latent_factors": 4, "epochs": 60, "patience": 7}


class TestWinner:
    def test_it_is_trained_for_the_learned_epochs_with_a_seed_a_purpose(self) -> None:
        run = won_by(LFM, 11, Workers())
        training = winner_training(run, "test")
        assert training == FinalTraining(
            TrainConfig.from_flat(LFM | {"epochs": 11}), trial_seed(42, "test:t0003"), 2, "cpu"
        )
        assert winner_training(run, "refit").seed == trial_seed(42, "refit:t0003")

    def test_a_config_that_was_told_what_is_held_out_is_not_told_any_more(self) -> None:
        leaky = TrainConfig.from_flat(LFM | {"negatives_exclude": "all"})
        assert leaky.leaky
        final = FinalTraining.of(leaky, 5, seed=1, threads=1, device="cpu").config
        assert final == TrainConfig.from_flat(LFM | {"epochs": 5})
        assert EaseConfig().honest() == EaseConfig()

    def test_a_task_that_failed_ends_the_run_in_one_line(self) -> None:
        workers = Workers(lambda *_: Failure("MemoryError: 3\n  GiB", "Traceback"))
        run = won_by(LFM, 1, workers, split=SimpleNamespace(train=no_pairs(1, 1)))
        with pytest.raises(RunFailedError) as caught:
            alone(run, Work(refit_stage.refit_task, (None,)))
        assert str(caught.value) == "refit: MemoryError: 3 GiB; --resume tries again"


class TestLastStages:
    """Test and refit with tasks that leave this process as pickles, and write nothing."""

    def run_of(self, tmp_path: Path, split: Split) -> Any:
        spec = SimpleNamespace(k=5, metric="map@5")
        folder = SimpleNamespace(path=tmp_path)
        workers = Workers()
        return won_by(
            EaseConfig(ease_l2=30.0).to_flat(),
            1,
            workers,
            split=split,
            metrics=("map@5", "recall@5"),
            spec=spec,
            folder=folder,
            dataset=load("demo"),
        )

    def test_the_test_is_the_winner_on_the_test_items(self, tmp_path: Path, split: Split) -> None:
        run = self.run_of(tmp_path, split)
        found = test_stage.test(run)
        parts = (split.train, split.valid, split.test)  # once, for the winner and its rivals
        assert [id(one) for one in run.cluster.stored] == [id(part) for part in parts]
        assert found.users == np.count_nonzero(split.test.degrees())
        low, high = found.ci
        assert low < found.values["map@5"] < high
        assert list(found.baselines) == [rival.name for rival in rivals_for(Size(1, 200, 1))]
        assert [c.against for c in found.comparisons] == list(found.baselines)
        assert list(tmp_path.iterdir()) == [tmp_path / "test.npz"]
        kept = load_test_values(tmp_path)
        assert kept is not None and kept.values.mean() == found.values["map@5"]
        items = load_test_items(tmp_path, split.test.n_items)
        assert items is not None and items.digest() == split.test.digest()
        assert np.array_equal(kept.users, np.flatnonzero(split.test.degrees()))
        kinds = found.groups.by_user, found.groups.by_item
        assert [sum(one.pairs for one in kind) for kind in kinds] == [split.test.nnz] * 2
        assert sum(one.users for one in found.groups.by_user) == found.users
        mean = sum(one.value * one.users for one in found.groups.by_user) / found.users
        assert mean == pytest.approx(found.values["map@5"])
        for one in (*kinds[0], *kinds[1]):
            assert list(one.rivals) == list(found.baselines)

    def test_the_model_is_written_by_the_driver(self, tmp_path: Path, split: Split) -> None:
        run = self.run_of(tmp_path, split)
        done = refit_stage.refit(run)
        ((_, winner, everything),) = run.cluster.tasks
        assert everything.digest() == split.full().digest()
        assert (done.rows, done.k, done.epochs) == (split.train.n_users, 5, 1)
        model = load_model(tmp_path / "model")
        assert isinstance(model, EASE)
        again = winner.train(everything)
        users = np.arange(20, dtype=np.int32)
        assert np.array_equal(model.score_users(users), again.score_users(users))
        lines = (tmp_path / "submission.csv").read_text().splitlines()
        assert len(lines) == 1 + split.train.n_users
        run.state.apply(
            StageMarked(name="refit", state=StageState.DONE, data=done.plain()), offset=0
        )
        assert disagreement(tmp_path, run.state) is None
        assert handed_over(run.state).trial == "t0003"

    def test_weights_that_do_not_come_from_the_worker_are_never_the_answer(
        self, tmp_path: Path, split: Split, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A run was extended and has another winner; the old model's files are still there."""
        run = self.run_of(tmp_path, split)
        refit_stage.refit(run)
        old = (tmp_path / "model" / "weights.npz").read_bytes()
        other = EaseConfig(ease_l2=3000.0).to_flat()
        run.state.trials["t0003"] = TrialRecord("t0003", 3, {}, other, 0, 0.0)
        with monkeypatch.context() as patch:
            patch.setattr(handover, "save_model", lambda *_: None)
            done = refit_stage.refit(run)
        assert (tmp_path / "model" / "weights.npz").read_bytes() == old
        _, winner, everything = run.cluster.tasks[-1]
        users = np.arange(3, dtype=np.int32)
        best = top_items(winner.train(everything), everything, users, 5)
        lines = (tmp_path / "submission.csv").read_text().splitlines()[1:4]
        names = run.dataset.interactions.item_ids
        wanted = [" ".join(str(names[i]) for i in row) for row in best]
        assert [line.partition(",")[2].strip('"') for line in lines] == wanted
        run.state.apply(
            StageMarked(name="refit", state=StageState.DONE, data=done.plain()), offset=0
        )
        weights = tmp_path / "model" / "weights.npz"
        assert disagreement(tmp_path, run.state) == (
            f"{weights} is not the file that this run's refit made"
        )
