"""Reading the `params` and `enqueue` of a space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from recsys.models import DEFAULT, MODELS
from search.space.domains import (
    FIELDS,
    UNSAID,
    Bundle,
    Choice,
    Constant,
    Domain,
    Field,
    FloatRange,
    IntRange,
    Pairs,
    Param,
    Value,
)
from search.space.located import Node, near, shown
from search.space.spec import SetTwiceError, walk

RANGE_KEYS = ("low", "high", "log", "step", "type")
PARAM_KEYS = (*RANGE_KEYS, "choice", "value", "when")
MAX_OPTIONS = 1000
MAX_STEPS = 10**9
BUNDLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
_EPOCHS = "the number of epochs is the space's max_epochs (with patience), not a parameter"


Names = frozenset[str]
NONE: Names = frozenset()


def parse_params(node: Node, affected: Names = NONE) -> tuple[Param, ...]:
    """The parameters, in the order of the file. Raises ConfigError where one cannot be used.

    A condition on a value that never occurs is an error. But if it is a condition on one of the
    parameters `affected` by a setting, the value is ignored, and a parameter that can then never be
    active is left out.
    """
    params: dict[str, Param] = {}
    out: set[str] = set()
    for name, child in node.mapping("a mapping of parameters").items():
        param = _param(name, child, params, out, affected)
        if param is None:
            out.add(name)
            continue
        params[name] = param
    if not params:
        raise node.fail("no parameters, expected at least one, such as lr: {low: 0.01, high: 0.1}")
    # the choice of a model decides which other parameters exist, so it always comes first
    found = tuple(sorted(params.values(), key=lambda p: "model" not in p.sets()))
    return _of_chosen_models(node, found, "model" in affected)


def _of_chosen_models(node: Node, params: tuple[Param, ...], follow: bool) -> tuple[Param, ...]:
    """`params`; raises ConfigError for one that belongs to a model that the space never chooses.

    follow: leave such parameters out instead, since a setting changed which models are chosen.
    """
    children = node.mapping()
    chosen = {model for model in MODELS if any(possible(param, "model", model) for param in params)}
    if not chosen or any(map(_leaves_model_out, params)):
        chosen.add(DEFAULT)
    for param in params:
        if "model" in param.sets() and param.when:
            raise children[param.name].fail("the choice of a model can't have conditions (when)")
        models = param.models()
        if models is not None and not models & chosen and not follow:
            raise children[param.name].fail(
                f"has no effect: it belongs to model {' or '.join(sorted(models))}, and this space "
                f"has only {', '.join(sorted(chosen))}"
            )
    return tuple(p for p in params if (models := p.models()) is None or models & chosen)


def _param(
    name: str, node: Node, before: Mapping[str, Param], out: set[str], affected: Names
) -> Param | None:
    """One parameter; None where its conditions can no longer be met.

    before: the parameters above it, by name. out: names of those that were left out. affected: see
    `parse_params`.
    """
    field = FIELDS.get(name)
    if isinstance(node.value, dict):
        parts = node.entries(PARAM_KEYS)
        is_bundle = isinstance(node.value.get("choice"), dict)
    else:
        parts, is_bundle = {"value": node}, False
    if is_bundle:
        if field is not None or not BUNDLE_NAME.match(name):
            raise node.fail("a choice of named sets needs a name of its own, such as method")
    elif field is None:
        raise node.fail(_EPOCHS if name == "epochs" else f"unknown parameter, {near(name, FIELDS)}")
    when = _when(parts["when"], before, out, affected) if "when" in parts else ()
    ways = [key for key in ("value", "choice", "low") if key in parts]
    if len(ways) != 1:
        raise node.fail("expected a constant, {low: .., high: ..} or {choice: [..]}")
    for key in RANGE_KEYS[1:]:
        if key in parts and ways != ["low"]:
            raise parts[key].fail(f"does not go with {ways[0]}, only with low and high")
    domain = _domain(ways[0], field, node, parts)
    return None if when is None else Param(name, domain, when)


def _domain(way: str, field: Field | None, node: Node, parts: Mapping[str, Node]) -> Domain:
    if field is None:
        return _bundle(parts["choice"])
    if way == "value":
        return Constant(value_of(parts["value"], field))
    if way == "low":
        return _range(node, parts, field)
    nodes = parts["choice"].sequence("a list of values, or of named sets", MAX_OPTIONS)
    options: list[Value] = []
    for option in nodes:
        value = value_of(option, field)
        if value in options:
            raise option.fail(f"{shown(value)} is given twice")
        options.append(value)
    if not options:
        raise parts["choice"].fail("empty, expected at least one value")
    return Choice(tuple(options))


def _bundle(node: Node) -> Bundle:
    sets: list[tuple[str, Pairs]] = []
    options = node.mapping()
    if not options or len(options) > MAX_OPTIONS:
        raise node.fail(f"{len(options)} sets, expected 1 to {MAX_OPTIONS}")
    for name, body in options.items():
        if not BUNDLE_NAME.match(name):
            raise body.fail("the name of a set has small letters, digits and _ only")
        pairs: list[tuple[str, Value]] = []
        for key, child in body.mapping("the constants of this set, {loss: bpr, ..}").items():
            if key not in FIELDS:
                raise child.fail(
                    _EPOCHS if key == "epochs" else f"unknown parameter, {near(key, FIELDS)}"
                )
            pairs.append((key, value_of(child, FIELDS[key])))
        sets.append((name, tuple(pairs)))
    return Bundle(tuple(sets))


def value_of(node: Node, field: Field) -> Value:
    """A value of a field, in the field's type (3 becomes 3.0 for a float). Raises ConfigError for
    one that the field cannot have.
    """
    if field.words:
        return node.word(field.words)
    if isinstance(node.value, list | dict):
        raise node.wrong(field.expected)
    return node.integer() if field.kind is int else node.number()


def _range(node: Node, parts: Mapping[str, Node], field: Field) -> Domain:
    if field.words:
        raise node.fail(f"a range makes no sense here, expected {field.expected}")
    if "high" not in parts:
        raise node.fail("high is missing beside low")
    kind = parts["type"].word(("int", "float")) if "type" in parts else field.kind.__name__
    if kind != field.kind.__name__:
        raise parts["type"].fail(f"got {kind}, expected {field.kind.__name__}, which is its type")
    low, high = value_of(parts["low"], field), value_of(parts["high"], field)
    log = parts["log"].boolean() if "log" in parts else False
    assert not isinstance(low, str) and not isinstance(high, str)
    if low > high:
        raise parts["low"].fail(f"{low:g} is above high, which is {high:g}")
    if log and low <= 0:
        raise parts["low"].fail(f"{low:g}, expected a number above 0 with log: true")
    if log and "step" in parts:
        raise parts["step"].fail("does not go with log: true, leave out one of them")
    step = value_of(parts["step"], field) if "step" in parts else None
    if step is not None:
        assert not isinstance(step, str)
        if step <= 0:
            raise parts["step"].fail(f"{step:g}, expected a number above 0")
        span, width = Decimal(repr(high)) - Decimal(repr(low)), Decimal(repr(step))
        if span / width > MAX_STEPS:
            raise parts["step"].fail(
                f"more than {MAX_STEPS} steps from low to high, expected fewer"
            )
        if span % width != 0:
            best = Decimal(repr(low)) + width * (span // width)
            raise parts["high"].fail(
                f"{high:g} is not a whole number of steps above low; {best} is"
            )
    if isinstance(low, int) and isinstance(high, int):
        return IntRange(low, high, log, int(step) if step is not None else 1)
    return FloatRange(float(low), float(high), log, None if step is None else float(step))


def _leaves_model_out(param: Param) -> bool:
    """Whether some of its named sets name a model and others don't, which then have the default."""
    if not isinstance(param.domain, Bundle) or "model" not in param.sets():
        return False
    return any("model" not in dict(pairs) for _, pairs in param.domain.sets)


def possible(param: Param, name: str, value: Value) -> bool:
    """Whether `param` can give `name` this value."""
    if param.name == name:
        return param.domain.contains(value)
    if isinstance(param.domain, Bundle):
        return any(
            Constant(pairs_value).contains(value)
            for _, pairs in param.domain.sets
            for key, pairs_value in pairs
            if key == name
        )
    return False


def _when(
    node: Node, before: Mapping[str, Param], out: set[str], affected: Names
) -> tuple[tuple[str, tuple[Value, ...]], ...] | None:
    """The conditions; None where they can no longer be met. Parameters are as in `_param`."""
    conditions = []
    known = list(dict.fromkeys(s for p in before.values() for s in sorted(p.sets())))
    for name, child in node.mapping("conditions, {loss: bpr, ..}").items():
        if name in out:
            return None
        if name not in known:
            if name in affected:  # the sets that had it are gone
                return None
            if name in FIELDS:
                raise child.fail(f"{name} is not set above this parameter: put it there")
            raise child.fail(
                f"unknown parameter, {near(name, known) if known else 'none is set above'}"
            )
        values: list[Value] = []
        items = child.sequence() if isinstance(child.value, list) else [child]
        if not items:
            raise child.fail("empty, expected at least one value")
        for item in items:
            field = FIELDS.get(name)
            value = value_of(item, field) if field else item.text()
            if any(possible(p, name, value) for p in before.values()):
                values.append(value)
            elif name not in affected:
                raise item.fail(f"{name} is never {shown(value)} in this space")
        if not values:
            return None
        conditions.append((name, tuple(values)))
    if not conditions:
        raise node.fail("empty, expected conditions such as {loss: bpr}")
    return tuple(conditions)


def parse_entry(node: Node, params: tuple[Param, ...], affected: Names = NONE) -> Pairs | None:
    """A config of `enqueue`: values for the active searched parameters and for no others, but those
    that a flat config leaves out (`UNSAID`) have their default where none is given.

    For parameters `affected` by a setting, a value moves into the new domain, and one that is no
    longer needed is dropped; returns None where one is now missing or does not fit. For all others,
    raises ConfigError where one is missing, unknown, without effect or not in its domain.
    """
    given = node.mapping("a config, {lr: 0.02, ..}")
    by_name = {p.name: p for p in params}
    for name, child in given.items():
        if name not in by_name and name in affected:
            continue
        if name not in by_name:
            raise child.fail(f"not a parameter of this space, {near(name, by_name)}")
        domain = by_name[name].domain
        field = FIELDS.get(name)
        value = value_of(child, field) if field else child.text()
        if name not in affected and not domain.contains(value):
            raise child.fail(
                f"{shown(value)} is not in this space, expected {shown(domain.plain())}"
            )
    chosen: dict[str, Value] = {}
    lost: list[str] = []

    def choose(param: Param) -> Value:
        assert not isinstance(param.domain, Constant)
        nearest = None
        if param.name in given:
            # The value in the type of the space: 1.0 where a float range was given 1.
            nearest = param.domain.nearest(given[param.name].value)
        elif (usual := UNSAID.get(param.name)) is not None and param.domain.contains(usual):
            nearest = usual
        elif param.name not in affected:
            raise node.fail(f"{param.name} is missing: a config to try first has to be complete")
        if nearest is None:
            lost.append(param.name)
            nearest = param.domain.corners()[0]
        chosen[param.name] = nearest
        return nearest

    try:
        active = walk(params, choose)
    except SetTwiceError as error:
        raise node.fail(str(error)) from None
    for name, child in given.items():
        if name not in active and name not in affected:
            raise child.fail("has no effect in this config: its conditions (when) are not met")
    return None if lost else tuple(chosen.items())
