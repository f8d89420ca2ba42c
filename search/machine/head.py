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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError
from search.machine.nodes import MODULES, PACKAGES, ClusterNode, title
from search.machine.room import Room
from search.machine.workers import Patience
from search.paste import job_command
from search.words import counted

CONNECT_S, PROBE_S, JOIN_S, ASK_S = 5.0, 3.0, 25.0, 60.0
SAY_AFTER_S = 4.0
# Of nodes that do not answer: when they are named, how often from then on, and how many.
MISSING_S, MISSING_AGAIN_S, MOST_NAMED = 10.0, 20.0, 5
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
    trial: Room = Room(1),  # noqa: B008
    join_s: float = JOIN_S,
    ask_s: float = ASK_S,
) -> list[ClusterNode]:
    """The nodes of the cluster at `address` that have cores, each asked whether it can work.

    Where no node has a core, the first one is waited for that could hold a trial. runtime_env:
    Ray's description of what workers there get. note: called with a line for the user where the
    head, a node, or the first node lets us wait. trial: the cores and GPUs that a trial asks for.
    join_s, ask_s: the most seconds to wait for joining, and after that for the answers. Raises
    ConfigError where no Ray answers, it does not let us in, or no node comes.
    """
    where = parse_address(address)
    silent = where is not None and not _check_port(address, where)
    asked = {
        "runtime_env": dict(runtime_env),
        "packages": PACKAGES,
        "modules": MODULES,
        "seconds": ask_s,
        "cpus": trial.cpus,
        "gpus": trial.gpus,
    }
    lines = _ask(json.dumps(asked), Asking(address, trial, note, join_s, ask_s))
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


@dataclass
class Asking:
    """How far the program is that asks the nodes: what the user hears of it, and for how long.

    Parameters are those of `check_address`. clock: in seconds.
    """

    address: str
    trial: Room
    note: Callable[[str], None]
    join_s: float
    ask_s: float
    clock: Callable[[], float] = time.monotonic
    began: float = field(init=False)  # the step that it is at
    step: str = "join"  # or "wait", for the first node, or "ask"
    _told: float | None = None  # when, in this step, the user last heard of it
    _rooms: list[Room] = field(default_factory=list)  # of the nodes there are, in "wait"
    _names: dict[str, str] = field(default_factory=dict)  # of the nodes that were asked
    _silent: dict[str, bool] = field(default_factory=dict)  # whether the user knows, by node

    def __post_init__(self) -> None:
        self.began = self.clock()
        self._patience = Patience(
            self.note,
            lambda: None,
            joined=True,
            clock=self.clock,
            nodes=lambda: self._rooms,
            what="trial",
        )

    def hear(self, line: str) -> None:
        """A line of the program, or of Ray in it."""
        if line == JOINED:
            self._enter("ask")
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if "waiting" in said:
            if self.step != "wait":
                words = self.trial.words()
                first, told = "the first node of the cluster", ""
                if ending := said["ending"]:
                    first, told = "another node", f" ({counted(ending, 'node')} told to end)"
                self.note(f"waiting for {first} that has {words}{told}")
                self._enter("wait")
            self._rooms = [Room(*numbers) for numbers in said["waiting"]]
        for id_, (name, address) in said.get("asked", {}).items():
            self._enter("ask")
            self._names[id_] = title(name, address)
            self._silent[id_] = False
        if (id_ := said.get("answered")) is not None and self._silent.pop(id_):
            self.note(f"{self._names[id_]} has answered")

    def _enter(self, step: str) -> None:
        self.step, self.began, self._told = step, self.clock(), None

    def look(self) -> bool:
        """Tell the user what is waited for; returns False once that has lasted too long. Raises
        ConfigError where no node comes.
        """
        waited = self.clock() - self.began
        if self.step == "wait":
            if (why := self._patience.look(False, [self.trial])) is not None:
                raise ConfigError(f"--address {self.address}: {why}")
            return True
        if self.step == "join":
            if self._due(waited, SAY_AFTER_S, self.join_s):
                self.note(f"still waiting for Ray at {self.address}")
            return waited <= self.join_s
        if self._silent and self._due(waited, MISSING_S, MISSING_AGAIN_S):
            self._silent = dict.fromkeys(self._silent, True)
            names = [self._names[id_] for id_ in self._silent]
            more = len(names) - MOST_NAMED
            words = ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
            count = len(self._names)
            self.note(
                f"{counted(count, 'node')} asked, {counted(count - len(names), 'answer')} so far; "
                f"waiting for {words}, at most {self.ask_s - waited:.0f} s more"
            )
        return waited <= self.join_s + self.ask_s

    def _due(self, waited: float, first: float, again: float) -> bool:
        """Whether the user is to hear of this step: after `first` seconds, then every `again`."""
        if waited < first if self._told is None else waited - self._told < again:
            return False
        self._told = waited
        return True


def _ask(asked: str, asking: Asking) -> list[str] | None:
    """The lines of the program that joins and asks; None where it did not join or end in time.

    asked: what it is to ask, as JSON.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _ASK, asking.address, asked],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        text=True,
    )
    lines: list[str] = []

    def listen() -> None:
        for line in process.stdout or ():
            lines.append(line.strip())  # noqa: PERF401  # seen at once by the one who waits

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    heard = 0
    try:
        while listener.is_alive():
            listener.join(0.1)
            for line in lines[heard:]:
                heard += 1
                asking.hear(line)
            if not asking.look():
                return None
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
