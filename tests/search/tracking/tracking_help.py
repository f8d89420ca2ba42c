"""Plausible runs, stores and servers for the tests of tracking; no search is run."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from search.guard import Guard
from search.tracking.address import sqlite_file, sqlite_uri
from search.tracking.ui import server_command, server_environment
from search.tracking.where import EXPERIMENT, courier_environment
from tests.factories import Written
from tests.ports import free_port

EMPTY_STORE = "RECSEARCH_TEST_STORE"
LONG_S = 300.0  # for what does happen, on a machine with much else to do


@functools.cache
def empty_database() -> Path:
    """An MLflow database with nothing in it, made once: the migrations take seconds.

    Where processes share the tests, `tests/conftest.py` has had it made for all of them.
    """
    if (made := os.environ.get(EMPTY_STORE)) is not None:
        return Path(made)
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make_database(Path(folder) / "mlflow.db")


def make_database(file: Path) -> Path:
    """Let MLflow make a database."""
    from search.tracking.store import open_store

    open_store(sqlite_uri(file), "unused")
    return file


def sqlite_store(folder: Path) -> str:
    """URI of an empty sqlite store in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_database(), folder / "mlflow.db")
    return sqlite_uri(folder / "mlflow.db")


def store_file(uri: str) -> Path:
    """The database of a sqlite store."""
    file = sqlite_file(uri)
    assert file is not None
    return file


def deliver(run: Written, uri: str) -> bool:
    """One pass of delivery in this process, with a memory as a new courier would have it."""
    from search.tracking.delivery import RunDelivery
    from search.tracking.store import open_store

    return RunDelivery(run.path, open_store(uri, EXPERIMENT), EXPERIMENT).run_pass()


def query(uri: str, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Rows of a sqlite store, read past MLflow."""
    connection = sqlite3.connect(store_file(uri))
    try:
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
    finally:
        connection.close()
    return rows


SHORT = "substr(name, 1, instr(name || ' ', ' ') - 1)"  # t0001 of "t0001 bpr-even d=64"


def active_runs(uri: str) -> list[str]:
    """Names of the runs that are not deleted, up to their first blank."""
    sql = (
        f"select {SHORT} from runs where lifecycle_stage = 'active' and experiment_id in "
        "(select experiment_id from experiments where name = ?) order by name"
    )
    return [name for (name,) in query(uri, sql, EXPERIMENT)]


class Server:
    """A real `mlflow server` on 127.0.0.1 over a store of its own, to be killed and restarted."""

    def __init__(self, folder: Path) -> None:
        self.file = store_file(sqlite_store(folder))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None  # ends the server where the tests are killed

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        own = sqlite_uri(self.file)
        self._guard = Guard(patience_s=0.0)
        self.process = subprocess.Popen(
            server_command(own, "127.0.0.1", self.port),
            env=server_environment(own) | self._guard.environment,
            cwd=self.file.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self.answers)

    def answers(self) -> bool:
        """Whether somebody takes connections there."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9 of the server and its workers."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
        if self._guard is not None:
            self._guard.close()
            self._guard = None


def answers(address: str) -> bool:
    """Whether a server is there."""
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except OSError:
        return False


@contextmanager
def model_server(source: str, uri: str, folder: Path) -> Iterator[str]:
    """Where `mlflow models serve` takes requests for a model, with one worker.

    source: of the model, as a path from `folder`, where its log lies, or an address in the store.
    """
    port = free_port()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # its own process group: the server starts workers
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", "-m", "mlflow", "models", "serve", "-m", source),
                *("--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"),
            ],
            env=courier_environment(uri) | {"PATH": path},  # it asks a shell for uvicorn
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: process.poll() is not None or answers(f"{address}/health"))
        assert process.poll() is None, (folder / "serve.log").read_text()
        yield f"{address}/invocations"
    finally:  # also where we are ended
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def locked(uri: str) -> Iterator[None]:
    """Another connection holds the write lock of a sqlite store, and nobody reads it either."""
    connection = sqlite3.connect(store_file(uri), timeout=60, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def slow_proxy(target_port: int, seconds: float) -> Iterator[int]:
    """A proxy that holds every answer back for `seconds`; yields its port."""
    import asyncio
    import threading

    ready = threading.Event()
    port: list[int] = []
    stop: list[Callable[[], object]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", target_port)

        async def pump(source: Any, sink: Any, wait: float) -> None:
            while data := await source.read(1 << 16):
                if wait:
                    await asyncio.sleep(wait)
                sink.write(data)
                await sink.drain()
            sink.close()

        try:
            await asyncio.gather(
                pump(reader, upstream_writer, 0.0),
                pump(upstream_reader, writer, seconds),
                return_exceptions=True,
            )
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            writer.close()
            upstream_writer.close()

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        stop.append(lambda: loop.call_soon_threadsafe(task.cancel))
        ready.set()
        async with server:
            await server.serve_forever()

    def run() -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(main())  # which lets every connection that is left come to its end

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield port[0]
    finally:
        stop[0]()
        thread.join(5)


def ended(pid: int) -> bool:
    """Whether a process is over, be it that nobody has asked how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Any, seconds: float = LONG_S) -> None:
    """Wait for `condition()`; the assertion names how long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def delivered_rows(run_dir: Path) -> int:
    """Rows that delivery.json counts."""
    try:
        record = json.loads((run_dir / "delivery.json").read_bytes())
    except OSError:
        return 0
    return sum(child["rows"] for child in record["children"].values())
