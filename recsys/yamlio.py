"""Reading YAML as people mean it.

PyYAML follows YAML 1.1, in which `1e-4` is a string, `off` is False, `010` is 8, `1:30` is 90
and the second of two equal keys silently wins. Here scalars follow the core schema of YAML 1.2
(section 10.3.2) and a repeated key is an error. Aliases are refused: no file of this project needs
them, and they can make a short file a huge or endless value.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from recsys.errors import ConfigError
from recsys.safe_files import check_regular

MAX_BYTES = 1 << 20


class _ProblemError(Exception):
    """A problem at a known place; turned into a ConfigError where the file's name is known."""

    def __init__(self, message: str, mark: yaml.Mark) -> None:
        super().__init__(message)
        self.message, self.mark = message, mark


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2, unique keys and no aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise _ProblemError("aliases (*name) are not supported", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict | set):
                raise _ProblemError("a key must be a plain value", key_node.start_mark)
            if key in result:
                raise _ProblemError(f"key {key!r} is given twice", key_node.start_mark)
            result[key] = self.construct_object(value_node, deep=deep)
        return result

    def integer(self, node: yaml.ScalarNode) -> int:
        text = str(node.value)
        try:
            return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
        except ValueError:
            raise _ProblemError(f"{text[:40]!r} is not a usable integer", node.start_mark) from None

    def floating(self, node: yaml.ScalarNode) -> float:
        # ".inf" and ".nan" are YAML's spelling
        text = str(node.value)
        try:
            return float(text.replace(".", "", 1) if text[-1:].isalpha() else text)
        except ValueError:
            raise _ProblemError(f"{text[:40]!r} is not a number", node.start_mark) from None


def _resolve(kind: str, pattern: str, first: str) -> None:
    tag = f"tag:yaml.org,2002:{kind}"
    _Loader.add_implicit_resolver(tag, re.compile(rf"(?:{pattern})\Z"), list(first))


_Loader.yaml_implicit_resolvers = {}
_resolve("null", r"~|null|Null|NULL|", "~nN")
_Loader.yaml_implicit_resolvers[""] = _Loader.yaml_implicit_resolvers["~"]
_resolve("bool", r"true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_resolve("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789")
_resolve("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+.")
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.floating)


def parse_yaml(text: str, source: str = "text") -> Any:
    """The value of one YAML document; None for an empty one. source: its name, for errors.

    Raises ConfigError with the line of the problem.
    """
    try:
        loader = _Loader(text)
    except yaml.YAMLError as error:
        reason = getattr(error, "reason", "not YAML")
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise ConfigError(f"{source}, line {line}: {reason}") from None
    try:
        return loader.get_single_data()
    except _ProblemError as problem:
        raise ConfigError(f"{source}, line {problem.mark.line + 1}: {problem.message}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        message = " ".join(str(error.problem or error.context or "not YAML").split())
        raise ConfigError(f"{source}{where}: {message[:200]}") from None
    except (yaml.YAMLError, ValueError, AttributeError, KeyError, TypeError) as error:
        # tags such as !!int on arbitrary text make PyYAML's own constructors fail
        message = " ".join(str(error).split())[:200]
        raise ConfigError(f"{source}: not usable YAML ({message})") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    finally:
        loader.dispose()


def load_yaml(path: str | Path) -> Any:
    """The value in a UTF-8 YAML file of at most 1 MiB. Raises ConfigError with file and line."""
    try:
        check_regular(Path(path))
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read ({reason}); expected a YAML file") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes, expected a short YAML file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text") from None
    return parse_yaml(text, str(path))
