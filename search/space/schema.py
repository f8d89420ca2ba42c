"""A JSON Schema of spaces, by which editors complete keys and words, and mark mistakes.

It is made from the reader's own tables and checks less than the reader: no schema can say what one
key requires of another, or whether a config can be built. `python -m search.space.schema` writes
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from recsys.metrics import PER_USER
from recsys.moments import MOMENT
from search.durations import PATTERN
from search.names import SPACE_NAME
from search.paths import SPACES
from search.space.domains import FIELDS, Field
from search.space.kept import Purpose
from search.space.params import BUNDLE_NAME
from search.space.reader import KEYS, LEAST, ORDERS, RACE, WHOLE
from search.space.spec import Prefer
from search.space.strategies import SCHEDULERS, SEARCHERS

FILE = "space.schema.json"
HEADER = f"# yaml-language-server: $schema={FILE}"  # for a space in the folder of the schema
Schema = dict[str, Any]

_NUMBERS = "#/definitions/"
_BUNDLE: Schema = {"pattern": BUNDLE_NAME.pattern.replace(r"\Z", "$")}

# What an editor shows beside a key.
ABOUT = {
    "name": "Name of the space; by default that of its file.",
    "about": "What is searched, in one line.",
    "purpose": "search, or table: every config is trained to its end and tested, without a winner.",
    "searcher": "How the next config is found.",
    "scheduler": "Whether weak trials are stopped early.",
    "metric": "The metric to maximise, at any k: map@50.",
    "trials": "Number of trials; by default 64, or all configs of a grid.",
    "time_budget": "Time for the whole run: 90s, 10m, 1h30m or 2d; none: no limit.",
    "max_epochs": "The longest training.",
    "grace_epochs": "Epochs before a trial may be stopped; at least a tenth of max_epochs.",
    "reduction_factor": "Of so many trials, ASHA lets the best one continue.",
    "k": "Items for each user in submission.csv.",
    "split": "What test, validation and race hold out: of each user's items, or since a date.",
    "race": "How many of the best trials are trained again, on how many fresh splits.",
    "blend": "How many of the finalists may be added up into one model.",
    "params": "Constants, ranges and choices, in the order in which they depend on each other.",
    "enqueue": "Complete configs to try first.",
}


def space_schema() -> Schema:
    """The schema of a space, JSON Schema draft 7."""
    ratio = {"type": "number", "exclusiveMinimum": 0, "maximum": 0.9}
    hold_out = _either(
        _object({"ratio": ratio, LEAST: _whole(LEAST)}, "ratio"),
        _object({"fixed": _whole("fixed")}, "fixed"),
        _object({"since": {"type": "string", "pattern": MOMENT.pattern}}, "since"),
    )
    keys: dict[str, Schema] = {
        "name": {"type": "string", "pattern": f"^{SPACE_NAME.pattern}$"},
        "about": {"type": "string"},
        "purpose": _words(tuple(Purpose)),
        "searcher": _words(SEARCHERS),
        "scheduler": _words(SCHEDULERS),
        "metric": {"type": "string", "pattern": rf"^({'|'.join(PER_USER)})@[1-9][0-9]{{0,8}}$"},
        "time_budget": _either(
            {"type": "string", "pattern": f"^({PATTERN}|none)$"},
            {"type": "number", "exclusiveMinimum": 0},
            {"type": "null"},
        ),
        "split": _object(
            {
                "order": _words(ORDERS),
                "test": _or_none(hold_out),
                "valid": hold_out,
                "race": hold_out,
            }
        ),
        "race": _or_none(
            _object(
                {key: _whole(key) for key in RACE if key in WHOLE}
                | {"prefer": _words(tuple(Prefer))}
            )
        ),
        "blend": _or_none(_whole("blend")),
        "params": {
            "type": "object",
            "minProperties": 1,
            "properties": {
                name: _parameter(field) if field.words else {"$ref": _NUMBERS + field.kind.__name__}
                for name, field in FIELDS.items()
            },
            "additionalProperties": _named_sets(),
            "propertyNames": _BUNDLE,
        },
        "enqueue": {"type": "array", "items": {"type": "object"}},
    }
    keys |= {key: _whole(key) for key in KEYS if key in WHOLE and key not in keys}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A space of recsearch",
        "type": "object",
        "required": ["params"],
        "additionalProperties": False,
        "properties": {key: {"description": ABOUT[key]} | keys[key] for key in KEYS},
        "definitions": {kind.__name__: _parameter(Field(kind)) for kind in (int, float)},
    }


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    found: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return found | ({"required": list(required)} if required else {})


def _either(*ways: Schema) -> Schema:
    return {"anyOf": list(ways)}


def _or_none(schema: Schema) -> Schema:
    return _either(schema, {"enum": ["none", None]})


def _words(options: Iterable[str]) -> Schema:
    return {"enum": list(options)}


def _whole(key: str) -> Schema:
    low, high = WHOLE[key]
    return {"type": "integer", "minimum": low, "maximum": high}


def _value(field: Field) -> Schema:
    if field.words:
        return _words(field.words)
    return {"type": "integer" if field.kind is int else "number"}


_WHEN: Schema = {"type": "object", "minProperties": 1}


def _parameter(field: Field) -> Schema:
    """A constant, a choice or a range, perhaps under a condition."""
    value = _value(field)
    choice = {"type": "array", "minItems": 1, "uniqueItems": True, "items": value}
    ways = [
        value,
        _object({"value": value, "when": _WHEN}, "value"),
        _object({"choice": choice, "when": _WHEN}, "choice"),
    ]
    if not field.words:
        parts = {
            "low": value,
            "high": value,
            "log": {"type": "boolean"},
            "step": value | {"exclusiveMinimum": 0},
            "type": {"const": field.kind.__name__},
            "when": _WHEN,
        }
        ways.append(_object(parts, "low", "high"))
    return _either(*ways)


def _named_sets() -> Schema:
    """A choice between sets of constants, under a name of its own."""
    sets = {
        "type": "object",
        "minProperties": 1,
        "propertyNames": _BUNDLE,
        "additionalProperties": _object({name: _value(field) for name, field in FIELDS.items()}),
    }
    return _object({"choice": sets, "when": _WHEN}, "choice")


def text() -> str:
    """The content of the schema's file."""
    return json.dumps(space_schema(), indent=1) + "\n"


if __name__ == "__main__":
    (SPACES / FILE).write_text(text(), encoding="utf-8")
