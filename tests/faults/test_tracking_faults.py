"""A real MLflow server that goes away, comes back, is slow; the run arrives whole all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.tracking.driver import Tracker, sync
from search.tracking.memory import delivery_status
from search.tracking.verify import verify_delivery
from tests.factories import FakeRun
from tests.search.tracking.tracking_help import (
    LONG_S,
    Server,
    delivered_rows,
    query,
    slow_proxy,
    wait_until,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Not started yet."""
    server = Server(tmp_path / "server")
    yield server
    server.kill()


def same_as_journal(run: FakeRun, server: Server) -> None:
    """All of the run is there, once, by the server's answers and by its database."""
    assert verify_delivery(run.path, server.uri) == []
    names = [
        name
        for (name,) in query(
            f"sqlite:///{server.file}", "select name from runs where lifecycle_stage = 'active'"
        )
    ]
    first = [name.split(" ")[0] for name in names]  # before what else a name says
    assert sorted(first) == sorted([run.path.name, *(f"t{n:04d}" for n in range(run.number))])


@pytest.mark.faults
def test_down_at_the_start(tmp_path: Path, server: Server) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    with Tracker(run.path, server.uri, interval_s=0.1) as tracker:
        run.several(3)
        assert not tracker.flush(3).delivered
        server.start()
        run.several(3)
        run.finish(model=True)
        assert tracker.close(LONG_S).delivered
    run.close()
    same_as_journal(run, server)


@pytest.mark.slow
def test_killed_in_the_middle_and_back(tmp_path: Path, server: Server) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    server.start()
    with Tracker(run.path, server.uri, interval_s=0.0) as tracker:
        run.several(4)
        wait_until(lambda: delivered_rows(run.path) > 0)
        server.kill()  # perhaps within a request
        run.several(4)  # there is nobody to wait for
        server.start()
        run.several(2)
        run.finish()
        assert tracker.close(LONG_S).delivered
    run.close()
    same_as_journal(run, server)


@pytest.mark.faults
def test_down_at_the_end_then_sync(tmp_path: Path, server: Server) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    server.start()
    with Tracker(run.path, server.uri, interval_s=0.1) as tracker:
        run.several(4)
        assert tracker.flush(LONG_S).delivered
        server.kill()
        run.several(3)
        run.finish()
        started = time.monotonic()
        status = tracker.close(3)
        assert time.monotonic() - started < 10
    run.close()
    assert not status.delivered
    assert status.pending == 4  # three trials, and the search itself
    assert not sync(run.path, patience_s=1).delivered
    server.start()
    assert sync(run.path).delivered  # the address is remembered
    same_as_journal(run, server)


@pytest.mark.faults
def test_the_next_run_delivers_what_an_earlier_one_could_not(
    tmp_path: Path, server: Server
) -> None:
    first = FakeRun(tmp_path / "runs", "first")
    first.several(3)
    first.finish()
    tracker = Tracker(first.path, server.uri)
    tracker.start()
    wait_until(lambda: (first.path / "delivery.json").exists())  # it tried
    assert not tracker.close(1).delivered
    first.close()
    server.start()
    second = FakeRun(tmp_path / "runs", "second", seed=1)
    second.trial()
    with Tracker(second.path, server.uri, interval_s=0.1):
        wait_until(lambda: delivery_status(first.path, server.uri).delivered)
    second.close()
    assert verify_delivery(first.path, server.uri) == []
    assert verify_delivery(second.path, server.uri) == []


@pytest.mark.faults
def test_another_empty_server_at_the_same_address_gets_everything(
    tmp_path: Path, server: Server
) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    server.start()
    with Tracker(run.path, server.uri, interval_s=0.1) as tracker:
        run.several(4)
        assert tracker.flush(LONG_S).delivered
        server.kill()
        empty = Server(tmp_path / "other")
        empty.port = server.port
        empty.start()
        try:
            run.several(2)
            run.finish(model=True)
            assert tracker.close(LONG_S).delivered
            same_as_journal(run, empty)
        finally:
            empty.kill()
    run.close()


@pytest.mark.faults
def test_slow_answers_slow_nothing_down(tmp_path: Path, server: Server) -> None:
    """Every answer takes 2 s, and a delivery many answers: the journal is written meanwhile.

    No longer: after 5 s without a request the server closes a connection, and it has none while the
    proxy holds its answer back.
    """
    server.start()
    run = FakeRun(tmp_path / "runs", "slow")
    with slow_proxy(server.port, 2.0) as port:
        uri = f"http://127.0.0.1:{port}"
        tracker = Tracker(run.path, uri, interval_s=0.1, last_effort_s=5)
        tracker.start()
        run.several(8)
        run.finish()
        assert not tracker.close().delivered
        # slow, but it does arrive
        assert sync(run.path, uri, patience_s=LONG_S).delivered
    run.close()
    assert sync(run.path, server.uri).delivered  # nothing twice under another address
    same_as_journal(run, server)


@pytest.mark.faults
def test_a_server_killed_again_and_again(tmp_path: Path, server: Server) -> None:
    run = FakeRun(tmp_path / "runs", "a")
    with Tracker(run.path, server.uri, interval_s=0.0) as tracker:
        for cycle in range(6):
            server.start()
            rows = delivered_rows(run.path)
            run.several(5)
            wait_until(lambda n=rows: delivered_rows(run.path) > n)
            time.sleep(0.05 * cycle)
            server.kill()
            cut = run.begin()
            run.epochs(cut, 1, 3)
            run.session()
            run.start(cut)
            run.epochs(cut, 1, 2)
            run.end(cut, "COMPLETE", 2)
        server.start()
        run.finish()
        assert tracker.close(LONG_S).delivered
    run.close()
    same_as_journal(run, server)
