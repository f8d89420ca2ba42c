"""What `--set` changes, and what else has to follow."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from recsys.errors import ConfigError
from recsys.split_plan import HoldOut
from search.space.domains import Choice, Constant, FloatRange, IntRange, Param
from search.space.load import load_spec, space_names
from search.space.override import affected
from search.space.spec import SearchSpec
from tests.search.spaces import override


def param(spec: SearchSpec, name: str) -> Param:
    return next(p for p in spec.params if p.name == name)


def names(spec: SearchSpec) -> list[str]:
    return [p.name for p in spec.params]


def test_nothing_to_set() -> None:
    spec = load_spec("bpr_hard")
    assert override(spec, []) == spec


def test_a_parameter_becomes_a_constant_and_enqueue_follows() -> None:
    spec = load_spec("bpr_hard")
    changed = override(spec, ["latent_factors=96", "lr=2e-2"])
    assert param(changed, "latent_factors").domain == Constant(96)
    assert param(changed, "lr").domain == Constant(0.02)
    assert len(changed.enqueue) == len(spec.enqueue)
    for before, after in zip(spec.enqueue, changed.enqueue, strict=True):
        assert dict(after) == {
            k: v for k, v in dict(before).items() if k not in ("latent_factors", "lr")
        }
        assert changed.train_config(dict(after)).latent_factors == 96


def test_a_list_is_a_choice_and_a_mapping_a_range() -> None:
    spec = override(load_spec("bpr_hard"), ["latent_factors=[32, 64]", "lr={low: 0.1, high: 0.2}"])
    assert param(spec, "latent_factors").domain == Choice((32, 64))
    assert param(spec, "lr").domain == FloatRange(0.1, 0.2)
    assert all(dict(entry)["lr"] == 0.1 for entry in spec.enqueue)  # moved into the range


def test_a_part_of_a_parameter() -> None:
    spec = override(load_spec("bpr_hard"), ["params.lr.high=0.02", "params.lr.low=0.001"])
    assert param(spec, "lr").domain == FloatRange(0.001, 0.02, log=True)
    assert all(dict(entry)["lr"] <= 0.02 for entry in spec.enqueue)


def test_a_ratio_and_its_least_number_go_together_in_either_order() -> None:
    spec = load_spec("bpr_hard")
    both = ["split.valid.ratio=0.2", "split.valid.least=1"]
    for settings in (both, both[::-1]):
        assert override(spec, settings).split.valid == HoldOut("ratio", 0.2, 1)
    assert override(spec, both[1:]).split.valid == HoldOut("ratio", 0.1, 1)
    kept = override(override(spec, both), ["split.valid.ratio=0.3"])
    assert kept.split.valid == HoldOut("ratio", 0.3, 1)
    assert override(kept, ["split.valid.fixed=2"]).split.valid == HoldOut("fixed", 2)


def test_what_is_held_out_for_validation_is_a_default_until_it_is_set() -> None:
    spec = load_spec("bpr_hard")
    assert spec.split.by_default
    assert not override(spec, ["split.valid.ratio=0.1"]).split.by_default
    assert override(spec, ["split.order=latest"]).split.by_default


def test_top_keys_and_what_depends_on_them() -> None:
    spec = load_spec("bpr_hard")
    changed = override(
        spec,
        [
            "metric=ndcg@20",
            "max_epochs=200",
            "time_budget=1h30m",
            "split.valid.ratio=0.2",
            "race.finalists=2",
            "split.test=none",
        ],
    )
    assert changed.metric == "ndcg@20"
    assert (changed.max_epochs, changed.grace_epochs) == (200, 20)
    assert changed.time_budget == 5400
    assert changed.split.valid.amount == 0.2
    assert changed.split.test is None
    assert (changed.race.finalists, changed.race.replicates) == (2, spec.race.replicates)
    assert changed.params == spec.params
    assert changed.enqueue == spec.enqueue
    assert override(changed, ["grace_epochs=50", "max_epochs=100"]).grace_epochs == 50
    assert not override(spec, ["race=none"]).race.finalists


@pytest.mark.parametrize(
    "settings",
    [
        ["race=none", "race.finalists=3"],
        ["split.test.ratio=0.2", "split.test=none"],
        ["params.lr.high=0.1", "lr=0.1"],
    ],
)
def test_a_thing_and_a_part_of_it_are_one_thing(settings: list[str]) -> None:
    with pytest.raises(ConfigError, match="overlap: give only one of them"):
        override(load_spec("bpr_hard"), settings)


def test_words_that_structure_keep_the_sets_that_agree() -> None:
    spec = override(load_spec("all"), ["loss=bce"])
    assert set(param(spec, "method").domain.corners()) == {
        *("bce", "slim", "ials", "rp3beta")  # those say nothing of a loss
    }
    assert {"margin", "temperature", "num_candidate_neg_samples"}.isdisjoint(names(spec))
    listed = [str(dict(e)["method"]) for e in spec.enqueue]
    assert list(dict.fromkeys(listed)) == ["slim", "ials", "rp3beta", "bce"]
    rng = np.random.default_rng(0)
    configs = [spec.train_config(spec.sample(rng)) for _ in range(30)]
    assert {c.loss.kind for c in configs if c.model == "lfm"} == {"bce"}


def test_other_fields_change_in_every_set_that_has_them() -> None:
    spec = override(load_spec("report_table"), ["lr=0.01", "method=[bpr_fixed, bpr_hard]"])
    assert spec.trials == 4
    assert {spec.train_config(p).optimizer.lr for p in spec.grid()} == {0.01}


def test_the_size_of_a_grid_follows() -> None:
    spec = override(load_spec("report_factors"), ["latent_factors=[8, 9]"])
    assert spec.trials == 12
    assert override(load_spec("report_factors"), ["trials=3"]).trials == 3


def test_m_and_its_fraction_are_alternatives() -> None:
    spec = override(load_spec("bpr_hard"), ["num_hard_neg_samples={low: 1, high: 10}"])
    assert "hard_fraction" not in names(spec)
    assert param(spec, "num_hard_neg_samples").domain == IntRange(1, 10)
    assert spec.enqueue == ()  # M is missing in them


def test_a_field_that_the_space_did_not_have() -> None:
    spec = override(load_spec("bpr_hard"), ["init_std=0.1"])
    assert spec.train_config(dict(spec.enqueue[0])).init_std == 0.1


def test_own_enqueue() -> None:
    spec = override(load_spec("bpr_hard"), ["enqueue=[]"])
    assert spec.enqueue == ()


@pytest.mark.parametrize("name", ["all", "bpr_hard", "report_table"])
def test_overridden_specs_read_back(name: str, tmp_path: object) -> None:
    spec = override(load_spec(name), ["max_epochs=7", "batch_size=64"])
    path = tmp_path / "spec.yaml"  # type: ignore[operator]
    path.write_text(spec.to_yaml())
    assert load_spec(str(path)) == spec


@pytest.mark.parametrize(
    ("setting", "part"),
    {
        "lr": "KEY=VALUE",
        "=3": "KEY=VALUE",
        "metric=a\nb": "in one line",
        "lrr=3": "did you mean lr",
        "metrik=map@50": "did you mean metric",
        "race.finalist=3": "did you mean race.finalists",
        "split.valid.ration=3": "unknown key",
        "epochs=30": "max_epochs",
        "params=3": "one parameter at a time",
        "params.lr.hihg=3": "did you mean high",
        "params.lrr.high=3": "did you mean lr",
        "params.loss.high=3": "is not a range",
        "params.lrr=3": "did you mean lr",
        "lr=[1, 2": "--set lr",
        "lr=fast": "a finite number",
        "lr=": "a finite number",
        "lr=20": "less than or equal to 10",
        "latent_factors=6.5": "whole number",
        "hard_fraction=2": "(0, 1]",
        "num_hard_neg_samples=30": "at most num_candidate_neg_samples",
        "neg_mode=hardd": "did you mean hard",
        "trials=0": "from 1",
        "searcher=grid": "a grid needs",
        "params.lr.low=1": "above high",
        "metric=map": "map@50",
    }.items(),
)
def test_mistakes(setting: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        override(load_spec("bpr_hard"), [setting])
    message = str(error.value)
    assert "--set" in message
    assert part in message
    assert "\n" not in message


def test_mistakes_about_named_sets() -> None:
    with pytest.raises(ConfigError, match="did you mean bpr_hard"):
        override(load_spec("all"), ["method=bpr_hart"])
    with pytest.raises(ConfigError, match="no set of method has loss softmax"):
        override(load_spec("report_table"), ["loss=softmax"])


@pytest.mark.parametrize(
    "settings",
    [
        ["lr=0.1", "max_epochs=30"],
        ["params.lr.high=0.05", "trials=7"],
        ["loss=bpr"],
        ["neg_mode=hard", "searcher=random"],
        ["optimizer=sgd", "race=none"],
        ["latent_factors=[8, 16]", "split.test.fixed=2"],
    ],
)
@pytest.mark.parametrize("name", space_names())
def test_a_file_is_changed_as_the_space_it_means(name: str, settings: list[str]) -> None:
    """The plain values of a file, and those of the space as it was read and written out."""
    found = []
    for way in (lambda: load_spec(name, settings), lambda: override(load_spec(name), settings)):
        try:
            found.append(way())
        except ConfigError as error:
            found.append(str(error).partition("params.")[2])
    assert found[0] == found[1]


FILE = """
    params:
      lr: {low: 0.01, high: 1}
      loss: {choice: [bpr, bce]}
      margin: {low: 0, high: 2, when: {loss: bpr}}
      latent_factors: {choice: [8, 16]}
    enqueue:
      - {lr: 0.5, loss: bpr, margin: 1, latent_factors: 8}
    """


def change(tmp_path: Path, text: str, *settings: str, **more: Any) -> SearchSpec:
    path = tmp_path / "mine.yaml"
    path.write_text(dedent(text).lstrip())
    return load_spec(str(path), settings, **more)


@pytest.mark.parametrize(
    ("before", "after", "setting", "words"),
    [
        # a mistake in the file is found where it stands, whatever is set
        ("high: 2,", "hihg: 2,", "lr=0.1", ", line 4: params.margin.hihg: unknown key"),
        ("loss: bpr}}", "loss: softmax}}", "lr=0.1", ", line 4: params.margin.when.loss: loss is"),
        ("lr: 0.5,", "lr: 5,", "loss=bpr", ", line 7: enqueue[0].lr: 5.0 is not in this space"),
        ("lr: 0.5,", "lrr: 5,", "loss=bpr", ", line 7: enqueue[0].lrr: not a parameter"),
        ("lr: 0.5,", "", "loss=bpr", ", line 7: enqueue[0]: lr is missing"),
        ("loss: bpr, m", "loss: bce, m", "lr=0.1", "enqueue[0].margin: has no effect"),
        ("{low: 0.01, high: 1}", "[1]", "trials=3", ", line 2: params.lr: "),
        ("params:", "- params:", "lr=0.1", "mine.yaml, line"),
        # what a setting did has no line, and what it made wrong elsewhere has one
        ("", "", "lr=20", "mine.yaml with --set lr=20: params.lr: lr is 20.0"),
        ("", "", "searcher=grid", "mine.yaml with --set searcher=grid, line 2: params.lr: a grid"),
        ("", "", "ease_l2=10", "mine.yaml with --set ease_l2=10: params.ease_l2: has no effect"),
    ],
)
def test_the_line_of_a_mistake(
    tmp_path: Path, before: str, after: str, setting: str, words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        change(tmp_path, FILE.replace(before, after, 1) if before else FILE, setting)
    assert words in str(error.value)


def test_the_number_of_trials_as_an_option(tmp_path: Path) -> None:
    assert change(tmp_path, FILE, trials=7).trials == 7
    assert change(tmp_path, FILE, "lr=0.1", trials=7).trials == 7
    with pytest.raises(ConfigError, match=r"with --trials 200000: trials: .* to 100000"):
        change(tmp_path, FILE, trials=200_000)
    with pytest.raises(ConfigError, match="with --set loss=bce and --trials 200000: "):
        change(tmp_path, FILE, "loss=bce", trials=200_000)


def test_what_is_written_as_the_default_follows(tmp_path: Path) -> None:
    """As in the spec.yaml of a run, which has every key."""
    grid = override(load_spec("report_factors"), [])
    written = change(tmp_path, grid.to_yaml(), "latent_factors=[8, 9]")
    assert written.trials == 12
    assert change(tmp_path, grid.to_yaml(), "latent_factors=[8, 9]", "trials=5").trials == 5
    spec = load_spec("softmax").to_yaml()
    assert change(tmp_path, spec, "max_epochs=200").grace_epochs == 20
    assert change(tmp_path, spec, "purpose=table").race.finalists == 0


def test_what_a_setting_affects() -> None:
    before = {
        "method": {"choice": {"a": {"loss": "bpr"}, "b": {"loss": "bce", "init_std": 1}}},
        "margin": {"low": 0, "high": 1, "when": {"loss": "bpr"}},
        "lr": {"low": 0, "high": 1, "when": {"margin": 1}},
        "l2": 0.1,
    }
    assert affected(before, before) == frozenset()
    assert affected(before, before | {"l2": 0.2}) == {"l2"}
    assert affected(before, {k: v for k, v in before.items() if k != "l2"}) == {"l2"}
    only = before | {"method": {"choice": {"a": {"loss": "bpr"}}}}
    assert affected(before, only) == {"method", "loss", "init_std", "margin", "lr"}
    # all of it is the factorization's, which may never be chosen now
    assert affected(before, {"model": "ease"} | before) == {"model", "init_std", "loss", *before}
    assert names(load_spec("smoke", ["model=ease"])) == ["model"]


@pytest.mark.parametrize("chosen", [["slim"], ["slim", "ials"], ["bpr_hard", "rp3beta"], ["bce"]])
def test_any_of_the_methods_can_be_chosen(chosen: list[str]) -> None:
    """Also where a condition of another one asks for what no method sets any more."""
    spec = load_spec("all", [f"method=[{', '.join(chosen)}]"])
    assert {dict(entry)["method"] for entry in spec.enqueue} == set(chosen)
    rng = np.random.default_rng(1)
    drawn = {str(spec.sample(rng)["method"]) for _ in range(40)} if len(chosen) > 1 else set(chosen)
    assert drawn == set(chosen)
    for _ in range(20):
        spec.train_config(spec.sample(rng))
    if chosen == ["slim"]:
        assert names(spec) == ["method", "slim_l2", "slim_neighbours", "slim_shrink"]


def test_whoever_says_how_large_the_race_is_means_it():
    spec = load_spec("all", ["race.up_to=9"])
    assert (spec.race.replicates, spec.race.up_to) == (4, 9)
    assert override(spec, ["race.replicates=12"]).race.up_to is None
    assert override(spec, ["race.finalists=2"]).race.up_to is None
    both = override(spec, ["race.replicates=6", "race.up_to=8"])
    assert (both.race.replicates, both.race.up_to) == (6, 8)
    assert override(spec, ["race.prefer=best"]).race.up_to == 9


IDLE = {
    ("scheduler=none", "grace_epochs=5"): "grace_epochs=5: has no effect with scheduler none",
    ("scheduler=none", "reduction_factor=4"): "reduction_factor=4: has no effect with scheduler",
    ("purpose=table", "grace_epochs=5"): "grace_epochs=5: has no effect with scheduler none",
    ("purpose=table", "k=20"): "k=20: has no effect on a table",
    ("model=ease", "max_epochs=9"): "max_epochs=9: has no effect on models without epochs",
    ("model=ease", "reduction_factor=4"): "reduction_factor=4: has no effect on models without",
    ("race.finalists=0", "race.replicates=5"): "race.replicates=5: has no effect with",
    ("race.replicates=0", "race.finalists=3"): "race.finalists=3: has no effect with",
    ("race={finalists: 0, replicates: 5}",): "race.replicates=5: has no effect with",
}


@pytest.mark.parametrize("settings", IDLE)
def test_a_setting_without_effect_is_refused(settings: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=re.escape(IDLE[settings])) as error:
        load_spec("smoke", settings)
    assert "\n" not in str(error.value)
    quiet = load_spec("smoke", settings[:-1])  # every key is in it: that is no mistake
    assert override(quiet, []) == quiet
