"""A local store that was moved, or copied, with its project: its artifacts still lie beside it.

MLflow stores the full path of every artifact, and would keep writing to the old place.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def bring_along(file: Path, root: str, experiment: str) -> bool:
    """Let the store in `file` find its artifacts under `root`, a file URI; returns whether it had
    moved.

    If the old place still exists and there is nothing at the new one, only the database was moved,
    and the old place is kept.
    """
    with closing(sqlite3.connect(file, timeout=20.0)) as connection, connection:
        tables = {r[0] for r in connection.execute("select name from sqlite_master")}
        if "experiments" not in tables:
            return False  # not a database of MLflow: opening it will raise
        query = "select artifact_location from experiments where name = ?"
        found = connection.execute(query, (experiment,)).fetchone()
        old = found[0] if found is not None else None
        if old in (None, root) or not str(old).startswith("file:"):
            return False
        if _folder(old).is_dir() and not _folder(root).is_dir():
            return False
        for table, column in PLACES:
            if table in tables:
                connection.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) "
                    f"where {column} = ? or substr({column}, 1, ?) = ?",
                    (root, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
        return True


def _folder(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path))
