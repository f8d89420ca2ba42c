"""`--set key=value`: changing a loaded space from the command line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from recsys.errors import ConfigError
from recsys.yamlio import parse_yaml
from search.space.domains import FIELDS, STRUCTURAL, Constant, Param, Value
from search.space.located import Node, Origin, near, shown
from search.space.params import PARAM_KEYS, value_of
from search.space.reader import KEYS, parse_spec
from search.space.spec import SearchSpec
from search.space.strategies import SEARCHERS

_NESTED = {"split": ("order", "test", "valid"), "race": ("finalists", "replicates")}


def override(spec: SearchSpec, settings: Sequence[str]) -> SearchSpec:
    """`spec` with settings such as `latent_factors=64` or `metric=ndcg@20`; ConfigError.

    A key of the space sets that key. A parameter becomes a constant, or, given a list or a
    mapping, what they would mean in a file; `params.lr.high=0.1` changes a part of one. Where
    named sets hold the parameter, `loss`, `neg_mode` and `optimizer` keep the sets that agree, any
    other is changed in all of them. Parameters that can no longer be active go. The configs of
    `enqueue` follow: constants win over them, numbers move into the new range, and a config
    that no longer fits is dropped.
    """
    plain = spec.to_dict()
    touched: set[str] = set()
    _refuse_twice(settings)
    for setting in settings:
        touched.add(_apply(plain, setting))
    if not settings:
        return spec
    default_grace = spec.grace_epochs == math.ceil(spec.max_epochs / 10)
    if default_grace and "max_epochs" in touched and "grace_epochs" not in touched:
        del plain["grace_epochs"]
    if "trials" not in touched and spec.trials == SEARCHERS[spec.searcher].trials(spec):
        del plain["trials"]
    if "purpose" in touched:
        for key in {"scheduler", "race"} - touched:
            del plain[key]
    own_entries = "enqueue" in touched
    entries = plain.pop("enqueue") if not own_entries else []
    origin = Origin(f"{spec.name} with --set {' '.join(settings)}")
    changed = parse_spec(plain, origin, spec.name, lenient=True)
    if own_entries or not entries:
        return changed
    fitted = [dict(e) for e in (_fit(changed, entry) for entry in entries) if e is not None]
    return parse_spec(plain | {"enqueue": fitted}, origin, spec.name, lenient=True)


def _refuse_twice(settings: Sequence[str]) -> None:
    """The last of two settings of one thing would win without a word about the first."""
    seen: set[str] = set()
    for setting in settings:
        key = setting.partition("=")[0].strip().removeprefix("params.")
        if key in seen:
            raise ConfigError(f"--set {shown(key)[1:-1]} is given twice")
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
        before = plain[top] if isinstance(plain[top], dict) else {}
        if len(parts) == 2:
            plain[top] = before | {parts[1]: value}
            return top
        if len(parts) == 3 and top == "split" and parts[2] in ("ratio", "fixed"):
            plain[top] = before | {parts[1]: {parts[2]: value}}
            return top
    known = [k for k in KEYS if k not in ("params", "name")]
    known += [f"{top}.{sub}" for top, subs in _NESTED.items() for sub in subs]
    known += list(dict.fromkeys([*plain["params"], *FIELDS]))
    raise node.fail(f"unknown key {shown(key)}, {near(key, known)}")


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
                raise node.fail(f"{shown(option)} is no set of {name}, {near(str(option), sets)}")
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
        # M and the fraction of N that is M are two ways to say one thing
        params.pop(
            {"num_hard_neg_samples": "hard_fraction", "hard_fraction": "num_hard_neg_samples"}.get(
                name, ""
            ),
            None,
        )
        # In front, so that parameters of the space may depend on it.
        rest = dict(params)
        params.clear()
        params[name] = node.value if isinstance(node.value, dict) else _domain(node.value)
        params.update(rest)
    else:
        known = list(dict.fromkeys([*params, *FIELDS]))
        raise node.fail(f"unknown parameter {shown(name)}, {near(name, known)}")


def _domain(value: object) -> dict[str, Any]:
    return {"choice": value} if isinstance(value, list) else {"value": value}


def _sets(body: object) -> dict[str, Any] | None:
    """The named sets of a parameter's plain form, None where it has none."""
    choice = body.get("choice") if isinstance(body, dict) else None
    if not isinstance(choice, dict) or not all(isinstance(s, dict) for s in choice.values()):
        return None
    return choice


def _set_part(params: dict[str, Any], name: str, part: str, node: Node) -> None:
    if name not in params:
        raise node.fail(f"unknown parameter {shown(name)}, {near(name, params)}")
    if part not in PARAM_KEYS:
        raise node.fail(f"unknown part {shown(part)}, {near(part, PARAM_KEYS)}")
    body = params[name]
    if part in ("low", "high", "log", "step", "type") and not (
        isinstance(body, dict) and "low" in body
    ):
        raise node.fail(f"{name} is no range in this space, expected {name}=VALUE")
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


def _fit(spec: SearchSpec, entry: dict[str, Value]) -> dict[str, Value] | None:
    """A config of the old space as one of `spec`; None where something is missing now."""
    known = dict(entry)
    missing: list[str] = []

    def pick(param: Param) -> Value:
        domain = param.domain
        assert not isinstance(domain, Constant)
        value = domain.nearest(known[param.name]) if param.name in known else None
        if value is None:
            missing.append(param.name)
            return domain.corners()[0]
        return value

    fitted = spec.choose(pick)
    return None if missing else fitted
