"""The searcher after interruptions: what is rebuilt, handed out again, and left alone."""

from __future__ import annotations

import copy
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.tune.search import Searcher

from recsys.errors import ConfigError
from search.record.events import EpochsReported, State, TrialEnded, TrialMade
from search.record.state import RunState
from search.space.load import SearchSpec
from search.tune.searcher import StudySearch
from search.tune.study import StudyTrial, from_journal, open_study, rebuild, records
from tests.search.fake_search import finish, run, spec, study_path

__all__ = ["spec", "study_path"]


def test_a_retried_trial_reports_its_epochs_again(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=1, budget=1)
    search.suggest("x")
    for epoch in (4, 12, 4, 12, 36):
        search.on_trial_result("x", {"epoch": epoch, "objective": epoch / 100})
    search.on_trial_complete("x", {"epoch": 40, "objective": 0.5, "stop": "epochs"})
    search.on_trial_complete("x", {"epoch": 40, "objective": 0.9, "stop": "epochs"})
    (trial,) = records(search.study)
    assert trial.steps == ((4, 0.04), (12, 0.12), (36, 0.36), (40, 0.5))
    assert (trial.state, trial.value) == ("COMPLETE", 0.5)


@pytest.mark.parametrize("cut", [1, 14, 24])
def test_a_resumed_search_goes_on_as_an_uninterrupted_one(
    spec: SearchSpec, tmp_path: Path, cut: int
) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run(StudySearch(spec, tmp_path / "whole" / "study.journal", seed=9, budget=26))
    path = tmp_path / "cut" / "study.journal"
    first = StudySearch(spec, path, seed=9, budget=26)
    run(first, most=cut)
    lost = first.suggest("lost")
    assert isinstance(lost, dict)
    first.on_trial_result("lost", {"epoch": 4, "objective": 0.1})
    before = records(first.study)
    path.write_bytes(path.read_bytes()[:-9])  # torn in the middle of a line
    rebuild(path, spec, before)
    journaled: list[int] = []
    second = StudySearch(
        spec, path, seed=9, budget=26, on_new=lambda number, params: journaled.append(number)
    )
    assert second.next_id() == f"t{cut:04d}"
    rest = run(second)
    assert rest[0] == lost == whole[cut]
    assert rest == whole[cut:]
    assert journaled == list(range(cut + 1, 26)), "what runs again is in the journal already"
    after = records(open_study(path))
    assert [t.number for t in after] == list(range(26))
    assert [t.params for t in after] == [config["params"] for config in whole]
    assert all(t.state == "COMPLETE" for t in after)
    assert after[:cut] == before[:cut]


def test_rebuild_keeps_everything(spec: SearchSpec, study_path: Path) -> None:
    params = dict(spec.enqueue[0])
    trials = [
        StudyTrial(0, params, "COMPLETE", 0.7, ((4, 0.2), (12, 0.7))),
        StudyTrial(1, params, "PRUNED", 0.3, ((4, 0.3),)),
        StudyTrial(2, params, "FAILED", None, ((4, 0.1),), "diverged"),
        StudyTrial(3, params, "RUNNING", None, ((4, 0.1),)),
        StudyTrial(4, params, "RUNNING"),
        StudyTrial(5, params, "PRUNED"),
    ]
    study_path.write_text("whatever was here")
    rebuild(study_path, spec, reversed(trials))
    expected = [*trials[:3], StudyTrial(3, params, "RUNNING"), *trials[4:]]
    assert records(open_study(study_path)) == expected
    assert [p.name for p in study_path.parent.iterdir()] == ["study.journal"]
    search = StudySearch(spec, study_path, seed=1, budget=7)
    handed = []
    for n in range(3):
        config = search.suggest(f"x{n}")
        assert isinstance(config, dict)
        handed.append(config["number"])
        finish(search, f"x{n}", 0.5)
    assert handed == [3, 4, 6]
    assert search.suggest("x") == Searcher.FINISHED
    steps = records(search.study)[3].steps
    assert [epoch for epoch, _ in steps] == [4, 12, 36, 40], "it ran afresh"


def test_rebuild_refuses_what_does_not_fit(spec: SearchSpec, study_path: Path) -> None:
    params = dict(spec.enqueue[0])
    study_path.write_text("before")
    for bad, part in (
        (StudyTrial(1, params, "COMPLETE", 0.1), "trial 0 is missing"),
        (StudyTrial(0, params | {"lr": 5.0}, "COMPLETE", 0.1), "does not fit"),
        (StudyTrial(0, params | {"margin": 1.0}, "COMPLETE", 0.1), "no effect"),
        (StudyTrial(0, {}, "COMPLETE", 0.1), "is missing"),
    ):
        with pytest.raises(ConfigError, match=part):
            rebuild(study_path, spec, [bad])
        assert study_path.read_text() == "before"
        assert len(list(study_path.parent.iterdir())) == 1


def test_extending_goes_on_in_the_same_study(spec: SearchSpec, study_path: Path) -> None:
    run(StudySearch(spec, study_path, seed=2, budget=5))
    more = run(StudySearch(spec, study_path, seed=2, budget=8))
    assert [config["number"] for config in more] == [5, 6, 7]
    assert len(records(open_study(study_path))) == 8


def test_finish_and_pause(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=2, budget=9)
    for n in range(3):
        search.suggest(f"x{n}")
    search.finish()
    assert search.suggest("x3") == Searcher.FINISHED
    search.on_trial_complete("x0", {"epoch": 4, "objective": 0.1, "stop": None})
    search.pause()
    search.on_trial_complete("x1", {"epoch": 4, "objective": 0.1, "stop": None})
    search.on_trial_complete("x2", {"epoch": 40, "objective": 0.1, "stop": "epochs"})
    assert [t.state for t in records(search.study)] == ["PRUNED", "RUNNING", "COMPLETE"]


def test_pickle_and_copies_do_no_harm(spec: SearchSpec, study_path: Path) -> None:
    search = StudySearch(spec, study_path, seed=2, budget=9, on_new=lambda number, params: None)
    run(search, most=3)
    assert copy.deepcopy(search) is search
    search.save_to_dir(str(study_path.parent))
    assert [p.name for p in study_path.parent.iterdir()] == ["study.journal"]
    before = study_path.read_bytes()
    again = pickle.loads(pickle.dumps(search))
    assert study_path.read_bytes() == before
    assert records(again.study) == records(search.study)
    assert again.next_id() == "t0003"
    with pytest.raises(NotImplementedError, match="journal"):
        search.restore(str(study_path))


def test_a_torn_study_file_can_be_gone_on_with(spec: SearchSpec, study_path: Path) -> None:
    run(StudySearch(spec, study_path, seed=2, budget=3))
    study_path.write_bytes(study_path.read_bytes() + b'{"op_code": 4, "stu')
    assert [c["number"] for c in run(StudySearch(spec, study_path, seed=2, budget=5))] == [3, 4]
    assert len(records(open_study(study_path))) == 5


def test_a_hook_that_fails_stops_the_search(spec: SearchSpec, study_path: Path) -> None:
    def full(number: int, params: dict[str, Any]) -> None:
        raise OSError("disk full")

    search = StudySearch(spec, study_path, seed=2, budget=9, on_new=full)
    with pytest.raises(OSError, match="disk full"):
        search.suggest("x")


def test_no_study_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such study"):
        open_study(tmp_path / "study.journal")


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_process_leaves_a_study_that_goes_on(
    spec: SearchSpec, study_path: Path, tmp_path: Path, seed: int
) -> None:
    code = f"""
import sys
from pathlib import Path
from search.tune.searcher import StudySearch
from search.space.load import load_spec
spec = load_spec({str(tmp_path / "fake.yaml")!r})
search = StudySearch(spec, Path({str(study_path)!r}), seed=1, budget=100_000)
n = 0
while True:
    search.suggest(str(n))
    if n > 1:
        search.on_trial_complete(str(n - 2), {{"epoch": 4, "objective": 0.5, "stop": None}})
    n += 1
    sys.stdout.write("x")
    sys.stdout.flush()
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout is not None
    rng = np.random.default_rng(seed)
    assert child.stdout.read(int(rng.integers(3, 30)))
    time.sleep(float(rng.uniform(0, 0.02)))
    child.send_signal(signal.SIGKILL)
    child.wait(timeout=600)
    child.stdout.close()
    found = records(open_study(study_path))
    states = [t.state for t in found]
    assert states.count("RUNNING") in (1, 2, 3)
    search = StudySearch(spec, study_path, seed=1, budget=len(found) + 2)
    handed = run(search, lambda params: 0.5)
    running = [t.number for t in found if t.state == "RUNNING"]
    assert [c["number"] for c in handed] == [*running, len(found), len(found) + 1]
    assert "RUNNING" not in [t.state for t in records(open_study(study_path))]


def test_trials_of_the_journal(spec: SearchSpec) -> None:
    state = RunState()
    params = dict(spec.enqueue[0])
    made = TrialMade(id="t0000", number=0, params=params, config={}, seed=1)
    columns = ["epoch", "loss", "map@50", "train_seconds", "eval_seconds"]
    rows = [[1, 0.5, 0.1, 1, 1], [2, 0.4, None, 1, 1], [3, 0.4, 0.3, 1, 1], [4, 0.4, 0.2, 1, 1]]
    for event in (
        made,
        EpochsReported(id="t0000", attempt=1, columns=columns, rows=rows),
        TrialEnded(id="t0000", state=State.FAILED, cause="diverged", error="Traceback"),
        replace(made, id="t0001", number=1),
    ):
        state.apply(event, 0)
    first, second = (from_journal(t, "map@50") for t in state.in_order())
    assert first.steps == ((1, 0.1), (2, 0.1), (3, 0.3), (4, 0.3))
    assert (first.state, first.error) == ("FAILED", "diverged")
    assert second == StudyTrial(1, params, State.RUNNING)
