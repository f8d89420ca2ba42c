"""The reference of Python: what `recsys` offers, with signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import recsys
from docs.making.markdown import code, fenced, prose, table

INTRODUCTION = """\
# Python

Made from the docstrings of `recsys`, which knows neither Ray nor Optuna nor MLflow. [The
README](../readme.md#from-python-without-a-search) has an example.

"""
# Beside the names of the package: a model that a run has left, asked for recommendations.
MORE = {
    "recsys.models.saved": ("load_model", "load_config"),
    "recsys.models.catalogue": ("load_catalogue", "Catalogue"),
    "recsys.recommending": ("Recommender", "Ranked"),
}
WIDTH = 88  # letters of a signature in one line


def python_page() -> str:
    """The whole page."""
    names = [("recsys", name) for name in recsys.__all__]
    names += [(module, name) for module, names in MORE.items() for name in names]
    return INTRODUCTION + "\n".join(
        _section(module, name, getattr(import_module(module), name)) for module, name in names
    )


def _section(module: str, name: str, thing: Any) -> str:
    head = f"## {name}\n\n`from {module} import {name}`\n\n"
    if inspect.isclass(thing):
        return head + "\n".join(_class(thing))
    if callable(thing):
        return head + fenced(_signature(name, thing), "python") + "\n" + _said(thing)
    rows = ((code(str(key)), code(str(value.model))) for key, value in thing.items())
    return head + "The models that a space can choose.\n\n" + table(("name", "class"), rows)


def _class(thing: type) -> Iterator[str]:
    if not issubclass(thing, Exception):
        yield fenced(_signature(thing.__name__, thing), "python")
    yield _said(thing)
    for name, member in vars(thing).items():
        plain = member.__func__ if isinstance(member, staticmethod | classmethod) else member
        if name == "__init__" and inspect.isfunction(plain) and plain.__doc__:
            yield _said(plain)  # what the signature above takes
        if name.startswith("_") or not inspect.isfunction(plain) or not plain.__doc__:
            continue
        yield f"**`{thing.__name__}.{name}`**\n"
        yield fenced(_signature(name, plain), "python")
        yield _said(plain)


def _signature(name: str, thing: Any) -> str:
    """`name(...) -> ...`, a parameter a line where that is long."""
    try:
        signature = inspect.signature(thing)
    except ValueError:  # of classes that say nothing about it
        return name
    text = name + _unquoted(str(signature))
    if len(text) <= WIDTH or not signature.parameters:
        return text
    empty = inspect.Signature.empty
    alone = _unquoted(str(signature.replace(return_annotation=empty)))
    lines = re.sub(r", (?=(\*\*?)?\w+(:|=|,|$)|\*,)", ",\n    ", alone[1:-1])
    return f"{name}(\n    {lines},\n){text[len(name + alone) :]}"


def _unquoted(signature: str) -> str:
    """Annotations as they are written; they reach `inspect` as texts."""
    plain = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", signature)
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", plain)


def _said(thing: Any) -> str:
    return prose(inspect.cleandoc(thing.__doc__)) if thing.__doc__ else ""
