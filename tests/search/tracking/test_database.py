"""Local stores that can't be used: one line each, in milliseconds, and nothing left behind."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.tracking import database
from search.tracking.database import StoreLockedError, check_database, check_place, schemas
from search.tracking.driver import sync
from search.tracking.memory import delivery_status
from search.tracking.store import is_final, short
from search.tracking.ui import serve
from search.tracking.verify import verify_delivery
from search.tracking.where import check_tracking_uri
from tests.factories import FakeRun
from tests.search.tracking.tracking_help import deliver, locked, sqlite_store, store_file


def change(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def older(file: Path) -> None:
    change(file, "update alembic_version set version_num = 'c48cb773bb87'")


def newer(file: Path) -> None:
    change(file, "update alembic_version set version_num = 'ffff00001111'")


def text(file: Path) -> None:
    file.write_bytes(b"a text, long enough to have no header of SQLite in it at all" * 3)


def damaged(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:100] + b"\xff" * 4000 + content[4100:])


def foreign(file: Path) -> None:
    file.unlink()
    change(file, "create table customers (name text)", "create table orders (id integer)")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


BAD: list[tuple[Callable[[Path], None], str]] = [
    (older, r"an older MLflow \(schema c48cb773bb87, this one has [0-9a-f]+\): take a backup"),
    (newer, r"newer MLflow \(schema ffff00001111 is not known to [\d.]+\)"),
    (text, "is not a SQLite database: restore a backup"),
    (damaged, "is damaged"),
    (foreign, r"the database of another program \(tables customers, orders\)"),
    (folder, "a folder; expected the name of a file"),
    (pipe, "not a regular file"),
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> str:
    return sqlite_store(tmp_path / "a store")


@pytest.mark.parametrize(("spoil", "words"), BAD, ids=lambda v: getattr(v, "__name__", ""))
def test_a_store_that_cannot_be_used_is_one_line_everywhere(
    tmp_path: Path, store: str, spoil: Callable[[Path], None], words: str
) -> None:
    file = store_file(store)
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    run.close()
    spoil(file)
    before = sorted(p.name for p in file.parent.iterdir())
    for use in (
        lambda: check_tracking_uri(store),  # a search begins with it
        lambda: serve(5999, uri=store),
        lambda: sync(run.path, store),
        lambda: verify_delivery(run.path, store),
    ):
        with pytest.raises(ConfigError, match=words) as caught:
            use()
        assert "\n" not in str(caught.value)
        assert str(file) in str(caught.value)
    assert sorted(p.name for p in file.parent.iterdir()) == before


@pytest.mark.parametrize("spoil", [older, newer, text, damaged, foreign], ids=lambda f: f.__name__)
def test_the_courier_says_the_same(
    tmp_path: Path, store: str, spoil: Callable[[Path], None]
) -> None:
    """A store that was spoilt while the search ran: the reason, in the words of the check."""
    from search.tracking.courier import Courier

    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    run.close()
    spoil(store_file(store))
    with pytest.raises(ConfigError) as caught:
        check_tracking_uri(store)
    assert not Courier(run.path, store, "recsearch").attempt()
    assert delivery_status(run.path, store).reason == str(caught.value)


@pytest.mark.parametrize("spoil", [older, newer], ids=lambda f: f.__name__)
def test_the_command_that_upgrades_can_be_pasted(
    store: str, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store_file(store)
    spoil(file)
    with pytest.raises(ConfigError) as caught:
        check_database(file)
    command = shlex.split(str(caught.value).rpartition("run: ")[2])
    assert command[1:] == ["db", "upgrade", store]
    assert Path(command[0]).resolve() == Path(sys.executable).with_name("mlflow").resolve()
    monkeypatch.chdir("/")
    assert shlex.split(database.upgrade_command(file))[0] == str(
        Path(sys.executable).with_name("mlflow").relative_to("/")
    )
    # `mlflow db upgrade sqlite:///...%25...` would make a folder of that name
    assert shlex.split(database.upgrade_command(Path("/a%b/m.db")))[-1] == (
        "sqlite+pysqlite:////a%25b/m.db"
    )


def test_the_schema_is_that_of_the_installed_mlflow() -> None:
    from mlflow.store.db.utils import _get_latest_schema_revision

    known = schemas()
    assert known is not None
    assert known[0] == _get_latest_schema_revision()
    assert known[0] in known[1]
    assert "451aebb31d03" in known[1]  # the first of all


def test_a_store_that_is_there_missing_or_empty_is_fine(tmp_path: Path, store: str) -> None:
    for file in (store_file(store), tmp_path / "none.db", tmp_path / "empty.db"):
        if file.name == "empty.db":
            file.touch()
        check_place(file)
        check_database(file)
        check_database(file, 0.0)
    assert not (tmp_path / "none.db").exists()


@pytest.mark.slow
def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    run.trial()
    run.close()
    (tmp_path / "m.db").touch()
    assert deliver(run, check_tracking_uri(f"sqlite:///{tmp_path}/m.db"))


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/newer/m.db"
    assert check_tracking_uri(uri) == uri
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_folder_that_cannot_be_written(tmp_path: Path, store: str) -> None:
    store_file(store).parent.chmod(0o500)
    with pytest.raises(ConfigError, match="can't be written"):
        check_place(store_file(store))


def test_who_may_not_write_is_told(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user without permission, on a disk that is read-only: what `access` says, counts."""
    file = store_file(store)
    for refused in (file, file.parent):
        monkeypatch.setattr("search.tracking.database.os.access", lambda p, _, r=refused: p != r)
        with pytest.raises(ConfigError, match=f"{refused} can't be written"):
            check_tracking_uri(store)


# --- locks ------------------------------------------------------------------------------------

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin exclusive")
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_lock_is_named_with_its_holder(store: str) -> None:
    file = store_file(store)
    other = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    try:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(StoreLockedError, match="is locked by") as caught:
            check_database(file, 0.0)
        assert f"process {other.pid} (" in str(caught.value)
        assert "\n" not in str(caught.value)
        check_tracking_uri(store)  # a search need not wait for it: delivery does
    finally:
        other.communicate()
    check_database(file, 0.0)


def test_a_locked_store_is_one_line_for_the_ui(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.tracking.ui.LOCK_PATIENCE_S", 0.0)
    with locked(store), pytest.raises(ConfigError, match="is locked by process"):
        serve(5999, uri=store)


def test_a_lock_in_the_middle_of_things_is_said_in_words() -> None:
    error = RuntimeError("(sqlite3.OperationalError) database is locked [SQL: INSERT ...]")
    assert short(error) == "another program has locked the database"
    assert "secret" not in short(RuntimeError("at postgresql://ann:secret@db/x"))


class RefusedError(Exception):
    """What MLflow's client raises where a server answers BAD_REQUEST."""

    error_code = "BAD_REQUEST"


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id", False),
        ("(psycopg2.errors.UniqueViolation IntegrityError) duplicate key value", False),
        ("(sqlite3.OperationalError) database is locked", False),
        ("(sqlite3.IntegrityError) CHECK constraint failed: status", True),
        ("a metric's name has a comma", True),
    ],
)
def test_what_another_request_has_written_meanwhile_is_asked_for_again(
    text: str, final: bool
) -> None:
    """Two trials may log the same data set at once; the server then refuses one of them."""
    assert is_final(RefusedError(text)) == final
