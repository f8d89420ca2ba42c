"""The searcher after interruptions: what is rebuilt, handed out again, and left alone."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from recsys.errors import ConfigError
from search.propose.study import remake
from search.propose.study_journal import as_journal
from search.propose.trials import StudyTrial, from_journal
from search.record.events import EpochsReported, State, TrialEnded, TrialMade
from search.record.state import RunState
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig
from search.tune.searcher import StudySearch
from tests.search.fake_search import finish, objective, open_study, records, run, spec, suggest

__all__ = ["spec"]


def test_a_retried_trial_reports_its_epochs_again(spec: SearchSpec) -> None:
    search = StudySearch(spec, seed=1, budget=1)
    search.suggest("x")
    for epoch in (4, 12, 4, 12, 36):
        search.on_trial_result("x", {"epoch": epoch, "objective": epoch / 100})
    search.on_trial_complete("x", {"epoch": 40, "objective": 0.5, "stop": "epochs"})
    search.on_trial_complete("x", {"epoch": 40, "objective": 0.9, "stop": "epochs"})
    (trial,) = records(search.study)
    assert trial.steps == ((4, 0.04), (12, 0.12), (36, 0.36), (40, 0.5))
    assert (trial.state, trial.value) == ("COMPLETE", 0.5)


@pytest.mark.parametrize("cut", [1, 14, 24])
def test_a_resumed_search_goes_on_as_an_uninterrupted_one(spec: SearchSpec, cut: int) -> None:
    uninterrupted = StudySearch(spec, seed=9, budget=26)
    whole = run(uninterrupted, most=cut)
    found = suggest(uninterrupted, "found")
    assert found is not None
    uninterrupted.on_trial_result("found", {"epoch": 4, "objective": 0.1})
    finish(uninterrupted, "found", objective(found.params))
    whole += [found, *run(uninterrupted)]
    first = StudySearch(spec, seed=9, budget=26)
    run(first, most=cut)
    lost = suggest(first, "lost")
    first.on_trial_result("lost", {"epoch": 4, "objective": 0.1})
    before = records(first.study)
    journaled: list[TrialConfig] = []
    second = StudySearch(spec, before, seed=9, budget=26, on_new=journaled.append)
    assert second.next_id() == f"t{cut:04d}"
    rest = run(second)
    assert rest[0] == lost == whole[cut]
    assert rest == whole[cut:]
    assert journaled == whole[cut + 1 :], "what runs again is in the journal already"
    after = records(second.study)
    assert [t.number for t in after] == list(range(26))
    assert [t.params for t in after] == [trial.params for trial in whole]
    assert all(t.state == "COMPLETE" for t in after)
    assert after[:cut] == before[:cut]


def test_what_a_trial_had_reached_is_known_when_it_runs_again(spec: SearchSpec) -> None:
    """What is proposed before it reports again follows from it too."""
    first = StudySearch(spec, seed=9, budget=40)
    run(first, most=16)
    lost = suggest(first, "lost")
    assert lost is not None
    for epoch, value in ((4, 0.9), (12, 2.0), (36, 5.0)):
        first.on_trial_result("lost", {"epoch": epoch, "objective": value})
    before = records(first.study)
    following = suggest(first, "following")
    for known in (before, [*before[:16], StudyTrial(16, before[16].params, "RUNNING")]):
        second = StudySearch(spec, known, seed=9, budget=40)
        assert suggest(second, "lost") == lost
        (again,) = (t for t in records(second.study) if t.state == "RUNNING")
        assert again.steps == known[16].steps
        same = suggest(second, "following") == following
        assert same is bool(known[16].steps), "what it reached bears on what comes next"
    second = StudySearch(spec, before, seed=9, budget=40)
    suggest(second, "lost")
    second.on_trial_result("lost", {"epoch": 36, "objective": 5.0})
    second.on_trial_complete("lost", {"epoch": 40, "objective": 6.0, "stop": "epochs"})
    assert records(second.study)[16].steps == ((4, 0.9), (12, 2.0), (36, 5.0), (40, 6.0))


def test_the_study_and_its_file_keep_everything(spec: SearchSpec, tmp_path: Path) -> None:
    params = dict(spec.enqueue[0])
    trials = [
        StudyTrial(0, params, "COMPLETE", 0.7, ((4, 0.2), (12, 0.7))),
        StudyTrial(1, params, "PRUNED", 0.3, ((4, 0.3),)),
        StudyTrial(2, params, "FAILED", None, ((4, 0.1),), "diverged"),
        StudyTrial(3, params, "RUNNING", None, ((4, 0.1),)),
        StudyTrial(4, params, "RUNNING"),
        StudyTrial(5, params, "PRUNED"),
    ]
    search = StudySearch(spec, trials[::-1], seed=1, budget=7)
    expected = [*trials[:3], StudyTrial(3, params, "RUNNING"), *trials[4:]]
    assert records(search.study) == expected
    (tmp_path / "run-1").mkdir()
    path = tmp_path / "run-1" / "study.journal"
    path.write_text(as_journal(search.study.get_trials(deepcopy=False), "run-1"))
    assert records(open_study(path)) == expected
    handed = []
    for n in range(3):
        trial = suggest(search, f"x{n}")
        assert trial is not None
        handed.append(trial.number)
        finish(search, f"x{n}", 0.5)
    assert handed == [3, 4, 6]
    assert search.suggest("x") == Searcher.FINISHED
    steps = records(search.study)[3].steps
    assert [epoch for epoch, _ in steps] == [4, 12, 36, 40], "it ran afresh"


def test_trials_that_do_not_fit_are_refused(spec: SearchSpec) -> None:
    params = dict(spec.enqueue[0])
    for bad, part in (
        (StudyTrial(1, params, "COMPLETE", 0.1), "trial 0 is missing"),
        (StudyTrial(0, params | {"lr": 5.0}, "COMPLETE", 0.1), "does not fit"),
        (StudyTrial(0, params | {"margin": 1.0}, "COMPLETE", 0.1), "no effect"),
        (StudyTrial(0, {}, "COMPLETE", 0.1), "is missing"),
    ):
        with pytest.raises(ConfigError, match=f"runs/one: .*{part}"):
            remake(spec, [bad], "runs/one")


def test_extending_adds_to_the_same_study(spec: SearchSpec) -> None:
    first = StudySearch(spec, seed=2, budget=5)
    run(first)
    second = StudySearch(spec, records(first.study), seed=2, budget=8)
    assert [trial.number for trial in run(second)] == [5, 6, 7]
    assert len(records(second.study)) == 8


def test_a_grid_of_constants_has_one_trial(tmp_path: Path) -> None:
    """Its one config has no parameter that is searched."""
    (tmp_path / "one.yaml").write_text("searcher: grid\nparams: {lr: 0.05, latent_factors: 8}\n")
    spec = load_spec(str(tmp_path / "one.yaml"))
    assert (spec.trials, spec.searched()) == (1, ())
    made: list[TrialConfig] = []
    search = StudySearch(spec, seed=1, on_new=made.append)
    (trial,) = run(search, lambda _: 0.5)
    assert made == [trial]
    assert (trial.number, trial.params, trial.train) == (0, {}, spec.train_config({}))
    assert not search.exhausted
    again = StudySearch(spec, records(search.study), seed=1, budget=2)
    assert run(again, lambda _: 0.5) == []
    assert again.exhausted


def test_finish(spec: SearchSpec) -> None:
    search = StudySearch(spec, seed=2, budget=9)
    for n in range(3):
        search.suggest(f"x{n}")
    search.finish()
    assert search.suggest("x3") == Searcher.FINISHED
    search.on_trial_complete("x0", {"epoch": 4, "objective": 0.1, "stop": None})
    search.on_trial_complete("x1")
    search.on_trial_complete("x2", {"epoch": 40, "objective": 0.1, "stop": "epochs"})
    assert [t.state for t in records(search.study)] == ["PRUNED", "RUNNING", "COMPLETE"]


def test_ray_may_save_it_and_nothing_is_saved(spec: SearchSpec, tmp_path: Path) -> None:
    search = StudySearch(spec, seed=2, budget=9, on_new=lambda trial: None)
    run(search, most=3)
    search.save_to_dir(str(tmp_path / "tune"))
    assert not (tmp_path / "tune").exists()
    assert pickle.loads(pickle.dumps(search)).__dict__ == {}
    with pytest.raises(NotImplementedError):
        search.restore(str(tmp_path))


def test_a_hook_that_fails_stops_the_search(spec: SearchSpec) -> None:
    def full(trial: TrialConfig) -> None:
        raise OSError("disk full")

    search = StudySearch(spec, seed=2, budget=9, on_new=full)
    with pytest.raises(OSError, match="disk full"):
        search.suggest("x")


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
    assert (first.nth, second.nth) == (0, None)
    assert first.steps == ((1, 0.1), (2, 0.1), (3, 0.3), (4, 0.3))
    assert (first.state, first.error) == ("FAILED", "diverged")
    assert second == StudyTrial(1, params, State.RUNNING)
