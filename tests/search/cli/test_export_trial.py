"""`export --trial` of a run that was decided: what the run would have handed over, alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from recsys.data import load
from recsys.split import make_split
from search.cli.main import main
from search.record.events import SessionBegan
from search.record.result import Decided, Finalist
from search.record.settings import Settings, settings_of
from search.space.load import load_spec
from search.space.trial import trial_seed
from search.stages.winner import final_training, training_alone, winner_training
from tests.search.stages.searched import Run, blended_as_proven

# a factorization, whose seed and epochs change what it recommends
FACTORS = """
metric: ndcg@10
trials: 3
max_epochs: 8
k: 10
race: {finalists: 2, replicates: 3}
blend: 3
params:
  model: {choice: [lfm, popularity]}
  loss: {value: bpr, when: {model: lfm}}
  neg_mode: {value: even, when: {model: lfm}}
  optimizer: {value: adagrad, when: {model: lfm}}
  batch_size: {value: 1, when: {model: lfm}}
  latent_factors: {value: 16, when: {model: lfm}}
  lr: {choice: [0.05, 0.1], when: {model: lfm}}
enqueue:
  - {model: lfm, lr: 0.1}
  - {model: lfm, lr: 0.05}
  - {model: popularity}
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """Makes a run in `runs/` whose search is over; its trials had their best after one epoch."""
    monkeypatch.chdir(tmp_path)
    dataset, smoke = load("demo", seed=1), load_spec("smoke")
    split = make_split(dataset, smoke.split, 42)

    def run(name: str) -> Run:
        (tmp_path / name).mkdir()
        found = Run(tmp_path / name, dataset, split, FACTORS)
        settings = Settings("demo", None, None, 1, 3, None, 1, 0.0, "cpu", None, None, None)
        found.journal.append(SessionBegan(name="one", settings=asdict(settings)))
        found.folder.write("spec.yaml", found.spec.to_yaml())
        found.stages.refresh()
        return found

    return run


def exported(run: Run, *options: str) -> bytes:
    where = ("--runs-dir", str(run.folder.path.parent), "-o", "out.csv")
    assert main(["export", "one", *options, *where]) == 0
    return Path("out.csv").read_bytes()


def test_the_best_trial_is_the_winner_that_was_handed_over(
    made: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the learned number of epochs, with the refit's seed: not those of the search."""
    alone, better = made("alone"), made("better")
    blended_as_proven(alone, monkeypatch, proven=False)
    alone.go("test", "refit")
    winner, epochs = alone.said("race")["winner"], alone.said("race")["epochs"]
    assert alone.stages.state.trials[winner].training.model == "lfm"
    assert epochs != alone.stages.state.trials[winner].best_epoch
    submission = (alone.folder.path / "submission.csv").read_bytes()
    assert exported(alone) == exported(alone, "--trial", "best") == submission
    assert exported(alone, "--trial", winner) == submission
    # with a blend handed over, what the winner alone would have given
    blended_as_proven(better, monkeypatch)
    better.go("test", "refit")
    assert exported(better) == (better.folder.path / "submission.csv").read_bytes() != submission
    assert exported(better, "--trial", "best") == submission


def test_what_raced_is_trained_as_a_winner_would_be(made: Callable[[str], Run]) -> None:
    run = made("one")
    run.go("race")
    state, known = run.stages.state, settings_of(run.stages.state)
    race = Decided.model_validate(run.said("race"))
    winner = state.trials[race.winner]
    assert training_alone(state, known, winner, "cpu") == winner_training(run.stages, "refit")
    second = state.trials[race.finalists[1].id]
    assert second.id != winner.id
    own = training_alone(state, known, second, "cpu")
    assert own.seed == trial_seed(1, f"refit:{second.id}")
    epochs = sorted(race.finalists[1].best_epochs)[1]  # of three
    assert own == final_training(run.stages, second.id, epochs, "refit")


def test_a_trial_that_did_not_race_is_trained_as_in_the_search(
    made: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made("one")
    state, known = run.stages.state, settings_of(run.stages.state)
    for race in (
        None,
        Decided(winner="t0001", epochs=3),
        Decided(winner="t0001", epochs=3, finalists=(Finalist(id="t0001", best_epochs=(3,)),)),
    ):
        monkeypatch.setattr("search.stages.winner.decided", lambda _, race=race: race)
        trial = state.trials["t0000"]
        found = training_alone(state, known, trial, "cpu")
        assert (found.seed, found.epochs) == (trial.seed, 1)
        if race is not None:  # also where nothing raced
            assert training_alone(state, known, state.trials["t0001"], "cpu").epochs == 3
