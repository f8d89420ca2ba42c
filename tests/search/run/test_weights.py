"""A weight is left out, or refused, where the data have nothing to weigh by, and else kept."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.data import load
from recsys.errors import ConfigError, InputError
from recsys.interactions import Interactions
from recsys.models import fit_model
from recsys.models.catalogue import load_catalogue, save_catalogue
from recsys.models.ease import EaseConfig
from search.cli.main import main
from search.record.settings import Settings
from search.run.opened import open_data
from search.run.weights import check_weights, fit_weights
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig

MODELS = "model: {choice: [ease, slim, popularity]}"


def space(tmp_path: Path, *params: str, enqueue: str = "") -> SearchSpec:
    path = tmp_path / "mine.yaml"
    lines = [
        "metric: map@3\nk: 3\nrace: none",
        "split: {test: {fixed: 1}, valid: {fixed: 1}}\nparams:",
        *(f"  {line}" for line in params),
    ]
    path.write_text("\n".join([*lines, *([f"enqueue: [{enqueue}]"] if enqueue else [])]) + "\n")
    return load_spec(str(path))


def found(tmp_path: Path, *, rated: bool) -> Interactions:
    path = tmp_path / "data.csv"
    rows = [(u, (7 * u + 3 * k) % 20, 1 + (u + k) % 5) for u in range(30) for k in range(8)]
    header, width = ("user,item,rating", 3) if rated else ("user,item", 2)
    path.write_text("\n".join([header, *(",".join(map(str, row[:width])) for row in rows)]) + "\n")
    return load(path, values=True).interactions


def fitted(spec: SearchSpec, data: Interactions) -> tuple[SearchSpec, list[str]]:
    told: list[str] = []
    return fit_weights(spec, data, told.append), told


def test_data_with_values_serve_any_weight(tmp_path: Path) -> None:
    spec = space(tmp_path, "model: ease", "weight: linear")
    assert spec.weighs()
    assert fitted(spec, found(tmp_path, rated=True)) == (spec, [])


def test_a_space_without_weight_asks_for_nothing(tmp_path: Path) -> None:
    assert not load_spec("all").weighs()
    spec = space(tmp_path, MODELS, "weight: none")
    assert not spec.weighs()
    assert fitted(spec, found(tmp_path, rated=False)) == (spec, [])


def test_a_choice_loses_what_the_data_cannot_serve(tmp_path: Path) -> None:
    spec = space(
        tmp_path,
        MODELS,
        "weight: {choice: [none, log, linear]}",
        "slim_l2: {low: 1, high: 9, when: {weight: log}}",
        enqueue="{model: ease, weight: log}, {model: ease, weight: none}, {model: popularity}",
    )
    less, told = fitted(spec, found(tmp_path, rated=False))
    assert told == [
        "left out: weight log, linear: data.csv has no ratings, and no user-item pair twice"
    ]
    assert not less.weighs()
    assert [p.name for p in less.searched()] == ["model"]
    assert [dict(pairs) for pairs in less.enqueue] == [{"model": "ease"}, {"model": "popularity"}]
    # the configs left are those that a space without the parameter has, and so are their seeds
    bare = space(tmp_path, MODELS)
    for model in ("ease", "slim"):
        one, other = (TrialConfig.of(s, {"model": model}, 1) for s in (less, bare))
        assert (one.train, one.seed) == (other.train, other.seed)


def test_a_listed_config_without_a_weight_has_none(tmp_path: Path) -> None:
    """So that a setting may add a weight to any space, whose listed configs stay."""
    low = "ease_l2: {low: 1, high: 9}"
    spec = space(
        tmp_path,
        "model: ease",
        low,
        "weight: {choice: [none, log]}",
        enqueue="{ease_l2: 2}, {ease_l2: 3, weight: log}",
    )
    assert [dict(pairs).get("weight") for pairs in spec.enqueue] == ["none", "log"]
    every, more = load_spec("all"), load_spec("all", ["weight={choice: [none, log]}"])
    assert more.weighs()
    assert [every.train_config(dict(p)) for p in every.enqueue] == [
        more.train_config(dict(p)) for p in more.enqueue
    ]
    with pytest.raises(ConfigError, match="weight is missing: a config to try first has to be"):
        space(
            tmp_path, "model: ease", low, "weight: {choice: [log, linear]}", enqueue="{ease_l2: 2}"
        )


def test_methods_that_need_a_weight_are_left_out(tmp_path: Path) -> None:
    spec = space(
        tmp_path,
        "method: {choice: {plain: {model: ease}, counted: {model: ease, weight: log}}}",
        "ease_l2: {low: 1, high: 9}",
    )
    less, told = fitted(spec, found(tmp_path, rated=False))
    assert told == [
        "left out: counted: data.csv has no ratings, and no user-item pair twice, which its weight "
        "needs"
    ]
    assert less.train_config(less.sample(np.random.default_rng(0))).to_flat().keys() == {
        "model",
        "ease_l2",
    }


@pytest.mark.parametrize(
    "params",
    [
        ("model: ease", "weight: log"),
        ("model: ease", "weight: {choice: [log, linear]}"),
        ("method: {choice: {a: {model: ease, weight: log}, b: {model: slim, weight: log}}}",),
        (MODELS, "ease_l2: {low: 1, high: 9}", "weight: {value: log, when: {model: ease}}",
         "slim_l2: {low: 1, high: 9}"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_at_all_is_refused_in_one_line(
    tmp_path: Path, params: tuple[str, ...]
) -> None:
    spec, data = space(tmp_path, *params), found(tmp_path, rated=False)
    if "popularity" in params[0]:  # others are left
        assert [line[:15] for line in fitted(spec, data)[1]] == ["left out: ease:"]
        return
    with pytest.raises(ConfigError) as caught:
        fit_weights(spec, data, print)
    said = str(caught.value)
    assert said.startswith("mine: weight l")
    assert "data.csv has no ratings, and no user-item pair twice: expected ratings" in said
    assert "\n" not in said


def test_the_command_line_says_so_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space(tmp_path, "model: ease", "weight: log")
    found(tmp_path, rated=False)
    where = ["--data", str(tmp_path / "data.csv"), "--runs-dir", str(tmp_path / "runs")]
    assert main(["--space", str(tmp_path / "mine.yaml"), *where]) == 2
    assert "weight log: data.csv has no ratings" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_weight_has_no_meaning_for_a_space_of_factorizations(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no effect: it belongs to model"):
        space(tmp_path, "loss: bpr", "neg_mode: even", "lr: {low: 0.1, high: 1}", "weight: log")


def settings_for(tmp_path: Path) -> Settings:
    return Settings(
        str(tmp_path / "data.csv"), None, None, 42, 2, None, 1, 0.0, "cpu", None, None, None
    )


def test_a_run_that_goes_on_needs_the_same_values(tmp_path: Path) -> None:
    spec = space(tmp_path, "model: ease", "weight: {choice: [none, linear]}")
    plain = space(tmp_path, "model: ease", "ease_l2: {low: 1, high: 9}")
    found(tmp_path, rated=True)
    before = open_data(spec, settings_for(tmp_path), "r", print).settings
    assert before.values_digest
    assert open_data(spec, before, "r", print).settings == before
    # a run that does not weigh has no values, and is what it was
    bare = open_data(plain, settings_for(tmp_path), "r", print)
    assert bare.settings == replace(before, values_digest="")
    assert bare.split.train.values is None
    assert bare.split.digest == before.split_digest
    # written by a version without the setting
    old = json.loads(json.dumps(asdict(bare.settings)))
    del old["values_digest"]
    assert Settings.from_dict(old) == bare.settings
    path = tmp_path / "data.csv"
    path.write_text(path.read_text().replace(",5\n", ",4\n"))
    with pytest.raises(ConfigError, match=r"the data has changed .* \(values digest"):
        open_data(spec, before, "r", print)
    assert open_data(plain, bare.settings, "r", print).settings == bare.settings


def test_a_run_cannot_go_on_without_values(tmp_path: Path) -> None:
    data = found(tmp_path, rated=False)
    check_weights("r", False, data)
    with pytest.raises(ConfigError, match=r"--run r: its weight needs values .* no ratings, and"):
        check_weights("r", True, data)


def test_values_are_kept_beside_a_model(tmp_path: Path) -> None:
    """So that `refit` can train on the earlier data what it compares with."""
    data = found(tmp_path, rated=True)
    files = save_catalogue(tmp_path / "model", data, data.csr)
    seen = load_catalogue(tmp_path / "model").seen
    assert seen.digest() == data.csr.digest()
    assert seen.values is not None
    np.testing.assert_array_equal(seen.values, data.csr.values)  # type: ignore[arg-type]
    config, rng = EaseConfig(weight="log"), np.random.default_rng(0)
    one, other = (fit_model(config, csr, rng=rng) for csr in (data.csr, seen))
    assert one.to_bytes() == other.to_bytes()
    bare = save_catalogue(tmp_path / "bare", data, data.csr.with_values(None))
    assert load_catalogue(tmp_path / "bare").seen.values is None
    assert bare["seen.npz"] != files["seen.npz"]
    content = (tmp_path / "model" / "seen.npz").read_bytes()
    (tmp_path / "model" / "seen.npz").write_bytes(content[:-90])
    with pytest.raises(InputError):
        load_catalogue(tmp_path / "model")


def test_a_warm_start_takes_what_had_no_weight(tmp_path: Path) -> None:
    from search.record.state import TrialRecord
    from search.run.warm import moved

    low = "ease_l2: {low: 1, high: 9}"
    before = space(tmp_path, "model: ease", low)
    after = space(tmp_path, "model: ease", low, "weight: {choice: [none, log]}")
    fixed = space(tmp_path, "model: ease", low, "weight: log")
    params: dict[str, Any] = {"ease_l2": 3.0}
    flat = before.flat(params)
    trial = TrialRecord("t0000", 0, params, flat, 1, 0.0)
    assert dict(moved(before, trial, after) or ()) == {"ease_l2": 3.0, "weight": "none"}
    assert moved(before, trial, fixed) is None
