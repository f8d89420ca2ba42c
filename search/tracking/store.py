"""Opening an MLflow store: client, first creation of a sqlite store, experiment.

Imported only by processes that may import mlflow: the courier, `sync --verify`, the UI.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError, UserError
from recsys.safe_files import locked
from search.tracking.address import for_mlflow, sqlite_file, sqlite_uri, with_password
from search.tracking.database import check_database, check_room
from search.tracking.moved import bring_along
from search.tracking.wanted import TRIAL_TAG, UID_TAG
from search.tracking.where import SCRATCH, courier_environment
from search.words import hide_password

LOCK_PATIENCE_S = 2.0
# MLflow's words for a server that is not there, and for a server of another kind.
_NOBODY = re.compile(r"API request to (\S+?)/api/\S* failed .*Caused by .*\] ([\w ]+)")
_NO_MLFLOW = re.compile(r"failed with error code (\d+).*<(?:!DOCTYPE|html)", re.IGNORECASE)
# What SQLite, PostgreSQL and MySQL say of a row that is there already.
_WRITTEN = re.compile("unique|duplicate", re.IGNORECASE)


def import_mlflow(uri: str) -> Any:
    """Import mlflow, made quiet, and with nothing in the environment that could mislead it."""
    wanted = courier_environment(uri)
    for name in [n for n in os.environ if n.startswith("MLFLOW_") and n not in wanted]:
        del os.environ[name]
    os.environ.update({k: v for k, v in wanted.items() if k.startswith("MLFLOW_")})
    import mlflow

    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3", "git"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def create_sqlite(file: Path) -> None:
    """Create an MLflow database at `file` unless there is one.

    It is made beside that place and moved there when complete, under a lock, so that neither two
    searches that start at once nor one that is killed during the migrations leave a half-made
    schema.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.with_name(f".{file.name}.lock")):
        if file.exists() and file.stat().st_size > 0:
            return
        check_room(file)
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        # Always the same name: the next process removes what a killed one has left.
        temp = file.with_name(f".{file.name}.new")
        temp.unlink(missing_ok=True)
        store = SqlAlchemyStore(for_mlflow(sqlite_uri(temp)), artifact_root(file))
        store.engine.dispose()
        temp.replace(file)


def artifact_root(file: Path) -> str:
    """Where the artifacts of a sqlite store lie, as a URI: beside its database."""
    return (file.parent / "artifacts").as_uri()


@dataclass(frozen=True)
class Store:
    """An open store and the experiment in it."""

    uri: str
    client: Any  # mlflow.MlflowClient
    experiment_id: str

    @property
    def threads(self) -> int:
        """How many trials to deliver at once: a sqlite file allows one writer, a server several."""
        return 1 if sqlite_file(self.uri) else 8

    def runs_of(self, uid: str) -> dict[str | None, list[Any]]:
        """MLflow's runs of the search `uid` by trial id, the oldest first; under None those of the
        search itself. Raises what MLflow raises.
        """
        found: dict[str | None, list[Any]] = {}
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                f"tags.`{UID_TAG}` = '{uid}'",
                max_results=1000,
                order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
                page_token=token,
            )
            for run in page:
                found.setdefault(run.data.tags.get(TRIAL_TAG), []).append(run)
            token = page.token
            if not token:
                return found


def open_store(uri: str, experiment: str) -> Store:
    """Connect to `uri`, creating a sqlite store and the experiment where they are missing.

    Raises ConfigError at once where a sqlite store can't be used; MLflow would try for minutes.
    Other errors of MLflow are passed on.
    """
    full = for_mlflow(with_password(uri))
    mlflow = import_mlflow(full)
    file = sqlite_file(uri)
    if file is not None:
        create_sqlite(file)
        check_database(file, LOCK_PATIENCE_S)
        _check_spelling(uri, file)
        bring_along(file, artifact_root(file), experiment)
    client = mlflow.MlflowClient(tracking_uri=full, registry_uri=full)
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


def _check_spelling(uri: str, file: Path) -> None:
    """Raise ConfigError for paths that SQLAlchemy before 2.1 misreads: it takes them literally."""
    from sqlalchemy.engine import make_url

    if make_url(uri).database != str(file):
        raise ConfigError(
            f"MLflow's store {file}: the installed SQLAlchemy can't have % or ? in a path: "
            "name another one"
        )


def is_final(error: Exception) -> bool:
    """Whether asking the store again would give the same answer."""
    code = getattr(error, "error_code", None)
    if is_missing(error):
        return False
    # Some calls report a database that is locked or gone as BAD_REQUEST, or that another request
    # has written the same row meanwhile: one of another trial, or one that was given up.
    text = str(error)
    if "OperationalError" in text or "database is locked" in text:
        return False
    if "IntegrityError" in text and _WRITTEN.search(text) is not None:
        return False
    return code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "FEATURE_DISABLED")


def is_missing(error: Exception) -> bool:
    """Whether something no longer exists: it was deleted in the UI, or this is another store."""
    if "Current state is deleted" in str(error):
        return True
    return getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"


def short(error: Exception) -> str:
    """An exception in one line of limited length, without a password."""
    words = hide_password(" ".join(str(error).split()))
    if isinstance(error, UserError):
        return words  # written for a person
    if "database is locked" in words:
        return "another program has locked the database"
    if (nobody := _NOBODY.search(words)) is not None:
        return f"nothing answers at {nobody[1]}: {nobody[2]}"
    if (other := _NO_MLFLOW.search(words)) is not None:
        return f"no MLflow server: it answers HTTP {other[1]}"
    return f"{type(error).__name__}: {words}"[:400]


def scratch(run_dir: Path) -> tempfile.TemporaryDirectory[str]:
    """A temporary folder inside the run folder, whose disk has room for a model."""
    return tempfile.TemporaryDirectory(prefix=SCRATCH, dir=run_dir)
