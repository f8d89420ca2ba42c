"""Who races, and on how many splits there is time for."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.interactions import CSR
from recsys.rivals import Needed
from search.record.events import RacePlanned, Reason, State
from search.record.standing import contenders
from search.record.state import TrialRecord
from search.space.load import load_spec
from search.space.spec import Prefer
from search.stages.context import RunFailedError
from search.stages.lineup import (
    LEAST_SHARE,
    costs,
    dearer,
    final_costs,
    finalists,
    first_default,
    fit_race,
    full_seconds,
    seconds_left,
    who_races,
    who_trains_longer,
    with_spare,
)
from tests.search.spaces import override


def racers(*seconds):
    return [TrialRecord(f"t{n:04d}", n, {}, {}, 0, 0.0, busy_s=s) for n, s in enumerate(seconds)]


def within(seconds):
    """So many for a race, whoever is in it."""
    return lambda _: seconds


def test_a_race_without_hurry_is_as_planned():
    some = racers(10, 20, 30)
    assert fit_race(some, 5, 2, within(float("inf"))) == (some, 5)
    assert fit_race(some, 5, 2, within(150)) == (some, 5)  # 60 x 5 / 2


def test_a_short_budget_takes_replicates_first_then_the_worst_finalists():
    some = racers(10, 20, 30)
    assert fit_race(some, 5, 2, within(149)) == (some, 4)
    assert fit_race(some, 5, 2, within(59)) == (some[:2], 2)
    assert fit_race(some, 5, 2, within(30)) == (some[:2], 2)


def test_what_does_not_fit_is_raced_on_one_split_or_not_at_all():
    some = racers(10, 20, 30)
    assert fit_race(some, 5, 2, within(29)) == (some[:2], 1)
    assert fit_race(some, 5, 2, within(20)) == (some[:2], 1)
    assert fit_race(some, 5, 2, within(19)) == (some[:2], 0)  # the second alone takes 20
    assert fit_race(some, 5, 2, within(-1)) == (some[:2], 0)


def test_a_dear_finalist_does_not_keep_the_others_from_racing():
    some = racers(10, 500, 12, 300, 8)  # as a factorization among linear models on large data
    assert fit_race(some, 5, 2, within(5000)) == (some, 5)
    assert fit_race(some, 2, 2, within(400)) == ([some[0], some[2], some[3], some[4]], 2)
    assert fit_race(some, 5, 2, within(40)) == ([some[0], some[2], some[4]], 2)
    assert fit_race(some, 5, 2, within(20)) == ([some[0], some[4]], 2)
    # the first is never left out, however dear
    dear = racers(500, 10, 12)
    assert fit_race(dear, 5, 2, within(100)) == (dear[:2], 0)
    assert fit_race(dear, 5, 2, within(499)) == (dear[:2], 0)
    assert fit_race(dear, 5, 2, within(500)) == (dear[:2], 1)


def test_no_training_can_be_divided_among_workers():
    six = racers(*[150] * 6)
    assert fit_race(six, 2, 64, within(149)) == (six[:2], 0)
    assert fit_race(six, 2, 64, within(150)) == (six, 2)
    assert fit_race(six, 10, 64, within(150)) == (six, 10)  # 60 trainings, all of them at once
    mixed = racers(20, 150, 30)
    assert fit_race(mixed, 2, 64, within(149)) == ([mixed[0], mixed[2]], 2)


def test_time_that_is_left_goes_into_more_splits():
    def each(seconds):
        return lambda splits: seconds * splits

    assert with_spare(4, 12, each(30), 200) == 6
    assert with_spare(4, 12, each(30), 3600) == 12
    assert with_spare(4, 12, each(30), 149) == 4
    assert with_spare(4, 12, each(30), 10) == 4  # never fewer: that is decided elsewhere
    assert with_spare(4, 12, each(30), -10) == 4
    assert with_spare(4, 12, each(0), 60) == 12
    assert with_spare(4, 12, lambda splits: max(150, 15 * splits), 149) == 4
    assert with_spare(4, 12, lambda splits: max(150, 15 * splits), 170) == 11


class TestWhoRaces:
    def run(self, *seconds: float, left: float | None = 1000, **state: Any) -> Any:
        trials = [replace(record(n, 0.5 - n / 100), busy_s=s) for n, s in enumerate(seconds)]
        run = run_of(
            *trials,
            settings=("race={finalists: 3, replicates: 4, up_to: 9}",),
            resources=SimpleNamespace(concurrent=2),
            split=SimpleNamespace(test=None, train=SimpleNamespace(n_users=9)),
            deadline=None if left is None else time.monotonic() + left,
            reserve=SimpleNamespace(rivals_need=Needed),
        )
        budget = None if left is None else 1000.0
        run.settings = SimpleNamespace(settles=False, time_budget=budget, has_default=True)
        run.state.sessions = [SimpleNamespace(trials_s=300.0), SimpleNamespace(trials_s=200.0)]
        for name, value in state.items():
            setattr(run.state, name, value)
        return run

    def test_who_is_far_behind_is_left_out_before_splits_are(self):
        run = self.run(20, 20, 20, 20, left=250)  # .85 x 250 s, test and refit 20 s each
        run.spec = replace(run.spec, race=replace(run.spec.race, finalists=4))
        second, third = (run.state.trials[f"t000{n}"] for n in (1, 2))
        third.value = 0.3
        found = who_races(run, 60)  # 112 s: of 40 s a split with all, 30 s with three
        assert (found.racers, found.replicates) == (("t0000", "t0001", "t0003"), 3)
        second.value = third.value = run.state.trials["t0003"].value = 0.5
        found = who_races(run, 60)
        assert (len(found.racers), found.replicates) == (4, 2)
        run.state.trials["t0000"].value = 0.1  # the first default: it races wherever it stands
        assert "t0000" in who_races(run, 60).racers

    def test_no_longer_than_the_trials_took(self):
        few = [SimpleNamespace(trials_s=200.0)]
        assert who_races(self.run(20, 20, 20, sessions=few), 0).replicates == 6
        assert who_races(self.run(20, 20, 20, sessions=[]), 0).replicates == 4

    def test_as_many_splits_as_there_is_time_for(self):
        found = who_races(self.run(20, 20, 20), 0)
        assert (found.asked, found.racers) == (("t0000", "t0001", "t0002"),) * 2
        assert (found.planned, found.replicates) == (4, 9)
        # .85 x 250 s, test and refit 20 s each: 172 s of 30 s a split
        assert who_races(self.run(20, 20, 20, left=250), 0).replicates == 5
        assert who_races(self.run(20, 20, 20, left=250), 30).replicates == 4

    def test_workers_without_a_training_shorten_no_race(self):
        run = self.run(*[150] * 4, left=400)  # .85 x 400 s, test and refit 150 s each: 40 s left
        run.resources = SimpleNamespace(concurrent=64)
        found = who_races(run, 0)
        assert found.replicates == 0
        run.deadline = time.monotonic() + 560  # 176 s for the race, of 150 s on whatever splits
        assert who_races(run, 0).replicates == 9

    def test_what_a_late_race_is_granted_is_no_time_left_over(self):
        found = who_races(self.run(5, 5, 5, left=-60), 0)  # it gets 50 s, which 6 splits would take
        assert (found.planned, found.replicates) == (4, 4)

    def test_no_budget_and_one_that_is_to_be_saved_have_none(self):
        assert who_races(self.run(20, 20, 20, left=None), 0).replicates == 4
        run = self.run(20, 20, 20)
        run.settings.settles = True
        assert who_races(run, 0).replicates == 4

    def test_a_resumed_race_is_the_one_that_began(self):
        began = RacePlanned(
            asked=("t0000", "t0001", "t0002"), racers=("t0000", "t0002"), planned=4, replicates=7
        )
        assert who_races(self.run(20, 20, 20, left=None, grid=began), 0) is began
        other = replace(began, asked=("t0000", "t0001"))  # before an extension
        assert who_races(self.run(20, 20, 20, grid=other), 0).replicates == 9


class TestWhoTrainsLonger:
    """Two workers; each training took 20 s in the search, and there are two splits for the race."""

    def run(self, left: float, *best_epochs: int, max_epochs: int = 80, **changes: Any) -> Any:
        trials = []
        for n, best in enumerate(best_epochs):
            config = {"lr": 0.1 + n, "negatives_exclude": "train", "epochs": 10}
            one = record(n, 0.5 - n / 100, busy_s=20.0, best_epoch=best, epochs=10)
            trials.append(replace(one, config=config, **changes))
        run = run_of(
            *trials,
            settings=("race={finalists: 3, replicates: 2}", f"max_epochs={max_epochs}"),
            resources=SimpleNamespace(concurrent=2),
            split=SimpleNamespace(
                test=None,
                train=SimpleNamespace(n_users=9, nnz=100),
                valid=SimpleNamespace(nnz=0),
            ),
            deadline=time.monotonic() + left,
            reserve=SimpleNamespace(rivals_need=Needed),
            pace=SimpleNamespace(users=None),
        )
        run.settings = SimpleNamespace(settles=False, time_budget=1000.0, has_default=True)
        run.state.sessions = []
        return run

    def test_who_was_still_learning(self) -> None:
        found = who_races(self.run(1000, 10, 8, 7), 0)
        assert found.epochs == {"t0000": 20, "t0001": 20}  # the third was at its best before
        assert (len(found.racers), found.replicates) == (3, 2)
        assert who_races(self.run(1000, 10, 10, max_epochs=12), 0).epochs == {
            "t0000": 12,
            "t0001": 12,
        }
        assert who_races(self.run(1000, 10, 10, max_epochs=10), 0).epochs is None
        # stopped on the way, or shortened by nobody
        assert who_races(self.run(1000, 10, 10, epochs=9), 0).epochs is None
        run = self.run(1000, 10, 10)
        run.pace = None
        assert who_races(run, 0).epochs is None

    def test_the_default_is_trained_as_long_as_the_best(self) -> None:
        # .85 x 120 s less twice 20: 62 s of 60; and for each that is longer 40 s more on two
        # splits, for the first of them 20 s more on test and 20 for good
        run = self.run(120, 10, 10, 10)
        assert who_races(run, 0).epochs is None
        run = self.run(200, 10, 10, 10)
        run.state.trials["t0000"].value = 0.485  # the default is the second of the three
        assert who_races(run, 0).epochs is None  # time for one
        run.deadline = time.monotonic() + 223
        assert who_races(run, 0).epochs == {"t0001": 20, "t0000": 20}
        run.deadline = time.monotonic() + 260
        assert who_races(run, 0).epochs == {"t0001": 20, "t0000": 20, "t0002": 20}
        run.state.trials["t0000"].best_epoch = 3  # it was at its best before
        run.deadline = time.monotonic() + 200
        assert who_races(run, 0).epochs == {"t0001": 20}

    def test_where_the_smallest_wins_all_or_nobody(self) -> None:
        run = self.run(223, 10, 10, 10)
        spec = run.spec
        run.spec = replace(spec, race=replace(spec.race, prefer=Prefer.SMALL, finalists=2))
        few = [run.state.trials[name] for name in ("t0000", "t0001", "t0002")]
        assert who_trains_longer(run, few, 2, 0) == {}
        run.deadline = time.monotonic() + 260
        assert len(who_trains_longer(run, few, 2, 0)) == 3

    def test_no_time_is_given_away_that_is_not_there(self) -> None:
        """A late race has a share of the budget in any case, but not for longer trainings."""
        run = self.run(-60, 10, 10, 10)
        for trial in run.state.in_order():
            trial.busy_s = 5.0
        found = who_races(run, 0)
        assert (found.replicates, found.epochs) == (2, None)
        run = self.run(1000, 10, 10, 10)
        run.settings.settles = True
        assert who_races(run, 0).epochs is None

    def test_splits_beyond_two_give_way(self) -> None:
        run = self.run(223, 10, 10, 10)
        run.spec = replace(run.spec, race=replace(run.spec.race, replicates=4))
        found = who_races(run, 0)
        assert (found.replicates, len(found.epochs)) == (2, 2)

    def test_what_they_take_is_reckoned_afterwards_too(self) -> None:
        run = self.run(1000, 10, 7)
        learning, done = run.state.in_order()
        assert (costs(run)(learning), final_costs(run)(learning)) == (20, 20)
        run.state.grid = who_races(run, 0)
        assert run.state.grid.epochs == {"t0000": 20}
        assert (costs(run)(learning), costs(run)(done)) == (40, 20)
        assert final_costs(run)(learning) == 40


def test_test_and_refit_are_reserved_for_those_who_race():
    run = SimpleNamespace(
        deadline=time.monotonic() + 1000,
        settings=SimpleNamespace(time_budget=2000.0),
        spec=SimpleNamespace(blend=2),
        state=SimpleNamespace(in_order=list, grid=None),
        resources=SimpleNamespace(concurrent=2),
        reserve=SimpleNamespace(rivals_need=lambda: Needed(0.0, 5.0)),
        pace=None,
    )
    seconds = seconds_left(run)
    # the dearest and then the two dearest side by side on test; these two for good
    assert seconds(racers(20, 10, 4)) == pytest.approx(850 - (20 + 20) - 20, abs=5)
    # what chooses the rivals beside the race takes from it
    assert seconds_left(run, 90)(racers(20, 10, 4)) == pytest.approx(760 - 40 - 20, abs=5)
    run.reserve.rivals_need = lambda: Needed(0.0, 225.0)  # longer than the winner on test
    assert seconds_left(run)(racers(20, 10, 4)) == pytest.approx(850 - 225 - 20 - 20, abs=5)
    run.spec.blend = 3  # 54 s of members: on two workers 27 s, on many as long as the longest
    run.reserve.rivals_need = Needed
    assert seconds_left(run)(racers(20, 20, 14)) == pytest.approx(850 - (20 + 27) - 27, abs=5)
    run.resources.concurrent = 64
    assert seconds_left(run)(racers(20, 20, 14)) == pytest.approx(850 - (20 + 20) - 20, abs=5)
    assert seconds(racers(20, 10, 4, 300)) == 2000 * LEAST_SHARE
    run.deadline = None
    assert seconds_left(run)(racers(20)) == float("inf")


def test_what_is_trained_for_good_is_neither_evaluated_nor_patient():
    columns = ("epoch", "loss", "map@5", "train_seconds", "eval_seconds")
    rows = [[epoch, 0.0, 0.1, 6.0, 2.0] for epoch in range(1, 11)]
    trial = replace(racers(80)[0], columns=columns, rows=rows, epochs=10, best_epoch=4)
    trial.state = State.COMPLETE
    parts = {
        name: SimpleNamespace(nnz=n) for name, n in (("train", 70), ("valid", 7), ("test", 14))
    }
    state = SimpleNamespace(in_order=list, grid=None)
    run = SimpleNamespace(state=state, split=SimpleNamespace(**parts), spec=load_spec("smoke"))
    assert final_costs(run)(trial) == pytest.approx(4 * 6 * 1.3)
    run.split.test = None
    assert final_costs(run)(trial) == pytest.approx(4 * 6 * 1.1)
    trial.state = State.PRUNED  # its best epoch is still to come: all of the planned ones
    trial.config = {"lr": 0.1, "epochs": 20}
    assert final_costs(run)(trial) == pytest.approx(20 * 6 * 1.1)
    assert final_costs(run)(racers(80)[0]) == 80  # no epoch was reported


def test_a_race_on_all_users_takes_longer_than_trials_on_some():
    columns = ("epoch", "loss", "map@5", "train_seconds", "eval_seconds")
    rows = [[1, 0.0, 0.1, 6.0, 2.0], [2, 0.0, 0.1, 6.0, 2.0]]
    trial = replace(racers(16)[0], columns=columns, rows=rows)
    few = CSR.from_pairs(np.arange(300), np.zeros(300, int), 300, 5)
    held = CSR.from_pairs(np.arange(300), np.ones(300, int), 300, 5)
    run = SimpleNamespace(
        pace=SimpleNamespace(users=100), split=SimpleNamespace(train=few, valid=held)
    )
    # all of three times the users once more, at the end: 2 s for a third of them, of 16 s
    assert dearer(run, [trial]) == 1 + 3 * 2 / 16
    assert dearer(run, racers(0)) == 1
    run.pace.users = None
    assert dearer(run, [trial]) == 1
    run.pace = None
    assert dearer(run, [trial]) == 1


def test_what_the_clock_cut_off_takes_no_longer_than_the_like():
    run = run_of(*(replace(record(n, 0.1), busy_s=s) for n, s in enumerate((9, 20, 12))))
    late = replace(record(3, 0.2, state=State.PRUNED), reason=Reason.TIME, busy_s=8.0)
    late = replace(late, epochs=2, config=late.config | {"epochs": 60})
    assert full_seconds(late) == 240
    assert costs(run)(late) == 20
    assert costs(run)(replace(late, busy_s=30.0)) == 30
    assert costs(run)(replace(late, reason=Reason.ASHA)) == 240
    assert costs(run_of())(late) == 240  # nothing is known of the like
    some = [replace(late, id="t0003"), *racers(10, 10, 10)]
    assert fit_race(some, 4, 2, within(100), costs(run)) == (some, 4)


def test_one_finalist_or_no_race_stay():
    some = racers(10)
    assert fit_race(some, 5, 1, within(20)) == (some, 2)
    assert fit_race(some, 0, 1, within(0)) == (some, 0)


def test_who_was_stopped_early_is_reckoned_to_the_end():
    done, cut = racers(10, 4)
    cut = replace(cut, state=State.PRUNED, epochs=6, config={"lr": 0.1, "epochs": 60})
    assert (full_seconds(done), full_seconds(cut)) == (10, 40)
    assert fit_race([done, done, cut], 4, 1, within(239)) == ([done, done, cut], 3)
    assert fit_race([done, done, cut], 4, 1, within(240)) == ([done, done, cut], 4)


# --- who races --------------------------------------------------------------------------------


def record(n: int, value: float | None, config: int | None = None, **changes: Any) -> TrialRecord:
    """Trial n with a config of its own, or the one numbered `config`."""
    flat = {"lr": float(n if config is None else config), "negatives_exclude": "train"}
    known = {"state": State.COMPLETE, "value": value, "best_epoch": 3, "epochs": 5, "config": flat}
    method = {"method": "bpr_hard"}
    fields = {"params": method, "seed": 0, "created": 0.0} | known | changes
    return TrialRecord(f"t{n:04d}", n, **fields)


def run_of(*trials: TrialRecord, settings: tuple[str, ...] = (), **more: Any) -> Any:
    """What these stages read of a run with these trials: smoke's space, whose `enqueue` has one."""
    by_id = {t.id: t for t in trials}
    state = SimpleNamespace(in_order=lambda: list(trials), trials=by_id, grid=None, pace=None)
    spec = override(load_spec("smoke"), list(settings))
    known = {"deadline": None, "pace": None, "settings": SimpleNamespace(has_default=True)}
    return SimpleNamespace(**known | more, spec=spec, state=state)


def ids(trials: list[TrialRecord]) -> list[str]:
    return [t.id for t in trials]


class TestFinalists:
    def test_the_best_and_the_first_default(self):
        run = run_of(record(0, 0.1), record(1, 0.3), record(2, 0.2), record(3, 0.4))
        assert ids(finalists(run)) == ["t0003", "t0000", "t0001"]

    def test_what_a_warm_start_gave_is_no_default(self):
        run = run_of(record(0, 0.1), record(1, 0.3), record(2, 0.2))
        run.settings.has_default = False
        assert first_default(run) is None
        assert ids(finalists(run)) == ["t0001", "t0002"]

    def test_equal_values_are_taken_in_order(self):
        run = run_of(*(record(n, 0.0) for n in range(4)))
        assert ids(finalists(run)) == ["t0000", "t0001"]

    def test_repeats_of_one_config_race_once(self):
        run = run_of(record(0, 0.2, 7), record(1, 0.2, 7), record(2, 0.2, 7))
        assert ids(finalists(run)) == ["t0000"]

    def test_one_trial(self):
        assert ids(finalists(run_of(record(0, 0.0)))) == ["t0000"]

    def test_nobody_has_a_value(self):
        for trials in ((), (record(0, None, state=State.FAILED),)):
            with pytest.raises(RunFailedError, match="nothing can win"):
                finalists(run_of(*trials))

    def test_pruned_ones_only_where_none_completed(self):
        pruned = record(1, 0.9, state=State.PRUNED)
        assert ids(contenders([record(0, 0.1), pruned])) == ["t0000"]
        assert ids(contenders([record(0, None, state=State.FAILED), pruned])) == ["t0001"]

    def test_what_the_end_of_the_time_cut_off_may_win(self):
        """It was stopped by the clock, not because others were better."""
        late = replace(record(2, 0.9, state=State.PRUNED), reason=Reason.TIME)
        stopped = replace(record(1, 0.95, state=State.PRUNED), reason=Reason.ASHA)
        assert ids(contenders([record(0, 0.1), stopped, late])) == ["t0002", "t0000"]

    def test_a_leaky_default_does_not_race(self):
        leaky = record(0, 0.9)
        leaky.config["negatives_exclude"] = "all"
        assert ids(finalists(run_of(leaky, record(1, 0.1)))) == ["t0001"]

    def test_before_more_of_a_method_the_best_of_others_race(self):
        """Two losses of one model are two methods; where the space has none, a model is one."""
        of = {0: "bpr_hard", 1: "bce", 2: "bce", 3: "bpr_hard", 4: "slim", 5: "softmax_cosine"}
        trials = [record(n, 0.9 - n / 10, params={"method": of[n]}) for n in of]
        run = run_of(*trials, settings=("enqueue=[]",))
        run.spec = replace(load_spec("all"), enqueue=(), blend=5)
        # the last is the first to be left out: another of a method that is there
        assert ids(finalists(run)) == ["t0000", "t0001", "t0004", "t0005", "t0002"]
        run.spec = replace(run.spec, blend=2, race=replace(run.spec.race, finalists=1))
        assert ids(finalists(run)) == ["t0000", "t0001", "t0004"]

    def test_without_enqueue_there_is_no_default(self):
        trials = (record(0, 0.1), record(1, 0.3))
        assert first_default(run_of(*trials, settings=("enqueue=[]",))) is None
        assert first_default(run_of(*trials)) is trials[0]
        assert first_default(run_of(record(0, None, state=State.FAILED), record(1, 0.1))) is None
        assert first_default(run_of()) is None


def test_a_default_that_the_search_cut_off_is_the_first_to_be_left_out():
    others = [record(n, 0.5 - n / 100) for n in range(1, 5)]
    complete = finalists(run_of(record(0, 0.1), *others))
    assert [t.id for t in complete][:2] == ["t0001", "t0000"]
    by_the_clock = replace(record(0, 0.1, state=State.PRUNED), reason=Reason.TIME)
    assert finalists(run_of(by_the_clock, *others))[1].id == "t0000"
    cut = finalists(run_of(record(0, 0.1, state=State.PRUNED), *others))
    assert [t.id for t in cut] == [t.id for t in complete if t.id != "t0000"] + ["t0000"]
