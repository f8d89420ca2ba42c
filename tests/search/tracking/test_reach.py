"""Dead ends of a store, said in seconds and in one line."""

from __future__ import annotations

import re
import shutil
import socket
import sqlite3
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.tracking.database import check_database, check_room
from search.tracking.driver import sync
from search.tracking.reach import check_name, unreachable
from search.tracking.store import short
from tests.factories import FakeRun
from tests.search.tracking.tracking_help import sqlite_store, store_file

Usage = namedtuple("Usage", "total used free")


@contextmanager
def server(status: int, content: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize(
    ("status", "content", "fine"),
    [
        (404, b"<html>no such page", False),
        (200, b"<html>welcome", False),
        (404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}', True),
        (200, b'{"experiment": {}}', True),
        (401, b"who are you?", True),
        (503, b"<html>later", True),
    ],
)
def test_who_answers(status: int, content: bytes, fine: bool) -> None:
    with server(status, content) as uri:
        why = unreachable(uri)
        assert (why is None) is fine
        assert fine or why == f"no MLflow server at {uri}: it answers HTTP {status}"


def refusal_of_mlflow() -> bytes:
    """What the installed MLflow answers, with HTTP 403, under a name that is not its own."""
    found = find_spec("mlflow")
    assert found is not None and found.origin is not None
    text = (Path(found.origin).parent / "server" / "security_utils.py").read_text(encoding="utf-8")
    (said,) = re.findall(r'^INVALID_HOST_MSG = "(.*)"$', text, re.MULTILINE)
    return str(said).encode()


def test_a_server_that_does_not_answer_to_its_name() -> None:
    with server(403, refusal_of_mlflow()) as uri:
        name = uri.removeprefix("http://")
        line = (
            f"the MLflow server there does not answer to the name {name}: start it with "
            f"MLFLOW_SERVER_ALLOWED_HOSTS={name} (more names with commas) in its environment"
        )
        assert unreachable(uri) == line
        with pytest.raises(ConfigError) as refused:
            check_name(f"http://ann:secret@{name}/")
        assert str(refused.value) == f"--tracking-uri {uri}: {line}"


def test_only_a_wrong_name_is_asked_for_before_a_search() -> None:
    """All else may be mended while it runs."""
    check_name("sqlite:////tmp/m.db")
    check_name("http://127.0.0.1:1")
    for status, content in ((403, b"who are you?"), (404, b"<html>"), (503, b"later")):
        with server(status, content) as uri:
            check_name(uri)


def test_a_server_of_another_kind() -> None:
    """Of ssh, say: it does not speak HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        uri = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def greet() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):
                        pass

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        why = unreachable(uri)
        assert why is not None
        assert why.startswith(f"something other than an MLflow server answers at {uri}: SSH-2.0")
        check_name(uri)
        thread.join()


def test_a_sync_to_nobody_ends_at_once(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "a")
    run.trial()
    run.close()
    status = sync(run.path, "http://127.0.0.1:1")
    assert not status.delivered
    assert "(nothing answers at http://127.0.0.1:1: Connection refused)" in status.sentence()
    assert not (run.path / "courier.log").exists()


def test_what_libraries_say_becomes_a_line() -> None:
    said = (
        "API request to http://h:1/api/2.0/x failed with exception HTTPConnectionPool(host='h'): "
    )
    said += 'Max retries exceeded (Caused by NewConnectionError("[Errno 111] Connection refused"))'
    assert short(OSError(said)) == "nothing answers at http://h:1: Connection refused"
    said = "API request to endpoint /api/2.0/x failed with error code 404 != 200. Body: '<!doctype"
    assert short(OSError(said)) == "no MLflow server: it answers HTTP 404"


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10, 10, 1000))
    with pytest.raises(ConfigError, match="No space left"):
        check_room(tmp_path / "not" / "there" / "m.db")


def test_a_store_without_a_table_is_damaged(tmp_path: Path) -> None:
    file = store_file(sqlite_store(tmp_path))
    check_database(file)
    with sqlite3.connect(file) as connection:
        connection.execute("drop table latest_metrics")
    connection.close()
    with pytest.raises(
        ConfigError, match=r"is damaged .no table latest_metrics.: restore a backup"
    ):
        check_database(file)


def test_a_server_that_is_slow_is_left_to_mlflow():
    """It takes the connection and says nothing for a while."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}", patience_s=0.2) is None
