"""Reading a parsed YAML document as a `SearchSpec`, and trying that out."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import numpy as np

from recsys.errors import ConfigError
from recsys.metrics import PER_USER, parse_metric
from recsys.moments import read_moment
from recsys.split_plan import HoldOut, Order, SplitPlan
from search.durations import EXPECTED, LONGEST_S, seconds_of
from search.names import SPACE_NAME
from search.space.domains import Constant, Param, Value
from search.space.kept import Purpose
from search.space.located import Node, Origin, shown
from search.space.params import NONE, Names, parse_entry, parse_params
from search.space.spec import MAX_TRIALS, Prefer, RaceSpec, SearchSpec
from search.space.strategies import SCHEDULERS, SEARCHERS

# The words of each key, the default first, and the bounds of whole numbers. `schema.py` takes them
# from here.
# How the data may be ordered, and the rules by which a part of them can then be held out.
ORDERS = {
    "random": ("ratio", "fixed"),
    "latest": ("ratio", "fixed"),
    "time": ("ratio", "since"),
}
_SHOWN = {"ratio": "{ratio: 0.1}", "fixed": "{fixed: 5}", "since": "{since: 2024-05-31}"}
LEAST = "least"  # beside a ratio of each user
TENTH = 0.1
WHOLE = {
    "trials": (1, MAX_TRIALS),
    "max_epochs": (1, 100_000),
    "grace_epochs": (1, 100_000),
    "reduction_factor": (2, 100),
    "k": (1, 100_000),
    "fixed": (1, 1_000_000),
    LEAST: (1, 1_000_000),
    "finalists": (0, 100),
    "replicates": (0, 100),
    "up_to": (2, 100),
    "blend": (2, 20),
}
SPLIT = ("order", "test", "valid", "race")
RACE = ("finalists", "replicates", "up_to", "prefer")
DEFAULT_EPOCHS = 20
_PROBES = 256


def parse_duration(node: Node) -> float | None:
    """Seconds of `90s`, `10m`, `1h30m` or a plain number of seconds; None for `none`. Raises
    ConfigError for anything else.
    """
    if node.value in (None, "none"):
        return None
    seconds: float | None = None
    if isinstance(node.value, str):
        seconds = seconds_of(node.value)
    elif type(node.value) in (int, float):
        seconds = node.number()
    if seconds is None or not 0 < seconds <= LONGEST_S:
        raise node.wrong(f"{EXPECTED}, or none")
    return seconds


def _metric(node: Node) -> str:
    """A metric such as map@50."""
    try:
        metric = parse_metric(node.text())
    except ConfigError as error:
        raise node.fail(str(error)) from None
    if metric.kind not in PER_USER:
        raise node.fail(
            f"{metric.name} has no value for a single user, by which configs are compared: "
            f"expected one of {', '.join(f'{kind}@K' for kind in PER_USER)}"
        )
    return metric.name


def _hold_out(node: Node, order: str) -> HoldOut:
    parts = node.entries((*_SHOWN, LEAST))
    ways = ORDERS[order]
    least = parts.pop(LEAST, None)
    if least is not None and ("ratio" not in parts or "fixed" not in ways):
        raise least.fail("is for a ratio of each user: expected {ratio: 0.1, least: 1}")
    for name, part in parts.items():
        if name not in ways:
            raise part.fail(f"has no meaning with order {order}, {_either(ways)}")
    if len(parts) != 1:
        raise node.fail(f"got {shown(node.value)}, {_either(ways)}")
    if "ratio" in parts:
        ratio = parts["ratio"].number(0, 0.9)
        if ratio == 0:
            raise parts["ratio"].wrong("a number above 0, at most 0.9")
        return HoldOut("ratio", ratio, 0 if least is None else least.integer(*WHOLE[LEAST]))
    if "since" in parts:
        return HoldOut("since", _since(parts["since"]))
    return HoldOut("fixed", parts["fixed"].integer(*WHOLE["fixed"]))


def _either(ways: Iterable[str]) -> str:
    return "expected " + " or ".join(_SHOWN[way] for way in ways)


def _since(node: Node) -> float:
    """A date, with or without a time, in seconds since 1970."""
    found = read_moment(node.value) if isinstance(node.value, str) else None
    if found is None:
        raise node.wrong("a date such as 2024-05-31 or 2024-05-31 18:00:00, UTC")
    return float(found)


def _split(node: Node | None, races: bool) -> SplitPlan:
    tenth = HoldOut("ratio", TENTH)
    parts = {} if node is None else node.entries(SPLIT)
    order = parts["order"].word(ORDERS) if "order" in parts else next(iter(ORDERS))
    test: HoldOut | None = tenth
    if "test" in parts:
        test = None if parts["test"].value in (None, "none") else _hold_out(parts["test"], order)
    valid = _hold_out(parts["valid"], order) if "valid" in parts else tenth
    race = _hold_out(parts["race"], order) if "race" in parts else None
    if race is not None and not races:
        raise parts["race"].fail("has no effect: there is no race")
    # SplitPlan checks the order
    return SplitPlan(cast(Order, order), test, valid, race, by_default="valid" not in parts)


def _race(node: Node | None, table: bool) -> RaceSpec:
    if node is None:
        return RaceSpec(0, 0) if table else RaceSpec(4, 5)
    if node.value in (None, "none"):
        return RaceSpec(0, 0)
    parts = node.entries(RACE)
    finalists = parts["finalists"].integer(*WHOLE["finalists"]) if "finalists" in parts else 4
    replicates = parts["replicates"].integer(*WHOLE["replicates"]) if "replicates" in parts else 5
    if not finalists or not replicates:
        finalists = replicates = 0
    elif replicates < 2:
        raise parts["replicates"].wrong("at least 2: one split decides nothing (or race: none)")
    if table and finalists:
        raise node.fail("a table has no race: leave it out, or use purpose: search")
    prefer = Prefer(parts["prefer"].word(tuple(Prefer)) if "prefer" in parts else Prefer.BEST)
    if prefer is not Prefer.BEST and not finalists:
        raise parts["prefer"].fail(f"{prefer} is decided by a race, and there is none")
    up_to = None
    if "up_to" in parts:
        up_to = parts["up_to"].integer(*WHOLE["up_to"])
        if not finalists:
            raise parts["up_to"].fail("fresh splits are for a race, and there is none")
        if up_to <= replicates:
            raise parts["up_to"].wrong(f"more than the {replicates} of replicates, or leave it out")
    return RaceSpec(finalists, replicates, prefer, up_to)


def _blend(node: Node | None, race: RaceSpec) -> int:
    if node is None or node.value in (None, "none"):
        return 0
    most = node.integer(*WHOLE["blend"])
    if not race.finalists:
        raise node.fail("a blend is made of the finalists of a race, and there is no race")
    if race.smallest_wins:
        raise node.fail("a blend is several models: with race.prefer small use blend: none")
    return most


# The order of a resolved spec.
KEYS = (
    *("name", "about", "purpose", "searcher", "scheduler", "metric", "trials"),
    *("time_budget", "max_epochs", "grace_epochs", "reduction_factor", "k", "split", "race"),
    *("blend", "params", "enqueue"),
)


def parse_spec(
    value: object, origin: Origin, name: str, *, affected: Names = NONE, entries: Names = NONE
) -> SearchSpec:
    """A spec from parsed YAML.

    origin: where it comes from, for messages. name: used where the document has none. affected:
    parameters to adapt to a setting (`parse_params`); entries: the same for `enqueue`
    (`parse_entry`). Raises ConfigError, with file, line and key, for what cannot be searched.
    """
    root = Node(value, origin)
    if not isinstance(value, dict):
        raise root.wrong("a mapping with the keys " + ", ".join(KEYS))
    if "mode" in value:  # in spaces of earlier versions, with the only word that it could have
        root.child("mode", value["mode"]).word(["max"])
        root = Node({key: own for key, own in value.items() if key != "mode"}, origin)
    at = root.entries(KEYS)
    if "params" not in at:
        raise root.fail(
            "params is missing: expected what is searched, {lr: {low: 0.01, high: 0.1}, ..}"
        )

    def word(key: str, *options: str) -> str:
        return at[key].word(options) if key in at else options[0]

    def whole(key: str, default: int, most: int | None = None) -> int:
        low, high = WHOLE[key]
        return at[key].integer(low, most or high) if key in at else default

    purpose = Purpose(word("purpose", *Purpose))
    table = purpose is Purpose.TABLE
    searcher = word("searcher", *SEARCHERS)
    stops = {word: entry.early for word, entry in SCHEDULERS.items()}
    scheduler = word("scheduler", *(sorted(stops, key=lambda w: stops[w]) if table else stops))
    if table and stops[scheduler]:
        raise at["scheduler"].fail("a table compares complete trainings, expected none")
    max_epochs = whole("max_epochs", DEFAULT_EPOCHS)
    least = math.ceil(max_epochs / 10)
    params = parse_params(at["params"], affected)
    race = _race(at.get("race"), table)
    split = _split(at.get("split"), bool(race.finalists))
    spec = SearchSpec(
        name=_name(at["name"]) if "name" in at else name,
        about=at["about"].text().strip() if "about" in at else "",
        purpose=purpose,
        searcher=searcher,
        scheduler=scheduler,
        metric=_metric(at["metric"]) if "metric" in at else "map@50",
        trials=whole("trials", 0),
        time_budget=parse_duration(at["time_budget"]) if "time_budget" in at else None,
        max_epochs=max_epochs,
        grace_epochs=whole("grace_epochs", least, max_epochs),
        reduction_factor=whole("reduction_factor", 3),
        k=whole("k", 50),
        split=split,
        race=race,
        blend=_blend(at.get("blend"), race),
        params=params,
        enqueue=tuple(
            dict.fromkeys(
                pairs
                for entry in (at["enqueue"].sequence() if "enqueue" in at else [])
                if (pairs := parse_entry(entry, params, entries)) is not None
            )
        ),
    )
    if spec.grace_epochs < least:
        raise at["grace_epochs"].fail(
            f"{spec.grace_epochs}, expected at least {least}, a tenth of max_epochs {max_epochs}"
        )
    way = SEARCHERS[spec.searcher]
    way.check(spec, at["params"])
    spec = spec if spec.trials else replace(spec, trials=way.trials(spec))
    return probe(spec, root, changed=bool(affected))


def probe(spec: SearchSpec, root: Node, *, changed: bool = False) -> SearchSpec:
    """`spec`, after some of its configs were built: a broken config raises ConfigError here, not in
    trial 17.

    It builds all of `enqueue`, configs with each end and every option of each parameter, and random
    configs, in which a parameter is as often at an end as in between. root: of the document, for
    messages. changed: whether by a setting; then `enqueue`, which is only adapted, comes last.
    """
    rng = np.random.default_rng(0)

    def mixed(param: Param) -> Value:
        domain = param.domain
        assert not isinstance(domain, Constant)
        if rng.random() < 0.5:
            return domain.sample(rng)
        corners = domain.corners()
        return corners[int(rng.integers(len(corners)))]

    def build(params: dict[str, Value], node: Node) -> None:
        try:
            spec.train_config(params)
        except ConfigError as error:
            name = error.parameter
            if node.path == ("params",) and name in {p.name for p in spec.params}:
                raise node.child(name, None).fail(str(error)) from None
            raise node.fail(f"{error} (possible in this space: {_short(params)})") from None

    def first_ones() -> None:
        for i, entry in enumerate(spec.enqueue):
            build(dict(entry), root.child("enqueue", None).child(i, None))

    everything = root.child("params", None)
    if not changed:
        first_ones()
    for param in spec.searched():
        for corner in param.domain.corners():  # type: ignore[union-attr]
            for _ in range(_PROBES):
                params = spec.choose(lambda p, c=corner, me=param: c if p is me else mixed(p))  # type: ignore[misc]
                if param.name in params:
                    build(params, everything)
                    break
    for _ in range(_PROBES):
        build(spec.choose(mixed), everything)
    if changed:
        first_ones()
    return spec


def _short(params: dict[str, Value]) -> str:
    text = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in params.items()
    )
    return text if len(text) <= 200 else text[:197] + "..."


def _name(node: Node) -> str:
    if not SPACE_NAME.fullmatch(node.text()):
        raise node.wrong("letters, digits, _ . - only, at most 80")
    return node.text()
