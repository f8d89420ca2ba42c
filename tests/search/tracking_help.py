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
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from search.record.events import (
    EpochsReported,
    ReplicateRaced,
    SessionBegan,
    SessionEnded,
    State,
    Status,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.folder import RunFolder
from search.record.journal import Journal
from search.record.result import VERSION, Counts, RunResult, write_result
from search.tracking.address import sqlite_file, sqlite_uri
from search.tracking.ui import server_command, server_environment
from search.tracking.where import EXPERIMENT
from tests.ports import free_port
from tests.search.fake_run import REASONS

EMPTY_STORE = "RECSEARCH_TEST_STORE"
LONG_S = 300.0  # for what does happen, on a machine with much else to do
COLUMNS = ["epoch", "loss", "map@50", "recall@20", "train_seconds", "eval_seconds"]
TRACEBACK = (
    'Traceback (most recent call last):\n  File "x.py", line 1\nDivergedError: NaN in epoch 2'
)


class FakeRun:
    """Writes the journal and files of a search, step by step, from a seeded generator."""

    def __init__(self, runs_dir: Path, name: str, seed: int = 0, leaky: bool = False) -> None:
        self.folder = RunFolder.create(runs_dir, name)
        self.journal: Journal = self.folder.journal()
        self.rng = np.random.default_rng(seed)
        self.exclude = "all" if leaky else "train"
        self.number = 0
        self.sessions = 0
        self.session()
        self.folder.write("spec.yaml", f"metric: map@50\nname: {name}\n")

    @property
    def path(self) -> Path:
        return self.folder.path

    def session(self) -> None:
        self.sessions += 1
        settings = {
            "data": "ml-100k",
            "seed": 42,
            "device": "cpu",
            "trials": 10,
            "min_rating": None,
        }
        self.journal.append(
            SessionBegan(name=self.path.name, settings=settings, split_digest="ab12")
        )

    def begin(self) -> str:
        """A new trial that runs."""
        name = f"t{self.number:04d}"
        params = {"lr": float(self.rng.uniform(0.01, 0.1)), "hard_fraction": 0.25}
        config = {"lr": params["lr"], "loss": "bpr", "negatives_exclude": self.exclude}
        self.journal.append(
            TrialMade(
                id=name, number=self.number, params=params, config=config, seed=self.number + 7
            )
        )
        self.number += 1
        self.start(name)
        return name

    def start(self, name: str, attempt: int = 1) -> None:
        self.journal.append(TrialBegan(id=name, attempt=attempt))

    def epochs(self, name: str, first: int, last: int, attempt: int = 1) -> None:
        """Rows of epochs `first`..`last`, in one line."""
        rows = [
            [e, float(1 / e + self.rng.random() / 9), *map(float, self.rng.random(2)), 0.01, 0.002]
            for e in range(first, last + 1)
        ]
        self.journal.append(EpochsReported(id=name, attempt=attempt, columns=COLUMNS, rows=rows))

    def end(self, name: str, state: str, epochs: int) -> None:
        failed = state == "FAILED"
        self.journal.append(
            TrialEnded(
                id=name,
                state=State(state),
                reason=REASONS[State(state)],
                value=None if failed else float(self.rng.random()),
                best_epoch=None if failed else max(1, epochs - 1),
                epochs=epochs,
                busy_s=0.012 * epochs,
                error=TRACEBACK if failed else None,
                cause="DivergedError: NaN in epoch 2" if failed else None,
            ),
            sync=True,
        )

    def trial(self, state: str = "COMPLETE", epochs: int = 5) -> str:
        name = self.begin()
        half = max(1, epochs // 2)
        self.epochs(name, 1, half)
        if epochs > half:
            self.epochs(name, half + 1, epochs)
        self.end(name, state, epochs)
        return name

    def several(self, count: int) -> None:
        for n in range(count):
            self.trial(("COMPLETE", "PRUNED", "FAILED")[n % 3], 2 + n % 5)

    def finish(self, status: str = "done", model: bool = False) -> None:
        """Race, tables, result, and the last line."""
        for replicate in range(2):
            value = float(self.rng.random())
            self.journal.append(
                ReplicateRaced(
                    config_id="t0000", replicate=replicate, value=value, best_epoch=3, split_seed=1
                )
            )
        if status == "done":
            result = RunResult(
                version=VERSION,
                metric="map@50",
                valid=0.13,
                test=0.17,
                test_ci=(0.16, 0.18),
                test_metrics={"map@50": 0.17, "ndcg@20": 0.3},
                split="random ratio 0.1",
                negatives_exclude=self.exclude,
                best_config={"lr": 0.1, "negatives_exclude": self.exclude},
                trials=Counts(completed=4, pruned=3, failed=3),
            )
            write_result(self.folder, result)
            self.folder.write("report.html", "<p>&lt;script&gt;</p>")
            self.folder.write("submission.csv", "UserId,ItemId\n1,2 3\n")
        if model:
            save_tiny_model(self.path / "model")
        self.folder.write_tables()
        self.journal.append(SessionEnded(status=Status(status)), sync=True)

    def close(self) -> None:
        self.journal.close()
        self.folder.close()


def save_tiny_model(folder: Path, string_ids: bool = False) -> None:
    """3 users, 4 items, d = 2, with weights that make the order plain."""
    import torch

    from recsys.interactions import CSR, Interactions
    from search.stages.catalogue import save_catalogue

    folder.mkdir(exist_ok=True)
    weights = {
        "user_factors": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]),
        "item_factors": torch.tensor([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]]),
        "user_bias": torch.zeros(3),
        "item_bias": torch.zeros(4),
        "global_bias": torch.zeros(1),
    }
    torch.save(weights, folder / "weights.pt")
    (folder / "config.json").write_text('{"model": "lfm"}')
    seen = CSR.from_pairs(np.array([0, 1]), np.array([0, 3]), 3, 4)
    users, items = np.array([10, 20, 30]), np.array([100, 200, 300, 400])
    if string_ids:
        users = np.array(["ann", "bob", "eve"], object)
        items = np.array(["a b", "é", "<i>", "z"], object)
    save_catalogue(folder, Interactions(seen, np.zeros(2), users, items, ordered=False), seen)


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


def deliver(run: FakeRun, uri: str) -> bool:
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


def active_runs(uri: str) -> list[str]:
    """Names of the runs that are not deleted."""
    sql = (
        "select name from runs where lifecycle_stage = 'active' and experiment_id in "
        "(select experiment_id from experiments where name = ?) order by name"
    )
    return [name for (name,) in query(uri, sql, EXPERIMENT)]


class Server:
    """A real `mlflow server` on 127.0.0.1 over a store of its own, to be killed and restarted."""

    def __init__(self, folder: Path) -> None:
        self.file = store_file(sqlite_store(folder))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        own = sqlite_uri(self.file)
        self.process = subprocess.Popen(
            server_command(own, "127.0.0.1", self.port),
            env=server_environment(own),
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

    loop = asyncio.new_event_loop()
    ready = threading.Event()
    port: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", target_port)

        async def pump(source: Any, sink: Any, wait: float) -> None:
            while data := await source.read(1 << 16):
                if wait:
                    await asyncio.sleep(wait)
                sink.write(data)
                await sink.drain()
            sink.close()

        await asyncio.gather(
            pump(reader, upstream_writer, 0.0),
            pump(upstream_reader, writer, seconds),
            return_exceptions=True,
        )

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await server.serve_forever()

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(main())
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield port[0]
    finally:

        def stop() -> None:
            for task in asyncio.all_tasks(loop):
                task.cancel()

        loop.call_soon_threadsafe(stop)
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
