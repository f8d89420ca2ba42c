"""The folder of a run: its name, its lock, and files that are never half-written."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from recsys.errors import ConfigError, InputError
from recsys.safe_files import is_leftover, is_locked, replace_content, try_lock
from search.names import RUN_NAME, run_part
from search.paste import command
from search.record.journal import Journal, StorageError, read_state
from search.record.state import RunState
from search.record.tables import tables
from search.space.kept import SPEC

JOURNAL, LOCK, STUDY = "journal.jsonl", "run.lock", "study.journal"
PROVENANCE, REPORT = "provenance.json", "report.html"
JOB_FOLDER = "/runtime_resources/working_dir_files/"  # in Ray's folder: where a job starts
FIRST_FILES = (SPEC, PROVENANCE)  # written before the journal
BEFORE_THE_JOURNAL = {LOCK, *FIRST_FILES}


def check_name(name: str, said: str = "--run") -> str:
    """`name`, if it can be the name of a run; else raises ConfigError. said: the option that gave
    it, for the message.
    """
    if not RUN_NAME.fullmatch(name):
        raise ConfigError(
            f"{said}: {name[:120]!r} can't name a run: expected at most 100 letters a to z, "
            "digits, dots, dashes and underscores, not starting with a dot or a dash"
        )
    return name


def default_names(space: str, dataset: str) -> Iterator[str]:
    """`space-dataset-20260131-235959` (UTC), then the same with `-2`, `-3` and so on."""
    # A file is named by its stem: folders and suffixes would add nothing.
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = f"{run_part(space)}-{run_part(dataset)}-{stamp}"
    yield name
    for number in itertools.count(2):
        yield f"{name}-{number}"


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Replace a file completely or not at all, even in a power cut.

    Raises StorageError; the old file is then untouched.
    """
    path = Path(path)
    # A file name that is not UTF-8 has characters like \udcff here, which JSON understands.
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    try:
        replace_content(path, data)
    except OSError as error:
        raise StorageError.at(path, error) from error


def save_arrays(path: Path | str, **arrays: np.ndarray) -> None:
    """Write named arrays as a compressed .npz, atomically; the folder is made where missing."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    path = Path(path)
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError.at(path, error) from error
    write_atomic(path, buffer.getvalue())


class RunFolder:
    """An existing run folder; `create` for a new run, `open` for one that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd = -1

    @staticmethod
    def create(runs_dir: Path | str, name: str, said: str = "--run") -> RunFolder:
        """Make `runs_dir`/`name` and lock it. Raises ConfigError if there is such a run.

        said: the option that gave the name, for the message.
        """
        RunFolder.check_free(runs_dir, name, said)
        folder = RunFolder._make(runs_dir, name)
        if folder is None:
            folder = RunFolder(Path(runs_dir).resolve() / name)
            folder.lock()
        try:
            folder._refuse_begun(said)
        except BaseException:
            folder.close()
            raise
        return folder

    @staticmethod
    def create_named(runs_dir: Path | str, names: Iterable[str]) -> RunFolder:
        """Make and lock a folder of the first of `names` that is not taken, also by a search that
        began just now.

        Raises ConfigError where no name is free, or the folder of the runs can't be used.
        """
        check_runs_dir(runs_dir)
        for name in names:
            if (folder := RunFolder._make(runs_dir, check_name(name))) is not None:
                return folder
        raise ConfigError(f"{runs_dir}: no name is free for a run")

    @staticmethod
    def _make(runs_dir: Path | str, name: str) -> RunFolder | None:
        """A new folder, locked; None where there is one already."""
        path = Path(runs_dir).resolve() / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: can't be created ({error.strerror})") from error
        folder = RunFolder(path)
        try:
            folder.lock()
        except BaseException:
            folder.discard()
            raise
        return folder

    @staticmethod
    def check_free(runs_dir: Path | str, name: str, said: str = "--run") -> None:
        """Raise ConfigError where `create` could not make this run; makes nothing."""
        check_name(name, said)
        check_runs_dir(runs_dir)
        path = Path(runs_dir).resolve() / name
        if os.path.lexists(path) and not path.is_dir():
            raise ConfigError(f"{path}: a file is in the way of the run folder")
        if path.is_dir():
            folder = RunFolder(path)
            folder._stay_inside()
            if folder.alive():
                folder.lock()  # raises if it is running, and says which process has it
            folder._refuse_begun(said)

    def _refuse_begun(self, said: str) -> None:
        # A run that died before its first line has left a folder, but nothing to resume.
        try:
            left = {entry.name for entry in self.path.iterdir()} - BEFORE_THE_JOURNAL
            if not self.has_begun():
                left -= {JOURNAL}
        except OSError as error:
            raise ConfigError(f"{self.path}: can't be read ({error.strerror})") from None
        if JOURNAL in left:
            more = (
                f"resume it with `{command('--resume', '--run', self.path)}`, add trials with "
                f"`{command('--run', self.path, '--extend', '20')}`, or "
                if said == "--run"
                else ""
            )
            raise ConfigError(f"{said} {self.name}: this run exists: {more}choose another name")
        if left := {name for name in left if not is_leftover(name)}:
            raise ConfigError(
                f"{said} {self.name}: {self.path} holds {min(left)} and is not a run: "
                "choose another name"
            )

    def has_begun(self) -> bool:
        """Whether the journal has a first line, so that there is something to resume."""
        try:
            with (self.path / JOURNAL).open("rb") as file:
                return file.readline().endswith(b"\n")
        except FileNotFoundError:
            return False

    def discard(self) -> None:
        """Remove the files of a run that never began, and its folder unless it has others."""
        with suppress(OSError):
            if self._lock_fd >= 0 and not self.has_begun():
                for name in (*BEFORE_THE_JOURNAL, JOURNAL):
                    (self.path / name).unlink(missing_ok=True)
            self.path.rmdir()

    @staticmethod
    def open(
        runs_dir: Path | str, run: str, *, lock: bool = False, said: str = "--run"
    ) -> RunFolder:
        """An existing run, by its name in `runs_dir` or by the path of its folder.

        lock: take its lock, as a driver must. said: the option or argument that gave it, for the
        message. Raises ConfigError where there is no such run, or its lock is taken.
        """
        path = Path(run) if is_path(run) else Path(runs_dir) / check_name(run, said)
        try:
            path = path.resolve()
        except (OSError, RuntimeError) as error:  # links that lead in a circle
            raise ConfigError(f"{path}: no run here ({error})") from None
        folder = RunFolder(path)
        try:
            begun = folder.has_begun()
        except OSError as error:
            raise InputError(f"{path / JOURNAL}: can't be read ({error.strerror})") from None
        if not begun:
            raise ConfigError(f"{path}: no run here{_why_none(path)}")
        folder._stay_inside()
        if lock:
            folder.lock()
        return folder

    @property
    def name(self) -> str:
        """The name for `--run`: the last part of its path."""
        return self.path.name

    @property
    def ray(self) -> Path:
        """The folder of Ray's own records, which are never read here."""
        return self.path / "ray"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints of long trials that run, or ran when a session was killed."""
        return self.path / "checkpoints"

    def lock(self) -> None:
        """Become the only process that writes to this run. Raises ConfigError if another one is."""
        if self._lock_fd >= 0:
            return
        file = self.path / LOCK
        try:
            fd = try_lock(file)
            holder = file.read_bytes()[:32].decode(errors="replace").strip() or "unknown"
        except OSError as error:
            raise StorageError.at(file, error) from error
        if fd is None:
            raise ConfigError(
                f"--run {self.name}: a search with this name is running (process {holder}): "
                "wait for it, stop it, or choose another --run name"
            )
        with suppress(OSError):  # the holder's id is only informative: a full disk does not matter
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd
        for entry in self.path.iterdir():
            if is_leftover(entry.name):
                entry.unlink(missing_ok=True)

    def unfinished(self, what: str) -> str:
        """An error message: the run has no `what` yet, and how to get one."""
        if self.alive():
            return f"{self.name}: this run has no {what} yet, and is running: wait until it ends"
        finish = command("--resume", "--run", self.path)
        return f"{self.name}: this run has no {what} yet: finish it with `{finish}`"

    def alive(self) -> bool:
        """Whether a driver holds this run (this process included)."""
        return self._lock_fd >= 0 or is_locked(self.path / LOCK)

    def close(self) -> None:
        """Release the lock."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def file(self, *parts: str) -> Path:
        """The path of a file of this run. Raises ConfigError if it would lie outside the folder."""
        path = self.path.joinpath(*parts)
        if not path.parent.resolve().is_relative_to(self.path):
            raise ConfigError(f"{path}: outside the run folder {self.path}")
        return path

    def write(self, name: str, content: bytes | str) -> None:
        """`write_atomic` of a file of this run."""
        write_atomic(self.file(name), content)

    def write_json(self, name: str, value: object) -> None:
        """Write `value` as readable JSON, which must have no NaN or infinity."""
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def journal(self) -> Journal:
        """The journal, for appending."""
        return Journal(self.path / JOURNAL)

    def state(self) -> RunState:
        """What the journal says now."""
        return read_state(self.path / JOURNAL)

    def write_tables(self, state: RunState | None = None) -> RunState:
        """Rewrite trials.csv, epochs.csv, race.csv and best.json; returns the state used."""
        state = state or self.state()
        for name, content in tables(state).items():
            self.write(name, content)
        return state

    def _stay_inside(self) -> None:
        if self.path.resolve() != self.path:
            raise ConfigError(f"{self.path}: is a link to {self.path.resolve()}: give that instead")


def is_path(run: str) -> bool:
    """Whether `run` is the path of a folder, rather than a name in the folder of runs."""
    return os.sep in run or run in (".", "..")


def check_runs_dir(runs_dir: Path | str) -> None:
    """Raise `ConfigError` where no run can be made in `runs_dir`; makes nothing."""
    path = Path(runs_dir)
    try:
        path = whole = path.resolve(strict=False)
        while not path.exists():
            path = path.parent
        usable = path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--runs-dir {runs_dir}: {error}") from None
    try:
        str(whole).encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"--runs-dir {os.fsencode(whole)!r}: the path is not UTF-8, and a search can't write "
            "there: expected another place"
        ) from None
    if JOB_FOLDER in str(path):
        raise ConfigError(
            f"--runs-dir {runs_dir}: lies in the folder that Ray made for this job and will "
            "remove: expected an absolute path elsewhere on this machine, in a pod on a volume"
        )
    if not usable:
        if not path.is_dir():
            raise ConfigError(f"--runs-dir {runs_dir}: {path} is a file, expected a folder")
        frozen = os.statvfs(path).f_flag & os.ST_RDONLY
        why = os.strerror(errno.EROFS if frozen else errno.EACCES)
        raise ConfigError(f"--runs-dir {runs_dir}: {path} can't be written ({why})")


def _why_none(path: Path) -> str:
    """Why there is no run at `path`, for the end of a message: its journal is empty, it has none,
    or the names of the runs beside it.
    """
    if (path / JOURNAL).is_file():
        return f": its {JOURNAL} has no whole line"
    try:
        found = sorted(p.parent for p in path.parent.glob(f"*/{JOURNAL}") if p.stat().st_size)
    except OSError as error:
        raise InputError(f"{path.parent}: can't be read ({error.strerror})") from None
    if not found:
        return f": expected a folder with a {JOURNAL}"
    return ": expected one of " + ", ".join(p.name for p in found[-5:])
