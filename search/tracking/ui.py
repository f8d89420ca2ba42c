"""The MLflow UI on a store, reachable only from this machine unless asked otherwise.

The server ends with this process, however that ends: Ctrl-C, the normal way to close the UI, gives
exit code 0, SIGTERM 143, SIGHUP 129, and after `kill -9` the guard ends the server.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from recsys.errors import ConfigError, UserError
from search.guard import Guard
from search.paste import command
from search.record.folder import JOURNAL
from search.record.journal import read_state
from search.tracking.address import sqlite_file, sqlite_uri
from search.tracking.database import check_database
from search.tracking.memory import delivery_status, known_uri
from search.tracking.views import SEARCHES, Page, view_address
from search.tracking.where import check_tracking_uri, courier_environment, default_tracking_uri

LOCK_PATIENCE_S = 5.0
END_PATIENCE_S = 5.0  # for requests that the server is still answering
_LOCAL = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Listening:
    """Where the server listens. host: as asked for. address: its numeric address."""

    host: str
    address: str
    port: int

    @property
    def everywhere(self) -> bool:
        """Whether it listens on every address of this machine."""
        return ipaddress.ip_address(self.address).is_unspecified

    @property
    def outside(self) -> bool:
        """Whether other machines can reach it."""
        return not ipaddress.ip_address(self.address).is_loopback

    def probe(self) -> tuple[str, int]:
        """Address and port at which this process reaches the server."""
        if self.everywhere:
            return ("::1" if ":" in self.address else "127.0.0.1"), self.port
        return self.address, self.port

    def url(self) -> str:
        """An address to open in a browser, with the name of this machine if others can reach it."""
        name = _own_name() if self.everywhere else self.host
        return f"http://{_bracketed(name)}:{self.port}"


def find_place(host: str, port: int) -> Listening:
    """Where a server listens for `host`:`port`. Raises ConfigError where none can."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port {port}: expected a number from 1 to 65535")
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError):
        raise ConfigError(f"--host {host}: this machine has no such address") from None
    # If a name has several addresses, the IPv4 one, as browsers and the server do.
    family, kind, proto, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    with socket.socket(family, kind, proto) as probe:
        # As a server does: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ConfigError(_refusal(error, host, port)) from None
    return Listening(host, str(address[0]), port)


def _refusal(error: OSError, host: str, port: int) -> str:
    if isinstance(error, PermissionError):
        return f"--port {port}: not allowed (below 1024): choose another"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: not an address of this machine; 0.0.0.0 stands for all it has"
    other = f"choose another, e.g. --port {min(port + 1, 65535)}"
    return f"--port {port}: in use on {host} ({error.strerror}): {other}"


def _own_name() -> str:
    """This machine's name, or its address if the name cannot be resolved."""
    name = socket.gethostname()
    with suppress(OSError):
        socket.getaddrinfo(name, None)
        return name
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only shows which address is used
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def _bracketed(host: str) -> str:
    host = host.strip("[]")
    return f"[{host}]" if ":" in host else host


# --- the server -------------------------------------------------------------------------------


def server_command(uri: str, host: str, port: int) -> list[str]:
    """The command of an MLflow server on the sqlite store `uri`, to run in the store's folder."""
    file = sqlite_file(uri)
    assert file is not None
    # Only by the file's name: from an address with %25, MLflow would make folders of that name.
    return [
        *(sys.executable, "-P", "-m", "search.tracking.ui_server", "server"),
        *("--backend-store-uri", sqlite_uri(type(file)(file.name))),
        *("--artifacts-destination", (file.parent / "artifacts").as_uri()),
        *("--host", host, "--port", str(port), "--workers", "1"),
    ]


def visitors(place: Listening) -> list[str]:
    """Options of the server that say under which names it may be visited.

    MLflow accepts only localhost and private addresses, so that no foreign page can point its own
    name at this machine (DNS rebinding). A server for other machines is visited under names that
    are not known here, so any name is accepted; pages under such a name and this port may change
    something, pages from elsewhere still may not.
    """
    if place.host in _LOCAL:
        return []
    if place.outside:
        # Browsers omit the port 80, and http://* would allow every page.
        pages = f"http://*:{place.port}" if place.port != 80 else place.url().removesuffix(":80")
        return ["--allowed-hosts", "*", "--cors-allowed-origins", pages]
    names = dict.fromkeys(map(_bracketed, (place.host, place.address, "localhost", "127.0.0.1")))
    hosts = [f"{name}{port}" for name in names for port in ("", f":{place.port}")]
    origins = ",".join(f"http://{host}" for host in hosts)
    return ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", origins]


def server_environment(uri: str) -> dict[str, str]:
    """The server's environment, without its job runner: eight processes that nothing here needs."""
    more = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONSAFEPATH": "1"}
    return courier_environment(uri) | more


def serve(
    port: int = 5000,
    host: str = "127.0.0.1",
    uri: str | None = None,
    run_dir: Path | None = None,
) -> int:
    """Run the UI until a signal ends it; returns the exit code.

    uri: the store, by default the one of the run, or the local one. run_dir: the run whose trials
    are shown. If the store is on a server, which has a UI of its own, only the address of that is
    printed.

    Raises ConfigError before it starts: for a port, a host or a store that can't be used, and for a
    run that is not in the store.
    """
    uri = check_tracking_uri(uri or (known_uri(run_dir) if run_dir else default_tracking_uri()))
    path = None if run_dir is None else run_page(run_dir, uri)
    if sqlite_file(uri) is None:
        if path is not None and uri.startswith("http"):
            sys.stdout.write(f"{uri.rstrip('/')}/{path}\n")
            return 0
        raise ConfigError(f"the UI of a tracking server is the server itself: open {uri}")
    place = find_place(host, port)
    experiment = _prepare(uri)
    path = path or view_address(experiment, SEARCHES)
    guard = Guard(patience_s=0.0)
    process = None
    try:
        with signals_stop():
            process = _start(uri, place, guard)
            if _answers(process, place):
                _say(place, path)
                process.wait()
    except Stopped as stopped:
        return 0 if stopped.number == signal.SIGINT else 128 + stopped.number
    finally:
        if process is not None:
            _end(process)
        guard.close(wait_s=END_PATIENCE_S)  # ends whatever is left, so that the port is free
    sys.stderr.write(f"the MLflow server ended unexpectedly; the reason is in {_log_of(uri)}\n")
    return 1


def _log_of(uri: str) -> str:
    file = sqlite_file(uri)
    assert file is not None
    return str(file.with_name("server.log"))


def _start(uri: str, place: Listening, guard: Guard) -> subprocess.Popen[bytes]:
    file = sqlite_file(uri)
    assert file is not None
    with open(_log_of(uri), "wb") as log:  # noqa: PTH123
        return subprocess.Popen(
            [*server_command(uri, place.address, place.port), *visitors(place)],
            env=server_environment(uri) | guard.environment,
            cwd=file.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run_page(run_dir: Path, uri: str) -> str:
    """The page of a run's trials in its store, as a path on the server.

    Raises ConfigError where nothing of the run has arrived there.
    """
    status = delivery_status(run_dir, uri)
    if status.run_id is None or status.experiment_id is None:
        raise ConfigError(
            f"MLflow has nothing of run {run_dir.name}: deliver it with {command('sync', run_dir)}"
        )
    state = read_state(run_dir / JOURNAL)
    return Page(status.experiment_id, status.run_id).trials(state)


def _say(place: Listening, path: str) -> None:
    sys.stdout.write(f"MLflow UI: {place.url()}/{path} (Ctrl-C ends it)\n")
    sys.stdout.write(f"as charts: {place.url()}/{path}&compareRunsMode=CHART\n")
    if place.outside:
        sys.stdout.write("Anyone who can reach this address can read and change the runs.\n")
    sys.stdout.flush()


def _prepare(uri: str) -> str:
    """Create the store as the courier does, so that both agree on where artifacts are.

    Returns the id of the experiment. Raises ConfigError where that is impossible.
    """
    file = sqlite_file(uri)
    assert file is not None
    check_database(file, LOCK_PATIENCE_S)
    from search.tracking.store import open_store, short
    from search.tracking.where import EXPERIMENT

    try:
        return open_store(uri, EXPERIMENT).experiment_id
    except UserError:
        raise
    except Exception as error:
        raise ConfigError(f"MLflow's store {file} can't be used: {short(error)}") from None


def _answers(process: subprocess.Popen[bytes], place: Listening) -> bool:
    """Wait until the server listens; False if it ended instead."""
    while process.poll() is None:
        try:
            with socket.create_connection(place.probe(), timeout=1.0):
                return True
        except OSError:
            time.sleep(0.2)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let the server end properly, with the workers it started: they are a session of their own."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(END_PATIENCE_S)


# --- signals ----------------------------------------------------------------------------------


class Stopped(BaseException):
    """Raised by a signal that ends the UI."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def signals_stop() -> Iterator[None]:
    """Within the block SIGINT, SIGTERM and SIGHUP raise `Stopped`; further ones do nothing.

    This holds for SIGINT even where it was ignored (as a shell does for what it starts with `&`),
    since it closes the UI. SIGHUP stays ignored where it was: that is what `nohup` is for.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopped: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if not stopped:
            stopped.append(number)
            raise Stopped(number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        if not stopped:  # otherwise the handlers stay: closing takes only seconds, and is guarded
            for number, handler in before.items():
                signal.signal(number, handler)
