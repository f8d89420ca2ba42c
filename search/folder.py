"""The folder of a run: its name, its lock, and files that are never half-written."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from recsys.errors import ConfigError, InputError
from search.journal import Follower, Journal, RunState, StorageError, read_state
from search.tables import tables

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
JOURNAL, LOCK = "journal.jsonl", "run.lock"
_STALE_TEMP = re.compile(r"\..+\.[0-9]+\.tmp")


def check_name(name: str) -> str:
    """`name`, if it can name a run. Raises `ConfigError`."""
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"--run: {name[:120]!r} can't name a run: expected at most 100 letters, digits, "
            "dots, dashes and underscores, not starting with a dot or a dash"
        )
    return name


def default_name(space: str, dataset: str, runs_dir: Path | None = None) -> str:
    """`space-dataset-20260131-235959` (UTC); `-2` and so on where that exists in `runs_dir`."""
    # A file of the user gives its stem: its folders and suffixes say nothing.
    parts = [
        re.sub(r"[^A-Za-z0-9_]+", "_", Path(p).name.split(".")[0])[:30] for p in (space, dataset)
    ]
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    name = "-".join([part.strip("_") or "run" for part in parts] + [stamp])
    tries = 2
    result = name
    while runs_dir is not None and (runs_dir / result).exists():
        result, tries = f"{name}-{tries}", tries + 1
    return result


def write_atomic(path: Path | str, content: bytes | str) -> None:
    """Write a file so that a reader, or a crash, meets the old content or the new, no mixture.

    Raises `StorageError`; the old file is then untouched.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temp.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temp.replace(path)
        except OSError:
            with suppress(OSError):
                temp.unlink()
            raise
        # The new name itself is only safe once the directory is on the disk.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
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
    """An existing run folder; `create` for a new run, `open` for one that is there.

    The lock is the kernel's (flock): it is gone when its process is, however that ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock_fd = -1
        self._follower = Follower(path / JOURNAL)

    @staticmethod
    def create(runs_dir: Path | str, name: str) -> RunFolder:
        """Make `runs_dir`/`name` and lock it. Raises `ConfigError` if there is such a run."""
        path = Path(runs_dir).resolve() / check_name(name)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise ConfigError(f"{path}: a file is in the way of the run folder") from None
        except OSError as error:
            raise StorageError(f"{path}: can't be created ({error.strerror})") from error
        folder = RunFolder(path)
        folder._stay_inside()
        folder.lock()
        # A run that died before its first line left a folder with nothing in it to resume.
        left = {entry.name for entry in path.iterdir()} - {LOCK}
        if (path / JOURNAL).exists() and (path / JOURNAL).stat().st_size == 0:
            left -= {JOURNAL}
        if left:
            folder.close()
            raise ConfigError(
                f"--run {name}: this run exists: go on with `--resume --run {name}`, add trials "
                f"with `--extend N --run {name}`, or choose another name"
            )
        return folder

    @staticmethod
    def open(runs_dir: Path | str, run: str, *, lock: bool = False) -> RunFolder:
        """An existing run, by its name in `runs_dir` or by the path of its folder.

        `lock`: for a driver. Raises `ConfigError` where there is no such run or it is alive.
        """
        is_path = os.sep in run or run in (".", "..")
        path = Path(run).resolve() if is_path else Path(runs_dir).resolve() / check_name(run)
        if not (path / JOURNAL).is_file():
            raise ConfigError(f"{path}: no run here{_similar(path)}")
        folder = RunFolder(path)
        folder._stay_inside()
        if lock:
            folder.lock()
        return folder

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def study(self) -> Path:
        """The Optuna study of the run."""
        return self.path / "study.journal"

    @property
    def ray(self) -> Path:
        """What Ray keeps for itself; nothing of ours is read from there."""
        return self.path / "ray"

    def lock(self) -> None:
        """Become the one process that writes this run. Raises `ConfigError` if another one is."""
        if self._lock_fd >= 0:
            return
        file = self.path / LOCK
        try:
            fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StorageError.at(file, error) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise ConfigError(
                f"--run {self.name}: a search with this name is running (process {holder}): "
                "wait for it, stop it, or choose another --run name"
            ) from None
        with suppress(OSError):  # who holds it is a courtesy; a full disk must not forbid a lock
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = fd
        for entry in self.path.iterdir():
            if _STALE_TEMP.fullmatch(entry.name):
                entry.unlink(missing_ok=True)

    def alive(self) -> bool:
        """Whether a driver holds this run (this process included)."""
        if self._lock_fd >= 0:
            return True
        try:
            fd = os.open(self.path / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def close(self) -> None:
        """Give the lock back."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def file(self, *parts: str) -> Path:
        """The path of a file of this run; `ConfigError` if it would lie outside."""
        path = self.path.joinpath(*parts)
        if not path.parent.resolve().is_relative_to(self.path):
            raise ConfigError(f"{path}: outside the run folder {self.path}")
        return path

    def write(self, name: str, content: bytes | str) -> None:
        """`write_atomic` of a file of this run."""
        write_atomic(self.file(name), content)

    def write_json(self, name: str, value: object) -> None:
        """Write `value` as readable JSON (NaN and infinity are a bug of ours)."""
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def journal(self) -> Journal:
        """The journal, for appending."""
        return Journal(self.path / JOURNAL)

    def state(self) -> RunState:
        """What the journal says now."""
        return read_state(self.path / JOURNAL)

    def cached_state(self) -> RunState:
        """The same, reading only what is new since the last call; not to be changed."""
        return self._follower.update()

    def write_tables(self, state: RunState | None = None) -> RunState:
        """Write trials.csv, epochs.csv, race.csv and best.json anew; returns the state used."""
        state = state or self.state()
        for name, content in tables(state).items():
            self.write(name, content)
        return state

    def _stay_inside(self) -> None:
        if self.path.resolve() != self.path:
            raise ConfigError(f"{self.path}: a link to {self.path.resolve()}: give the real folder")


def _similar(path: Path) -> str:
    """The names of some runs beside `path`, for a message."""
    try:
        found = sorted(p.parent for p in path.parent.glob(f"*/{JOURNAL}"))
    except OSError as error:
        raise InputError(f"{path.parent}: can't be read ({error.strerror})") from None
    if not found:
        return f": expected a folder with a {JOURNAL}"
    return ": expected one of " + ", ".join(p.name for p in found[-5:])
