"""`--address`: whether a Ray answers there, found out in seconds and in one line.

Ray itself tries for a quarter of an hour and writes its C++ code's warnings all the while. So the
port is tried first, and then a process of its own joins the cluster, which can be given up.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from search.machine.nodes import MODULES, PACKAGES, ClusterNode
from search.paste import job_command

CONNECT_S, JOIN_S, ASK_S = 5.0, 40.0, 60.0
EXPECTED = "expected HOST:PORT of the cluster's head (ray start --head says it), or auto"

# Joins, asks every node, and leaves; the last line says what Ray raised, and what was found.
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
    """What to do instead of reaching a cluster through Ray's client, or its dashboard."""
    host = re.match(r"\w+://(?:[^/@\s]*@)?(\[[^\]\s]*\]|[^:/\s]+)", address)
    return (
        "the driver has to be on a machine of the cluster; from outside, submit the search as a "
        f"job: `{job_command(host[1] if host else 'HEAD')}` (docs/cluster.md)"
    )


def check_address(
    address: str,
    runtime_env: Mapping[str, Any],
    join_s: float = JOIN_S,
    ask_s: float = ASK_S,
) -> list[ClusterNode]:
    """The nodes of the cluster that have cores, each asked whether it can work.

    Raises `ConfigError` where no Ray answers, or where it does not let us in.
    """
    where = parse_address(address)
    if where is not None:
        _check_port(address, where)
    asked = {
        "runtime_env": dict(runtime_env),
        "packages": PACKAGES,
        "modules": MODULES,
        "seconds": ask_s,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _ASK, address, json.dumps(asked)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=join_s + ask_s,
            cwd="/",
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"--address {address}: no Ray cluster answers there within {join_s + ask_s:.0f} s; if "
            f"it asks for a token, {TOKEN}: {EXPECTED}"
        ) from None
    try:
        said, found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said, found = ["Ray ended the attempt without a word"], []
    if said:
        raise ConfigError(f"--address {address}: {refusal(said)}")
    return [ClusterNode(**node) for node in found]


def _check_port(address: str, where: tuple[str, int]) -> None:
    try:
        socket.create_connection(where, CONNECT_S).close()
    except socket.gaierror as error:
        why = error.strerror or "unknown"
        raise ConfigError(f"--address {address}: {where[0]}: no such machine ({why})") from None
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConfigError(f"--address: no Ray cluster answers at {address}: {why}") from None


TOKEN = (
    "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH where the token is not the "
    "one in ~/.ray/auth_token"
)


def refusal(said: list[str]) -> str:
    """What the exceptions of a failed attempt mean, the outermost first."""
    text = " ".join(said).lower()
    if re.search(r"token|unauthenticated|authenticat", text):
        return f"the cluster asks for a token: {TOKEN}"
    first = said[0].partition(": ")[2] or said[0]
    if "version mismatch" in text:
        return first
    return f"no Ray cluster answers there ({first}); if it asks for a token, {TOKEN}: {EXPECTED}"
