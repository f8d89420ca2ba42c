"""The MLflow UI on the local store, bound to this machine unless asked otherwise."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

from recsys.errors import ConfigError
from search.tracking import (
    check_tracking_uri,
    courier_environment,
    default_tracking_uri,
    sqlite_file,
)


def check_port(host: str, port: int) -> None:
    """Raise `ConfigError` unless a server can listen at `host`:`port`."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port {port}: expected a number from 1 to 65535")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise ConfigError(f"--host {host}: no such address of this machine") from None
    with socket.socket(family, kind, proto) as probe:
        # As a server would: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except PermissionError:
            raise ConfigError(f"--port {port}: not allowed (below 1024): choose another") from None
        except OSError as error:
            raise ConfigError(
                f"--port {port}: in use on {host} ({error.strerror}): choose another, "
                f"e.g. --port {min(port + 1, 65535)}"
            ) from None


def server_command(uri: str, host: str, port: int) -> list[str]:
    """The command of an MLflow server on the sqlite store `uri`."""
    file = sqlite_file(uri)
    assert file is not None
    return [
        *(sys.executable, "-P", "-m", "mlflow", "server"),
        *("--backend-store-uri", uri),
        *("--artifacts-destination", (file.parent / "artifacts").as_uri()),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def server_environment(uri: str) -> dict[str, str]:
    """Without the server's job runner: eight processes that serve nothing of ours."""
    return courier_environment(uri) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def serve(port: int = 5000, host: str = "127.0.0.1", uri: str | None = None) -> int:
    """Run the UI until Ctrl-C; returns the exit code. Raises `ConfigError` before it starts."""
    uri = check_tracking_uri(uri or default_tracking_uri())
    file = sqlite_file(uri)
    if file is None:
        raise ConfigError(f"the UI of a tracking server is the server itself: open {uri}")
    check_port(host, port)
    _prepare(uri)
    log_path = file.with_name("server.log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            server_command(uri, host, port),
            env=server_environment(uri),
            cwd=file.parent,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    shown = f"[{host}]" if ":" in host else host
    try:
        if _answers(process, host, port):
            sys.stdout.write(f"MLflow UI: http://{shown}:{port} (Ctrl-C ends it)\n")
            if host not in ("127.0.0.1", "::1", "localhost"):
                sys.stdout.write("Anybody who reaches this address can read and change the runs.\n")
            sys.stdout.flush()
            process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(process)
    sys.stderr.write(f"the MLflow server ended by itself; why stands in {log_path}\n")
    return 1


def _prepare(uri: str) -> None:
    """Create the store the way the courier does, so that both agree where artifacts are."""
    from search.store import open_store
    from search.tracking import EXPERIMENT

    open_store(uri, EXPERIMENT)


def _answers(process: subprocess.Popen[bytes], host: str, port: int, seconds: float = 60.0) -> bool:
    """Wait until the server listens; False if it ended instead."""
    where = "127.0.0.1" if host in ("0.0.0.0", "") else host
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection((where, port), timeout=1.0):
                return True
        except OSError:
            time.sleep(0.2)
    return process.poll() is None


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server and the workers it started (a session of its own)."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            continue
