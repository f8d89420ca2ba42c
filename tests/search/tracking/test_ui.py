"""The UI launcher: its own address only, clear lines, and nothing that outlives it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.tracking.ui import Listening, find_place, serve, visitors
from tests.factories import FakeRun
from tests.ports import free_port
from tests.search.tracking.tracking_help import LONG_S, deliver, sqlite_store, wait_until

ROOT = Path(__file__).resolve().parents[3]


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {port}: in use on 127.0.0.1") as caught:
            serve(port, uri=f"sqlite:///{tmp_path}/m.db")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.db").exists()
    assert find_place("127.0.0.1", port) == Listening("127.0.0.1", "127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("127.0.0.1", 0, "from 1 to 65535"),
        ("127.0.0.1", 70_000, "from 1 to 65535"),
        ("no.such.host.invalid", 5000, "no such address"),
        ("a..b", 5000, "no such address"),
        ("192.0.2.7", 5000, "not an address of this machine"),  # of documentation, so nobody's
    ],
)
def test_places_no_server_can_be(host: str, port: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        find_place(host, port)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "address", "url"),
    [
        ("127.0.0.1", "127.0.0.1", "http://127.0.0.1:5000"),
        ("localhost", "127.0.0.1", "http://localhost:5000"),
        ("::1", "::1", "http://[::1]:5000"),
        ("[::1]", "::1", "http://[::1]:5000"),
        ("gpu01", "10.0.0.7", "http://gpu01:5000"),
        ("0.0.0.0", "0.0.0.0", "http://box:5000"),
        ("", "0.0.0.0", "http://box:5000"),
        ("::", "::", "http://box:5000"),
    ],
)
def test_the_address_that_is_said_can_be_opened(
    monkeypatch: pytest.MonkeyPatch, host: str, address: str, url: str
) -> None:
    monkeypatch.setattr("search.tracking.ui.socket.gethostname", lambda: "box")
    monkeypatch.setattr("search.tracking.ui.socket.getaddrinfo", lambda *_: [])
    assert Listening(host, address, 5000).url() == url


def test_a_machine_that_does_not_know_its_own_name_says_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.tracking.ui.socket.gethostname", lambda: "no.such.host.invalid")
    url = Listening("0.0.0.0", "0.0.0.0", 5000).url()
    assert url.removeprefix("http://").removesuffix(":5000").replace(".", "").isdecimal()
    assert "0.0.0.0" not in url


@pytest.mark.parametrize(
    ("place", "welcome", "turned_away"),
    [
        (
            Listening("127.0.0.1", "127.0.0.1", 5000),
            ["127.0.0.1:5000", "localhost:5000"],
            ["evil.example.org:5000", "evil.example.org"],
        ),
        (
            Listening("::1", "::1", 5000),
            ["[::1]:5000", "localhost:5000"],
            ["evil.example.org:5000"],
        ),
        (
            Listening("box", "127.0.1.1", 5000),
            ["box:5000", "127.0.1.1:5000", "localhost:5000", "box"],
            ["evil.example.org:5000"],
        ),
        (Listening("::ffff:127.0.0.1", "::1", 5000), ["[::1]:5000"], ["evil.example.org:5000"]),
        (
            Listening("0.0.0.0", "0.0.0.0", 5000),
            ["gpu01.example.org:5000", "gpu01:5000", "10.1.2.3:5000", "[2001:db8::7]:5000"],
            [],
        ),
        (Listening("gpu01", "8.8.8.8", 5000), ["gpu01:5000", "gpu01.example.org:5000"], []),
        (Listening("::", "::", 80), ["gpu01.example.org", "gpu01"], []),
    ],
    ids=str,
)
def test_who_may_visit(place: Listening, welcome: list[str], turned_away: list[str]) -> None:
    """Asked of MLflow's own functions: its pages send POST with the origin of the page."""
    from mlflow.server.security_utils import (
        get_default_allowed_hosts,
        is_allowed_host_header,
        should_block_cors_request,
    )

    options = dict(zip(*[iter(visitors(place))] * 2, strict=True))
    hosts = options.get("--allowed-hosts", "").split(",") if options else None
    origins = options["--cors-allowed-origins"].split(",") if options else None
    hosts = hosts or get_default_allowed_hosts()
    for name in welcome:
        assert is_allowed_host_header(hosts, name), name
        if name.endswith(":5000"):  # where a browser says the port, which it does unless it is 80
            assert not should_block_cors_request(f"http://{name}", "POST", origins), name
    for name in turned_away:
        assert not is_allowed_host_header(hosts, name), name
    assert should_block_cors_request("http://evil.example.org", "POST", origins)
    assert should_block_cors_request("https://evil.example.org", "POST", origins)


def test_a_server_has_its_own_ui() -> None:
    with pytest.raises(ConfigError, match="open http://h:5000"):
        serve(5000, uri="http://h:5000")


# Takes the place of MLflow's server: it listens, and a worker below it, which holds the same
# socket and minds no SIGTERM, would keep the port for ever.
STUBBORN = """
import os, signal, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    signal.pause()
"""
UI = """
import sys
from search.tracking import ui
port, uri = int(sys.argv[1]), sys.argv[2]
if len(sys.argv) > 3:
    command = ui.server_command
    ui._prepare = lambda uri: "1"
    ui.server_command = lambda *a: [sys.executable, "-c", sys.argv[3], *command(*a)]
sys.exit(ui.serve(port, uri=uri))
"""


def start(port: int, uri: str, server: str = "", before: str = "") -> subprocess.Popen[str]:
    """`ui` in a process of its own; `before`: what a shell does to its signals."""
    prepared = ["bash", "-c", f'{before} exec "$@"', "sh"] if before else []
    return subprocess.Popen(
        [*prepared, sys.executable, "-c", UI, str(port), uri, *filter(None, [server])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    yield number
    assert not listens(number)


@pytest.mark.parametrize(
    ("number", "before", "code"),
    [
        (signal.SIGINT, "", 0),
        (signal.SIGINT, "trap '' INT;", 0),  # as in the background of a shell
        (signal.SIGTERM, "", 143),
        (signal.SIGHUP, "", 129),
        (signal.SIGKILL, "", -signal.SIGKILL),
    ],
)
def test_its_server_ends_with_it(
    tmp_path: Path, port: int, number: int, before: str, code: int
) -> None:
    store = tmp_path / "50% off" / "m.db"
    store.parent.mkdir()
    process = start(port, f"sqlite:///{store}", STUBBORN, before)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith(f"MLflow UI: http://127.0.0.1:{port}/#/")
        assert listens(port)
        process.send_signal(number)
        _, said = process.communicate(timeout=LONG_S)
        assert process.returncode == code
        assert said == ""
        if number == signal.SIGKILL:  # the guard needs its moment; else the port is free at once
            wait_until(lambda: not listens(port))
        assert not listens(port)
    finally:
        process.kill()


def test_nohup_is_respected(tmp_path: Path, port: int) -> None:
    process = start(port, f"sqlite:///{tmp_path}/m.db", STUBBORN, "trap '' HUP;")
    assert process.stdout is not None
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        assert listens(port)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LONG_S)
        assert process.returncode == 143  # of the second: the first did nothing
    finally:
        process.kill()


def test_a_server_that_ends_by_itself_is_told(tmp_path: Path, port: int) -> None:
    process = start(port, f"sqlite:///{tmp_path}/m.db", "raise SystemExit('no')")
    out, said = process.communicate(timeout=LONG_S)
    assert (process.returncode, out) == (1, "")
    assert said == f"the MLflow server ended unexpectedly; the reason is in {tmp_path}/server.log\n"
    assert (tmp_path / "server.log").read_text() == "no\n"


@pytest.mark.slow
def test_it_serves_the_runs_of_the_local_store_until_ctrl_c(tmp_path: Path, port: int) -> None:
    """MLflow itself, on a path that is spelled otherwise in its address."""
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "50% ü?x#y")
    run.trial()
    run.finish()
    run.close()
    assert deliver(run, uri)
    process = start(port, uri)
    assert process.stdout is not None
    try:
        page = f"http://127.0.0.1:{port}/#/experiments/2/runs?viewStateShareKey=searches"
        assert process.stdout.readline().startswith(f"MLflow UI: {page}&")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=LONG_S) as answer:
            assert b"mlflow.workflowType" in answer.read()
        address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name"
        with urllib.request.urlopen(
            f"{address}?experiment_name=recsearch", timeout=LONG_S
        ) as answer:
            assert b'"recsearch"' in answer.read()
        listening = subprocess.run(
            [sys.executable, "-c", LISTENING.format(port=port)], capture_output=True, text=True
        ).stdout
        assert listening.split() == ["0100007F"]  # 127.0.0.1, and nothing else
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=LONG_S)
    assert process.returncode == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["50% ü?x#y", "runs"]


LISTENING = """
for name in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{{name}}").readlines()[1:]:
        address, state = line.split()[1], line.split()[3]
        host, port = address.split(":")
        if int(port, 16) == {port} and state == "0A":
            print(host)
"""
