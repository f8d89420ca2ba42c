"""Where a command may write if the user chooses the place: it never replaces what is still needed.

That is what the command reads, under any name, and whatever lies in the folder of a run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import ConfigError
from recsys.safe_files import check_replaceable, replacing, would_change


def target_file(output: str, inputs: Iterable[tuple[str, str]] = ()) -> Path:
    """The file to write. Raises ConfigError, before any work is done, where it can't be written.

    inputs: pairs of what an error calls a needed file or folder, and its path.
    """
    try:
        target = Path(output).resolve()
        if target.is_dir():
            raise ConfigError(f"-o {output}: a folder; expected the name of a file")
        if target.exists() and not target.is_file():
            raise ConfigError(f"-o {output}: not a regular file; expected the name of a file")
        _check_apart("-o", output, target, inputs)
        if not target.parent.is_dir():
            raise ConfigError(f"-o {output}: there is no folder {target.parent}")
        if not os.access(target.parent, os.W_OK):
            raise ConfigError(f"-o {output}: the folder {target.parent} is not writable")
        # Tried as the writer will do it: a name may be too long, a disk full or read-only.
        check_replaceable(target)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"-o {output}: {getattr(error, 'strerror', None) or error}") from None
    return target


def new_folder(flag: str, name: str, inputs: Iterable[tuple[str, str]] = ()) -> Path:
    """A folder that can be made. Raises ConfigError where something is in the way, or none can be
    made. flag: the option, for messages. inputs: as in `target_file`.
    """
    place = Path(name).resolve()
    _check_apart(flag, name, place, inputs)
    if place.exists() and not (place.is_dir() and not any(place.iterdir())):
        raise ConfigError(f"{flag} {name}: is there already: expected a new folder")
    if not place.parent.is_dir():
        raise ConfigError(f"{flag} {name}: there is no folder {place.parent}")
    if not os.access(place.parent, os.W_OK):
        raise ConfigError(f"{flag} {name}: the folder {place.parent} is not writable")
    return place


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A file beside `target` that replaces it once it is complete. Raises ConfigError where it
    cannot be written, such as on a full disk.
    """
    try:
        with replacing(target, durable=False) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"-o {target}: cannot be written ({reason})") from None


def _check_apart(flag: str, name: str, path: Path, inputs: Iterable[tuple[str, str]]) -> None:
    """Raise ConfigError for a path that is needed, or that lies in the folder of a run, where only
    the run writes.
    """
    from search.record.folder import JOURNAL

    for folder in path.parents:
        if (folder / JOURNAL).is_file():
            raise ConfigError(
                f"{flag} {name}: lies in the folder of run {folder.name}, where only the run "
                "writes: expected a place outside"
            )
    for what, needed in inputs:
        if would_change(path, Path(needed)):
            raise ConfigError(f"{flag} {name}: would change {what}: expected another place")
