"""Opening an MLflow store: client, first creation of a sqlite store, experiment.

Imported only by processes that may import mlflow: the courier, `sync --verify`, the UI.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.moved import bring_along
from search.tracking import courier_environment, sqlite_file


def import_mlflow(uri: str) -> Any:
    """Import mlflow, quiet and with nothing in the environment that could mislead it."""
    wanted = courier_environment(uri)
    for name in [n for n in os.environ if n.startswith("MLFLOW_") and n not in wanted]:
        del os.environ[name]
    os.environ.update({k: v for k, v in wanted.items() if k.startswith("MLFLOW_")})
    import mlflow

    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3", "git"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def create_sqlite(file: Path) -> None:
    """Create an MLflow database at `file` unless there is one.

    It is made beside its place and moved there whole, under a lock: two searches that start at
    once, or one killed within the migrations, leave no half-made schema behind.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with _file_lock(file.with_name(f".{file.name}.lock")):
        if file.exists() and file.stat().st_size > 0:
            return
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        temp = file.with_name(f".{file.name}.new")
        temp.unlink(missing_ok=True)
        store = SqlAlchemyStore(f"sqlite:///{temp}", artifact_root(file))
        store.engine.dispose()
        temp.replace(file)


def _probe(file: Path) -> None:
    """Raise `sqlite3.Error` soon where a database can't be read; MLflow would try for minutes."""
    with closing(sqlite3.connect(file, timeout=2.0)) as connection:
        connection.execute("select count(*) from sqlite_master").fetchone()


def artifact_root(file: Path) -> str:
    """Where the artifacts of a sqlite store lie: beside its database."""
    return (file.parent / "artifacts").as_uri()


@dataclass(frozen=True)
class Store:
    """An open store and the experiment in it."""

    uri: str
    client: Any  # mlflow.MlflowClient
    experiment_id: str

    @property
    def threads(self) -> int:
        """How many trials to deliver at once: a sqlite file has one writer, a server several."""
        return 1 if sqlite_file(self.uri) else 8


def open_store(uri: str, experiment: str) -> Store:
    """Connect to `uri`, creating a sqlite store and the experiment where they are missing."""
    mlflow = import_mlflow(uri)
    file = sqlite_file(uri)
    if file is not None:
        create_sqlite(file)
        _probe(file)
        bring_along(file, artifact_root(file), experiment)
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        location = artifact_root(file) if file is not None else None
        try:
            return Store(uri, client, client.create_experiment(experiment, location))
        except mlflow.exceptions.MlflowException as error:
            # Another search made it at the same moment.
            found = client.get_experiment_by_name(experiment)
            if found is None:
                raise error
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return Store(uri, client, found.experiment_id)


def is_final(error: Exception) -> bool:
    """Whether the store will say the same however often it is asked."""
    code = getattr(error, "error_code", None)
    # A database that is locked or gone is reported as BAD_REQUEST by some calls.
    if "OperationalError" in str(error) or "database is locked" in str(error):
        return False
    return code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "FEATURE_DISABLED")


def is_missing(error: Exception) -> bool:
    """Whether something that was there is no more: another store behind the address, say."""
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
