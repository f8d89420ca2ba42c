"""`--extend N --set`: a space whose ranges change while its trials stay valid.

The configs of earlier trials must be in the new space too, or the sampler could not learn from
them. So only the ends of ranges and the options of choices can change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.errors import ConfigError
from search.space.domains import Bundle, Choice, Constant, Domain, FloatRange, IntRange, Value
from search.space.load import override
from search.space.located import shown
from search.space.spec import SearchSpec

PARTS = ("low", "high", "choice")
EXPECTED = "expected params.NAME.low, params.NAME.high or params.NAME.choice of the run's space"


def widened(
    spec: SearchSpec, settings: Sequence[str], trials: Mapping[str, Mapping[str, Value]]
) -> SearchSpec:
    """`spec` with `settings` such as `params.lr.high=0.3`.

    trials: the parameters of each trial so far, by its id. Raises ConfigError where a setting is
    for anything else or has no effect, or where a trial would be outside the space.
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
        assert not isinstance(domain, Constant)
        for trial, params in trials.items():
            if name in params and not domain.contains(params[name]):
                raise ConfigError(
                    f"--set {_setting_of(name, settings)}: {trial} has {name} {params[name]}, and "
                    "with --extend every earlier trial has to stay in the space: expected a wider "
                    "range"
                )
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


def _setting_of(name: str, settings: Sequence[str]) -> str:
    return next(one for one in settings if one.split(".")[1] == name)
