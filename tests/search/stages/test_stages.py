"""The search stage around its trials: when it has to end, what is left then, what is written."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.interactions import CSR
from recsys.models import config_from_flat
from recsys.models.base import Size
from recsys.rivals import RATE, Needed
from search.machine.cluster import Resources
from search.record.events import (
    EpochsReported,
    PaceSet,
    Reason,
    SessionBegan,
    StageMarked,
    StageState,
    State,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.folder import RunFolder
from search.record.result import Decided, ResultPart, SearchEnd
from search.space.load import load_spec
from search.space.trial import TrialConfig
from search.stages.context import Stages
from search.stages.search import (
    _settling,
    decide_pace,
    end_leftovers,
    ended_well,
    grace_of,
    search,
    search_deadline,
    search_end,
)
from search.tune.pace import Probed, full_length, to_probe
from search.tune.probe import Measured
from search.tune.searcher import StudySearch
from search.tune.settled import LEAST_TRIALS
from search.tune.tuner import HARD_STOP_GRACE_S
from search.tune.work import epoch_work
from tests.search.fake_search import open_study, records
from tests.search.spaces import override

SPEC = override(load_spec("smoke"), ["max_epochs=30", "metric=map@10"])
COLUMNS = ["epoch", "loss", "map@10", "train_seconds", "eval_seconds"]


class Run:
    """A run folder with a journal, and its stages without a cluster."""

    def __init__(self, folder: Path, *, budget: float | None = None, deadline: float | None = None):
        self.folder = RunFolder.create(folder, "one")
        self.journal = self.folder.journal()
        self.journal.append(SessionBegan(name="one", settings={"seed": 1}))
        self.stages_said: list[str] = []
        self.notes: list[str] = []
        self.budget, self.deadline = budget, deadline

    def trial(self, number: int, *values: float, end: State | None = None) -> TrialConfig:
        """A trial with one epoch a value, each of 2 seconds."""
        params = dict(SPEC.enqueue[0]) | {"lr": 0.05 + number / 1000}
        made = TrialConfig.of(SPEC, params, 1, number)
        flat = made.train.to_flat()
        add = self.journal.append
        add(TrialMade(id=made.id, number=number, params=params, config=flat, seed=made.seed))
        add(TrialBegan(id=made.id, attempt=1))
        rows = [[n + 1, 0.5, value, 1.5, 0.5] for n, value in enumerate(values)]
        if rows:
            add(EpochsReported(id=made.id, attempt=1, columns=COLUMNS, rows=rows))
        if end is not None:
            fields: dict[str, Any] = {"best_epoch": 1, "epochs": len(rows), "busy_s": 2 * len(rows)}
            add(TrialEnded(id=made.id, state=end, value=max(values), **fields))
        return made

    def stages(self, n_items: int | None = None) -> Stages:
        """n_items: of the data of a split with test items; None: the split has none."""
        nothing: Any = None
        split: Any = SimpleNamespace(test=None)
        if n_items is not None:
            pairs = CSR.from_pairs(np.array([0]), np.array([0]), 2, n_items)
            split = SimpleNamespace(test=pairs, train=pairs)
        display: Any = SimpleNamespace(stage=self.stages_said.append, note=None)
        settings: Any = SimpleNamespace(seed=1, time_budget=self.budget)
        return Stages(
            spec=SPEC,
            settings=settings,
            dataset=nothing,
            split=split,
            plan=nothing,
            folder=self.folder,
            journal=self.journal,
            display=display,
            cluster=nothing,
            resources=Resources(1, 0.0, 2, 2),
            deadline=self.deadline,
        )


def test_what_ray_left_goes_even_where_no_trial_is_left_to_run(tmp_path: Path) -> None:
    """A driver that was killed between the last trial and the removal."""
    run = Run(tmp_path)
    run.trial(0, 0.1, 0.2, end=State.COMPLETE)
    stages = run.stages()
    stages.spec = replace(SPEC, trials=1)
    known: Any = SimpleNamespace
    stages.cluster = known(
        patience=lambda _: None,
        lost=lambda: None,
        fetch=lambda ref: ref,
        store=lambda content: content,
    )
    stages.settings = known(seed=1, time_budget=None, storage=None, settles=False)
    stages.split = known(train=CSR.from_pairs(np.arange(2), np.arange(2), 2, 100))
    stages.dataset = known(interactions=known(n_items=100))
    (run.folder.ray / "trial").mkdir(parents=True)
    search(stages)
    assert not run.folder.ray.exists()


def test_how_many_fit_is_asked_as_the_search_goes_on(tmp_path: Path) -> None:
    """On a cluster, whose nodes come and go; a Ray of this machine stays as it is."""
    stages, room = Run(tmp_path).stages(), [1]
    known: Any = SimpleNamespace
    stages.cluster = known(slots=lambda _: lambda: room[0])
    assert stages.fit() == 1
    room[0] = 400
    assert stages.fit() == 400
    alone = replace(stages, cluster=known(slots=lambda _: None))
    assert alone.fit() == alone.resources.concurrent


def test_trials_are_fitted_to_what_is_left_of_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that starts itself again, before its first trial, has the end that it had."""
    asked: list[float | None] = []
    monkeypatch.setattr("search.stages.search.measure", lambda *given, **_: asked.append(given[-1]))
    monkeypatch.setattr(Stages, "data", None)
    stages = Run(tmp_path, budget=1000.0).stages()
    for stages.deadline in (None, time.monotonic() + 200.0, time.monotonic() - 5.0):
        decide_pace(stages)
    assert asked == [None, pytest.approx(200.0, abs=30.0), 1.0]


class TestExtended:
    """A run of two paced trials, which is extended by more."""

    def extended(self, folder: Path, pace: PaceSet | None, budget: float | None) -> Run:
        run = Run(folder, budget=budget, deadline=budget and time.monotonic() + budget)
        if pace is not None:
            run.journal.append(pace)
        for number in range(2):
            run.trial(number, 0.1, 0.2, end=State.COMPLETE)
        run.journal.append(SessionBegan(extends=True))
        return run

    def decide(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0, trials: int = 8
    ) -> list[Any]:
        """What was asked of `measure`, which finds that an epoch takes so many seconds."""
        asked: list[Any] = []

        def measure(_: Any, __: Any, spec: Any, ___: Any, budget: Any, *, asked_too: bool) -> Any:
            asked.append((spec.trials, budget and round(budget, -2), asked_too))
            configs, size = list(spec.examples()), Size(500, 100, 5_000)
            kinds = to_probe(configs).values()
            probed = [Probed(c.kind, epoch_work(c, size), seconds, 0.0, 400) for c in kinds]
            full = full_length(probed, size, 400)
            return Measured(spec, configs, probed, full, 400, 2, budget, threads=1)

        given = lambda *words, asked=False: measure(*words, asked_too=asked)  # noqa: E731
        monkeypatch.setattr("search.stages.search.measure", given)
        monkeypatch.setattr(Stages, "data", None)
        stages = run.stages()
        stages.spec = replace(SPEC, trials=trials)
        stages.display = SimpleNamespace(note=run.notes.append)  # type: ignore[assignment]
        decide_pace(stages)
        decide_pace(stages)  # once is enough
        return asked

    OLD = PaceSet(rates={"lfm bpr fixed": 1.0}, trial_seconds=1.0, eval_seconds=0.1, users=300)

    def test_its_lengths_are_decided_anew_on_the_same_users(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = self.extended(tmp_path, self.OLD, 1000.0)
        assert self.decide(run, monkeypatch, 30.0) == [(6, 1000, True)]
        state = run.folder.state()
        assert state.pace is not None and state.pace != self.OLD
        assert (state.pace.users, state.paced_from) == (300, 2)
        assert any("fit into the time budget" in line for line in run.notes)
        assert "not beside the earlier trials" in run.notes[-1]

    def test_where_all_fit_they_are_of_full_length(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = self.extended(tmp_path, self.OLD, 10_000.0)
        self.decide(run, monkeypatch, 0.01)
        stages = run.stages()
        stages.split = SimpleNamespace(
            train=CSR.from_pairs(np.zeros(1, int), np.zeros(1, int), 500, 100)
        )  # type: ignore[assignment]
        pace = stages.pace
        assert pace is not None and pace.users == 300
        assert {pace.fit(c).most_epochs for c in SPEC.examples()} <= {None, SPEC.max_epochs}

    def test_one_of_a_run_without_a_budget_is_fitted_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = self.extended(tmp_path, None, 1000.0)
        assert self.decide(run, monkeypatch, 30.0) == [(6, 1000, False)]
        state = run.folder.state()
        assert state.pace is not None
        assert (state.pace.users, state.paced_from) == (None, 2)

    def test_without_a_budget_the_lengths_stay_and_it_is_said(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = self.extended(tmp_path, self.OLD, None)
        assert self.decide(run, monkeypatch) == []
        assert "as long as the earlier time budget made trials" in run.notes[0]
        kept = run.folder.state().pace
        assert kept is not None and replace(kept, time=None) == self.OLD

    def test_nothing_is_decided_where_no_trial_is_to_be_made_or_one_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = self.extended(tmp_path, self.OLD, 1000.0)
        assert self.decide(run, monkeypatch, trials=2) == []
        run.trial(2, 0.1)
        assert self.decide(run, monkeypatch) == []

    def test_earlier_trials_are_in_no_rung_and_the_searcher_reads_them_anew(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = Run(tmp_path)
        made = run.trial(0, 0.1, 0.2, 0.3, 0.4, end=State.COMPLETE)
        rates = {made.train.kind: 1.0}
        run.journal.append(PaceSet(rates=rates, trial_seconds=1e-9, eval_seconds=0.0))
        run.trial(1, 0.1, 0.2, 0.3, 0.4, end=State.COMPLETE)
        stages, replayed, known = run.stages(), [], []
        stages.spec = replace(SPEC, trials=2)
        other: Any = SimpleNamespace
        stages.cluster = other(
            patience=lambda _: None, lost=lambda: None, fetch=None, store=lambda content: content
        )
        stages.settings = other(seed=1, time_budget=None, storage=None, settles=False)
        stages.split = other(train=CSR.from_pairs(np.arange(2), np.arange(2), 2, 100))
        stages.dataset = other(interactions=other(n_items=100))
        scheduler = other(replay=lambda name, *_: replayed.append(name), ends_for=None)
        monkeypatch.setattr("search.stages.search.make_scheduler", lambda *_, **__: scheduler)

        def searcher(spec: Any, trials: Any, **more: Any) -> Any:
            known.extend(trials)
            return StudySearch(spec, trials, **more)

        monkeypatch.setattr("search.stages.search.StudySearch", searcher)
        search(stages)
        assert replayed == ["t0001"]
        # the first would be judged whole after three epochs now
        assert [(len(one.steps), one.value) for one in known] == [(3, 0.3), (4, 0.4)]


class TestSettled:
    """`--time-budget auto`, before and after a resume."""

    def stages(self, run: Run, valid: int = 300) -> Stages:
        """valid: how many users the race is on."""
        known: Any = SimpleNamespace
        stages, users = run.stages(), np.arange(valid)
        stages.spec = replace(SPEC, trials=100)
        stages.cluster = known(
            patience=lambda _: None,
            lost=lambda: None,
            fetch=lambda ref: ref,
            store=lambda content: content,
            slots=lambda _: None,
            watch=None,
        )
        stages.settings = known(seed=1, time_budget=None, storage=None, settles=True)
        one = CSR.from_pairs(users, np.zeros(valid, np.int64), valid, 100)
        other = CSR.from_pairs(users, np.ones(valid, np.int64), valid, 100)
        stages.split = known(train=one, valid=other, test=None)
        stages.dataset = known(interactions=known(n_items=100))
        return stages

    @pytest.mark.parametrize("running", [0, 2])
    def test_what_still_ran_comes_to_its_end_after_a_resume(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: int
    ) -> None:
        run = Run(tmp_path)
        for number in range(LEAST_TRIALS):
            run.trial(number, 0.1, 0.2, end=State.COMPLETE)
        left = [run.trial(LEAST_TRIALS + n, 0.1).id for n in range(running)]
        stages, budgets, handed = self.stages(run), list[int](), list[str]()

        def run_trials(*given: Any) -> None:
            searcher, budget, recorder = given[2], given[4], given[5]
            budgets.append(budget)
            assert recorder.watch.settled
            while isinstance(one := searcher.suggest(f"x{len(handed)}"), dict):
                handed.append(one["trial"].id)
                run.journal.append(
                    TrialEnded(id=handed[-1], state=State.COMPLETE, value=0.1, epochs=2, busy_s=4)
                )

        monkeypatch.setattr("search.stages.search.run_trials", run_trials)
        monkeypatch.setattr(Stages, "trial_data", None)
        stages.display.note = run.stages_said.append
        found = search(stages)
        assert (budgets, handed) == ([running] if running else [], left)
        assert found.stopped_by == SearchEnd.SETTLED
        ends = [(t.state, t.reason) for t in stages.state.in_order()]
        assert ends == [(State.COMPLETE, None)] * (LEAST_TRIALS + running)

    def test_a_gap_is_held_against_what_the_race_tells_apart_on_all_users(
        self, tmp_path: Path
    ) -> None:
        """Trials may have been validated on a sample of them."""
        run = Run(tmp_path)
        run.trial(0, 0.2, end=State.COMPLETE)
        whole = _settling(self.stages(run))
        run.journal.append(
            PaceSet(rates={"mf": 1e-9}, trial_seconds=1.0, eval_seconds=0.1, users=100)
        )
        sampled = self.stages(run)
        assert sampled.pace is not None and sampled.pace.users == 100
        assert whole is not None
        assert whole.users == 300
        assert _settling(sampled) == whole
        sampled.settings.settles = False  # type: ignore[misc]
        assert _settling(sampled) is None


class TestDeadline:
    def test_without_a_budget_there_is_none(self, tmp_path: Path) -> None:
        assert search_deadline(Run(tmp_path).stages()) == math.inf

    def test_what_follows_is_kept_free(self, tmp_path: Path) -> None:
        run = Run(tmp_path, budget=1000.0, deadline=5000.0)
        run.trial(0, 0.1, 0.2, end=State.COMPLETE)  # 4 seconds
        race = SPEC.race
        after = 4 * ((race.finalists + 1) * race.replicates / 2 + 2) * 1.3 + 15
        assert after < 500
        assert search_deadline(run.stages()) == pytest.approx(5000 - after)

    def test_rivals_are_reckoned_from_like_trials_or_from_their_cost(self, tmp_path: Path) -> None:
        run = Run(tmp_path, budget=1000.0, deadline=5000.0)
        run.trial(0, 0.1, 0.2, end=State.COMPLETE)
        solve = 10_000**3 / RATE
        need = run.stages(10_000).reserve.rivals_need()
        # seven solves would take longer than a tenth of the budget
        assert (need.choosing, need.training) == pytest.approx((100, solve), rel=1e-3)
        assert run.stages().reserve.rivals_need() == Needed()
        race = 4 * (SPEC.race.finalists + 1) * SPEC.race.replicates
        assert race < 100 > solve > 4  # on two workers choosing takes longer than all else
        after = (100 + solve + 4) * 1.3 + 15
        assert search_deadline(run.stages(10_000)) == pytest.approx(5000 - after, abs=0.5)
        slim = {"id": "t0001", "number": 1, "params": {}, "seed": 1}
        run.journal.append(TrialMade(config={"model": "slim"}, **slim))
        run.journal.append(TrialEnded(id="t0001", state=State.COMPLETE, value=0.1, busy_s=7.0))
        need = run.stages(20_000).reserve.rivals_need()
        assert (need.choosing, need.training) == pytest.approx((5 * 7, 7), abs=0.1)

    def test_at_most_four_tenths_of_the_budget_are(self, tmp_path: Path) -> None:
        run = Run(tmp_path, budget=20.0, deadline=5000.0)
        run.trial(0, 0.1, 0.2, end=State.COMPLETE)
        assert search_deadline(run.stages()) == 4992


class TestLeftovers:
    def test_what_was_cut_off_ends_as_pruned_with_its_best_value(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        run.trial(0, 0.1, 0.2, end=State.COMPLETE)
        run.trial(1, 0.1, 0.4, 0.3)
        run.trial(2)
        stages = run.stages()
        end_leftovers(stages, Reason.TIME)
        done, cut, never = stages.state.in_order()
        assert (done.state, done.value) == (State.COMPLETE, 0.2)
        assert (cut.state, cut.reason, cut.value) == (State.PRUNED, Reason.TIME, 0.4)
        assert (cut.epochs, cut.busy_s, cut.best_epoch) == (3, 6.0, 2)
        assert (never.state, never.value, never.epochs) == (State.PRUNED, None, 0)
        assert never.best_epoch is None
        assert (run.folder.path / "trials.csv").read_text().count("PRUNED,time") == 2

    def test_a_reason_that_is_not_known_is_said_to_be_none(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        run.trial(0, 0.1)
        stages = run.stages()
        end_leftovers(stages, None)
        assert stages.state.trials["t0000"].reason == Reason.STOPPED

    def test_where_all_have_ended_nothing_is_written(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        run.trial(0, 0.1, end=State.COMPLETE)
        before = run.journal.size
        end_leftovers(run.stages(), Reason.TIME)
        assert run.journal.size == before


class TestStudy:
    def test_its_file_is_what_the_journal_says(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        run.trial(0, 0.1, 0.3, 0.2, end=State.COMPLETE)
        run.trial(1, 0.2, 0.1, end=State.PRUNED)
        run.trial(2, 0.4)
        (run.folder.path / "study.journal").write_text('{"torn')
        run.stages().write_study()
        first, second, third = records(open_study(run.folder.path / "study.journal"))
        assert (first.state, first.value) == (State.COMPLETE, 0.3)
        assert first.steps == ((1, 0.1), (2, 0.3), (3, 0.3))
        assert (second.state, second.steps) == (State.PRUNED, ((1, 0.2), (2, 0.2)))
        assert (third.state, third.steps) == (State.RUNNING, ())
        assert [t.number for t in (first, second, third)] == [0, 1, 2]


class TestStage:
    def test_it_is_marked_before_and_after_and_not_run_twice(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        stages = run.stages()
        seen = []

        def work() -> ResultPart:
            seen.append(run.folder.state().stages["race"].state)
            return Decided(winner="t0001", epochs=3)

        stages.stage("race", work)
        stages.stage("race", work)
        assert seen == [StageState.START]
        assert run.stages_said == ["race"]
        assert stages.state.stages["race"].data == {"winner": "t0001", "epochs": 3}

    def test_one_that_is_begun_again_runs_again(self, tmp_path: Path) -> None:
        run = Run(tmp_path)
        stages = run.stages()
        stages.stage("race", lambda: Decided(winner="t0001", epochs=3))
        run.journal.append(StageMarked(name="race", state=StageState.START))
        stages.refresh()
        stages.stage("race", lambda: Decided(winner="t0002", epochs=3))
        assert stages.state.stages["race"].data == {"winner": "t0002", "epochs": 3}


def test_a_config_comes_back_from_the_journal_as_it_was(tmp_path: Path) -> None:
    run = Run(tmp_path)
    made = run.trial(0, 0.1)
    record = run.folder.state().trials["t0000"]
    assert record.training == made.train
    later = replace(record, config=dict(record.config) | {"lr": 0.25})
    assert later.training == config_from_flat(made.train.to_flat() | {"lr": 0.25})


@pytest.mark.parametrize(
    ("stopped", "exhausted", "end"),
    [
        (None, False, SearchEnd.TRIALS),
        (None, True, SearchEnd.SPACE),
        (Reason.TIME, False, SearchEnd.TIME),
        (Reason.TIME, True, SearchEnd.TIME),
    ],
)
def test_why_a_search_ended(stopped: Reason | None, exhausted: bool, end: SearchEnd) -> None:
    assert search_end(stopped, exhausted) == end


def test_a_search_that_settled_says_so_unless_time_was_up_first() -> None:
    assert search_end(None, False, settled=True) == SearchEnd.SETTLED
    assert search_end(Reason.TIME, False, settled=True) == SearchEnd.TIME


def test_a_failed_search_has_no_such_end() -> None:
    with pytest.raises(AssertionError):
        search_end(Reason.WORKERS, False)


def test_how_long_a_trial_may_be_late(tmp_path: Path) -> None:
    """A tenth of the budget, where there is something to hand over."""
    run = Run(tmp_path, budget=100.0, deadline=5000.0)
    ended: Counter[State] = Counter()
    assert grace_of(run.stages(), ended) == HARD_STOP_GRACE_S
    ended[State.FAILED] += 1
    assert grace_of(run.stages(), ended) == HARD_STOP_GRACE_S
    ended[State.PRUNED] += 1
    assert grace_of(run.stages(), ended) == 10.0
    run.budget = 10_000.0
    assert grace_of(run.stages(), ended) == HARD_STOP_GRACE_S
    run.budget = None
    assert grace_of(run.stages(), ended) == HARD_STOP_GRACE_S


def test_what_an_earlier_session_reached_counts(tmp_path: Path) -> None:
    run = Run(tmp_path, budget=100.0, deadline=5000.0)
    assert not ended_well(run.stages().state)
    run.trial(0, end=None)
    assert not ended_well(run.stages().state)
    run.trial(1, 0.1, 0.2, end=State.COMPLETE)
    assert ended_well(run.stages().state)
    assert grace_of(run.stages(), Counter()) == 10.0
