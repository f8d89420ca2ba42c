"""Spaces: a search described in YAML, found by name or file, changed by options, then parsed.

Every mistake in a space is a ConfigError that names file, line, key and what was expected,
before anything runs. `docs/spaces.md` describes the format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from recsys.yamlio import load_yaml
from search.names import space_name
from search.paths import SPACES
from search.space.effect import check_effect, check_file
from search.space.kept import SPEC
from search.space.located import Node, Origin, near
from search.space.override import affected, with_settings
from search.space.params import NONE
from search.space.reader import parse_spec
from search.space.spec import SearchSpec
from search.space.strategies import SEARCHERS

MAX_BYTES = 1 << 16  # YAML is read slowly; a space has a few thousand bytes
# Steps of an epoch on a GPU: with fewer of them quality falls, with more the GPU waits for Python
# (`benchmarks.batches`). Smaller batches than the least only cost time, larger than the most gain
# none.
STEPS, SMALLEST, LARGEST = 32, 512, 1 << 16


def space_names() -> list[str]:
    """The names of the spaces that come with the project."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))


def load_spec(
    name_or_file: str,
    settings: Sequence[str] = (),
    *,
    trials: int | None = None,
    prefer: str | None = None,
) -> SearchSpec:
    """A space of the project by its name, or any YAML file by its path, changed by options.

    settings, trials, prefer: as in `read_space`. A space without a name gets that of its file.
    Raises ConfigError.
    """
    if not name_or_file or not (name_or_file.isprintable() or _is_file(name_or_file)):
        raise ConfigError(f"--space {name_or_file!r}: expected a name or a file")
    path = Path(name_or_file)
    if path.suffix not in (".yaml", ".yml") and len(path.parts) <= 1:
        names = space_names()
        if name_or_file not in names:
            hint = near(name_or_file, names)
            raise ConfigError(
                f"--space {name_or_file}: no such space, {hint} (or give a .yaml file)"
            )
        path = SPACES / f"{name_or_file}.yaml"
    if _size(path) > MAX_BYTES:
        raise ConfigError(f"{name_or_file}: larger than {MAX_BYTES} bytes, expected a space")
    value = load_yaml(path)
    origin = Origin(name_or_file, path.read_text(encoding="utf-8-sig"))
    name = space_name(path.stem)
    spec = read_space(value, origin, name, settings, trials=trials, prefer=prefer)
    if not settings:  # these may take away the effect of a key in the file
        check_file(spec, Node(value, origin))
    return spec


def read_space(
    value: Any,
    origin: Origin,
    name: str,
    settings: Sequence[str] = (),
    *,
    trials: int | None = None,
    prefer: str | None = None,
) -> SearchSpec:
    """A space from its plain values, changed by options.

    value: as parsed. origin: where it comes from, for messages. name: where the space has none.
    settings, trials, prefer: of the options `--set`, `--trials` and `--prefer`. Raises ConfigError,
    which names the options that were given.

    Whatever depends on a changed parameter is adapted. Conditions that can no longer be met are
    dropped. In the configs of `enqueue` constants win and numbers move into the new range; a config
    that lacks a parameter is dropped. Default numbers of trials and of grace epochs are adapted
    too. Everything else is checked as strictly as without settings.
    """
    if not (isinstance(value, dict) and isinstance(value.get("params"), dict)):
        return parse_spec(value, origin, name)  # raises the error that says what is wrong
    more = {} if trials is None else {"trials": trials}
    chosen = [] if prefer is None else [f"race.prefer={prefer}"]
    plain, touched = with_settings(value, [*settings, *chosen], more)
    before, after = value["params"], plain["params"]
    if touched and "trials" in value and "trials" not in touched:
        way = SEARCHERS.get(str(value.get("searcher")))
        counted = (way is not None and way.whole) or "searcher" in touched
        if counted and _has_default_trials(value, origin, name):
            del plain["trials"]
    said = [f"--set {' '.join(settings)}"] * bool(settings)
    said += [f"--prefer {prefer}"] * bool(prefer) + [f"--trials {trials}"] * bool(trials)
    changed = {(key,) for key in touched} | {
        ("params", key) for key, body in after.items() if before.get(key) is not body
    }
    shown = " with ".join([origin.name, " and ".join(said)] if said else [origin.name])
    names = affected(before, after)
    spec = parse_spec(
        plain,
        Origin(shown, origin.text, frozenset(changed)),
        name,
        affected=names,
        entries=NONE if "enqueue" in touched else names,
    )
    check_effect(spec, settings)
    return spec


def for_gpu(spec: SearchSpec, positives: int) -> tuple[SearchSpec, int | None]:
    """`spec` with batches instead of online updates (`batch_size: 1`), and their size.

    With one positive at a time the compiled CPU engine is fastest, and a GPU slowest. The size is
    the largest power of two that leaves `STEPS` steps per epoch; None where the space does not ask
    for online updates. positives: in the training data.
    """
    body = spec.to_dict()["params"].get("batch_size")
    constant = body.get("value") if isinstance(body, dict) else body
    if type(constant) is not int or constant != 1:
        return spec, None
    most = min(max(positives // STEPS, SMALLEST), LARGEST)
    batch = 1 << (most.bit_length() - 1)
    return override(spec, [f"batch_size={batch}"]), batch


def override(spec: SearchSpec, settings: Sequence[str]) -> SearchSpec:
    """`spec`, written out and read again with settings as by `--set`. Raises ConfigError."""
    return read_space(spec.to_dict(), Origin(spec.name), spec.name, settings)


def _has_default_trials(value: dict[str, Any], origin: Origin, name: str) -> bool:
    """Whether the number of trials in a space is the default; a resolved space spells it out."""
    rest = {key: own for key, own in value.items() if key != "trials"}
    return bool(parse_spec(rest, origin, name).trials == value["trials"])


def load_run_spec(folder: Path) -> SearchSpec:
    """The space of a run, as it was written to the folder; it may have any length and name."""
    path = folder / SPEC
    value = load_yaml(path)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        value["name"] = space_name(value["name"])  # earlier versions took the stem of any file
    origin = Origin(str(path), path.read_text(encoding="utf-8-sig"))
    return parse_spec(value, origin, space_name(path.stem))


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0  # reading it will raise
