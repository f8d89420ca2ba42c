"""What is said about a wrong space: one line with file, line, key and what was expected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.space.load import load_spec
from search.space.spec import SearchSpec
from tests.search.space.test_space import MINIMAL, read

# What is wrong, and what the one line has to say about it.
WRONG = {
    "metrik: map@50": ("line 2", "metrik", "did you mean metric"),
    "metric: map50": ("line 2", "metric", "map@50"),
    "metric: map@0": ("line 2", "metric"),
    "metric: coverage@10": ("line 2", "no value for a single user", "map@K"),
    "mode: min": ("line 2", "mode", "max"),
    "model: ease": ("line 2", "model", "expected one of name, about"),
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
    "split: {race: none}": ("line 2", "split.race"),
    "{split: {race: {ratio: 0.2}}, race: none}": ("split.race", "there is no race"),
    "split: {valid: {least: 1}}": ("line 2", "split.valid.least", "{ratio: 0.1, least: 1}"),
    "split: {valid: {fixed: 2, least: 1}}": ("line 2", "split.valid.least", "for a ratio"),
    "split: {valid: {ratio: 0.1, least: 0}}": ("line 2", "split.valid.least", "from 1"),
    "split: {order: time, valid: {ratio: 0.1, least: 1}}": ("line 2", "split.valid.least", "user"),
    "split: {order: time, test: {fixed: 5}}": ("line 2", "split.test.fixed", "{since: 2024-05-31}"),
    "split: {test: {since: 2024-05-31}}": ("line 2", "split.test.since", "order random"),
    "split: {order: time, test: {since: yesterday}}": ("line 2", "split.test.since", "a date"),
    "split: {order: time, test: {since: 2024-02-31}}": ("line 2", "split.test.since", "a date"),
    "split: {order: time, valid: {since: 5}}": ("line 2", "split.valid.since", "a date"),
    "race: {finalists: 3, replicates: 1}": ("line 2", "race.replicates", "at least 2"),
    "race: {replicates: 4, up_to: 4}": ("line 2", "race.up_to", "more than the 4 of replicates"),
    "race: {finalists: 0, up_to: 4}": ("line 2", "race.up_to", "there is none"),
    "race: {up_to: 1000}": ("line 2", "race.up_to", "100"),
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


@pytest.mark.parametrize(
    ("blamed", "where"), [("lr", r"line 3: params\.lr: "), ("gone", "line 2: params: "), (None, "")]
)
def test_what_is_wrong_is_looked_for_where_the_error_says(
    blamed: str | None, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ConfigError("latent_factors and others do not go together", blamed)

    monkeypatch.setattr(SearchSpec, "train_config", refused)
    with pytest.raises(
        ConfigError, match=f"{where or 'line 2: params: '}latent_factors and others"
    ):
        read(
            tmp_path,
            """
            params:
              lr: {low: 0.01, high: 0.1}
              latent_factors: {choice: [8, 16]}
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
    for name in ("", "a\nb", "\0"):
        with pytest.raises(ConfigError, match="expected a name or a file"):
            load_spec(name)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_spec("nowhere/space.yaml")


def test_flat_refuses_what_does_not_fit(tmp_path: Path) -> None:
    spec = read(tmp_path, MINIMAL)
    with pytest.raises(ConfigError, match="lr is missing"):
        spec.flat({})
    with pytest.raises(ConfigError, match="margin has no effect"):
        spec.flat({"lr": 0.1, "margin": 1.0})


def test_a_file_whose_name_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"bad\xff.yaml")
    path.write_text("params: {lr: {low: 0.01, high: 0.1}}\n")
    assert load_spec(str(path)).name == "bad"
    with pytest.raises(ConfigError, match="expected a name or a file"):
        load_spec(str(path.with_name(os.fsdecode(b"none\xff.yaml"))))


IDLE = {
    "scheduler: none\ngrace_epochs: 5": ("grace_epochs: has no effect with scheduler none",),
    "reduction_factor: 4\nscheduler: none": ("reduction_factor: has no effect",),
    "purpose: table\nk: 20": ("k: has no effect on a table",),
    "race:\n  finalists: 0\n  replicates: 5": ("race.replicates: has no effect with",),
}


@pytest.mark.parametrize("text", IDLE)
def test_what_has_no_effect_is_refused_in_a_file_that_a_person_wrote(
    text: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        read(tmp_path, f"{MINIMAL}{text}\n" if MINIMAL.endswith("\n") else f"{MINIMAL}\n{text}\n")
    for word in IDLE[text]:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert ", line " in str(error.value)


def test_the_space_of_a_run_says_more_than_it_uses(tmp_path: Path) -> None:
    spec = load_spec("smoke", ["scheduler=none", "race.finalists=0"])
    path = tmp_path / "spec.yaml"
    path.write_text(spec.to_yaml())
    assert load_spec(str(path)) == spec
