"""What a local store (MLflow's SQLite database) says of itself, read without mlflow.

With a store that it can't use, MLflow ends in a traceback, after minutes of further attempts. What
can be checked here takes milliseconds, before a run begins.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from recsys.errors import ConfigError
from search.paste import quoted
from search.tracking.address import for_mlflow, sqlite_uri

_LONGEST_ENDING = "-journal"  # of the files that SQLite and this project put beside a database
_MARKS = ("experiments", "runs", "alembic_version")  # tables of every MLflow database
# The tables that a delivery reads or writes.
_TABLES = frozenset(
    [
        "datasets",
        "experiment_tags",
        "experiments",
        "input_tags",
        "inputs",
        "latest_metrics",
        "metrics",
        "model_version_tags",
        "model_versions",
        "params",
        "registered_model_aliases",
        "registered_models",
        "runs",
        "tags",
    ]
)
NEW, MORE = 4 << 20, 1 << 18  # bytes that a new store takes, and that a further delivery may take


class StoreLockedError(ConfigError):
    """Another program has locked the database; later it may be free."""


def check_place(file: Path) -> None:
    """Raise ConfigError unless a database at `file` can be written; leaves nothing behind."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in str(file)):
        raise ConfigError(f"MLflow's store {str(file)!r}: a path with control characters in it")
    try:
        _check_kind(file)
        _check_writable(file)
    except OSError as error:  # a name that is too long, a loop of links, a disk that fails
        raise ConfigError(f"MLflow's store {file}: {error.strerror}") from None


def _check_kind(file: Path) -> None:
    if file.is_dir():
        raise ConfigError(f"MLflow's store {file}: a folder; expected the name of a file in it")
    if file.exists() and not file.is_file():
        raise ConfigError(f"MLflow's store {file}: not a regular file")
    file.with_name(f"{file.name}{_LONGEST_ENDING}").exists()  # raises where that is too long


def _check_writable(file: Path) -> None:
    missing = [folder for folder in (file.parent, *file.parent.parents) if not folder.exists()]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # `access` allows root everything; a system folder or a read-only disk may still refuse.
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise ConfigError(
            f"MLflow's store {file}: {file.parent} can't be written ({error.strerror})"
        ) from None
    finally:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
    # SQLite keeps a journal beside the database: the folder has to be writable as well.
    for path in (file, file.parent) if file.exists() else ():
        if not os.access(path, os.R_OK | os.W_OK):
            raise ConfigError(f"MLflow's store {file}: {path} can't be written")


def check_room(file: Path) -> None:
    """Raise ConfigError where the disk is too full for a new store, or for more in an existing one.

    MLflow's own errors would be misleading: a table exists already, the database is read-only.
    """
    made = file.exists() and file.stat().st_size > 0
    needed = MORE if made else NEW
    folder = next(folder for folder in file.absolute().parents if folder.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(
            f"MLflow's store {file}: No space left: {free / 2**20:.1f} MB are free on its disk, "
            f"expected {needed / 2**20:.1f} MB"
        )


def check_database(file: Path, patience_s: float | None = None) -> None:
    """Raise ConfigError where `file` is not a database that the installed MLflow can use.

    A missing or empty file is fine: the database will be made. patience_s: seconds to wait for a
    lock, before it raises StoreLockedError; None: a lock is not an error.
    """
    try:
        if not file.exists() or file.stat().st_size == 0:
            return
        tables, schema = _read(file, patience_s or 0.0)
    except sqlite3.Error as error:
        locked = "locked" in str(error) or "busy" in str(error)
        if locked and patience_s is None:
            return
        if locked:
            raise StoreLockedError(
                f"MLflow's store {file} is locked by {holder(file)}, still after "
                f"{patience_s:g} s: end that, or try again later"
            ) from None
        raise ConfigError(_broken(file, error)) from None
    except OSError as error:
        raise ConfigError(f"MLflow's store {file} can't be read ({error.strerror})") from None
    if tables and not set(_MARKS) & tables:
        shown = ", ".join(sorted(tables)[:3])
        raise ConfigError(
            f"MLflow's store {file} is the database of another program (tables {shown}): "
            "name another file"
        )
    if schema is not None:
        _check_schema(file, schema)
        if missing := sorted(_TABLES - tables):
            raise ConfigError(_broken(file, sqlite3.DatabaseError(f"no table {missing[0]}")))


def _read(file: Path, patience_s: float) -> tuple[set[str], str | None]:
    """The names of the tables, and the version of MLflow's schema."""
    uri = f"{file.absolute().as_uri()}?mode=rw"  # rw: never created, but repaired after a crash
    with closing(sqlite3.connect(uri, uri=True, timeout=patience_s)) as connection:
        names = {n for (n,) in connection.execute("select name from sqlite_master")}
        schema = None
        if "alembic_version" in names:
            row = connection.execute("select version_num from alembic_version").fetchone()
            schema = str(row[0]) if row else None
        return names, schema


def _broken(file: Path, error: sqlite3.Error) -> str:
    if "unable to open" in str(error) or "readonly" in str(error):
        return f"MLflow's store {file} can't be opened ({error})"
    what = "is not a SQLite database" if "not a database" in str(error) else f"is damaged ({error})"
    return (
        f"MLflow's store {file} {what}: restore a backup, or move it away: then a new one is made, "
        "which the command sync fills"
    )


# --- the version of the schema ----------------------------------------------------------------


def _check_schema(file: Path, found: str) -> None:
    known = schemas()
    if known is None or found == known[0]:
        return
    upgrade = upgrade_command(file)
    if found in known[1]:
        raise ConfigError(
            f"MLflow's store {file} was made by an older MLflow (schema {found}, this one has "
            f"{known[0]}): take a backup of the file, then run: {upgrade}"
        )
    raise ConfigError(
        f"MLflow's store {file} was made by a newer MLflow (schema {found} is not known to "
        f"{version('mlflow')}): install that version, or take a backup, install a later one and "
        f"run: {upgrade}"
    )


@functools.cache
def schemas() -> tuple[str, frozenset[str]] | None:
    """The schema of the installed MLflow, and all schemas before it; None where its files don't
    show them. They are read from its migrations, each of which names the one before.
    """
    spec = find_spec("mlflow")
    places = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    revisions, followed = set(), set()
    for place in places:
        for file in (place / "store" / "db_migrations" / "versions").glob("*.py"):
            text = file.read_text(encoding="utf-8")
            lines = dict(re.findall(r"^(revision|down_revision)\s*(?::.*?)?=\s*(.+)$", text, re.M))
            revisions |= set(re.findall(r"[0-9a-f]{8,}", lines.get("revision", "")))
            followed |= set(re.findall(r"[0-9a-f]{8,}", lines.get("down_revision", "")))
    heads = revisions - followed
    return (heads.pop(), frozenset(revisions)) if len(heads) == 1 else None


def upgrade_command(file: Path) -> str:
    """The command that upgrades the schema of a store to that of the installed MLflow."""
    program = Path(sys.executable).with_name("mlflow")
    here = Path.cwd()
    shown = program.relative_to(here) if program.is_relative_to(here) else program
    words = [str(shown)] if program.exists() else [sys.executable, "-m", "mlflow"]
    uri = sqlite_uri(file.absolute())
    known = for_mlflow(uri) if "%" in uri else uri
    return " ".join(map(quoted, [*words, "db", "upgrade", known]))


# --- locks ------------------------------------------------------------------------------------


def holder(file: Path) -> str:
    """The program that has a lock on a file, for a message, as far as the system shows it."""
    for pid in _lockers(file):
        with suppress(OSError):
            line = (
                Path(f"/proc/{pid}/cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode("utf-8", "replace")
            )
            return f"process {pid} ({' '.join(line.split())[:60]})"
    return "another program"


def _lockers(file: Path) -> list[int]:
    """The ids of processes that have a lock on a file with this inode, and the file open."""
    found = []
    with suppress(OSError):
        inode, real = file.stat().st_ino, file.resolve()
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "->" in words or len(words) < 6 or words[5].rpartition(":")[2] != str(inode):
                continue
            pid = int(words[4])
            with suppress(OSError):
                if any(fd.resolve() == real for fd in Path(f"/proc/{pid}/fd").iterdir()):
                    found.append(pid)
    return found
