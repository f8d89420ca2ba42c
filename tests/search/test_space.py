"""Reading spaces: what a file means, and what is said about a wrong one."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from recsys.config import TrainConfig
from recsys.errors import ConfigError
from search.domains import FIELDS, Bundle, Constant, FloatRange, IntRange
from search.space import SPACES, SearchSpec, load_spec, space_names

MINIMAL = "params: {lr: {low: 0.01, high: 0.1, log: true}}\n"


def read(tmp_path: Path, text: str) -> SearchSpec:
    path = tmp_path / "mine.yaml"
    path.write_text(dedent(text), encoding="utf-8")
    return load_spec(str(path))


def test_defaults_of_a_minimal_space(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL + "max_epochs: 25\n")
    assert (spec.name, spec.searcher, spec.scheduler, spec.purpose) == (
        "mine",
        "tpe",
        "asha",
        "search",
    )
    assert (spec.metric, spec.mode, spec.k) == ("map@50", "max", 50)
    assert spec.grace_epochs == 3  # a tenth, rounded up
    assert spec.time_budget is None
    assert spec.split.plain() == {
        "order": "random",
        "test": {"ratio": 0.1},
        "valid": {"ratio": 0.1},
    }
    assert spec.race.finalists > 0
    params = {"lr": 0.05}
    assert spec.flat(params) == {"lr": 0.05, "epochs": 25}
    assert spec.train_config(params) == TrainConfig.from_flat({"lr": 0.05, "epochs": 25})


def test_every_field_of_a_training_can_be_set() -> None:
    configs = [
        {"loss": "bpr", "margin": 1.0, "neg_mode": "fixed", "neg_sample_num": 2, "lr": 0.1},
        {"loss": "softmax", "temperature": 0.5, "neg_mode": "even", "lr": 0.1},
        {"optimizer": "adam", "lr": 0.1, "weight_decay": 0.1},
        {"optimizer": "adagrad", "lr": 0.1, "adagrad_per": "row"},
        {"neg_mode": "hard", "num_candidate_neg_samples": 5, "hard_fraction": 0.4, "lr": 0.1},
    ]
    names = {"hard_fraction"}
    for flat in configs:
        names |= TrainConfig.from_flat(flat).to_flat().keys()
    assert names == FIELDS.keys() | {"epochs"}


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
        if spec.purpose == "search":
            assert config.negatives_exclude == "train", "a search must not leak"
            assert spec.race.finalists >= 2
    assert spec.about
    header = (SPACES / f"{name}.yaml").read_text().splitlines()
    assert header[0].startswith(f"# Command:  python run_search.py --space {name}")
    assert header[1].startswith("# Expected: ")


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
        assert spec.purpose == "table"


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


# What is wrong, and what the one line has to say about it.
WRONG = {
    "metrik: map@50": ("line 2", "metrik", "did you mean metric"),
    "metric: map50": ("line 2", "metric", "map@50"),
    "metric: map@0": ("line 2", "metric"),
    "mode: min": ("line 2", "mode", "max"),
    "trials: 0": ("line 2", "trials", "from 1"),
    "trials: 10.5": ("line 2", "trials", "10.5"),
    "trials: yes": ("line 2", "trials", "yes"),
    "trials: true": ("line 2", "trials"),
    "time_budget: 10 minutes": ("line 2", "time_budget", "10m"),
    "time_budget: -3": ("line 2", "time_budget"),
    "searcher: tpee": ("line 2", "searcher", "did you mean tpe"),
    "searcher: grid": ("line 1", "params.lr", "step"),
    "max_epochs: 99999999999": ("line 2", "max_epochs", "100000"),
    "{max_epochs: 100, grace_epochs: 5}": ("grace_epochs", "at least 10"),
    "reduction_factor: 1": ("line 2", "reduction_factor"),
    "split: {order: sorted}": ("line 2", "split.order", "random, latest"),
    "split: {valid: {ratio: 1.5}}": ("line 2", "split.valid.ratio", "0.9"),
    "split: {valid: {ratio: 0.1, fixed: 2}}": ("line 2", "split.valid", "ratio"),
    "split: {valid: none}": ("line 2", "split.valid"),
    "race: {finalists: 3, replicates: 1}": ("line 2", "race.replicates", "at least 2"),
    "{purpose: table, scheduler: asha}": ("scheduler", "none"),
    "{purpose: table, race: {finalists: 2}}": ("race", "table"),
    "enqueue: {lr: 0.05}": ("line 2", "enqueue", "a list"),
    "enqueue: [{}]": ("line 2", "enqueue[0]", "lr is missing"),
    "enqueue: [{lr: 0.5}]": ("line 2", "enqueue[0].lr", "not in this space"),
    "enqueue: [{lr: 0.05, l2: 1}]": ("line 2", "enqueue[0].l2", "not a parameter"),
    "name: a/b": ("line 2", "name"),
    "about: [1]": ("line 2", "about", "text"),
}


@pytest.mark.parametrize("text", WRONG)
def test_wrong_keys(text: str, tmp_path: Path) -> None:
    flow = text[1:-1].replace(", grace", "\ngrace").replace(", scheduler", "\nscheduler")
    body = flow.replace(", race", "\nrace") if text.startswith("{") else text
    with pytest.raises(ConfigError) as error:
        read(tmp_path, MINIMAL + body + "\n")
    message = str(error.value)
    assert "\n" not in message
    assert "mine.yaml" in message
    for part in WRONG[text]:
        assert part in message, message


WRONG_PARAMS = {
    "lr: {low: 0.1, high: 0.01}": ("params.lr.low", "above high"),
    "lr: {low: 0, high: 1, log: true}": ("params.lr.low", "above 0"),
    "lr: {low: 0.1, high: 1, log: true, step: 0.1}": ("params.lr.step", "log"),
    "lr: {low: 0.1, high: 1, step: 0.2}": ("params.lr.high", "0.9"),
    "lr: {low: 0.1, high: 1, step: 0}": ("params.lr.step",),
    "lr: {low: 0.1, high: 1, step: 1e-300}": ("params.lr.step",),
    "lr: {low: 0.1}": ("params.lr", "high is missing"),
    "lr: {high: 0.1}": ("params.lr",),
    "lr: {low: 0.1, high: 20}": ("params.lr", "less than or equal to 10"),
    "lr: {low: .nan, high: 1}": ("params.lr.low", "finite"),
    "lr: {low: 0.1, high: .inf}": ("params.lr.high", "finite"),
    "lr: fast": ("params.lr", "number"),
    "lr: [0.1, 0.2]": ("params.lr", "number"),
    "lr: {choice: [0.1, 0.1]}": ("params.lr.choice[1]", "twice"),
    "lr: {choice: []}": ("params.lr.choice", "empty"),
    "lr: {choice: [0.1], low: 0.1, high: 1}": ("params.lr",),
    "lr: {choice: [0.1], log: true}": ("params.lr.log",),
    "lr: {low: 0.1, high: 1, hihg: 2}": ("params.lr.hihg", "did you mean high"),
    "lr: {low: 0.1, high: 1, log: yes}": ("params.lr.log", "true or false"),
    "lr: {low: 1, high: 2, type: int}": ("params.lr.type", "float"),
    "lrr: 0.1": ("params.lrr", "did you mean lr"),
    "epochs: 30": ("params.epochs", "max_epochs"),
    "latent_factors: 6.5": ("params.latent_factors", "whole number"),
    "latent_factors: 0": ("params.latent_factors",),
    "latent_factors: {low: 1, high: 99999999999}": ("params.latent_factors",),
    "loss: bpp": ("params.loss", "did you mean bpr"),
    "loss: {low: 1, high: 2}": ("params.loss", "bpr"),
    "margin: {low: 0, high: 1, when: {loss: bpr}}": ("params.margin.when.loss", "above"),
    "margin: {low: 0, high: 1, when: {los: bpr}}": ("params.margin.when.los", "unknown"),
    "margin: {low: 0, high: 1, when: {margin: 1}}": ("params.margin.when.margin", "above"),
    "margin: {low: 0, high: 1, when: {}}": ("params.margin.when", "empty"),
    "weight_decay: {low: 0, high: 1}": ("params.weight_decay", "no meaning"),
    "lr: {choice: {a: {loss: bpr}}}": ("params.lr", "name of its own"),
    "method: {choice: {a: {epochs: 3}}}": ("params.method.choice.a.epochs", "max_epochs"),
    "method: {choice: {A-: {loss: bpr}}}": ("params.method.choice", "small letters"),
    "method: {choice: {}}": ("params.method.choice", "0 sets"),
    "method: bpr": ("params.method", "unknown"),
}


@pytest.mark.parametrize("text", WRONG_PARAMS)
def test_wrong_params(text: str, tmp_path: Path) -> None:
    other = "" if text.startswith("lr:") else "  lr: 0.1\n"
    with pytest.raises(ConfigError) as error:
        read(tmp_path, "params:\n" + other + "  " + text + "\n")
    message = str(error.value)
    assert "\n" not in message
    assert f"line {3 if other else 2}" in message
    for part in WRONG_PARAMS[text]:
        assert part in message, message


def test_impossible_conditions(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 4: params\.margin\.when\.loss: .*never 'bpr'"):
        read(tmp_path, "params:\n  lr: 1\n  loss: bce\n  margin: {value: 1, when: {loss: bpr}}\n")


def test_m_above_n_fails_at_load(tmp_path: Path) -> None:
    text = """
        params:
          lr: 0.1
          neg_mode: hard
          num_candidate_neg_samples: {low: 10, high: 100, log: true}
          num_hard_neg_samples: {low: 1, high: %d}
        """
    read(tmp_path, text % 10)
    with pytest.raises(ConfigError, match=r"num_hard_neg_samples.*at most num_candidate"):
        read(tmp_path, text % 11)


def test_bce_with_hard_negatives_fails_at_load(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 6: params\.neg_mode: .*needs loss bpr or softmax"):
        read(
            tmp_path,
            """
            params:
              lr: 0.1
              latent_factors: 8
              loss: {choice: [bpr, bce]}
              neg_mode: {choice: [even, hard]}
              num_candidate_neg_samples: {value: 9, when: {neg_mode: hard}}
              num_hard_neg_samples: {value: 3, when: {neg_mode: hard}}
            """,
        )


def test_enqueue_has_to_be_complete_and_alive(tmp_path: Path) -> None:
    space = """
        params:
          lr: {low: 0.01, high: 1}
          loss: {choice: [bpr, bce]}
          margin: {low: 0, high: 2, when: {loss: bpr}}
          latent_factors: 8
        enqueue:
          - %s
        """
    spec = read(tmp_path, space % "{margin: 1, loss: bpr, lr: 1, latent_factors: 8}")
    assert spec.enqueue == ((("lr", 1.0), ("loss", "bpr"), ("margin", 1.0)),)
    for entry, part in (
        ("{loss: bpr, lr: 1}", "margin is missing"),
        ("{loss: bce, lr: 1, margin: 1}", "no effect"),
        ("{loss: bce, lr: 1, latent_factors: 9}", "not in this space"),
    ):
        with pytest.raises(ConfigError, match=f"line 8: enqueue.*{part}"):
            read(tmp_path, space % entry)


def test_set_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lr is set twice"):
        read(tmp_path, "params:\n  m: {choice: {a: {lr: 1}}}\n  lr: {low: 1, high: 2}\n")


def test_no_such_space() -> None:
    with pytest.raises(ConfigError, match="did you mean bpr_hard"):
        load_spec("bpr_hart")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_spec("nowhere/space.yaml")


def test_flat_refuses_what_does_not_fit(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL)
    with pytest.raises(ConfigError, match="lr is missing"):
        spec.flat({})
    with pytest.raises(ConfigError, match="margin has no effect"):
        spec.flat({"lr": 0.1, "margin": 1.0})
