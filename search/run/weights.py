"""Whether the data have what a space wants to weigh pairs by, found out before anything starts.

A new run leaves out the weights, or the methods, that need values which the data lack. One that is
extended cannot: what does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Callable

from recsys.errors import ConfigError
from recsys.interactions import Interactions
from recsys.models.weighted import NO_WEIGHT, WEIGHT, weighs
from search.run.need import by_method, without
from search.space.domains import Choice
from search.space.load import override
from search.space.spec import SearchSpec

EXPECTED = "ratings above 0 that differ, or rows that repeat a user and an item"


def fit_weights(spec: SearchSpec, found: Interactions, note: Callable[[str], None]) -> SearchSpec:
    """The space without the weights that `found`, data read with values, cannot serve, and without
    the methods that need one.

    note: called with a line for what is left out. Raises ConfigError where nothing is left.
    """
    if not spec.weighs() or found.csr.values is not None:
        return spec
    lacks = f"{found.name} has {found.unvalued}"
    param = next((p for p in spec.params if p.name == WEIGHT), None)
    if param is not None and isinstance(param.domain, Choice) and NO_WEIGHT in param.domain.options:
        out = ", ".join(str(one) for one in param.domain.options if one != NO_WEIGHT)
        spec = override(spec, [f"params.{WEIGHT}.value={NO_WEIGHT}"])
        note(f"left out: {WEIGHT} {out}: {lacks}")
    parts = by_method(spec)
    out_of = [method for method, configs in parts.items() if all(map(weighs, configs))]
    left = [method for method in parts if method not in out_of]
    needs = sorted({c.to_flat()[WEIGHT] for own in parts.values() for c in own if weighs(c)})
    some = any(weighs(config) for method in left for config in parts[method])
    if some or (out_of and (spec.is_table or not left)):
        raise ConfigError(
            f"{spec.name}: {WEIGHT} {', '.join(needs)}: {lacks}: expected {EXPECTED}, or {WEIGHT} "
            f"{NO_WEIGHT}"
        )
    if out_of:
        for method in out_of:
            note(f"left out: {method}: {lacks}, which its {WEIGHT} needs")
        spec = without(spec, left)
    return spec


def check_weights(run: str, asks: bool, found: Interactions) -> None:
    """Raises ConfigError where a run that goes on, or is trained again, `asks` for values of pairs
    that `found`, data read with them, do not have. run: its name.
    """
    if asks and found.csr.values is None:
        raise ConfigError(
            f"--run {run}: its {WEIGHT} needs values of pairs, and {found.name} has "
            f"{found.unvalued}: expected {EXPECTED}"
        )
