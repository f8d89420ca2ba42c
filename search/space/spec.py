"""`SearchSpec`: a whole search as frozen values, and what can be asked of it."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import yaml

from recsys.errors import ConfigError
from recsys.metrics import parse_metric
from recsys.models import DEFAULT, ModelConfig, config_from_flat, config_of
from recsys.models.weighted import NO_WEIGHT, WEIGHT
from recsys.split_plan import SplitPlan
from search.space.domains import Bundle, Choice, Constant, Pairs, Param, Value
from search.space.kept import Purpose

MAX_TRIALS = 100_000  # of a run, however often it is extended
_DRAWN = 128  # how many random configs represent a space, and their seed


class Prefer(StrEnum):
    """Which finalist wins the race: the best, or the smallest that is not proven worse than it."""

    BEST = "best"
    SMALL = "small"


@dataclass(frozen=True)
class RaceSpec:
    """The race: `finalists`, how many of the best trials meet (0: no race), and `replicates`, on
    how many fresh splits.

    up_to: on how many splits if the time budget has room for them; None: no more than `replicates`.
    """

    finalists: int
    replicates: int
    prefer: Prefer = Prefer.BEST
    up_to: int | None = None

    @property
    def smallest_wins(self) -> bool:
        """Whether the smallest finalist wins that is not proven worse than the best."""
        return {Prefer.BEST: False, Prefer.SMALL: True}[self.prefer]

    def plain(self) -> dict[str, Any]:
        """The YAML value that reads back as this race."""
        plain: dict[str, Any] = {"finalists": self.finalists, "replicates": self.replicates}
        # without these keys where not set: earlier versions took the digest of such a spec
        if self.up_to is not None:
            plain["up_to"] = self.up_to
        return plain if self.prefer is Prefer.BEST else plain | {"prefer": str(self.prefer)}


@dataclass(frozen=True)
class SearchSpec:
    """A whole search. Times are in seconds, lengths in epochs."""

    name: str
    about: str
    purpose: Purpose
    searcher: str  # a word of `strategies.SEARCHERS`
    scheduler: str  # a word of `strategies.SCHEDULERS`
    metric: str
    trials: int
    time_budget: float | None
    max_epochs: int
    grace_epochs: int
    reduction_factor: int
    k: int  # items for each user of the submission
    split: SplitPlan
    race: RaceSpec
    blend: int  # members that a blend of the finalists may have; 0: no blend
    params: tuple[Param, ...]
    enqueue: tuple[Pairs, ...]

    @property
    def is_table(self) -> bool:
        """Whether every trial is also measured on test, without race, winner or submission."""
        return self.purpose is Purpose.TABLE

    def searched(self) -> tuple[Param, ...]:
        """The parameters that the search chooses."""
        return tuple(p for p in self.params if not isinstance(p.domain, Constant))

    def method(self) -> Param | None:
        """The parameter whose value decides what is trained and how (named sets, or the model);
        None where there is none.

        Each of its values is a method, which is searched on its own (ADR 103).
        """
        for param in self.searched():
            if not param.when and (isinstance(param.domain, Bundle) or param.name == "model"):
                return param
        return None

    def methods(self) -> tuple[Value, ...]:
        """The values of `method`; empty where the space has no methods."""
        param = self.method()
        options = tuple(param.domain.values() or ()) if param is not None else ()
        return options if len(options) > 1 else ()

    def racers(self) -> int:
        """About how many configs race: the first default, and the finalists or, for a blend, the
        best of every method, of as many as it may have members and finalists.
        """
        best = self.race.finalists
        if not best:
            return 0
        several = min(len(self.methods()), self.blend + best) if self.blend else 0
        return max(best, several) + 1

    def method_of(self, params: Mapping[str, Value]) -> Value | None:
        """The method of a trial with these parameters; None where the space has no methods."""
        param = self.method()
        return params[param.name] if param is not None and self.methods() else None

    def deciding(self) -> Param | None:
        """The parameter whose values are told apart before others are looked at: the method, else
        the first that all configs have and that decides which other parameters exist. None where
        there is none.
        """
        if self.methods():
            return self.method()
        for param in self.searched():
            several = isinstance(param.domain, Choice | Bundle) and len(param.domain.options) > 1
            if several and not param.when and self._decides(param):
                return param
        return None

    def _decides(self, param: Param) -> bool:
        """Whether other searched parameters exist only where `param` has some of its values."""
        named = {name for other in self.searched() for name, _ in other.when}
        return bool(param.sets() & named)

    def of_method(self, value: Value) -> SearchSpec:
        """The part of this space that belongs to one method, a value of `method`."""
        param = self.method()
        assert param is not None
        return self.of_value(param, value)

    def of_value(self, param: Param, value: Value) -> SearchSpec:
        """The part of this space in which a parameter with options has this one of them."""
        domain = param.domain
        only: Bundle | Choice = (
            Bundle(tuple(one for one in domain.sets if one[0] == value))
            if isinstance(domain, Bundle)
            else Choice((value,))
        )
        params = tuple(replace(p, domain=only) if p is param else p for p in self.params)
        return replace(self, params=params, enqueue=())

    def choose(self, pick: Callable[[Param], Value]) -> dict[str, Value]:
        """The active searched parameters, each picked by `pick`, in the order of the space."""
        chosen: dict[str, Value] = {}

        def remember(param: Param) -> Value:
            chosen[param.name] = pick(param)
            return chosen[param.name]

        walk(self.params, remember)
        return chosen

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """A random config: values for the active searched parameters."""
        return self.choose(lambda p: p.domain.sample(rng))  # type: ignore[union-attr]

    def flat(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """The complete flat parameters of a model's config, from `params`, the active searched
        ones. Raises ConfigError where one of these is missing, unknown or without effect.
        """

        def pick(param: Param) -> Value:
            if param.name not in params:
                raise ConfigError(f"space {self.name}: {param.name} is missing in {dict(params)}")
            return params[param.name]

        known = walk(self.params, pick)
        for name in params:
            if name not in known:
                raise ConfigError(f"space {self.name}: {name} has no effect in {dict(params)}")
        bundles = {p.name for p in self.params if isinstance(p.domain, Bundle)}
        flat = {n: v for n, v in known.items() if n not in bundles}
        config = config_of(str(flat.get("model", DEFAULT)))
        if config.has_epochs():
            flat["epochs"] = self.max_epochs
        if cutoff := config.cutoff(flat):
            flat.setdefault(cutoff, parse_metric(self.metric).k)
        return flat

    def train_config(self, params: Mapping[str, Value]) -> ModelConfig:
        """The training that `params`, the active searched ones, describe. Raises ConfigError."""
        return config_from_flat(self.flat(params))

    def drawn(self, count: int) -> Iterator[ModelConfig]:
        """`count` configs drawn from the space: the same ones every time."""
        rng = np.random.default_rng(_DRAWN)
        return (self.train_config(self.sample(rng)) for _ in range(count))

    def examples(self) -> Iterator[ModelConfig]:
        """Configs that represent the space: the listed ones, and some that are drawn."""
        listed = (self.train_config(dict(pairs)) for pairs in self.enqueue)
        return itertools.chain(listed, self.drawn(_DRAWN))

    def weighs(self) -> bool:
        """Whether any of its configs may weigh pairs, so that their values are needed."""
        return any(
            value != NO_WEIGHT for param in self.params for value in param.options_of(WEIGHT)
        )

    def leaky(self) -> bool:
        """Whether all of its configs leave held-out items out of their negatives.

        Judged by `examples`: if there is no honest config among these, a search would find none
        that may win.
        """
        return all(config.leaky for config in self.examples())

    def grid(self) -> Iterator[dict[str, Value]]:
        """Every config, in the order of the space, with the last parameter changing fastest.

        Configs are made one by one, whatever their number. The space must not have ranges without
        steps.
        """
        yield from _grid(self.params, {}, {})

    def to_dict(self) -> dict[str, Any]:
        """Plain values that read back as this spec."""
        return {
            "name": self.name,
            "about": self.about,
            "purpose": str(self.purpose),
            "searcher": self.searcher,
            "scheduler": self.scheduler,
            "metric": self.metric,
            "trials": self.trials,
            "time_budget": "none" if self.time_budget is None else self.time_budget,
            "max_epochs": self.max_epochs,
            "grace_epochs": self.grace_epochs,
            "reduction_factor": self.reduction_factor,
            "k": self.k,
            "split": self.split.plain(),
            "race": self.race.plain(),
            **({"blend": self.blend} if self.blend else {}),
            "params": {p.name: p.plain() for p in self.params},
            "enqueue": [dict(entry) for entry in self.enqueue],
        }

    def to_yaml(self) -> str:
        """The resolved spec as YAML that `load_spec` reads back to an equal spec."""
        text = yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, width=10_000)
        return str(text)

    def digest(self) -> str:
        """16 hex digits that change with what trials are and how they are judged, but not with
        their number.
        """
        plain = self.to_dict()
        for key in ("about", "trials", "time_budget"):
            del plain[key]
        plain["split"] = replace(self.split, by_default=False).plain()
        plain["mode"] = "max"  # runs of earlier versions are known by a digest that has this key
        # a list, because the order of parameters matters and JSON objects are sorted
        plain["params"] = list(plain["params"].items())
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class _Dumper(yaml.SafeDumper):
    """A SafeDumper whose scalars keep their meaning in YAML 1.2, which our reader follows."""

    def ignore_aliases(self, _: Any) -> bool:
        return True  # our reader refuses aliases


def _write_float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:float", repr(value))


def _write_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    # quoted wherever 1.1 and 1.2 could read the plain text differently
    style = None if re.fullmatch(r"[a-z][a-z0-9_@]*", value) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(float, _write_float)
_Dumper.add_representer(str, _write_text)


def _grid(
    params: tuple[Param, ...], known: dict[str, Value], chosen: dict[str, Value]
) -> Iterator[dict[str, Value]]:
    if not params:
        yield chosen
        return
    param, rest = params[0], params[1:]
    if not param.active(known):
        yield from _grid(rest, known, chosen)
        return
    if isinstance(param.domain, Constant):
        yield from _grid(rest, known | {param.name: param.domain.value}, chosen)
        return
    values = param.domain.values()
    assert values is not None
    for value in values:
        extra = param.domain.fields(str(value)) if isinstance(param.domain, Bundle) else {}
        yield from _grid(rest, known | {param.name: value} | extra, chosen | {param.name: value})


class SetTwiceError(ConfigError):
    """A config gets the same flat parameter from two places."""


def walk(params: Iterable[Param], choose: Callable[[Param], Value]) -> dict[str, Value]:
    """All flat parameters of a config: constants, chosen values, constants of bundles.

    choose: called once for each active searched parameter, in the order of the space. Raises
    SetTwiceError.
    """
    known: dict[str, Value] = {}
    for param in params:
        if not param.active(known):
            continue
        domain = param.domain
        value = domain.value if isinstance(domain, Constant) else choose(param)
        found = {param.name: value}
        if isinstance(domain, Bundle):
            found |= domain.fields(str(value))
        for name in found:
            if name in known:
                raise SetTwiceError(f"{name} is set twice: by {param.name} and above it")
        known |= found
    return known
