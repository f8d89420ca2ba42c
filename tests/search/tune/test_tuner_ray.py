"""`run_trials` under a real Ray: what searcher, scheduler and recorder make of the same trials."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.interactions import CSR
from search.machine import environment
from search.machine.cluster import Resources
from search.machine.workers import Patience
from search.propose.trials import from_journal
from search.record.events import EpochRow, Reason, SessionBegan, State, TrialEnded, TrialMade
from search.record.journal import Journal, read_state
from search.space.load import load_spec
from search.space.trial import TrialConfig
from search.tune import tuner
from search.tune.outcome import Report, trial_of
from search.tune.scheduler import EpochASHA, rungs
from search.tune.searcher import StudySearch
from search.tune.tuner import Recorder, Watch, run_trials
from search.tune.worker import TrialData
from tests.search.fake_search import records
from tests.search.spaces import override

SPEC = override(load_spec("smoke"), ["max_epochs=20", "trials=14"])
FEW = CSR.from_pairs(np.array([0]), np.array([0]), 1, 2)
DATA = TrialData(FEW, FEW, None, SPEC.metric, (SPEC.metric,), tuple(rungs(SPEC)), 1, "cpu")


def train_fake(config: dict[str, Any], data: TrialData) -> None:
    """Curves that rise to a height given by lr; some configs fail, in the ways there are."""
    from ray import tune

    trial = trial_of(config)
    height = 1 / (1 + abs(trial.params["lr"] - 0.1) * 10)
    rows: list[EpochRow] = []
    for epoch in range(1, 21):
        if trial.number == 6:
            raise RuntimeError("the worker is broken")
        value = height * epoch / 20
        rows.append(EpochRow(epoch, 0.5, (value,), 0.25, 0.25))
        said = Report(epoch, value, epoch, rows=rows)
        if trial.number == 4:
            said = replace(said, stop="error", error="Traceback", cause="diverged in epoch 1")
        elif epoch == 20:
            said = replace(said, stop="epochs")
        elif trial.number == 1 and epoch == 11:
            said = replace(said, stop="patience")
        if said.stop is not None or epoch in data.rungs:
            tune.report(said.flat())
            rows = []
        if said.stop is not None:
            return


class Screen:
    """What a display is told of trials, by their ids."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: dict[str, State] = {}

    def trial_started(self, trial_id: str, params: dict[str, Any], leaky: bool) -> None:
        self.started.append(trial_id)

    def trial_progress(self, trial_id: str, epoch: int, best: float) -> None:
        assert trial_id not in self.ended

    def trial_ended(self, end: TrialEnded) -> None:
        self.ended[end.id] = end.state


@pytest.fixture
def ray_of_two() -> Iterator[None]:
    # Ray and Tune take these over for good, and the tests after this one need them as they were.
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # beside busy processes it would crawl
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    import ray

    root = str(Path(__file__).resolve().parents[3])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        # quoted: a checkout may lie in a folder with a blank in its name
        runtime_env=environment.runtime_env({"PYTHONPATH": root}, shlex.quote(sys.executable)),
    )
    yield
    ray.shutdown()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
def test_study_rungs_journal_and_screen_agree(
    ray_of_two: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "run_trial", train_fake)
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "1")  # set by the call, for good
    journal = Journal(tmp_path / "journal.jsonl")
    journal.append(SessionBegan(name="one", settings={}))

    def made(trial: TrialConfig) -> None:
        params, flat = trial.params, trial.train.to_flat()
        line = TrialMade(
            id=trial.id, number=trial.number, params=params, config=flat, seed=trial.seed
        )
        journal.append(line)

    search, asha, screen = StudySearch(SPEC, seed=1, on_new=made), EpochASHA(SPEC), Screen()
    watch = Watch(lambda: float("inf"), search.finish)
    patience = Patience(lambda _: None, lambda: None)
    recorder = Recorder(
        journal, screen, watch, DATA.metrics, fail_after=5, patience=patience, ends_for=Reason.ASHA
    )
    resources = Resources(cpus_per_trial=1, gpus_per_trial=0, cores=2, concurrent=2)
    brought: list[set[str]] = []
    watched = recorder.on_trial_result

    def look(*given: Any, result: dict[str, Any], **more: Any) -> None:
        brought.append(set(result))
        watched(*given, result=result, **more)

    monkeypatch.setattr(recorder, "on_trial_result", look)
    # the searcher ends it, although this call might make more trials
    run_trials(resources, DATA, search, asha, 100, recorder, tmp_path / "tune", "tune")
    journal.close()
    # a report does not bring the whole trial back
    assert not any(keys & {"config", "date", "hostname"} for keys in brought)
    trials = read_state(journal.path).in_order()
    found = records(search.study)
    assert [t.number for t in trials] == [t.number for t in found] == list(range(14))
    assert {t.state for t in found} == {"COMPLETE", "PRUNED", "FAILED"}
    assert [t.number for t in found if t.state == "FAILED"] == [4, 6]
    assert found[4].error == trials[4].cause == "diverged in epoch 1"
    assert found[6].error == "the trial's process died"
    assert "the worker is broken" in str(trials[6].error)
    assert {t.id: t.attempt for t in trials if t.attempt != 1} == {"t0006": 3}
    for ours, told in zip(trials, found, strict=True):
        assert (ours.state, ours.params) == (told.state, told.params)
        if ours.state == State.FAILED:
            continue
        # the report that ended it is in the study, and its value is the best so far
        assert told.steps[-1] == (ours.epochs, ours.value)
        assert told.value == ours.value
        assert len(ours.rows) == ours.epochs
        ends = {State.PRUNED: rungs(SPEC), State.COMPLETE: [11 if ours.number == 1 else 20]}
        assert ours.epochs in ends[ours.state]
        assert (ours.reason == Reason.ASHA) == (ours.state == State.PRUNED)
    assert screen.ended == {t.id: t.state for t in trials}
    assert sorted(screen.started) == sorted(t.id for t in trials for _ in range(t.attempt))
    asha_again = EpochASHA(SPEC)
    for trial in trials:
        steps = [(e, v) for e, v in from_journal(trial, SPEC.metric).steps if e in rungs(SPEC)]
        asha_again.replay(trial.id, steps, trial.training, trial.params)
    again, live = (
        {peers: rungs.recorded for peers, rungs in one.reached.items()}
        for one in (asha_again, asha)
    )
    assert again == live
    assert {method for _, method in live} == set(SPEC.methods())
