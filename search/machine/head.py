"""`--address`: whether a Ray answers there, found out within seconds and told in one line.

Ray itself tries for a quarter of an hour and prints warnings of its C++ code all the while. So the
port is tried first, and then the cluster is joined by a separate process, which can be given up.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from search.machine.nodes import MODULES, PACKAGES, ClusterNode
from search.paste import job_command

CONNECT_S, PROBE_S, JOIN_S, ASK_S = 5.0, 3.0, 25.0, 60.0
SAY_AFTER_S = 4.0
JOINED = "joined"  # a line of the program that asks
# How a client begins a connection of HTTP/2, and the frame that both sides send first.
_PREFACE, _SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0\0\0\0\0"
EXPECTED = "expected HOST:PORT of the cluster's head (ray start --head prints it), or auto"
_SILENT = "something listens there but does not answer: it is not a Ray head"

# Joins, asks every node, and leaves; the last line is what Ray raised, and what was found.
_ASK = Path(__file__).with_name("ask_nodes.py").read_text(encoding="utf-8")


def parse_address(address: str) -> tuple[str, int] | None:
    """Host and port; None for `auto`. Raises `ConfigError` for anything else."""
    if address == "auto":
        return None
    if "://" in address:
        raise ConfigError(f"--address {address}: {_from_outside(address)}")
    match = re.fullmatch(
        r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>\d{1,5})", address
    )
    if match is None or not 0 < int(match["port"]) < 2**16:
        raise ConfigError(f"--address {address!r}: {EXPECTED}")
    return match["v6"] or match["host"], int(match["port"])


def _from_outside(address: str) -> str:
    """What to do instead of reaching a cluster through Ray's client or its dashboard."""
    host = re.match(r"\w+://(?:[^/@\s]*@)?(\[[^\]\s]*\]|[^:/\s]+)", address)
    return (
        "the driver has to be on a machine of the cluster; from outside, submit the search as a "
        f"job: `{job_command(host[1] if host else 'HEAD')}` (docs/cluster.md)"
    )


def check_address(
    address: str,
    runtime_env: Mapping[str, Any],
    note: Callable[[str], None] = lambda _line: None,
    join_s: float = JOIN_S,
    ask_s: float = ASK_S,
) -> list[ClusterNode]:
    """The nodes of the cluster at `address` that have cores, each asked whether it can work.

    runtime_env: Ray's description of what workers there get. note: called with a line for the user
    where the head is slow to answer. join_s, ask_s: the most seconds to wait for joining, and after
    that for the answers. Raises ConfigError where no Ray answers, or it does not let us in.
    """
    where = parse_address(address)
    silent = where is not None and not _check_port(address, where)
    asked = {
        "runtime_env": dict(runtime_env),
        "packages": PACKAGES,
        "modules": MODULES,
        "seconds": ask_s,
    }
    lines = _ask(address, json.dumps(asked), note, join_s, ask_s)
    if lines is None:
        what = (
            _SILENT
            if silent
            else f"no Ray cluster answers there in time; if it asks for a token, {TOKEN}"
        )
        raise ConfigError(f"--address {address}: {what}: {EXPECTED}")
    try:
        said, found = json.loads(lines[-1])
    except (IndexError, ValueError):
        said, found = ["Ray ended the attempt without a message"], []
    if said and silent and "failed to connect" in " ".join(said).lower():
        raise ConfigError(f"--address {address}: {_SILENT}: {EXPECTED}")
    if said:
        raise ConfigError(f"--address {address}: {refusal(said)}")
    return [ClusterNode(**node) for node in found]


def _ask(
    address: str, asked: str, note: Callable[[str], None], join_s: float, ask_s: float
) -> list[str] | None:
    """The lines of the program that joins and asks; None where it did not join or end in time.

    asked: what it is to ask, as JSON. Other parameters are those of `check_address`.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _ASK, address, asked],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        text=True,
    )
    lines: list[str] = []
    joined = threading.Event()

    def listen() -> None:
        for line in process.stdout or ():
            lines.append(line.strip())
            if lines[-1] == JOINED:
                joined.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    began = time.monotonic()
    told = False
    try:
        while listener.is_alive():
            listener.join(0.1)
            waited = time.monotonic() - began
            if waited > (join_s + ask_s if joined.is_set() else join_s):
                return None
            if waited > SAY_AFTER_S and not told and not joined.is_set():
                told = True
                note(f"still waiting for Ray at {address}")
        return [line for line in lines if line]
    finally:
        process.kill()
        process.wait()
        listener.join()  # the pipe is closed by now
        if process.stdout is not None:
            process.stdout.close()


def _check_port(address: str, where: tuple[str, int]) -> bool:
    """Whether something that speaks Ray's protocol answers; False where nothing is sent in time.

    where: host and port of `address`. Raises ConfigError where nothing listens there, or a server
    of another kind does.
    """
    try:
        with socket.create_connection(where, CONNECT_S) as connection:
            first = _first_words(connection)
    except socket.gaierror as error:
        why = error.strerror or "unknown"
        raise ConfigError(f"--address {address}: {where[0]}: no such machine ({why})") from None
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConfigError(f"--address: no Ray cluster answers at {address}: {why}") from None
    if first and first[3:4] != _SETTINGS[3:4]:
        raise ConfigError(
            f"--address {address}: something listens there, but it is not a Ray head: {EXPECTED}"
        )
    return bool(first)


def _first_words(connection: socket.socket) -> bytes:
    """The first bytes that a server sends to a client of Ray, whose protocol is HTTP/2; empty where
    it sends nothing.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return _SETTINGS  # it would send nothing before keys are exchanged
    connection.settimeout(PROBE_S)
    try:
        connection.sendall(_PREFACE + _SETTINGS)
        return connection.recv(9) or b"closed"
    except TimeoutError:
        return b""
    except OSError:  # it hung up
        return b"closed"


TOKEN = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH where the token is not the "
    "one in ~/.ray/auth_token"
)


def refusal(said: list[str]) -> str:
    """What the exceptions of a failed attempt to join mean, in one line; the outermost is first."""
    text = " ".join(said).lower()
    if re.search(r"token|unauthenticated|authenticat", text):
        return f"the cluster asks for a token: {TOKEN}"
    first = said[0].partition(": ")[2] or said[0]
    if "version mismatch" in text:
        return first
    return f"no Ray cluster answers there ({first}); if it asks for a token, {TOKEN}: {EXPECTED}"
