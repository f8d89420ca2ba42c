"""A value from a YAML file that knows its place there, so that every error can name it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from recsys.errors import ConfigError

MAX_INT = 2**53  # the largest exact float64: Optuna keeps every parameter as one


def near(word: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown word: a guess, or else all known words."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"expected one of {', '.join(names)}"


def shown(value: object) -> str:
    """A value for a one-line message, cut if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Origin:
    """Where a document comes from: its name in errors, and its text if there is one.

    changed: paths to values that are not as in the text, and so have no line.
    """

    name: str
    text: str | None = None
    changed: frozenset[tuple[str, ...]] = frozenset()

    def at(self, path: tuple[str | int, ...]) -> str:
        """`name, line 7`: the line of the deepest part of `path` that is in the text."""
        changed = any(path[: len(prefix)] == prefix for prefix in self.changed)
        line = None if changed else self._line(path)
        return self.name if line is None else f"{self.name}, line {line}"

    def _line(self, path: tuple[str | int, ...]) -> int | None:
        if self.text is None or not path:
            return None
        # Makes only nodes, no values, and only for an error; the text was read before.
        try:
            node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        except (yaml.YAMLError, ValueError, RecursionError):
            return None
        line: int | None = None
        for part in path:
            if isinstance(node, yaml.MappingNode):
                pairs = [(k, v) for k, v in node.value if getattr(k, "value", None) == str(part)]
                if not pairs:
                    break
                line, node = pairs[0][0].start_mark.line + 1, pairs[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                if part >= len(node.value):
                    break
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line


@dataclass(frozen=True)
class Node:
    """A parsed value, the path of keys to it and its origin. Its readers raise ConfigError."""

    value: Any
    origin: Origin
    path: tuple[str | int, ...] = ()

    @property
    def label(self) -> str:
        """The path as people write it: `params.lr.high`, `enqueue[2].lr`."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
        return shown(text)[1:-1] if len(text) > 60 else text

    def fail(self, message: str) -> ConfigError:
        """The error to raise: `message` after place and key."""
        label = f"{self.label}: " if self.path else ""
        return ConfigError(f"{self.origin.at(self.path)}: {label}{message}")

    def wrong(self, expected: str) -> ConfigError:
        """The error to raise: what was got and what was expected."""
        return self.fail(f"got {shown(self.value)}, expected {expected}")

    def child(self, key: str | int, value: object) -> Node:
        """A value inside this one, at `key`, with its place in the file."""
        return Node(value, self.origin, (*self.path, key))

    def mapping(self, expected: str = "a mapping of keys to values") -> dict[str, Node]:
        """The entries by key, in the order of the file. expected: what an error asks for."""
        if not isinstance(self.value, dict):
            raise self.wrong(expected)
        for key in self.value:
            if not isinstance(key, str) or not key.isprintable():
                raise self.fail(f"key {shown(key)}, expected plain text")
        return {key: self.child(key, value) for key, value in self.value.items()}

    def entries(self, known: Iterable[str]) -> dict[str, Node]:
        """`mapping`, where every key must be one of `known`."""
        found = self.mapping()
        names = list(known)
        for key, node in found.items():
            if key not in names:
                raise node.fail(f"unknown key, {near(key, names)}")
        return found

    def sequence(self, expected: str = "a list", most: int = 1000) -> list[Node]:
        """The entries of a list, at most `most`; it may be empty. expected: what errors ask for."""
        if not isinstance(self.value, list):
            raise self.wrong(expected)
        if len(self.value) > most:
            raise self.fail(f"{len(self.value)} entries, expected at most {most}")
        return [self.child(i, value) for i, value in enumerate(self.value)]

    def text(self) -> str:
        """Text in one line, which may be empty; a number is not text."""
        if not isinstance(self.value, str) or not self.value.isprintable():
            raise self.wrong("text in one line")
        return self.value

    def word(self, options: Iterable[str]) -> str:
        """A word that has to be one of `options`."""
        names = list(options)
        if self.value in names and isinstance(self.value, str):
            return self.value
        if isinstance(self.value, str):
            raise self.fail(f"got {shown(self.value)}, {near(self.value, names)}")
        raise self.wrong("one of " + ", ".join(names))

    def integer(self, low: int = -MAX_INT, high: int = MAX_INT) -> int:
        """A whole number in [low, high]."""
        if type(self.value) is not int or not low <= self.value <= high:
            bounds = "" if high == -low else f" from {low}"
            raise self.wrong("a whole number" + bounds + ("" if high >= MAX_INT else f" to {high}"))
        return self.value

    def number(self, low: float = -1e300, high: float = 1e300) -> float:
        """A finite number in [low, high]."""
        value = self.value
        if type(value) not in (int, float) or abs(value) > 1e300 or math.isnan(value):
            raise self.wrong("a finite number")
        if not low <= value <= high:
            raise self.wrong(f"a number from {low:g} to {high:g}")
        return float(value)

    def boolean(self) -> bool:
        """True or False; 0, 1, "yes" and "no" are neither."""
        if not isinstance(self.value, bool):
            raise self.wrong("true or false")
        return self.value
