"""What a race does with the time that is left when it is over."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.rivals import Needed
from search.machine.cluster import Failure
from search.record.events import PaceSet, RacePlanned, ReplicateRaced, StageMarked, StageState
from search.record.state import SessionRecord
from search.stages import going_on
from search.stages import race as race_stage
from search.stages.going_on import cost_in_race, goes_on, more_of
from search.stages.lineup import finalists
from search.tune.replicate import run_replicate
from tests.search.stages.searched import Run
from tests.search.stages.test_lineup import record, run_of
from tests.search.stages.test_race import Workers

FOUR = ("t0000", "t0001", "t0002", "t0003")


def raced(grid: RacePlanned, seconds: float) -> dict[tuple[str, int], ReplicateRaced]:
    """Results of a whole race, of whom each training took so many seconds."""
    return {
        (name, split): ReplicateRaced(
            config_id=name, replicate=split, value=0.5, best_epoch=3, seconds=seconds, crossed=True
        )
        for name in grid.racers
        for split in range(grid.replicates)
    }


def over(grid: RacePlanned, left: float | None, took: float = 20.0, **race: int) -> Any:
    """A run of two workers whose race is over with `left` seconds of its budget. In the search each
    training took 20 s, in the race `took`; test and refit take 20 s each.
    """
    shape = {"finalists": 4, "replicates": 4, "up_to": 9} | race
    values = ", ".join(f"{key}: {value}" for key, value in shape.items())
    run = run_of(
        *(replace(record(n, 0.5 - n / 100), busy_s=20.0) for n in range(4)),
        settings=(f"race={{{values}}}",),
        resources=SimpleNamespace(concurrent=2),
        split=SimpleNamespace(test=None, train=SimpleNamespace(n_users=9)),
        deadline=None if left is None else time.monotonic() + left,
        reserve=SimpleNamespace(rivals_need=Needed),
    )
    run.settings = SimpleNamespace(settles=False, time_budget=1000.0, has_default=True)
    run.state.sessions = [SimpleNamespace(trials_s=500.0)]
    run.state.race = raced(grid, took)
    return run


def grid(*racers: str, planned: int, splits: int | None = None) -> RacePlanned:
    return RacePlanned(asked=FOUR, racers=racers, planned=planned, replicates=splits or planned)


TWO = grid("t0000", "t0001", planned=2)


def test_nothing_more_where_there_is_no_time_or_it_is_not_to_be_used() -> None:
    assert goes_on(over(TWO, None), TWO) is None
    assert goes_on(over(TWO, 70), TWO) is None  # .85 x 70 s, test and refit 20 s each
    assert goes_on(over(TWO, -5), TWO) is None
    run = over(TWO, 1000)
    run.settings.settles = True
    assert goes_on(run, TWO) is None


def test_a_second_split_comes_before_a_third_finalist() -> None:
    one = grid("t0000", "t0001", planned=1)
    found = goes_on(over(one, 1000), one)
    assert found == replace(one, replicates=2)


def test_finalists_near_the_best_come_before_a_third_split() -> None:
    # .85 x 110 s less 40 s: 53 s, of 20 s a split of a finalist on two workers
    found = goes_on(over(TWO, 110), TWO)
    assert found == replace(TWO, racers=FOUR, joining=("t0002", "t0003"))
    found = goes_on(over(TWO, 80), TWO)  # 28 s: one of them
    assert found == replace(TWO, racers=FOUR[:3], joining=("t0002",))
    run = over(TWO, 110)
    run.state.trials["t0002"].value = run.state.trials["t0003"].value = 0.3  # far behind
    assert goes_on(run, TWO) == replace(TWO, replicates=4)
    whole = replace(TWO, replicates=4)
    run.state.race = raced(whole, 20.0)
    run.deadline = time.monotonic() + 150  # 87 s, of 40 s for four splits of one of them
    assert goes_on(run, whole) == replace(whole, racers=FOUR, joining=("t0002", "t0003"))


def test_splits_beyond_the_planned_ones_take_no_longer_than_the_trials() -> None:
    everybody = grid(*FOUR, planned=4)
    # 40 s a split; the race has taken 160 of the 500 s of the trials
    assert goes_on(over(everybody, 1000), everybody) == replace(everybody, replicates=9)
    assert goes_on(over(everybody, 220), everybody) == replace(everybody, replicates=7)
    run = over(everybody, 1000)
    run.state.sessions[0].trials_s = 250.0
    assert goes_on(run, everybody) == replace(everybody, replicates=6)
    run.state.sessions[0].trials_s = 150.0
    assert goes_on(run, everybody) is None
    run = over(everybody, 1000)
    run.spec = replace(run.spec, race=replace(run.spec.race, up_to=None))
    assert goes_on(run, everybody) is None
    # a race that was cut down to fewer than were planned is not bound by it
    fewer = grid(*FOUR, planned=2)
    run = over(fewer, 1000)
    run.state.sessions[0].trials_s = 1.0
    assert goes_on(run, fewer) == replace(fewer, replicates=4)


def test_what_a_training_takes_is_what_it_took_in_the_race() -> None:
    run = over(TWO, 1000, took=30.0)
    trials = run.state.trials
    cost = cost_in_race(run, TWO)
    assert cost(trials["t0000"]) == 30.0
    assert cost(trials["t0002"]) == pytest.approx(30.0)  # 20 s, as far off as the others
    run.state.race = {}
    assert cost_in_race(run, TWO)(trials["t0000"]) == 20.0
    slow = over(TWO, 110, took=60.0)  # 53 s are less than two splits of anybody take
    assert goes_on(slow, TWO) is None


def test_no_training_can_be_divided() -> None:
    """Three of 20 s take two workers 40 s, not 30."""
    three = replace(grid(*FOUR[:3], planned=2), asked=FOUR[:3])
    run = over(three, 90)  # .85 x 90 s less 40 s: 36 s
    assert goes_on(run, three) is None
    run.deadline = time.monotonic() + 110  # 53 s
    assert goes_on(run, three) == replace(three, replicates=3)


def test_who_failed_does_not_race_on() -> None:
    run = over(TWO, 110)
    failed = ReplicateRaced(config_id="t0001", replicate=1, cause="its worker died")
    run.state.race["t0001", 1] = failed
    found = goes_on(run, TWO)
    assert found is not None
    assert found.racers == ("t0000", "t0002", "t0003")
    run.state.race["t0000", 0] = replace(failed, config_id="t0000", replicate=0)
    assert goes_on(run, TWO) is None  # nobody is left


def test_nothing_follows_a_split_that_does_not_count() -> None:
    longer = replace(TWO, replicates=4)
    run = over(longer, 1000)
    assert goes_on(run, longer) is not None
    row = ReplicateRaced(config_id="t0001", replicate=3, cause="its worker died")
    run.state.race["t0001", 3] = row
    assert goes_on(run, longer) is None


def test_the_weights_of_a_blend_take_time_after_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(going_on, "weighing", lambda _, members: 3.0 * members)
    run = over(TWO, 110)  # 53 s
    run.spec = replace(run.spec, blend=3)
    # .85 x 150 s less 20 on test, and 30 for three members there and for good: 47 s. One more takes
    # 20 s, and the weights of three on two splits 18; two more would take 40 and 24
    run.deadline = time.monotonic() + 150
    assert goes_on(run, TWO) == replace(TWO, racers=FOUR[:3], joining=("t0002",))


def test_what_an_earlier_version_measured_otherwise_is_not_counted() -> None:
    run = over(TWO, 1000)
    assert len(going_on.rows_of(run, TWO)) == 4
    run.state.pace = SimpleNamespace(users=100)
    assert going_on.rows_of(run, TWO) == []
    run.state.race = {key: replace(row, sampled=100) for key, row in run.state.race.items()}
    assert len(going_on.rows_of(run, TWO)) == 4


def test_what_was_raced_with_other_epochs_is_not_counted() -> None:
    """Before an extension, after which others may train longer."""
    run = over(TWO, 1000)
    longer = replace(TWO, epochs={"t0001": 20})
    assert {row.config_id for row in going_on.rows_of(run, longer)} == {"t0000"}
    run.state.race["t0001", 0] = replace(run.state.race["t0001", 0], epochs=20)
    assert len(going_on.rows_of(run, longer)) == 3
    assert len(going_on.rows_of(run, TWO)) == 3


def test_no_value_of_the_race_decides() -> None:
    """To go on until something is proven would prove too much."""
    found = []
    for value in (0.1, 0.9):
        run = over(TWO, 110)
        run.state.race = {
            key: replace(row, value=value if row.config_id == "t0000" else 0.5)
            for key, row in run.state.race.items()
        }
        found.append(goes_on(run, TWO))
    assert found[0] == found[1] is not None


def test_it_is_said_in_words() -> None:
    assert more_of(TWO, replace(TWO, replicates=5)) == "3 further fresh splits"
    joined = replace(TWO, racers=FOUR[:3], joining=("t0002",))
    assert more_of(TWO, joined) == "1 further finalist"


# --- in a run ---------------------------------------------------------------------------------


def hurried(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its race began when there was time for two finalists on two splits, and has more when these
    are done.
    """
    monkeypatch.setattr(SessionRecord, "trials_s", 600.0)
    stages = run.stages
    stages.settings = SimpleNamespace(**vars(stages.settings) | {"time_budget": 600.0})  # type: ignore[assignment]
    stages.deadline = time.monotonic() + 600
    asked = tuple(trial.id for trial in finalists(stages))
    begun = RacePlanned(asked=asked, racers=asked[:2], planned=2, replicates=2)
    monkeypatch.setattr(race_stage, "who_races", lambda *_: stages.state.grid or begun)


def test_a_race_goes_on_while_there_is_time(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(run, monkeypatch)
    run.go("race")
    planned = run.stages.spec.race.replicates
    told = run.said("race")
    assert told["replicates"] == planned == 3
    assert {row["id"] for row in told["finalists"]} == set(FOUR)
    more = [note for note in run.notes if note.startswith("there is time for more: ")]
    assert [note.removeprefix("there is time for more: ") for note in more] == [
        "1 further fresh split",
        "2 further finalists",  # far behind
    ]
    # nobody was trained twice, and a run that is resumed races as it did
    trainings = [task[1] for task in run.workers.tasks if task[0] is run_replicate]
    raced = [(training.config_id, training.replicate) for training in trainings]
    assert len(raced) == len(set(raced)) == 12
    sent = len(run.workers.tasks)
    run.journal.append(StageMarked(name="race", state=StageState.START))
    run.stages.refresh()
    run.go("race")
    assert run.workers.tasks[sent:] == []
    assert run.said("race") == told


def test_who_came_too_late_does_not_count(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(run, monkeypatch)
    clock = [0.0]
    monkeypatch.setattr(race_stage, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    class Slow(Workers):
        def map(
            self, function: Any, tasks: Any, _: Any, memory: Any = (), enough: Any = None
        ) -> Any:
            for index, task in enumerate(list(tasks)):
                if getattr(task[1], "config_id", "") == FOUR[1]:  # the last of the asked
                    assert not enough()
                    clock[0] += 10_000
                    assert enough()
                    return
                yield index, function(*task)

    run.stages.cluster = Slow()  # type: ignore[assignment]
    run.go("race")
    told = run.said("race")
    assert told["replicates"] == 3
    assert len(told["finalists"]) == 3
    assert "no time for t0001 on every split: it does not count" in run.notes
    run.go("blend", "test", "refit")  # nobody misses what it would have left


def failing(run: Run, *failures: tuple[str, int]) -> None:
    """Workers in which these finalists fail on these splits."""

    class Failing(Workers):
        def map(
            self, function: Any, tasks: Any, _: Any, memory: Any = (), enough: Any = None
        ) -> Any:
            for index, task in enumerate(list(tasks)):
                self.tasks.append(task)
                at = getattr(task[1], "config_id", ""), getattr(task[1], "replicate", -1)
                answer = Failure("it died", "") if at in failures else function(*task)
                yield index, answer

    run.workers = Failing()
    run.stages.cluster = run.workers  # type: ignore[assignment]


def test_a_latecomer_that_fails_costs_nobody_a_split(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(run, monkeypatch)
    failing(run, ("t0003", 2))  # beyond the two splits that were planned
    run.go("race", "blend")
    told = run.said("race")
    assert told["replicates"] == 3
    assert {row["id"] for row in told["finalists"]} == {"t0000", "t0001", "t0002"}
    assert "t0003 failed: it does not count" in run.notes


def test_what_failed_is_not_tried_again_in_the_same_session(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried(run, monkeypatch)
    failing(run, ("t0002", 1))  # of the two that race at first
    run.go("race")
    trainings = [task[1] for task in run.workers.tasks if task[0] is run_replicate]
    assert [one.replicate for one in trainings if one.config_id == "t0002"] == [0, 1]
    told = run.said("race")
    assert told["replicates"] == 3
    assert {row["id"] for row in told["finalists"]} == {"t0000", "t0001", "t0003"}


def test_what_failed_before_an_extension_is_tried_again(run: Run) -> None:
    failing(run, ("t0002", 1))
    run.go("race")
    assert run.stages.state.race["t0002", 1].failed
    run.journal.append(StageMarked(name="search", state=StageState.START))
    run.journal.append(StageMarked(name="race", state=StageState.START))
    run.stages.refresh()
    assert ("t0002", 1) not in run.stages.state.race
    failing(run)
    run.go("race")
    assert not run.stages.state.race["t0002", 1].failed
    assert "t0002" in {row["id"] for row in run.said("race")["finalists"]}


def test_a_race_that_was_killed_as_it_went_on_is_resumed(run: Run) -> None:
    """After the line of the journal and before the first training; by the real plan."""
    asked = tuple(trial.id for trial in finalists(run.stages))
    begun = RacePlanned(asked=asked, racers=asked[:3], planned=2, replicates=2, joining=asked[2:3])
    run.journal.append(StageMarked(name="race", state=StageState.START))
    run.journal.append(begun, sync=True)
    run.stages.refresh()
    run.go("race")
    assert run.said("race")["replicates"] == 2
    assert {row["id"] for row in run.said("race")["finalists"]} == set(asked[:3])


def test_a_search_on_a_sample_races_on_one(run: Run) -> None:
    assert run.stages.data.sampled is None
    run.journal.append(PaceSet(rates={"ease": 1e-9}, trial_seconds=1.0, eval_seconds=0.1, users=30))
    run.stages.refresh()
    assert run.stages.data.sampled == 30
    run.go("race")
    assert {row.sampled for row in run.stages.state.race.values()} == {30}


def test_the_race_is_over_where_its_time_is(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hurried(run, monkeypatch)
    monkeypatch.setattr(going_on, "room_left", lambda *_: lambda _: -1.0)
    run.go("race")
    assert run.said("race")["replicates"] == 2
    assert len(run.said("race")["finalists"]) == 2
