"""`--set key=value`: changing the plain values of a space, before they are parsed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from recsys.errors import ConfigError
from recsys.yamlio import parse_yaml
from search.space.domains import ALTERNATIVES, FIELDS, OWNERS, STRUCTURAL
from search.space.located import Node, Origin, near, shown
from search.space.params import PARAM_KEYS, value_of
from search.space.reader import DEFAULT_EPOCHS, KEYS, LEAST, RACE, SPLIT, TENTH

_NESTED = {"split": SPLIT, "race": RACE}


def with_settings(
    value: dict[str, Any], settings: Sequence[str], more: Mapping[str, Any] = {}
) -> tuple[dict[str, Any], set[str]]:
    """A space's plain values, changed by settings such as `latent_factors=64` or `metric=ndcg@20`.

    A key of the space sets that key. A parameter becomes a constant, or with a list or a mapping
    what these mean in a file; `params.lr.high=0.1` changes a part of one. Where named sets hold the
    parameter, a structural one (such as `loss`) keeps the sets that agree with it, any other is
    changed in all sets. more: keys of the space and their values, set last.

    value: as parsed, with mappings for itself and its `params`; it is not changed. Returns the
    changed values, and the keys and parameters that were set. Raises ConfigError.
    """
    plain = value | {"params": dict(value["params"])}
    _refuse_twice(settings)
    named = {setting.partition("=")[0].strip() for setting in settings}
    size = named & {"race.finalists", "race.replicates"}
    if size and "race.up_to" not in named and isinstance(race := plain.get("race"), dict):
        # a given size of the race is meant exactly, so no splits are added
        plain["race"] = {key: part for key, part in race.items() if key != "up_to"}
    touched = {_apply(plain, setting) for setting in settings} | more.keys()
    plain |= more
    if "max_epochs" in touched and "grace_epochs" not in touched and _has_least_grace(value):
        plain.pop("grace_epochs", None)
    if "purpose" in touched:
        for key in {"scheduler", "race"} - touched:
            plain.pop(key, None)
    return plain, touched


def _has_least_grace(value: dict[str, Any]) -> bool:
    """Whether `grace_epochs` is the least that is allowed: then it is adapted to `max_epochs`."""
    epochs = value.get("max_epochs", DEFAULT_EPOCHS)
    return type(epochs) is int and value.get("grace_epochs") == math.ceil(epochs / 10)


def affected(before: dict[str, Any], after: dict[str, Any]) -> frozenset[str]:
    """The parameters that differ between two plain `params`, and those that depend on them.

    A parameter depends on those that its conditions name, and a parameter of a single model on the
    choice of the model. Of named sets that differ, every parameter in them counts.
    """
    found: set[str] = set()
    for name in dict.fromkeys([*before, *after]):
        if (name in before, before.get(name)) != (name in after, after.get(name)):
            found |= {name, *_names_in(before.get(name)), *_names_in(after.get(name))}
    known = -1
    while len(found) > known:
        known = len(found)
        for name, body in after.items():
            when = body.get("when") if isinstance(body, dict) else None
            names = {name, *_names_in(body)}
            follows = isinstance(when, dict) and found & when.keys()
            if follows or ("model" in found and names & OWNERS.keys()):
                found |= names
    return frozenset(found)


def _names_in(body: object) -> set[str]:
    """The parameters in the named sets of a plain parameter."""
    return {name for pairs in (_sets(body) or {}).values() for name in pairs}


def _refuse_twice(settings: Sequence[str]) -> None:
    """Raise ConfigError for two settings of the same thing, or of it and a part of it: the second
    would silently win.
    """
    seen: set[str] = set()
    for setting in settings:
        key = setting.partition("=")[0].strip().removeprefix("params.")
        if key in seen:
            raise ConfigError(f"--set {shown(key)[1:-1]} is given twice")
        for other in seen:
            if key.startswith(f"{other}.") or other.startswith(f"{key}."):
                both = " and ".join(shown(one)[1:-1] for one in (other, key))
                raise ConfigError(f"--set {both} overlap: give only one of them")
        seen.add(key)


def _apply(plain: dict[str, Any], setting: str) -> str:
    """Change `plain` by one setting; returns the top key or the parameter that it touched."""
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals or not key or not setting.isprintable():
        raise ConfigError(f"--set {shown(setting)[1:-1]}: expected KEY=VALUE in one line")
    value = parse_yaml(text, f"--set {key}")
    node = Node(value, Origin(f"--set {key}={text}"))
    parts = key.split(".")
    if parts[0] == "params" and len(parts) in (2, 3):
        _set_param(plain["params"], parts[1], parts[2] if len(parts) == 3 else None, node)
        return parts[1]
    if len(parts) == 1 and (key in plain["params"] or key in FIELDS):
        _set_param(plain["params"], key, None, node)
        return key
    if len(parts) == 1 and key == "epochs":
        raise node.fail("epochs is the space's max_epochs: set that")
    if len(parts) == 1 and key == "params":
        raise node.fail("set one parameter at a time, such as lr=0.1 or params.lr.high=0.1")
    if len(parts) == 1 and key in KEYS:
        plain[key] = value
        return key
    if parts[0] in _NESTED and len(parts) >= 2 and parts[1] in _NESTED[parts[0]]:
        top = parts[0]
        before = plain[top] if isinstance(plain.get(top), dict) else {}
        if len(parts) == 2:
            plain[top] = before | {parts[1]: value}
            return top
        if len(parts) == 3 and top == "split" and parts[2] in ("ratio", "fixed", "since", LEAST):
            plain[top] = before | {parts[1]: _held_out(before.get(parts[1]), parts[2], value)}
            return top
    known = [k for k in KEYS if k not in ("params", "name")]
    known += [f"{top}.{sub}" for top, subs in _NESTED.items() for sub in subs]
    known += list(dict.fromkeys([*map(str, plain["params"]), *FIELDS]))
    raise node.fail(f"unknown key {shown(key)}, {near(key, known)}")


def _held_out(before: object, key: str, value: object) -> dict[str, Any]:
    """What a part holds out, by `before`, with one key set: a ratio and its `least` go together."""
    kept = before if isinstance(before, dict) else {}
    if key == LEAST:
        return {"ratio": TENTH, **kept, key: value}
    return {key: value} | ({LEAST: kept[LEAST]} if key == "ratio" and LEAST in kept else {})


def _set_param(params: dict[str, Any], name: str, part: str | None, node: Node) -> None:
    bundles = {n: b for n, b in params.items() if _sets(b) is not None}
    holders = [n for n, b in bundles.items() if any(name in s for s in _sets(b).values())]  # type: ignore[union-attr]
    if part is not None:
        _set_part(params, name, part, node)
    elif name in bundles:
        sets = _sets(bundles[name])
        assert sets is not None
        wanted = node.value if isinstance(node.value, list) else [node.value]
        for option in wanted:
            if isinstance(option, dict | list) or option not in sets:
                raise node.fail(
                    f"{shown(option)} is not a set of {name}, {near(str(option), sets)}"
                )
        params[name] = bundles[name] | {"choice": {o: sets[o] for o in wanted}}
    elif holders or name in params:
        for holder in holders:
            _set_in_bundle(params, holder, name, node)
        if name not in params:
            return
        when = params[name].get("when") if isinstance(params[name], dict) else None
        body = node.value if isinstance(node.value, dict) else _domain(node.value)
        params[name] = body if when is None or "when" in body else body | {"when": when}
    elif name in FIELDS:
        for other in ALTERNATIVES.get(name, ()):
            params.pop(other, None)
        # First, so that parameters of the space may depend on it.
        rest = dict(params)
        params.clear()
        params[name] = node.value if isinstance(node.value, dict) else _domain(node.value)
        params.update(rest)
    else:
        known = list(dict.fromkeys([*map(str, params), *FIELDS]))
        raise node.fail(f"unknown parameter {shown(name)}, {near(name, known)}")


def _domain(value: object) -> dict[str, Any]:
    return {"choice": value} if isinstance(value, list) else {"value": value}


def _sets(body: object) -> dict[str, Any] | None:
    """The named sets in a parameter's plain form; None where it has none."""
    choice = body.get("choice") if isinstance(body, dict) else None
    if not isinstance(choice, dict) or not all(isinstance(s, dict) for s in choice.values()):
        return None
    return choice


def _set_part(params: dict[str, Any], name: str, part: str, node: Node) -> None:
    if name not in params:
        raise node.fail(f"unknown parameter {shown(name)}, {near(name, map(str, params))}")
    if part not in PARAM_KEYS:
        raise node.fail(f"unknown part {shown(part)}, {near(part, PARAM_KEYS)}")
    body = params[name]
    if part in ("low", "high", "log", "step", "type") and not (
        isinstance(body, dict) and "low" in body
    ):
        raise node.fail(f"{name} is not a range in this space, expected {name}=VALUE")
    if not isinstance(body, dict):
        body = {"value": body}
    if part in ("choice", "value"):
        body = {key: body[key] for key in ("when",) if key in body}
    params[name] = body | {part: node.value}


def _set_in_bundle(params: dict[str, Any], holder: str, name: str, node: Node) -> None:
    value = value_of(node, FIELDS[name])
    sets = _sets(params[holder])
    assert sets is not None
    if name in STRUCTURAL:
        sets = {option: body for option, body in sets.items() if body.get(name, value) == value}
        if not sets:
            raise node.fail(f"no set of {holder} has {name} {value}")
    else:
        sets = {o: body | ({name: value} if name in body else {}) for o, body in sets.items()}
    params[holder] = params[holder] | {"choice": sets}
