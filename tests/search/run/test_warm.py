"""`--warm-start`: what other runs found, in the terms of this run's space."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.errors import ConfigError
from search.cli.main import main
from search.record.events import StageState, State
from search.record.folder import RunFolder
from search.record.state import Stage
from search.run import start
from search.run.need import without
from search.run.session import Session
from search.run.warm import PER_RUN, best_trials, moved, own_first, warmed
from search.space.load import for_gpu, load_spec
from search.space.spec import SearchSpec
from tests.factories import fake_run
from tests.search.spaces import override

HARD, ALL = load_spec("bpr_hard"), load_spec("all")


def move(before: SearchSpec, params: dict[str, Any], spec: SearchSpec) -> dict[str, Any] | None:
    found = moved(before, SimpleNamespace(params=params), spec)  # type: ignore[arg-type]
    return None if found is None else dict(found)


def test_a_config_moves_into_a_space_with_methods_and_back() -> None:
    first = dict(HARD.enqueue[0])
    assert move(HARD, first, ALL) == {"method": "bpr_hard"} | first
    assert move(ALL, {"method": "bpr_hard"} | first, HARD) == first
    by_method = {str(dict(pairs)["method"]): dict(pairs) for pairs in ALL.enqueue}
    for method, params in by_method.items():
        assert (move(ALL, params, HARD) is None) == (method != "bpr_hard"), method
        assert move(ALL, params, ALL) == params
    slim = load_spec("all", ["method=slim"])
    assert move(ALL, by_method["slim"], slim) == by_method["slim"]
    assert move(ALL, by_method["ials"], slim) is None
    assert move(slim, by_method["slim"], HARD) is None


def test_numbers_move_into_the_ranges() -> None:
    first = dict(HARD.enqueue[0])
    narrow = override(HARD, ["lr={low: 0.05, high: 0.1}", "latent_factors={choice: [128, 256]}"])
    assert move(HARD, first, narrow) == first | {"lr": 0.05, "latent_factors": 128}
    fewer = override(HARD, ["num_candidate_neg_samples={low: 50, high: 80}"])
    assert move(HARD, first, fewer) == first | {"num_candidate_neg_samples": 50}


def test_another_training_does_not_fit() -> None:
    first = dict(HARD.enqueue[0])
    assert move(HARD, first, override(HARD, ["init_std=0.1"])) is None
    assert move(HARD, first, override(HARD, ["max_epochs=20", "patience=3"])) == first
    fixed = override(HARD, ["lr=0.02"])
    without = {name: value for name, value in first.items() if name != "lr"}
    assert move(HARD, first, fixed) == without
    assert move(HARD, first | {"lr": 0.03}, fixed) is None


def test_batches_may_be_of_another_size_where_nobody_searches_for_it() -> None:
    """They follow from the device and from how many positives there are (`for_gpu`)."""
    first = dict(HARD.enqueue[0])
    here, larger = for_gpu(HARD, 10**6)[0], for_gpu(HARD, 10**7)[0]
    for before, after in ((here, HARD), (HARD, here), (here, larger)):
        assert before != after
        assert move(before, first, after) == first
    assert move(for_gpu(ALL, 10**6)[0], {"method": "bpr_hard"} | first, HARD) == first
    searched = override(HARD, ["batch_size=[1, 512]"])
    assert move(searched, first | {"batch_size": 1}, HARD) == first
    assert move(searched, first | {"batch_size": 512}, HARD) is None
    assert move(here, first, searched) == first | {"batch_size": 512}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    fake_run(tmp_path, "one", trials=20, seed=1)
    fake_run(tmp_path, "two", trials=20, seed=2, done=False)
    return tmp_path


def test_the_best_of_a_run(runs: Path) -> None:
    one, two = (RunFolder.open(runs, name).state() for name in ("one", "two"))
    able = [t.id for t in one.in_order() if t.value is not None]
    raced = [{"id": name, "mean": 0.1, "values": [], "best_epochs": []} for name in able[7:9]]
    race = {"winner": able[7], "epochs": 3, "replicates": 2, "finalists": raced}
    one.stages["race"] = Stage("race", StageState.DONE, race, 0.0)
    first, second, third = (t.id for t in best_trials(one))
    assert (first, second) == (able[7], able[8])  # as the race ranked them
    rest = [t for t in one.in_order() if t.state == State.COMPLETE and t.id not in (first, second)]
    assert third == max(rest, key=lambda t: t.value or 0.0).id
    best = best_trials(two)
    assert len(best) == PER_RUN
    assert best[0].value == max(t.value or 0 for t in two.trials.values() if t.state == "COMPLETE")


def test_they_are_tried_after_the_first_default(runs: Path) -> None:
    told: list[str] = []
    spec = warmed(HARD, ["one", str(runs / "two")], runs, told.append)
    assert spec.enqueue[0] == HARD.enqueue[0]
    assert spec.enqueue[-2:] == HARD.enqueue[1:]
    assert len(spec.enqueue) == len(HARD.enqueue) + 2 * PER_RUN
    assert told == [
        "warm start: 3 configs of one tried first",
        "warm start: 3 configs of two tried first",
    ]
    again = warmed(spec, ["one"], runs, told.append)
    assert again.enqueue == spec.enqueue
    assert told[-1] == "warm start: 0 configs of one tried first"
    none = replace(ALL, enqueue=())
    assert [dict(p)["method"] for p in warmed(none, ["one"], runs, told.append).enqueue] == [
        "bpr_hard"
    ] * 3


def test_another_size_of_batches_is_said(runs: Path) -> None:
    spec, batch = for_gpu(HARD, 10**6)
    (runs / "one" / "spec.yaml").write_text(spec.to_yaml())
    told: list[str] = []
    assert len(warmed(HARD, ["one", "two"], runs, told.append).enqueue) > len(HARD.enqueue)
    (said,) = (line for line in told if line.startswith("note: "))
    assert f"one trained in batches of {batch:,}; here" in said


def test_a_default_without_memory_leaves_the_first_place_to_the_next_own_config(
    runs: Path,
) -> None:
    """Not to the best config of another run, which nobody would have run without a search."""
    methods = [str(dict(pairs)["method"]) for pairs in ALL.enqueue]
    warm = warmed(ALL, ["one"], runs, lambda _: None)
    kept, left = own_first(warm, ALL.enqueue)
    assert (kept, left) == (warm, True)
    without_first = without(warm, [m for m in methods if m != methods[0]])
    kept, left = own_first(without_first, ALL.enqueue)
    assert left
    assert kept.enqueue[0] == ALL.enqueue[1]
    assert sorted(kept.enqueue) == sorted(without_first.enqueue)
    only = replace(ALL, enqueue=tuple(p for p in ALL.enqueue if dict(p)["method"] == "ials"))
    assert only.enqueue
    warm = without(warmed(only, ["one"], runs, lambda _: None), ["bpr_hard"])
    assert len(warm.enqueue) == PER_RUN
    assert own_first(warm, only.enqueue) == (warm, False)


@pytest.mark.parametrize("fits", [True, False])
def test_the_default_that_a_run_compares_with_is_one_that_it_can_train(
    runs: Path, monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    only = replace(ALL, enqueue=tuple(p for p in ALL.enqueue if dict(p)["method"] == "ials"))
    (runs / "only.yaml").write_text(only.to_yaml())

    def smaller(spec: SearchSpec, *_: Any) -> SearchSpec:
        return spec if fits else without(spec, ["bpr_hard"])

    sessions: list[Session] = []
    monkeypatch.setattr(start, "fit_memory", smaller)
    monkeypatch.setattr(start, "check_tracking_uri", lambda uri: uri)
    monkeypatch.setattr(start, "_drive", lambda one: sessions.append(one) or 0)
    argv = ["--space", str(runs / "only.yaml"), "--data", "demo", "--runs-dir", str(runs)]
    assert main([*argv, "--warm-start", "one", "--device", "cpu"]) == 0
    (session,) = sessions
    first = dict(session.spec.enqueue[0])["method"]
    assert (first, session.settings.has_default) == (
        ("ials", True) if fits else ("bpr_hard", False)
    )


def test_mistakes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="no run here"):
        warmed(HARD, ["three"], runs, print)
    with pytest.raises(ConfigError, match="no config of one fits the space softmax"):
        warmed(load_spec("softmax"), ["one"], runs, print)
    with pytest.raises(ConfigError, match="tries a fixed list of configs"):
        warmed(load_spec("report_table"), ["one"], runs, print)
    resume = ["--resume", "--run", "one", "--runs-dir", str(runs), "--warm-start", "two"]
    assert main(resume) == 2
    assert "leave out --warm-start" in capsys.readouterr().err


def test_from_the_command_line(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--space", "softmax", "--data", "demo", "--runs-dir", str(runs), "--dry-run"]
    assert main([*argv, "--warm-start", "one"]) == 2
    assert "no config of one fits the space softmax" in capsys.readouterr().err
