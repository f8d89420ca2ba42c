"""The JSON Schema of spaces: of the reader's tables, and never against the reader."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from recsys.errors import ConfigError
from recsys.yamlio import parse_yaml
from search.paths import SPACES
from search.space.load import load_spec, space_names
from search.space.located import Origin
from search.space.reader import KEYS, parse_spec
from search.space.schema import ABOUT, FILE, space_schema, text
from tests.search.space.test_space import MINIMAL
from tests.search.space.test_space_mistakes import WRONG, WRONG_PARAMS

CHECK = jsonschema.Draft7Validator(space_schema())

# What only the reader knows: what one key asks of another, and what a config may be.
BEYOND = {
    *("searcher: grid", "{max_epochs: 100, grace_epochs: 5}", "{purpose: table, scheduler: asha}"),
    *("{purpose: table, race: {finalists: 2}}", "race: {finalists: 3, replicates: 1}"),
    *("race: {replicates: 4, up_to: 4}", "race: {finalists: 0, up_to: 4}"),
    *("enqueue: [{}]", "enqueue: [{lr: 0.5}]", "enqueue: [{lr: 0.05, l2: 1}]"),
    *("lr: {low: 0.1, high: 0.01}", "lr: {low: 0, high: 1, log: true}"),
    *("lr: {low: 0.1, high: 1, log: true, step: 0.1}", "lr: {low: 0.1, high: 1, step: 0.2}"),
    *("lr: {low: 0.1, high: 1, step: 1e-300}", "lr: {low: 0.1, high: 20}"),
    *("lr: {low: .nan, high: 1}", "lr: {low: 0.1, high: .inf}", "latent_factors: 0"),
    "latent_factors: {low: 1, high: 99999999999}",
    *("split: {order: time, test: {fixed: 5}}", "split: {test: {since: 2024-05-31}}"),
    "split: {order: time, test: {since: 2024-02-31}}",
    "split: {order: time, valid: {ratio: 0.1, least: 1}}",
    "{split: {race: {ratio: 0.2}}, race: none}",
    *(
        "margin: {low: 0, high: 1, when: {loss: bpr}}",
        "margin: {low: 0, high: 1, when: {los: bpr}}",
    ),
    *("margin: {low: 0, high: 1, when: {margin: 1}}", "weight_decay: {low: 0, high: 1}"),
}


def right(value: Any) -> bool:
    return bool(CHECK.is_valid(value))


def test_the_file_is_up_to_date():
    """`python -m search.space.schema` writes it."""
    assert (SPACES / FILE).read_text() == text()
    jsonschema.Draft7Validator.check_schema(json.loads(text()))


def test_every_key_is_explained():
    assert tuple(ABOUT) == KEYS


@pytest.mark.parametrize("name", space_names())
def test_the_spaces_of_the_project_are_right(name):
    CHECK.validate(parse_yaml((SPACES / f"{name}.yaml").read_text()))
    CHECK.validate(parse_yaml(load_spec(name).to_yaml()))  # as runs keep it


def test_what_the_schema_does_not_see_is_what_it_cannot():
    """Every mistake of the reader's tests is one for the schema too, but for those in `BEYOND`."""
    seen = {}
    for text_ in WRONG:
        body = text_[1:-1] if text_.startswith("{") else text_
        both = parse_yaml(MINIMAL) | parse_yaml(body if body is text_ else f"{{{body}}}")
        seen[text_] = both
    for text_ in WRONG_PARAMS:
        other = {} if text_.startswith("lr:") else {"lr": 0.1}
        seen[text_] = {"params": other | parse_yaml(text_)}
    assert {t for t, value in seen.items() if right(value)} == BEYOND
    for value in seen.values():
        with pytest.raises(ConfigError):
            parse_spec(value, Origin("x"), "x")


@pytest.mark.parametrize(
    "text_",
    [
        "time_budget: none",
        "time_budget: 1h30m",
        "time_budget: 90",
        "race: none",
        "split: {order: latest, test: none, valid: {fixed: 3}}",
        "metric: precision@7",
        "params: {lr: 1, margin: {value: 1, when: {lr: 1}}}",
        "params: {lr: {low: 0.1, high: 0.9, step: 0.2, type: float}}",
        "params: {lr: 1, method: {choice: {a: {loss: bpr}, b: {loss: bce, init_std: 0.1}}}}",
        "params: {lr: {choice: [1, 0.5]}, latent_factors: {low: 8, high: 64, log: true}}",
    ],
)
def test_what_the_reader_takes_the_schema_takes(text_):
    value = parse_yaml(MINIMAL) | parse_yaml(text_)
    parse_spec(value, Origin("x"), "x")
    CHECK.validate(value)
