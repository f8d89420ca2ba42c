"""MLflow away, slow or locked during a real search: it ends as it would, and all is delivered."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.tracking.verify import verify_delivery
from tests.faults.live import Home, Live, check_whole, outcome, seen
from tests.search.tracking.tracking_help import Server, locked, slow_proxy

TRIALS = 14


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "server")
    yield server
    server.kill()


@pytest.fixture
def home(tmp_path: Path, server: Server) -> Home:
    return Home(tmp_path, server.uri)


def undelivered(search: Live, run: str) -> None:
    """It ended well, and said what MLflow lacks and how to deliver it."""
    assert search.wait() == 0, search.said()
    assert search.errors() == ""
    (line,) = [line for line in search.said().splitlines() if "MLflow lacks" in line]
    assert f"sync {run}" in line


def delivered_by_sync(home: Home, run: str) -> None:
    done = home.call("sync", run, "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "everything" in done.stdout
    check_whole(home, run, TRIALS)


def busy(home: Home, run: str) -> float:
    result = json.loads((home.runs / run / "result.json").read_text())
    return float(result["busy_fraction"])


@pytest.mark.faults
def test_no_server_at_all(home: Home, server: Server) -> None:
    search = home.search("one")
    undelivered(search, "one")
    server.start()
    delivered_by_sync(home, "one")


@pytest.mark.faults
def test_the_server_is_killed_in_the_middle(home: Home, server: Server) -> None:
    server.start()
    search = home.search("one")
    assert search.until(seen(home.runs / "one", "end", 4))
    server.kill()
    undelivered(search, "one")
    server.start()
    delivered_by_sync(home, "one")


@pytest.mark.faults
def test_the_server_goes_and_comes_back(home: Home, server: Server) -> None:
    server.start()
    search = home.search("one")
    assert search.until(seen(home.runs / "one", "end", 2))
    server.kill()
    assert search.until(seen(home.runs / "one", "stage", name="race"))
    server.start()
    assert search.wait() == 0, search.said()
    assert "MLflow lacks" not in search.said()
    check_whole(home, "one", TRIALS)


@pytest.mark.faults
def test_what_one_run_could_not_deliver_the_next_run_does(home: Home, server: Server) -> None:
    undelivered(home.search("first"), "first")
    server.start()
    second = home.search("second", "--seed", "3")
    assert second.wait() == 0, second.said()
    check_whole(home, "second", TRIALS)
    check_whole(home, "first", TRIALS)


@pytest.mark.faults
def test_a_slow_server_slows_nothing_down(home: Home, server: Server) -> None:
    """Every answer takes 5 s: the same results, and cores as busy as without any server."""
    server.start()
    quick = home.search("quick")
    assert quick.wait() == 0, quick.said()
    with slow_proxy(server.port, 5.0) as port:
        slow_home = Home(home.path, f"http://127.0.0.1:{port}")
        slow = slow_home.search("slow")
        started = time.monotonic()
        assert slow.wait() == 0, slow.said()
        assert time.monotonic() - started < 240
    print(f"busy {busy(home, 'quick'):.3f} beside a quick server, {busy(home, 'slow'):.3f} a slow")
    assert outcome(home, "slow") == outcome(home, "quick")
    assert home.call("sync", "slow", "--tracking-uri", server.uri).returncode == 0
    assert verify_delivery(home.runs / "slow", server.uri) == []


@pytest.mark.faults
def test_a_locked_database(tmp_path: Path) -> None:
    """Another process holds sqlite's write lock for the whole search and its end."""
    home = Home(tmp_path)
    first = home.search("first")
    assert first.wait() == 0, first.said()
    with locked(home.uri):
        undelivered(home.search("one"), "one")
    assert outcome(home, "one") == outcome(home, "first")
    delivered_by_sync(home, "one")
