"""Spaces: a search described in YAML, found by name or file, with `--set` applied.

Every mistake in a space is a ConfigError that names file, line, key and what was expected,
before anything runs. `docs/spaces.md` describes the format.
"""

from __future__ import annotations

from pathlib import Path

from recsys.errors import ConfigError
from recsys.yamlio import load_yaml
from search.names import space_name
from search.paths import SPACES
from search.space.located import Origin, near
from search.space.override import override
from search.space.reader import parse_spec
from search.space.spec import HoldOut, RaceSpec, SearchSpec, SplitSpec

__all__ = [
    "SPACES",
    "HoldOut",
    "RaceSpec",
    "SearchSpec",
    "SplitSpec",
    "load_run_spec",
    "load_spec",
    "override",
    "space_names",
]

MAX_BYTES = 1 << 16  # YAML is read slowly; a space has a few thousand


def space_names() -> list[str]:
    """The names of the spaces that come with the project."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))


def load_spec(name_or_file: str) -> SearchSpec:
    """A space of the project by name, or any YAML file by path. Raises ConfigError.

    The name of a space is made of its file's, where the file does not say it.
    """
    if not name_or_file.isprintable() or not name_or_file:
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
    return _read(path, load_yaml(path), name_or_file)


def load_run_spec(folder: Path) -> SearchSpec:
    """The space of a run, as it was written to its folder, however long and whatever its name."""
    path = folder / "spec.yaml"
    value = load_yaml(path)
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        value["name"] = space_name(value["name"])  # once the stem of any file
    return _read(path, value, str(path))


def _read(path: Path, value: object, shown: str) -> SearchSpec:
    text = path.read_text(encoding="utf-8-sig")
    return parse_spec(value, Origin(shown, text), space_name(path.stem))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0  # reading it says why
