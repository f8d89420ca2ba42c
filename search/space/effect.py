"""Every setting by `--set` or in a file has an effect in the resulting space, or is a mistake.

The file of a run's own space has every key, and so is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recsys.errors import ConfigError
from recsys.yamlio import parse_yaml
from search.space.located import Node
from search.space.reader import KEYS
from search.space.spec import SearchSpec
from search.space.strategies import SCHEDULERS

_EPOCHS = ("max_epochs", "grace_epochs", "reduction_factor")
UP_TO = "race.up_to"


def check_effect(spec: SearchSpec, settings: Sequence[str]) -> None:
    """Raise ConfigError for the first of `settings` that has no effect on a search of `spec`."""
    for key, value in _keys(settings):
        if why := _idle(spec, key, value):
            raise ConfigError(f"--set {key}={value}: has no effect {why}: leave it out")


def check_file(spec: SearchSpec, root: Node) -> None:
    """Raise ConfigError, with its line, for a key in a space's file (`root`) without effect."""
    if not isinstance(root.value, dict) or not (set(KEYS) - root.value.keys() - {"blend"}):
        return  # written by a run
    race = root.value.get("race")
    parts = {
        ("race", key): value for key, value in (race if isinstance(race, dict) else {}).items()
    }
    for path, value in ({(key,): value for key, value in root.value.items()} | parts).items():
        if why := _idle(spec, ".".join(path), value):
            raise Node(value, root.origin, path).fail(f"has no effect {why}: leave it out")


def check_up_to(settings: Sequence[str], budget: float | None, *, settles: bool) -> None:
    """Raise ConfigError where `settings` ask for more splits if time is left, but none can be.

    budget: seconds of the whole run, None for no limit. settles: whether the search decides itself
    when to end.
    """
    value = dict(_keys(settings)).get(UP_TO)
    if value is not None and (why := _no_time(budget, settles)):
        raise ConfigError(
            f"--set {UP_TO}={value}: has no effect {why}: leave it out, or give --time-budget 30m"
        )


def idle_up_to(spec: SearchSpec, budget: float | None, *, settles: bool) -> list[str]:
    """A line where the file of `spec` asks for such splits, which another search may make use of.

    Parameters are as in `check_up_to`.
    """
    value = spec.race.up_to
    if value is None or not (why := _no_time(budget, settles)):
        return []
    return [f"{UP_TO}={value} has no effect {why}: --time-budget 30m gives it an effect"]


def _no_time(budget: float | None, settles: bool) -> str:
    if settles:
        return "with --time-budget auto"
    return "without a time budget" if budget is None else ""


def _keys(settings: Sequence[str]) -> Iterator[tuple[str, object]]:
    """Keys and values of settings; for `race={up_to: 9}` those inside it."""
    for setting in settings:
        key, _, text = setting.partition("=")
        key, value = key.strip(), parse_yaml(text, f"--set {key}")
        if key == "race" and isinstance(value, dict):
            yield from ((f"race.{part}", own) for part, own in value.items())
        else:
            yield key, value


def _idle(spec: SearchSpec, key: str, value: object) -> str | None:
    """Why a key has no effect; None where it has one."""
    if key in _EPOCHS and not _has_epochs(spec):
        return "on models without epochs, and this space has no others"
    if key in _EPOCHS[1:] and not SCHEDULERS[spec.scheduler].early:
        return f"with scheduler {spec.scheduler}, which {SCHEDULERS[spec.scheduler].about}"
    if key in ("race.finalists", "race.replicates") and value and not spec.race.finalists:
        other = "replicates" if key == "race.finalists" else "finalists"
        return f"with race.{other} 0, which is no race"
    if key == "k" and spec.is_table:
        return "on a table, which writes no submission"
    return None


def _has_epochs(spec: SearchSpec) -> bool:
    """Whether any of the space's example configs is trained in epochs."""
    return any(one.has_epochs() for one in spec.examples())
