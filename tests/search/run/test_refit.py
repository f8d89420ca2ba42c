"""`refit`: what of a run is kept, what is measured on newer data, and that it is whole or not."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.errors import ConfigError, DivergedError
from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import Model, ModelConfig, config_from_flat, fit_model
from recsys.models.catalogue import load_catalogue, save_catalogue
from recsys.models.popularity import Popularity, PopularityConfig
from recsys.models.saved import config_text, load_model, save_model
from recsys.safe_files import is_leftover
from search.cli.arguments import search_parser
from search.cli.main import main
from search.cli.runs import lines
from search.record.events import (
    RivalChosen,
    SessionBegan,
    SessionEnded,
    StageMarked,
    StageState,
    State,
    Status,
    TrialEnded,
    TrialMade,
)
from search.record.folder import JOURNAL, RunFolder
from search.record.handed import MODEL, SUBMISSION, digest, disagreement, file_digest
from search.record.measured import load_test_items, load_test_values
from search.record.provenance import times_of
from search.record.result import (
    RESULT,
    Blended,
    BlendMember,
    Decided,
    Handed,
    Refitted,
    ResultPart,
    RunResult,
    decided,
    read_result,
    refit_of,
    write_result,
)
from search.record.settings import Settings, settings_of
from search.run import again as again_module
from search.run import refit as refit_module
from search.run import refit_record
from search.run.again import Recipe, WonRun
from search.run.opened import open_data
from search.screen.display import Display
from search.space.load import load_spec
from search.space.trial import TrialConfig, trial_id, trial_seed
from search.stages.handover import submit
from search.stages.winner import FinalTraining
from tests.factories import journal_of
from tests.search.spaces import override

SPEC = override(
    load_spec("smoke"),
    ["max_epochs=3", "k=5", "metric=map@5", "split.test.fixed=2", "split.valid.fixed=1"],
)
EPOCHS = 2
Call = Callable[..., tuple[int, str]]


def rows(users: int, per_user: int) -> list[str]:
    """Users who like every third item of their own third, the first `per_user` of a shuffle."""
    found = []
    for u in range(users):
        rng = np.random.default_rng(u)
        liked = rng.permutation([i for i in range(60) if i % 3 == u % 3])
        found += [f"u{u},i{i}" for i in liked[:per_user]]
    return found


def write(path: Path, pairs: list[str]) -> Path:
    path.write_text("user,item\n" + "\n".join(pairs) + "\n")
    return path


def searched(home: Path, *, blend: bool = False) -> RunFolder:
    """A finished run `r` on 90 users with 9 items each, as a search leaves it."""
    data = write(home / "old.csv", rows(90, 9))
    settings = Settings(
        str(data), None, None, 42, 2, None, 1, 0.0, "cpu", None, None, "sqlite:///x.db"
    )
    opened = open_data(SPEC, settings, "r", lambda _: None)
    folder = RunFolder.create(home / "runs", "r")
    folder.write("spec.yaml", SPEC.to_yaml())
    events: list[Any] = [
        SessionBegan(
            name="r",
            settings=asdict(opened.settings),
            dataset="old.csv",
            metric=SPEC.metric,
            space=SPEC.name,
        )
    ]
    trials = []
    for n, lr in enumerate((0.1, 0.2)):
        params = dict(SPEC.enqueue[0]) | {"lr": lr}
        made = TrialConfig.of(SPEC, params, 42)
        trials.append(made)
        flat = made.train.to_flat()
        name = trial_id(n)
        events += [
            TrialMade(id=name, number=n, params=params, config=flat, seed=made.seed),
            TrialEnded(id=name, state=State.COMPLETE, value=0.2, best_epoch=1, epochs=3),
        ]
    winner = "t0001"
    everything = opened.split.full()
    training = FinalTraining.of(trials[1].train, EPOCHS, seed=7, threads=1, device="cpu")
    model = training.train(everything)
    save_model(folder.path / MODEL, model.to_bytes(), training.config)
    save_catalogue(folder.path / MODEL, opened.dataset.interactions, everything)
    submit(folder.path / SUBMISSION, model, opened.dataset, everything, SPEC.k)
    handed = Handed(
        trial=winner,
        weights=digest(model.to_bytes()),
        config=digest(config_text(training.config)),
        submission=file_digest(folder.path / SUBMISSION),
    )
    members = (
        BlendMember(id="t0000", weight=0.75, epochs=1),
        BlendMember(id="t0001", weight=0.25, epochs=EPOCHS),
    )
    stages: list[tuple[str, ResultPart]] = [("race", Decided(winner=winner, epochs=EPOCHS))]
    if blend:
        stages.append(("blend", Blended(members=members, handed_over=True)))
    for name, found in [*stages, ("refit", Refitted(handed=handed))]:
        events.append(StageMarked(name=name, state=StageState.DONE, data=found.plain()))
    journal_of(folder.path, *events, SessionEnded(status=Status.DONE))
    write_result(folder, RunResult(status=Status.DONE, valid=0.25))
    folder.close()
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(refit_module, "check_tracking_uri", lambda uri: uri)
    said = SimpleNamespace(sentence=lambda: "delivered", registered=None)
    monkeypatch.setattr(refit_module, "sync", lambda *_: said)
    write(tmp_path / "new.csv", rows(100, 14))
    return tmp_path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(args)
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def files(folder: Path) -> dict[str, str]:
    return {str(p): file_digest(p) for p in folder.rglob("*") if p.is_file()}


def test_a_refit_is_a_run_of_its_own(home: Path, call: Call) -> None:
    origin = searched(home)
    before = files(origin.path)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0, said
    assert files(origin.path) == before
    assert (
        "since r: 100 users (10 new, 90 of the earlier 90), 60 items (0 new, 60 of the earlier "
        "60), 1,400 pairs (590 new, 810 of the earlier 810)\n" in said
    )
    assert "WARNING" not in said
    made = RunFolder.open(home / "runs", "r2")
    state, result = made.state(), read_result(made.path)
    assert result is not None and result.refit_of is not None
    assert state.status == Status.DONE and disagreement(made.path, state) is None
    assert (result.refit_of.run, result.refit_of.uid) == ("r", origin.state().uid)
    assert (result.refit_of.model, result.refit_of.valid) == ("recsearch-old", 0.25)
    assert refit_of(state) == result.refit_of
    assert f"test        map@5 {result.test:.4f}" in said and "(0.2500 in that run" in said

    # the model: the winner's config and epochs on everything, by the plain way
    settings = settings_of(state)
    opened = open_data(SPEC, settings, "r2", lambda _: None)
    trial = origin.state().trials["t0001"]
    seed = trial_seed(42, "refit:t0001")
    twin = FinalTraining.of(trial.training, EPOCHS, seed=seed, threads=1, device="cpu")
    everything = opened.split.full()
    assert twin.train(everything).to_bytes() == load_model(made.path / MODEL).to_bytes()
    assert load_catalogue(made.path / MODEL).seen.digest() == everything.digest()

    # the test: trained on train + validation
    seen = opened.split.search_data()
    twin = FinalTraining.of(
        trial.training, EPOCHS, seed=trial_seed(42, "test:t0001"), threads=1, device="cpu"
    )
    assert opened.split.test is not None
    found = evaluate(twin.train(seen), seen, opened.split.test, ["map@5"])
    assert found.values["map@5"] == result.test
    kept = load_test_values(made.path)
    assert kept is not None and np.array_equal(kept.values, found.per_user["map@5"])
    items = load_test_items(made.path, opened.split.test.n_items)
    assert items is not None and items.digest() == opened.split.test.digest()
    assert " refit r2 --data NEWER.csv\n" in said  # the week after: the latest, not the first

    # its rivals, through the same door: of a run that had none, popularity
    popular = fit_model(PopularityConfig(), seen, rng=np.random.default_rng(0))
    beside = evaluate(popular, seen, opened.split.test, ["map@5"]).values["map@5"]
    assert {name: one.test for name, one in result.baselines.items()} == {"popularity": beside}
    assert [c.against for c in result.test_comparisons] == ["r", "popularity"]
    assert f"popularity {beside:.4f} on the same test items" in said

    assert call("export", "r2", "-o", "out.csv")[0] == 0
    assert (home / "out.csv").read_bytes() == (made.path / SUBMISSION).read_bytes()
    assert {line.cells[0]: line.cells[2] for line in lines(home / "runs")} == {
        "r": "done",
        "r2": "done, a refit of r",
    }
    page = (made.path / "report.html").read_text()
    assert ", the winner of r trained again on new.csv, reaches" in page
    # nothing was searched and nobody chosen: none of a search's words are true of it
    for words in (
        "in the search",
        "too high",
        "best trial so far",
        "winner was chosen",
        "Learning curves",
    ):
        assert words not in page, words
    assert "nothing was chosen by it" in page
    assert "Items of a user" in page


@pytest.mark.parametrize("blend", [False, True])
def test_every_stage_says_how_far_it_is(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch, blend: bool
) -> None:
    searched(home, blend=blend)
    told: list[tuple[str, int, int]] = []

    def take(display: Display, done: int, total: int, what: str = "") -> None:
        told.append((display.now, done, total))

    monkeypatch.setattr(Display, "take", take)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0, said
    epochs = EPOCHS + 1 if blend else EPOCHS  # of the other member, 1
    expected = {"valid": epochs, "test": epochs, "earlier": epochs, "rivals": 1, "refit": epochs}
    assert told == [(stage, n + 1, of) for stage, of in expected.items() for n in range(of)]
    assert tuple(expected) == again_module.REFIT_STAGES
    at = [said.index(f"stage: {stage}\n") for stage in expected]
    assert at == sorted(at)
    assert f"{SPEC.name} on " in said and ": trained again\n" in said


def test_each_model_is_trained_on_what_it_may_see(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = searched(home)
    trained: list[CSR] = []

    def train(_: Recipe, items: CSR, progress: Any) -> Popularity:
        trained.append(items)
        model = Popularity.create(
            PopularityConfig(), items.n_users, items.n_items, rng=np.random.default_rng(0)
        )
        list(
            model.train(
                PopularityConfig(), items, None, rng=np.random.default_rng(0), metric="map@5",
                metrics=(), exclude=None, threads=1, device="cpu", time_limit=None,
            )
        )  # fmt: skip
        return model

    monkeypatch.setattr(Recipe, "train", train)
    monkeypatch.setattr(Recipe, "config", PopularityConfig())
    assert call("refit", "r", "--data", "new.csv", "--name", "r2")[0] == 0
    state = RunFolder.open(home / "runs", "r2").state()
    opened = open_data(SPEC, settings_of(state), "r2", lambda _: None)
    split, then = opened.split, load_catalogue(origin.path / MODEL)
    assert split.test is not None
    validation, test, earlier, final = trained  # and the rivals by their own door
    assert validation.digest() == split.train.digest()
    assert test.digest() == split.search_data().digest()
    assert final.digest() == split.full().digest()
    there = opened.dataset.interactions

    def pairs(csr: CSR, users: Any, items: Any) -> set[tuple[str, str]]:
        return {(users[u], items[i]) for u, i in zip(csr.users(), csr.indices, strict=True)}

    held = pairs(split.test, there.user_ids, there.item_ids)
    was = pairs(then.seen, then.user_ids, then.item_ids)
    assert was & held
    assert pairs(earlier, then.user_ids, then.item_ids) == was - held


def test_the_linear_rival_of_the_run_keeps_its_config(home: Path, call: Call) -> None:
    origin = searched(home)
    ease = {"model": "ease", "ease_l2": 60.0}
    with origin.journal() as journal:
        journal.append(RivalChosen(name="ease", config=ease, metrics={"map@5": 0.1}))
    assert call("refit", "r", "--data", "new.csv", "--name", "r2")[0] == 0
    made = RunFolder.open(home / "runs", "r2")
    result, state = read_result(made.path), made.state()
    assert result is not None
    opened = open_data(SPEC, settings_of(state), "r2", lambda _: None)
    split, config = opened.split, config_from_flat(dict(ease))
    assert split.test is not None
    values = []
    for seen, held in ((split.train, split.valid), (split.search_data(), split.test)):
        twin = fit_model(config, seen, rng=np.random.default_rng(0))
        values.append(evaluate(twin, seen, held, ["map@5"]).values["map@5"])
    found = result.baselines["ease"]
    assert [found.valid, found.test] == values
    assert {c.against for c in result.test_comparisons} == {"r", "popularity", "ease"}
    assert dict(state.rivals["ease"].config) == config.to_flat()  # for a refit of the refit
    assert "EASE" in (made.path / "report.html").read_text()


def test_a_blend_is_trained_again_as_one(home: Path, call: Call) -> None:
    searched(home, blend=True)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0, said
    assert "the blend's, as in r" in said
    made = RunFolder.open(home / "runs", "r2")
    config = json.loads((made.path / MODEL / "config.json").read_text())
    assert [one["weight"] for one in config["members"]] == [0.75, 0.25]
    assert [one["config"]["epochs"] for one in config["members"]] == [1, EPOCHS]
    # and again, from what it has left
    write(home / "newer.csv", rows(100, 15))
    assert call("refit", "r2", "--data", "newer.csv", "--name", "r3")[0] == 0
    result = read_result(home / "runs" / "r3")
    assert result is not None and result.refit_of is not None
    assert (result.refit_of.run, result.refit_of.model) == ("r2", "recsearch-old")


def test_a_result_that_is_lost_is_said_first_and_made_again(home: Path, call: Call) -> None:
    origin = searched(home)
    kept = (origin.path / RESULT).read_text()
    (origin.path / RESULT).write_text("")
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 2
    assert "result.json: not readable" in said and "--resume --run" in said
    assert "trained" not in said
    (origin.path / RESULT).write_text(kept)
    assert call("refit", "r", "--data", "new.csv", "--name", "r2")[0] == 0
    made = home / "runs" / "r2"
    before = read_result(made)
    assert before is not None
    (made / RESULT).unlink()
    code, said = call("--resume", "--run", "r2", "--cpus-per-trial", "2")
    assert code == 0, said
    assert "note: --cpus-per-trial had no effect: nothing ran" in said
    again = read_result(made)
    assert again is not None and again.wall_s is not None and before.wall_s is not None
    assert again.model_copy(update={"wall_s": before.wall_s}) == before


def test_without_a_test_part_the_validation_items_compare(home: Path, call: Call) -> None:
    origin = searched(home)
    origin.write("spec.yaml", override(SPEC, ["split.test=none"]).to_yaml())
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0, said
    assert "on the validation items" in said
    assert "not measured" in said
    assert "popularity 0." in said and "on the same validation items" in said


def test_data_that_are_hardly_newer_are_pointed_out(home: Path, call: Call) -> None:
    origin = searched(home)
    write(home / "part.csv", rows(90, 8))
    code, said = call("refit", "r", "--data", "part.csv", "--name", "part")
    assert code == 0, said
    assert (
        "WARNING: the new data have no pair that r was not trained on: they are a part of its "
        "data, with 90 pairs fewer\n" in said
    )
    # the run knows from when to when its data were
    for name, then, words in (
        ("older", [0, 2_000_000_000], "end on 2001-09-10, before those of r (2033-05-18): they"),
        ("newer", [0, 1_000_000_000], "dates 2001-09-09 to 2001-09-10 (then 1970-01-01 to 2001-"),
        ("window", "lost", "fewer pairs than those of r (540, not 810): the new model"),
    ):
        origin.write_json("provenance.json", {"data": {"times": then}})
        pairs = rows(90, 15)
        pairs = [pair for n, pair in enumerate(pairs) if name != "window" or n % 15 >= 9]
        timed = [f"{pair},{1_000_000_000 + 100 * n}" for n, pair in enumerate(pairs)]
        content = "user,item,timestamp\n" + "\n".join(timed) + "\n"
        (home / f"{name}.csv").write_text(content)
        code, said = call("refit", "r", "--data", f"{name}.csv", "--name", name)
        assert code == 0, said
        assert words in said
        assert ("WARNING" in said) == (name != "newer")
    assert times_of(home / "runs" / "newer") == (1_000_000_000, 1_000_134_900)


def unfinished(home: Path) -> list[str]:
    with RunFolder.open(home / "runs", "r").journal() as journal:
        journal.append(StageMarked(name="refit", state=StageState.START))
    return ["r", "--data", "new.csv"]


def another_kind(home: Path) -> list[str]:
    write(home / "other.csv", [line.replace("u", "x").replace("i", "y") for line in rows(60, 9)])
    return ["r", "--data", "other.csv"]


def same(home: Path) -> list[str]:
    (home / "copy.csv").write_bytes((home / "old.csv").read_bytes())
    return ["r", "--data", "copy.csv"]


def few_items(home: Path) -> list[str]:
    write(home / "few.csv", [f"u{u},i{i}" for u in range(60) for i in range(4) if (u + i) % 4])
    return ["r", "--data", "few.csv"]


def damaged(home: Path) -> list[str]:
    (home / "runs" / "r" / SUBMISSION).write_text("UserId,ItemId\n")
    return ["r", "--data", "new.csv"]


def short_lists(home: Path) -> list[str]:
    write(home / "short.csv", [f"u{u},i{(u + i) % 9}" for u in range(60) for i in range(2)])
    return ["r", "--data", "short.csv"]


def test_a_blend_whose_member_cannot_be_trained_leaves_its_winner(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made is what the winner alone makes; only how it came about is told."""
    searched(home, blend=True)
    train, won = FinalTraining.train, WonRun.read(RunFolder(home / "runs" / "r"))
    member = Recipe.of(won, "cpu", "refit").trainings["t0000"]

    def dies(self: FinalTraining, *args: Any) -> Model:
        if self == member:
            raise DivergedError(1, self.config.key())
        return train(self, *args)

    monkeypatch.setattr(FinalTraining, "train", dies)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0, said
    label = member.config.label()
    why = f"its member t0000 ({label}) cannot be trained: training diverged"
    assert f"the winner alone is trained again, not the blend: {why}" in said
    assert f"of its winner alone, not of its blend: {why}" in said
    made = home / "runs" / "r2"
    result = read_result(made)
    assert result is not None and result.refit_of is not None
    assert result.blend is None and result.best_trial == "t0001"
    assert str(result.refit_of.blend_failed).startswith(why)
    assert result.test_reads == 2  # for the blend, and for the winner
    assert "Read 2 times, last on " in (made / "report.html").read_text()
    # the same without a blend from the beginning
    shutil.move(home / "runs" / "r", home / "runs" / "before")
    searched(home)
    assert call("refit", "r", "--data", "new.csv", "--name", "r3")[0] == 0
    for name in (SUBMISSION, *(path.relative_to(made) for path in (made / MODEL).iterdir())):
        one, other = (home / "runs" / run / name for run in ("r2", "r3"))
        assert one.read_bytes() == other.read_bytes(), name


def test_what_does_not_fit_into_memory_is_said_before_the_training(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(home, blend=True)
    whole, large = again_module.trial_bytes, ["t0000"]
    configs = {t.id: t.training for t in RunFolder(home / "runs" / "r").state().in_order()}

    def taken(config: ModelConfig, *rest: Any) -> int:
        too_large = config.to_flat()["lr"] in [configs[name].to_flat()["lr"] for name in large]
        return 10**15 if too_large else whole(config, *rest)

    monkeypatch.setattr(again_module, "trial_bytes", taken)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0, said
    label = configs["t0000"].label()
    why = f"its member t0000 ({label}), needs 1000000.0 GB of memory on 60 items, and this machine"
    assert f"the winner alone is trained again, not the blend: {why} has " in said
    result = read_result(home / "runs" / "r2")
    assert result is not None and result.blend is None and result.test_reads == 1
    large.append("t0001")
    before = files(home)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r3")
    assert code == 2
    assert "new.csv: the winner of run r, t0001 (" in said
    assert files(home) == before


def test_a_rival_that_cannot_be_trained_ends_no_refit(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(home)

    def dies(*_: Any, **__: Any) -> Model:
        raise DivergedError(1, "it")

    monkeypatch.setattr(again_module, "fit_model", dies)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0, said
    assert "popularity is not measured: training diverged" in said
    result = read_result(home / "runs" / "r2")
    assert result is not None
    assert str(result.baselines["popularity"].skipped).startswith("training diverged")


MISTAKES: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "no data": (lambda _: ["r"], "--data"),
    "no such file": (lambda _: ["r", "--data", "nowhere.csv"], "nowhere.csv"),
    "no such run": (lambda _: ["q", "--data", "new.csv"], "no run here"),
    "a name that is taken": (
        lambda _: ["r", "--data", "new.csv", "--name", "r"],
        "--name r: this run exists: choose another name",
    ),
    "unfinished": (unfinished, "this run has no model yet: finish it with"),
    "another kind": (another_kind, "shares no user and no item with the data of run r"),
    "the same data": (same, "nothing would change"),
    "few items": (few_items, "has only 4 items, and run r makes lists of 5"),
    "lists too short for the split": (
        short_lists,
        "(refit keeps the settings of run r: with others, it is a new search)",
    ),
    "files of somebody else": (damaged, "is not the file that this run's refit made"),
    "no such column": (
        lambda _: ["r", "--data", "new.csv", "--columns", "user=who,item=what"],
        "who",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    name: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched(home)
    prepare, expected = MISTAKES[name]
    args = prepare(home)
    before = files(home)
    try:
        code = main(["refit", *args])
    except SystemExit as end:  # argparse
        code = int(str(end.code))
    error = capsys.readouterr().err
    assert code == 2
    assert expected in error and error.count("\n") == 1
    assert files(home) == before


def test_a_server_that_would_take_nothing_is_refused_before_the_training(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(uri: str) -> None:
        raise ConfigError(f"--tracking-uri {uri}: not under this name")

    searched(home)
    before = files(home)
    monkeypatch.setattr(refit_module, "check_name", check)
    assert main(["refit", "r", "--data", "new.csv", "--tracking-uri", "http://mlflow:5000"]) == 2
    error = capsys.readouterr().err
    assert "--tracking-uri http://mlflow:5000: not under this name" in error
    assert error.count("\n") == 1
    assert files(home) == before


def test_the_command_for_data_of_another_kind_searches_the_space_of_the_run(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = searched(home)
    others = [line.replace("u", "x").replace("i", "y") for line in rows(60, 9)]
    (home / "other data.csv").write_text("who,what\n" + "\n".join(others) + "\n")
    args = ["r", "--data", "other data.csv", "--columns", "user=who,item=what"]
    assert main(["refit", *args]) == 2
    words = shlex.split(capsys.readouterr().err.split("`")[1])
    said = search_parser().parse_args(words[words.index("--space") :])
    assert load_spec(said.space).to_dict() == SPEC.to_dict()
    assert said.space == str(folder.path / "spec.yaml")
    assert (said.data, said.columns) == (str(home / "other data.csv"), "user=who,item=what")


def test_a_failure_while_writing_leaves_no_folder(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(home)

    def full(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(refit_record, "write_result", full)
    with pytest.raises(OSError, match="no space"):
        call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert not (home / "runs" / "r2").exists()


def test_the_journal_appears_whole_and_last(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the disk, with its name; what a process that dies on the way has left is known as such."""
    searched(home)
    synced, fsync = [], os.fsync

    def noted(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    assert call("refit", "r", "--data", "new.csv", "--name", "r2")[0] == 0
    folder = home / "runs" / "r2"
    (at,) = (n for n, path in enumerate(synced) if JOURNAL in path.name)
    assert is_leftover(synced[at].name)
    assert synced[at + 1] == folder
    before = {path.name for path in synced[:at]}
    assert any(name.startswith(f".{RESULT}.") for name in before)


def test_a_refit_is_neither_resumed_nor_extended(home: Path, call: Call) -> None:
    searched(home)
    assert call("refit", "r", "--data", "new.csv", "--name", "r2")[0] == 0
    journal = home / "runs" / "r2" / JOURNAL
    before = journal.read_bytes()
    for args in (["--resume"], ["--extend", "5"]):
        code, said = call("--run", "r2", *args)
        assert code == 2
        assert "trained again: there is no search to resume or extend" in said
    assert journal.read_bytes() == before


def test_a_cuda_run_is_trained_on_what_is_there(
    home: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recsys.errors import ConfigError

    def none(*_: Any) -> str:
        raise ConfigError("there is none")

    searched(home)
    monkeypatch.setattr(again_module, "resolve_device", none)
    code, said = call("refit", "r", "--data", "new.csv", "--name", "r2")
    assert code == 0 and "trained on the CPU" in said
    assert decided(RunFolder.open(home / "runs", "r2").state()) is not None
