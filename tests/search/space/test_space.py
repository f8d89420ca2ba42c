"""Reading spaces: what a file means, and what is said about a wrong one."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from recsys.models.mf.config import TrainConfig
from recsys.split_plan import HoldOut
from search.paths import SPACES
from search.space.domains import FIELDS, Bundle, Constant, FloatRange, IntRange
from search.space.load import load_spec, space_names
from search.space.spec import SearchSpec
from tests.search.spaces import override

MINIMAL = "params: {lr: {low: 0.01, high: 0.1, log: true}}\n"


def read(tmp_path: Path, text: str) -> SearchSpec:
    path = tmp_path / "mine.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return load_spec(str(path))


def test_defaults_of_a_minimal_space(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL + "max_epochs: 25\n")
    assert (spec.name, spec.searcher, spec.scheduler, spec.purpose) == (
        "mine",
        "gp",
        "asha",
        "search",
    )
    assert (spec.metric, spec.k) == ("map@50", 50)
    assert spec.grace_epochs == 3  # a tenth, rounded up
    assert spec.time_budget is None
    assert spec.split.plain() == {"order": "random", "test": {"ratio": 0.1}}
    assert (spec.split.valid, spec.split.by_default) == (HoldOut("ratio", 0.1), True)
    assert spec.race.finalists > 0
    params = {"lr": 0.05}
    assert spec.flat(params) == {"lr": 0.05, "epochs": 25}
    assert spec.train_config(params) == TrainConfig.from_flat({"lr": 0.05, "epochs": 25})


def test_every_field_of_a_training_can_be_set() -> None:
    configs = [
        {"loss": "bpr", "margin": 1.0, "neg_mode": "fixed", "neg_sample_num": 2, "lr": 0.1},
        {"loss": "softmax", "temperature": 0.5, "neg_mode": "even", "lr": 0.1},
        {"loss": "softmax", "score": "cosine", "lr": 0.1},
        {"loss": "softmax_at_k", "top_k": 5, "weight_temperature": 0.3, "lr": 0.1},
        {"optimizer": "adam", "lr": 0.1, "weight_decay": 0.1},
        {"optimizer": "adagrad", "lr": 0.1, "adagrad_per": "row"},
        {"neg_mode": "hard", "num_candidate_neg_samples": 5, "hard_fraction": 0.4, "lr": 0.1},
    ]
    names = {"hard_fraction"}
    for flat in configs:
        names |= TrainConfig.from_flat(flat).to_flat().keys()
    assert names == TrainConfig.parameters().keys() | {"epochs"}
    assert TrainConfig.parameters().keys() < FIELDS.keys()


def test_values_keep_their_types(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        """
        params:
          margin: {low: 0, high: 4}
          latent_factors: {low: 8, high: 16, step: 8}
          l2: 1e-4
          lr: 1
        """,
    )
    margin, factors, l2, lr = (p.domain for p in spec.params)
    assert margin == FloatRange(0.0, 4.0)
    assert isinstance(margin.low, float)
    assert factors == IntRange(8, 16, step=8)
    assert l2 == Constant(1e-4)
    assert isinstance(lr, Constant)
    assert isinstance(lr.value, float)


def test_conditions_decide_what_exists(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        """
        params:
          lr: 0.1
          loss: {choice: [bpr, softmax]}
          margin: {low: 0, high: 2, when: {loss: bpr}}
          temperature: {value: 0.5, when: {loss: softmax}}
          neg_mode: {choice: [even, fixed, hard]}
          neg_sample_num: {low: 1, high: 5, when: {neg_mode: fixed, loss: [bpr, softmax]}}
          num_candidate_neg_samples: {low: 5, high: 9, when: {neg_mode: hard}}
          hard_fraction: {low: 0.1, high: 0.5, when: {neg_mode: hard}}
        """,
    )
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        params = spec.sample(rng)
        flat = spec.flat(params)
        assert ("margin" in params) == (params["loss"] == "bpr")
        assert ("temperature" in flat) == (params["loss"] == "softmax")
        assert "temperature" not in params
        assert ("neg_sample_num" in params) == (params["neg_mode"] == "fixed")
        assert ("hard_fraction" in params) == (params["neg_mode"] == "hard")
        TrainConfig.from_flat(flat)
        seen.add((params["loss"], params["neg_mode"]))
    assert len(seen) == 6


def test_a_condition_on_something_inactive_is_not_met(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        """
        params:
          lr: 0.1
          optimizer: {choice: [adam, adagrad]}
          adagrad_per: {choice: [element, row], when: {optimizer: adagrad}}
          l2: {low: 0, high: 1, when: {adagrad_per: row}}
        """,
    )
    for params in (spec.sample(np.random.default_rng(s)) for s in range(50)):
        assert ("l2" in params) == (params.get("adagrad_per") == "row")


def test_bundles_set_what_belongs_together(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        """
        params:
          method:
            choice:
              a: {loss: bce, neg_mode: even, lr: 1}
              b: {loss: bpr, neg_mode: fixed, neg_sample_num: 3}
          lr: {low: 0.01, high: 0.1, when: {method: b}}
          margin: {low: 0, high: 1, when: {loss: bpr}}
        """,
    )
    assert isinstance(spec.params[0].domain, Bundle)
    assert spec.flat({"method": "a"}) == {
        "loss": "bce",
        "neg_mode": "even",
        "lr": 1.0,
        "epochs": 20,
    }
    flat = spec.flat({"method": "b", "lr": 0.05, "margin": 0.5})
    assert "method" not in flat
    assert flat["neg_sample_num"] == 3


def test_grid_against_nested_loops(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        """
        searcher: grid
        params:
          lr: {choice: [0.3, 0.1]}
          loss: {choice: [bpr, softmax]}
          margin: {low: 0, high: 1, step: 0.5, when: {loss: bpr}}
          latent_factors: {low: 2, high: 4}
        """,
    )
    expected = []
    for lr, loss in itertools.product([0.3, 0.1], ["bpr", "softmax"]):
        for margin in [0.0, 0.5, 1.0] if loss == "bpr" else [None]:
            for factors in [2, 3, 4]:
                config = {"lr": lr, "loss": loss}
                if margin is not None:
                    config["margin"] = margin
                expected.append(config | {"latent_factors": factors})
    assert list(spec.grid()) == expected
    assert spec.trials == len(expected)


def test_steps_are_the_decimals_a_person_writes() -> None:
    assert list(FloatRange(0.1, 0.5, step=0.1).values() or []) == [0.1, 0.2, 0.3, 0.4, 0.5]


@pytest.mark.parametrize(
    "domain",
    [IntRange(3, 100, log=True), IntRange(2, 20, step=3), FloatRange(0.1, 9, log=True)],
)
def test_samples_cover_the_range(domain: IntRange | FloatRange) -> None:
    rng = np.random.default_rng(0)
    values = [domain.sample(rng) for _ in range(3000)]
    assert all(domain.contains(v) for v in values)
    if isinstance(domain, IntRange):
        assert {domain.low, domain.high} <= set(values)
    if domain.log:
        middle = math.sqrt(domain.low * domain.high)
        assert 0.4 < sum(v < middle for v in values) / len(values) < 0.6


@pytest.mark.parametrize("name", space_names())
def test_spaces_of_the_project(name: str) -> None:
    spec = load_spec(name)
    rng = np.random.default_rng(1)
    for _ in range(50):
        config = spec.train_config(spec.sample(rng))
        if not spec.is_table:
            assert not config.leaky, "a search must not leak"
            assert spec.race.finalists >= 2
    assert spec.about
    header = (SPACES / f"{name}.yaml").read_text().splitlines()
    assert header[1].startswith(f"# Command:  python run_search.py --space {name}")
    assert header[2].startswith("# Expected: ")


def test_the_report_runs_both_ways() -> None:
    table, factors = load_spec("report_table"), load_spec("report_factors")
    for spec, size in ((table, 10), (factors, 24)):
        configs = [spec.train_config(params) for params in spec.grid()]
        assert len(configs) == spec.trials == size
        assert len({c.key() for c in configs}) == size
        assert sum(c.negatives_exclude == "all" for c in configs) == size // 2
        assert all(c.batch_size == 512 and c.epochs == 20 and c.patience == 0 for c in configs)
        assert {c.optimizer.kind for c in configs} == {"adam"}
        assert spec.scheduler == "none"
        assert spec.is_table


@pytest.mark.parametrize("name", space_names())
def test_a_resolved_spec_reads_back(name: str, tmp_path: Path) -> None:
    spec = load_spec(name)
    path = tmp_path / "spec.yaml"
    path.write_text(spec.to_yaml(), encoding="utf-8")
    again = load_spec(str(path))
    assert again == spec
    assert again.digest() == spec.digest()
    assert again.to_yaml() == spec.to_yaml()


def test_digest_is_of_the_trials_not_of_their_number(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL)
    assert spec.digest() == read(tmp_path, MINIMAL + "trials: 9\nabout: other\n").digest()
    assert spec.digest() != read(tmp_path, MINIMAL + "metric: map@10\n").digest()
    assert spec.digest() != read(tmp_path, MINIMAL.replace("0.1", "0.2")).digest()


def test_a_space_of_an_earlier_version_is_the_same_space(tmp_path: Path) -> None:
    """It has a key that had one word, and its run is known by a digest of all keys."""
    spec, before = read(tmp_path, MINIMAL), read(tmp_path, MINIMAL + "mode: max\n")
    assert before == spec
    assert "mode" not in spec.to_yaml()
    assert spec.digest() == "b41e4335dcce9864"


def test_the_documented_space_is_one(tmp_path: Path) -> None:
    text = (SPACES.parent / "docs" / "spaces.md").read_text(encoding="utf-8")
    spec = read(tmp_path, text.split("```yaml")[1].split("```")[0])
    assert spec.trials == 60
    for name in FIELDS:
        assert name in text


@pytest.mark.parametrize(
    ("name", "changes", "deciding"),
    [
        ("all", [], "method"),
        ("bpr_hard", [], None),
        ("smoke", [], "method"),
        ("smoke", ["method=bpr_hard"], None),
    ],
)
def test_the_parameter_that_decides(name: str, changes: list[str], deciding: str | None) -> None:
    param = override(load_spec(name), changes).deciding()
    assert (param.name if param is not None else None) == deciding


def test_a_choice_on_which_others_depend_decides(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        "params:\n"
        "  optimizer: {choice: [sgd, adagrad]}\n"
        "  loss: {choice: [bpr, softmax]}\n"
        "  neg_mode: fixed\n"
        "  neg_sample_num: 5\n"
        "  margin: {low: 0, high: 4, when: {loss: bpr}}\n"
        "  lr: {low: 0.1, high: 0.2}\n"
    )
    spec = load_spec(str(path))
    param = spec.deciding()
    assert param is not None and param.name == "loss"
    kept = spec.of_value(param, "softmax")
    drawn = [kept.sample(np.random.default_rng(n)) for n in range(9)]
    assert all(one.keys() == {"optimizer", "loss", "lr"} for one in drawn)
    assert {one["loss"] for one in drawn} == {"softmax"}
    assert kept.deciding() is None
