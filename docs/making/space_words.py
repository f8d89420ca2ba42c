"""The reference of spaces: keys, words, parameters with their limits, and the project's own."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import yaml

from docs.making.markdown import cell, code, fenced, prose, table
from recsys.metrics import PER_USER
from recsys.models import DEFAULT, MODELS, config_of, model_named
from recsys.models.base import Parameter
from recsys.models.mf.config import Adagrad, Adam, Bce, Bpr, Even, Fixed, Hard, Sgd, Softmax
from search.durations import EXPECTED
from search.paths import SPACES
from search.space.kept import Purpose
from search.space.load import load_spec, read_space, space_names
from search.space.located import Origin
from search.space.reader import KEYS, ORDERS, WHOLE
from search.space.schema import ABOUT
from search.space.strategies import SCHEDULERS, SEARCHERS

INTRODUCTION = """\
# Spaces: keys and parameters

Made from the tables that the reader of spaces uses. How these parts work together is told in
[Spaces](../spaces.md).

"""
# The parts that the words of a factorization's parameters choose between.
PARTS = {
    "loss": (Bpr, Bce, Softmax),
    "neg_mode": (Even, Fixed, Hard),
    "optimizer": (Adam, Adagrad, Sgd),
}


def spaces_page() -> str:
    """The whole page."""
    parts = [INTRODUCTION + "## Keys\n", _keys(), _parts_of_keys()]
    for title, ways in (("searcher", SEARCHERS), ("scheduler", SCHEDULERS)):
        rows = ((code(word), cell(way.about)) for word, way in ways.items())
        parts += [f"## Words of `{title}`\n", table((title, ""), rows)]
    parts += ["## Models\n", _models()]
    for model in MODELS:
        parts += [f"## Parameters of `{model}`\n", *_model(model)]
    parts.append("## The spaces of the project\n")
    parts += [_space(name) for name in space_names()]
    return "\n".join(parts)


def _keys() -> str:
    spec = read_space({"params": {"lr": {"low": 0.01, "high": 0.1}}}, Origin("space"), "space")
    defaults = spec.to_dict()
    unsaid = ("name", "about", "params", "enqueue")
    rows = (
        (
            code(key),
            cell(ABOUT[key]),
            cell(_values(key)),
            "" if key in unsaid else code(_yaml(defaults.get(key, "none"))),
        )
        for key in KEYS
    )
    return table(("key", "what it says", "values", "default"), rows)


def _values(key: str) -> str:
    """What a key may be."""
    words = {
        "purpose": tuple(Purpose),
        "searcher": SEARCHERS,
        "scheduler": SCHEDULERS,
    }
    if key in words:
        return ", ".join(words[key])
    if key == "metric":
        return ", ".join(f"{kind}@K" for kind in PER_USER)
    if key == "time_budget":
        return f"{EXPECTED}, or none"
    if key == "blend":
        return f"{_whole(key)}, or none"
    return _whole(key) if key in WHOLE else ""


def _whole(key: str) -> str:
    low, high = WHOLE[key]
    return f"{low:,} to {high:,}"


def _parts_of_keys() -> str:
    rows = [
        (code(f"split.order: {order}"), f"holds out by {' or '.join(map(code, ways))}")
        for order, ways in ORDERS.items()
    ]
    rows += [
        ("`split.test`, `split.valid`", "one of these rules; test also `none`"),
        ("`{ratio: R}`", "a share, above 0 and at most 0.9"),
        ("`{fixed: N}`", f"N items of each user, {_whole('fixed')}"),
        ("`{since: DATE}`", "all from a date on, `2024-05-31` or `2024-05-31 18:00:00`, UTC"),
        ("`race.finalists`", f"{_whole('finalists')}; 0, like `race: none`: no race"),
        (
            "`race.replicates`",
            f"{_whole('replicates')} fresh splits; at least 2 where there is one",
        ),
        (
            "`race.up_to`",
            f"{_whole('up_to')}, more than `replicates`: splits where the time budget has room",
        ),
    ]
    return table(("part of a key", "values"), rows)


def _models() -> str:
    """What the parameter `model` can be, in the words of the models themselves."""
    rows = ((code(name), _first_line(model_named(name))) for name in MODELS)
    said = f"The parameter `model` says what is trained; without it, `{DEFAULT}`.\n\n"
    return said + table(("model", ""), rows)


def _first_line(thing: type) -> str:
    return cell(inspect.cleandoc(thing.__doc__ or "").split("\n\n")[0])


def _model(model: str) -> Iterator[str]:
    config = config_of(model)
    if model == DEFAULT:
        yield "The default model, a factorization.\n"
        for name, parts in PARTS.items():
            yield f"What the words of `{name}` choose:\n"
            yield "\n".join(_part(part) for part in parts) + "\n"
    elif config.__doc__:
        yield prose(inspect.cleandoc(config.__doc__))
    parameters = config.parameters()
    if parameters:
        yield table(("parameter", "values", "default"), map(_row, parameters, parameters.values()))


def _part(part: Any) -> str:
    """A line of a list: the word, and what its class says of it."""
    word = next(
        part.model_fields[key].default for key in ("kind", "mode") if key in part.model_fields
    )
    said = " ".join(prose(inspect.cleandoc(part.__doc__)).split())
    return f"- `{word}`: {said}"


def _row(name: str, parameter: Parameter) -> tuple[str, str, str]:
    kind = "a whole number" if parameter.kind is int else "a number"
    limits = f"{kind} {parameter.limits}" if parameter.limits else kind
    values = ", ".join(map(code, parameter.words)) if parameter.words else limits
    return code(name), values, "" if parameter.default is None else code(str(parameter.default))


def _space(name: str) -> str:
    """A space as its file has it, after the line for editors."""
    lines = (SPACES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[1:]
    return f"### {name}\n\n{load_spec(name).about}.\n\n" + fenced("\n".join(lines), "yaml")


def _yaml(value: Any) -> str:
    """A value as it is written in a space."""
    return (
        str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000))
        .split("\n...\n")[0]
        .strip()
    )
