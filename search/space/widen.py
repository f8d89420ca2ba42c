"""`--extend N --set`: a space whose ranges grow while its trials stay valid.

The configs of earlier trials must be in the new space too, or the sampler could not learn from
them. So ends of ranges can move outwards, and choices can get more options; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from recsys.errors import ConfigError
from search.space.domains import Bundle, Choice, Constant, Domain, FloatRange, IntRange
from search.space.load import override
from search.space.located import shown
from search.space.spec import SearchSpec

PARTS = ("low", "high", "choice")
EXPECTED = "expected params.NAME.low, params.NAME.high or params.NAME.choice of the run's space"


def widened(spec: SearchSpec, settings: Sequence[str]) -> SearchSpec:
    """`spec` with `settings` such as `params.lr.high=0.3`.

    Raises ConfigError where a setting is for anything else or has no effect, or where a value of
    the space would be outside the new one.
    """
    for setting in settings:
        _check(spec, setting)
    new = override(spec, settings)
    before = {p.name: p.domain for p in spec.params}
    changed = {p.name: p.domain for p in new.params if p.domain != before[p.name]}
    for setting in settings:
        name = setting.split(".")[1]
        if name not in changed:
            raise ConfigError(f"--set {setting}: {name} has this value already: leave it out")
    for name, domain in changed.items():
        _check_kind(name, before[name], domain)
        _check_holds(name, before[name], domain, settings)
    return new


def _check(spec: SearchSpec, setting: str) -> None:
    """Raise ConfigError where a setting is for a part that may not change."""
    key = setting.partition("=")[0].strip()
    parts = key.split(".")
    if len(parts) != 3 or parts[0] != "params" or parts[2] not in PARTS:
        raise ConfigError(
            f"--set {shown(key)[1:-1]}: with --extend only a range can change: {EXPECTED}"
        )
    param = next((p for p in spec.searched() if p.name == parts[1]), None)
    if param is None or isinstance(param.domain, Bundle):
        names = ", ".join(p.name for p in spec.searched() if not isinstance(p.domain, Bundle))
        raise ConfigError(
            f"--set {shown(key)[1:-1]}: {shown(parts[1])} is not a range of this run: expected one "
            f"of {names}"
        )
    if isinstance(param.domain, Choice) != (parts[2] == "choice"):
        fits = "choice" if isinstance(param.domain, Choice) else "low or .high"
        raise ConfigError(f"--set {shown(key)[1:-1]}: expected params.{parts[1]}.{fits}")


def _check_kind(name: str, before: Domain, now: Domain) -> None:
    """Raise ConfigError where a range has become something else."""
    match before, now:
        case (Choice(), Choice()) | (IntRange(), IntRange()) | (FloatRange(), FloatRange()):
            return
    raise ConfigError(f"--set params.{name}: with --extend a range stays a range: {EXPECTED}")


def _check_holds(name: str, before: Domain, now: Domain, settings: Sequence[str]) -> None:
    """Raise ConfigError where a value that the run could have tried is not in the new range."""
    assert not isinstance(before, Constant)
    out = [value for value in before.corners() if not now.contains(value)]
    if not out:
        return
    match before:
        case IntRange() | FloatRange():
            steps = "" if before.step in (None, 1) else f", in steps of {before.step}"
            expected = f"a range with {before.low} to {before.high} in it{steps}"
        case _:
            expected = f"{', '.join(map(str, before.corners()))}, and more"
    raise ConfigError(
        f"--set {_setting_of(name, settings)}: leaves out {', '.join(map(str, out))}, and with "
        f"--extend a range only grows: expected {expected}"
    )


def _setting_of(name: str, settings: Sequence[str]) -> str:
    return next(one for one in settings if one.split(".")[1] == name)
