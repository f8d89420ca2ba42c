"""`fetch`: brings the folder of a run here that was a job on a cluster."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from recsys.errors import ConfigError
from search.machine.jobs import archive_of, dashboard
from search.record.folder import JOURNAL, RunFolder, check_name, check_runs_dir
from search.record.journal import StorageError


def fetch(
    folder: str, address: str | None, runs_dir: Path, note: Callable[[str], None]
) -> RunFolder:
    """Fetch the run at the absolute path `folder` on the head, under the same name into `runs_dir`.

    address: of the head's dashboard; None: the one in the environment. note: called with a line for
    the user while the head lets us wait. An earlier state of the same run is replaced. Raises
    ConfigError where another run, or a later state of this one, is in the way, and where nothing
    can be fetched; then nothing has changed.
    """
    name = check_name(PurePosixPath(folder).name, "DIR")
    check_runs_dir(runs_dir)
    target = Path(runs_dir).resolve() / name
    if os.path.lexists(target):
        RunFolder.open(runs_dir, name)  # refuses another folder before anything is sent
    archive = archive_of(dashboard(address), folder, note)
    fresh = target.with_name(f".{name}.new-{os.getpid()}")
    try:
        fresh.mkdir(parents=True)
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            packed.extractall(fresh)
        if os.path.lexists(target):
            with RunFolder.open(runs_dir, name, lock=True):
                _check_earlier(target, fresh)
                _replace(target, fresh, target.with_name(f".{name}.old-{os.getpid()}"))
        else:
            fresh.rename(target)
    except OSError as error:
        raise StorageError.at(target, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return RunFolder.open(runs_dir, name)


def _check_earlier(here: Path, fetched: Path) -> None:
    """Refuse to replace anything but an earlier state of the same run: its journal only grows."""
    if not (fetched / JOURNAL).read_bytes().startswith((here / JOURNAL).read_bytes()):
        raise ConfigError(
            f"{here}: is another run, or has more than the one there: fetch into another --runs-dir"
        )


def _replace(target: Path, fresh: Path, old: Path) -> None:
    """Replace the folder `target` by `fresh`; `old` is its name for a moment."""
    target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
