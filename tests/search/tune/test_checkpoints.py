"""Checkpoints of long trials: when they are made, where they lie, and who gets them."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.tune import Callback

from recsys.data import load
from recsys.models.mf.config import TrainConfig
from recsys.models.progress import Checkpoint
from recsys.split import SplitPlan, make_split
from search.propose.trials import StudyTrial
from search.record.events import EpochRow, State
from search.space.load import load_spec
from search.space.trial import TrialConfig
from search.tune import checkpoints
from search.tune.checkpoints import (
    EVERY_S,
    FROM,
    LARGEST,
    LEAVING_S,
    RATE,
    Keeper,
    Shelf,
    opened,
    signed,
)
from search.tune.outcome import AT_ONCE, Report
from search.tune.searcher import StudySearch
from search.tune.worker import Trial as Training
from search.tune.worker import TrialData, run_trial
from tests.search.tune.test_recorder import Search, Trial
from tests.search.tune.test_tuner_ray import ray_of_two  # noqa: F401


def some(waited: int = 3) -> Checkpoint:
    return Checkpoint((), (np.arange(4.0),), (np.ones(2, np.float32),), waited, 1.5)


class Clock:
    """A clock that a test sets; making a checkpoint takes `cost` seconds."""

    def __init__(self, cost: float = 0.0) -> None:
        self.now, self.cost, self.made = 0.0, cost, 0

    def __call__(self) -> float:
        return self.now

    def make(self) -> Checkpoint:
        self.now += self.cost
        self.made += 1
        return some()


def offered(keeper: Keeper, clock: Clock, at: float, size: int = 100) -> bool:
    """Whether it makes one at this moment."""
    clock.now, before = at, clock.made
    keeper.offer(size, clock.make)
    return clock.made > before


def test_one_is_made_every_two_minutes() -> None:
    clock = Clock()
    keeper = Keeper(None, lambda content: content, clock=clock)
    said = [offered(keeper, clock, at) for at in (EVERY_S - 1, EVERY_S, EVERY_S + 1, 2 * EVERY_S)]
    assert said == [False, True, False, True]


def test_dear_ones_are_made_less_often() -> None:
    clock = Clock(cost=6.0)  # a fiftieth of five minutes
    keeper = Keeper(None, lambda content: content, clock=clock)
    assert offered(keeper, clock, EVERY_S)
    ended = clock.now
    assert not offered(keeper, clock, ended + 299)
    assert offered(keeper, clock, ended + 300)


def test_on_a_node_that_is_told_to_end_one_is_made_at_once_and_others_soon() -> None:
    clock, told, asked = Clock(), [False], [0]

    def leaves() -> bool:
        asked[0] += 1
        return told[0]

    keeper = Keeper(None, lambda content: content, clock=clock, leaves=leaves)
    assert not any(offered(keeper, clock, at) for at in (0.0, LEAVING_S, LEAVING_S + 1))
    assert asked[0] == 1  # once in a while
    told[0] = True
    assert not offered(keeper, clock, 2 * LEAVING_S - 1)
    assert offered(keeper, clock, 2 * LEAVING_S)
    assert not offered(keeper, clock, 3 * LEAVING_S - 1)
    assert offered(keeper, clock, 3 * LEAVING_S)
    assert asked[0] == 2  # it is known by now


def test_there_the_share_of_all_trials_does_not_hold() -> None:
    clock = Clock()
    keeper = Keeper(None, lambda content: content, clock=clock, trials=1000, leaves=lambda: True)
    assert offered(keeper, clock, LEAVING_S, 100_000_000)
    assert offered(keeper, clock, 2 * LEAVING_S, 100_000_000)


def test_there_too_dear_ones_are_made_less_often() -> None:
    clock = Clock(cost=1.0)
    keeper = Keeper(None, lambda content: content, clock=clock, leaves=lambda: True)
    assert offered(keeper, clock, LEAVING_S)
    ended = clock.now
    assert not offered(keeper, clock, ended + 49)
    assert offered(keeper, clock, ended + 50)


def test_a_training_that_is_too_large_makes_none() -> None:
    clock = Clock()
    keeper = Keeper(None, lambda content: content, clock=clock)
    assert not offered(keeper, clock, EVERY_S, LARGEST + 1)
    assert not keeper.waiting
    assert keeper.take() is None


@pytest.mark.parametrize(
    ("trials", "size", "each"), [(100, 300_000_000, 3), (1000, 1_000_000, 29), (1, LARGEST, 29)]
)
def test_many_trials_share_one_rate(trials: int, size: int, each: int) -> None:
    """An hour: trials whose checkpoints are small, or few, need not make them less often."""
    clock = Clock()
    keepers = [
        Keeper(None, lambda content: content, clock=clock, trials=trials) for _ in range(trials)
    ]
    made = Counter[int]()
    for second in range(0, 3600, 10):
        for number, keeper in enumerate(keepers):
            made[number] += offered(keeper, clock, float(second), size)
    assert set(made.values()) == {each}
    assert made.total() * size <= 3600 * RATE


def test_the_rate_counts_from_the_last_one() -> None:
    clock = Clock(cost=6.0)
    keeper = Keeper(None, lambda content: content, clock=clock, trials=1000)
    assert not offered(keeper, clock, EVERY_S, RATE)
    assert offered(keeper, clock, 1000.0, RATE)
    assert not offered(keeper, clock, 2005.0, RATE)
    assert offered(keeper, clock, 2006.0, RATE)


def test_a_report_names_each_once() -> None:
    clock = Clock()
    keeper = Keeper(None, lambda content: ("ref", len(content)), clock=clock)
    offered(keeper, clock, EVERY_S)
    assert keeper.waiting
    assert keeper.take() == ("ref", len(signed(some(), "")))
    assert not keeper.waiting
    assert keeper.take() is None


def test_what_was_signed_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    content = signed(some(), "cpu")
    found = opened(content, "cpu")
    assert found is not None
    assert (found.waited, found.spent) == (3, 1.5)
    assert found.state[0].tolist() == [0, 1, 2, 3]
    assert opened(content[:-30], "cpu") is None
    assert opened(b"", "cpu") is None
    assert opened(content, "cuda") is None
    monkeypatch.setattr(checkpoints, "_mark", lambda _: b"of other code")
    assert opened(content, "cpu") is None


@pytest.mark.parametrize("threads", [1, 2])
def test_with_other_threads_a_trial_starts_over(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """As after a resume with another --cpus-per-trial: the state has other arrays."""
    import ray
    from ray import tune

    reports: list[Report] = []
    monkeypatch.setattr(checkpoints, "RATE", math.inf)  # one is due after every epoch
    monkeypatch.setattr(checkpoints, "SHARE", math.inf)
    monkeypatch.setattr(ray, "put", lambda content: content)
    monkeypatch.setattr(ray, "get", lambda content: content)
    monkeypatch.setattr(tune, "report", lambda flat: reports.append(Report.taken(flat)))
    ours, data = small_trial(epochs=3)
    run_trial({"trial": ours, AT_ONCE: 1}, data)
    kept = next(report.checkpoint for report in reports if report.checkpoint is not None)
    first = [row for report in reports for row in report.rows]
    reports.clear()
    run_trial({"trial": ours, AT_ONCE: 1, FROM: kept}, replace(data, threads=threads))
    again = [row for report in reports for row in report.rows]
    assert (reports[-1].error, reports[-1].epoch) == (None, 3)
    goes_on = opened(kept, f"cpu, {threads} thread{'s' * (threads > 1)}") is not None
    assert goes_on == (threads == 1) == (again[0] == first[0])  # in its seconds too


def small_trial(epochs: int) -> tuple[TrialConfig, TrialData]:
    """A trial that reports every epoch, with a checkpoint."""
    config = TrainConfig.from_flat(
        {"latent_factors": 8, "lr": 0.1, "batch_size": 1, "optimizer": "adagrad", "epochs": epochs}
        | {"patience": 0}
    )
    split = make_split(load("demo"), SplitPlan(), 0)
    data = TrialData(
        *(split.train, split.valid, None, "map@10", ("map@10",)),
        *(tuple(range(1, epochs)), 1, "cpu"),
        keep_every=0.0,
    )
    return TrialConfig((), config, 7), data


def shelf_at(folder: Path, said: list[str] | None = None, **changed: Any) -> Shelf:
    told = [] if said is None else said
    how: dict[str, Callable[..., Any]] = {"fetch": lambda ref: ref, "put": lambda content: content}
    return Shelf(folder, **how | {"note": told.append} | changed)


def test_a_shelf_has_the_newest_of_each_trial_until_it_is_over(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path / "checkpoints")
    assert shelf.handed("t0001") == {}
    for name, content in (("t0001", b"first"), ("t0001", b"second"), ("t0002", b"other")):
        shelf.keep(name, content)
        assert shelf.carry() == len(content)
    assert shelf.carry() == 0
    assert shelf_at(tmp_path / "checkpoints").handed("t0001") == {FROM: b"second"}
    shelf.drop("t0001")
    assert shelf.handed("t0001") == {}
    assert shelf.handed("t0002") == {FROM: b"other"}
    shelf.clear()
    assert not (tmp_path / "checkpoints").exists()


def test_one_that_died_with_its_worker_changes_nothing(tmp_path: Path) -> None:
    for how in ({}, {"fetch": lambda _: None}):
        shelf = shelf_at(tmp_path / "a", **how)
        shelf.keep("t0001", b"lost" if how else b"first")
        shelf.carry()
    assert shelf_at(tmp_path / "a").handed("t0001") == {FROM: b"first"}


def test_where_none_can_be_written_it_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said: list[str] = []
    shelf = shelf_at(tmp_path / "file", said)
    for _ in range(3):
        shelf.keep("t0001", b"content")
        shelf.carry()
    (line,) = said
    assert line.startswith("note: long trials keep no checkpoints from now on: ")
    shelf.drop("t0001")
    assert shelf.handed("t0001") == {}


class Remote:
    """An object store that gives a value away once a test lets it."""

    def __init__(self) -> None:
        self.asked, self.free = threading.Event(), threading.Event()

    def fetch(self, made: bytes) -> bytes:
        self.asked.set()
        assert self.free.wait(60)
        return made


def test_what_is_slow_to_fetch_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those who hand it over, nor the end of its trial, which it does not survive."""
    rests: list[float] = []
    both = threading.Event()

    def rest(_: Shelf, seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 2:
            both.set()

    monkeypatch.setattr(Shelf, "_rest", rest)
    remote = Remote()
    shelf = shelf_at(tmp_path / "checkpoints", fetch=remote.fetch)
    with shelf:
        shelf.keep("t0001", b"first")
        assert remote.asked.wait(60)
        shelf.keep("t0002", b"older")
        shelf.keep("t0002", b"newest")  # the only one of the two that is fetched
        shelf.drop("t0001")
        remote.free.set()
        assert both.wait(60)
    assert rests == [5 / RATE, 6 / RATE]  # so that the rate is kept
    assert shelf_at(tmp_path / "checkpoints").handed("t0002") == {FROM: b"newest"}
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["t0002.npz"]


def test_one_that_ends_while_its_checkpoint_is_fetched_leaves_no_older_one(tmp_path: Path) -> None:
    shelf = shelf_at(tmp_path / "checkpoints")
    shelf.keep("t0001", b"older")
    shelf.carry()

    def fetch(made: bytes) -> bytes:
        shelf.drop("t0001")
        return made

    shelf = shelf_at(tmp_path / "checkpoints", fetch=fetch)
    shelf.keep("t0001", b"newer")
    assert shelf.carry()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_one_that_ends_while_its_checkpoint_is_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = shelf_at(tmp_path / "checkpoints")
    write = checkpoints.write_atomic

    def written(path: Path, content: bytes) -> None:
        write(path, content)
        shelf.drop("t0001")
        assert path.exists()

    monkeypatch.setattr(checkpoints, "write_atomic", written)
    shelf.keep("t0001", b"content")
    assert shelf.carry()
    assert not list((tmp_path / "checkpoints").iterdir())


def test_after_the_search_nothing_is_written(tmp_path: Path) -> None:
    remote = Remote()
    shelf = shelf_at(tmp_path / "checkpoints", fetch=remote.fetch)
    with shelf:
        shelf.keep("t0001", b"late")
        assert remote.asked.wait(60)
        shelf.keep("t0002", b"later")
    shelf.clear()
    remote.free.set()
    assert shelf.carry() == 0
    assert not (tmp_path / "checkpoints").exists()


def test_the_recorder_keeps_hands_over_and_drops(tmp_path: Path) -> None:
    search = Search(tmp_path)
    search.recorder.shelf = shelf_at(tmp_path / "checkpoints")
    config = Trial(0).config
    trial = SimpleNamespace(
        trial_id="t0000", config=config, evaluated_params={FROM: b"a resumed one"}, last_result={}
    )
    search.recorder.on_trial_start(0, [], trial)
    result = Report(1, 0.5, checkpoint=b"content").flat()
    search.recorder.on_trial_result(0, [], trial, result)
    assert "checkpoint" not in result  # Tune keeps the last result
    assert search.recorder.shelf.carry()
    search.recorder.on_trial_recover(0, [], trial)
    assert trial.config[FROM] == b"content"
    search.recorder.on_trial_result(0, [], trial, dict(result))
    # its worker has read it; Tune keeps the trial
    assert FROM not in trial.config | trial.evaluated_params
    search.recorder.on_trial_recover(0, [], trial)
    trial.last_result = result | {"stop": "epochs"}
    search.recorder.on_trial_complete(0, [], trial)
    assert FROM not in trial.config
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_resumed_search_hands_it_to_the_trial_that_had_begun() -> None:
    spec = load_spec("smoke")
    asked: list[str] = []

    def handed(name: str) -> dict[str, Any]:
        asked.append(name)
        return {FROM: name}

    first = StudySearch(spec, seed=1, handed=handed)
    assert first.suggest(first.next_id()).keys() == {"trial", AT_ONCE}
    assert asked == []
    known = StudyTrial(0, dict(spec.enqueue[0]), State.RUNNING)
    again = StudySearch(spec, [known], seed=1, handed=handed)
    assert again.suggest(again.next_id())[FROM] == "t0000"
    assert again.suggest(again.next_id()).keys() == {"trial", AT_ONCE}
    assert asked == ["t0000"]


def test_a_checkpoint_without_room_in_the_object_store_is_done_without(tmp_path: Path) -> None:
    full = shelf_at(tmp_path, put=lambda _: None)
    (tmp_path / "t0000.npz").write_bytes(b"content")
    assert full.handed("t0000") == {}
    assert full.handed("t0001") == {}


class Kill(Callback):
    """Kills the first worker after five epochs, as its checkpoints go to a shelf."""

    def __init__(self, shelf: Shelf, folder: Path) -> None:
        self.shelf, self.folder = shelf, folder
        self.rows: list[list[EpochRow]] = []  # by attempt
        self.done: list[int] = []  # epochs in the checkpoint

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray pickles callbacks for a restore that is never done

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        self.rows.append([])

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any
    ) -> None:
        report = Report.taken(result)
        self.rows[-1] += report.rows
        assert FROM not in result["config"]
        if report.checkpoint is not None:
            self.shelf.keep(trial.trial_id, report.checkpoint)
            self.shelf.carry()
        if len(self.rows) == 1 and report.epoch == 5:
            (file,) = self.folder.iterdir()
            found = opened(file.read_bytes(), "cpu, 1 thread")
            assert found is not None
            self.done.append(len(found.reports))
            os.kill(result["pid"], signal.SIGKILL)

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        trial.config.update(self.shelf.handed(trial.trial_id))


@pytest.mark.slow
def test_a_killed_worker_s_trial_continues_in_another(ray_of_two: None, tmp_path: Path) -> None:  # noqa: F811
    """Under a real Tuner: the epochs until the checkpoint are the ones of the first worker."""
    import ray
    from ray import tune

    ours, data = small_trial(epochs=12)
    shelf = shelf_at(tmp_path / "checkpoints", fetch=ray.get, put=ray.put)
    kill = Kill(shelf, tmp_path / "checkpoints")
    tune.Tuner(
        tune.with_resources(tune.with_parameters(run_trial, data=data), {"cpu": 1}),
        param_space={"trial": ours, AT_ONCE: 1},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path / "tune"),
            verbose=0,
            callbacks=[kill],
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    ).fit()
    first, second = kill.rows
    assert [row[0] for row in second] == list(range(1, 13))
    # in their seconds too: these were not trained again
    assert second[: kill.done[0]] == first[: kill.done[0]] != []
    assert [row[:3] for row in second] == [
        (report.epoch, report.loss, (report.metrics["map@10"],))
        for report in Training(ours.train, ours.seed, data).epochs()
    ]
