"""The UI launcher: its own address only, and a clear line where the port is taken."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from search.ui import check_port, serve
from tests.ports import free_port
from tests.search.tracking_help import FakeRun, deliver, sqlite_store

ROOT = Path(__file__).resolve().parents[2]


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port {port}: in use on 127.0.0.1") as caught:
            serve(port, uri=f"sqlite:///{tmp_path}/m.db")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m.db").exists()
    check_port("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        ("127.0.0.1", 0, "from 1 to 65535"),
        ("127.0.0.1", 70_000, "from 1 to 65535"),
        ("no.such.host.invalid", 5000, "no such address"),
    ],
)
def test_places_no_server_can_be(host: str, port: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_port(host, port)


def test_a_server_has_its_own_ui() -> None:
    with pytest.raises(ConfigError, match="open http://h:5000"):
        serve(5000, uri="http://h:5000")


@pytest.mark.slow
def test_it_serves_the_runs_of_the_local_store_until_ctrl_c(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    run.finish()
    run.close()
    assert deliver(run, uri)
    port = free_port()
    code = f"import sys; from search.ui import serve; sys.exit(serve({port}, uri={uri!r}))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"MLflow UI: http://127.0.0.1:{port} (Ctrl-C ends it)\n"
        address = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get-by-name"
        with urllib.request.urlopen(f"{address}?experiment_name=recsearch", timeout=600) as answer:
            assert b'"recsearch"' in answer.read()
        listening = subprocess.run(
            [sys.executable, "-c", LISTENING.format(port=port)], capture_output=True, text=True
        ).stdout
        assert listening.split() == ["0100007F"]  # 127.0.0.1, and nothing else
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=600)
    assert process.returncode == 0
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), 1):
        pass


LISTENING = """
for name in ("tcp", "tcp6"):
    for line in open(f"/proc/net/{{name}}").readlines()[1:]:
        address, state = line.split()[1], line.split()[3]
        host, port = address.split(":")
        if int(port, 16) == {port} and state == "0A":
            print(host)
"""
