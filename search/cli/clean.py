"""`clean`: removes what runs no longer need.

A finished run does this itself; a run that was killed, or made by an earlier version, may have left
something.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from recsys.errors import ConfigError, UserError
from recsys.safe_files import is_leftover, locked
from search.cli.runs import readable, sizes
from search.record.folder import RunFolder
from search.record.journal import StorageError
from search.stages.lists import lists_of
from search.tracking.where import COURIER_LOCK, left_behind


def clean(folders: list[RunFolder], refused: Callable[[str], None]) -> Iterator[str]:
    """Remove what is no longer needed from runs that are not running; yields lines on that.

    A run that can't be cleaned is left as it is and does not hold up the others; refused: called
    with the reason.
    """
    total, left = 0, False
    for folder in folders:
        if folder.alive():
            yield f"{folder.name}: is running, and is left as it is"
            continue
        try:
            with folder:
                folder.lock()
                unneeded = list(_unneeded(folder))
                freed = sum(sum(sizes(path)) for path in unneeded)
                for path in unneeded:
                    _remove(path)
        except UserError as error:
            refused(error.outside_a_search if isinstance(error, StorageError) else str(error))
            left = True
            continue
        total += freed
        if unneeded:
            yield f"{folder.name}: {readable(freed)} freed"
    if total or not left:
        yield f"{readable(total)} freed in all" if total else "nothing to remove"


def _unneeded(folder: RunFolder) -> Iterator[Path]:
    """Ray's own records, which nothing reads; lists of finalists once the blend is decided; files
    that were never completed, and what a courier that was killed has left.
    """
    if folder.ray.is_dir():
        yield folder.ray
    if folder.state().stage_done("blend"):
        yield from lists_of(folder.path)
    for place in (folder.path, folder.path / "race", folder.path / "model"):
        if place.is_dir():
            yield from (path for path in sorted(place.iterdir()) if is_leftover(path.name))
    if left := left_behind(folder.path):
        with locked(folder.path / COURIER_LOCK, lambda: False) as none_at_work:
            yield from left if none_at_work else ()


def _remove(path: Path) -> None:
    """Remove a file or folder. Raises ConfigError if that is impossible."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: can't be removed ({error.strerror})") from None
