"""Workers that do not start: noticed, reported in one line with the cause, and finally given up.

Ray silently restarts a worker that dies before it can report, again and again; the cause is in the
log files of Ray's session. A worker that got a GPU and sees none is said too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from search.machine.room import Room, demand, lacking, without_node

SAY_AFTER_S, SAY_AGAIN_S = 20.0, 25.0  # whoever looks every five seconds is never silent for 30
# A worker imports numba and torch, which takes minutes if many start at once from a slow disk.
GIVE_UP_KNOWING_S, GIVE_UP_S = 120.0, 300.0
GIVE_UP_CLUSTER_S = 1800.0  # a cluster may have to start machines first, or be busy with others
_TAIL = 1 << 16
_PREFIX = re.compile(r"^\[[^\]]*\] *(?:\([^)]*\) *)?(?:\S+\.(?:cc|h|py):\d+: *)?")


# An error in a log of Ray's servers, and no line of the stack that follows one that ended a server.
_LEVEL = r".* (?:E|C|F) \d+ .*"
_NO_FRAME = r"(?!.*(?:0x[0-9a-f]{6,}|\*\*\* |PC: @))"
_BOILERPLATE = re.compile(r"^An unexpected system state has occurred\..*?(?=Check failed|$)")


class NoWorkersError(Exception):
    """No worker starts; the message is one line for the user."""


class NodeUnfitError(RuntimeError):
    """This machine cannot do what it is asked; the message says why, in one line."""


UNFIT = (NodeUnfitError, ImportError)  # what a machine lacks, whatever it is asked
_NOT_IMPORTED = "failed to import on the worker"  # Ray's words for a task that can't be unpickled
_RAISED = r"^\s*[\w.]*(?:Error|Exception)\b.*"


def unfit(error: BaseException) -> str | None:
    """What the machine of a worker lacks, where that is why a task there failed, in one line.

    error: as Ray raises it in the driver.
    """
    inner = getattr(error, "cause", None)
    if isinstance(inner, RuntimeError) and _NOT_IMPORTED in str(inner):
        return last_line(str(inner), _RAISED) or "it can't import our code"
    if not isinstance(inner, UNFIT):
        return None
    return str(inner) if isinstance(inner, NodeUnfitError) else f"{type(inner).__name__}: {inner}"


@dataclass
class Patience:
    """How long nothing may run: after a while the user gets a line, and later the search ends.

    On a cluster, where that is much later, the line is repeated, and says of what waits whether any
    node could hold it. note: shows the user a line. trouble: gives the cause, if it is known.
    joined: whether this is a cluster. nodes: what its nodes have, as of now; None: unknown. what:
    the noun for what waits. endless: whether nodes that are only busy are waited for without an
    end. clock: in seconds. since: since when nothing runs.
    """

    note: Callable[[str], None]
    trouble: Callable[[], str | None]
    joined: bool = False
    clock: Callable[[], float] = time.monotonic
    since: float | None = None
    nodes: Callable[[], Sequence[Room]] | None = None
    what: str = "task"
    endless: bool = False
    _stuck_since: float | None = None  # since when something waits that no node could hold
    _said: float | None = None  # when the last line was shown
    _looked: float = field(default=0.0)

    def look(self, running: bool, asks: Iterable[Room] = ()) -> str | None:
        """Call this repeatedly; returns the reason, in one line, once it is time to give up.

        running: whether anything runs now. asks: of what waits for a node of a cluster; read once a
        second at most.
        """
        now = self.clock()
        if running or self.since is None:
            self.since = now
        if now < self._looked:
            return None
        self._looked = now + 1.0
        where = () if self.nodes is None else self.nodes()
        waiting = [] if self.nodes is None else list(asks)
        stuck = without_node(waiting, where)
        if not stuck or self._stuck_since is None:
            self._stuck_since = now if stuck else None
        idle = now - self.since
        homeless = 0.0 if self._stuck_since is None else now - self._stuck_since
        if max(idle, homeless) < SAY_AFTER_S:
            self._said = None
            return None
        cause = self.trouble()
        why = f": {cause}" if cause else self._supposed(waiting, stuck, where)
        if self._said is None or (self.joined and now - self._said >= SAY_AGAIN_S):
            self._said = now
            first = "no worker has started for" if idle >= SAY_AFTER_S else "waiting for a node for"
            self.note(f"{first} {max(idle, homeless):.0f} s{why}")
        if self.endless:
            idle = homeless if not running and len(stuck) == len(waiting) else 0.0
        limit = GIVE_UP_CLUSTER_S if self.joined else GIVE_UP_KNOWING_S if cause else GIVE_UP_S
        return f"no worker could be started in {idle:.0f} s{why}" if idle >= limit else None

    def _supposed(
        self, waiting: Sequence[Room], stuck: Sequence[Room], where: Sequence[Room]
    ) -> str:
        """The end of a line where no cause is known. stuck: of those that wait, the ones that no
        node could hold. where: what the nodes have.
        """
        if stuck:
            return f": {demand(stuck, self.what)}, and {lacking(stuck, where)}"
        if waiting:
            free = "the nodes that have as much are busy, or slow to start a worker"
            return f": {demand(waiting, self.what)}; {free}"
        if self.joined:
            return " (does the cluster have free cores?)"
        return " (a slow disk or a busy machine? Ray's log files name no error)"


@dataclass
class GpuNotes:
    """Says where a worker got a GPU and trains on the CPU, as torch sees none there: once a node,
    and once where the node is not known and none was named.

    note: shows the user a line. given: whether workers get GPUs to train on.
    """

    note: Callable[[str], None]
    given: bool
    _said: set[str | None] = field(default_factory=set)

    def trained(self, device: str, node: str | None = None) -> None:
        """A worker trains, or has trained, on this device. node: its title, where it is known."""
        if not self.given or device != "cpu" or node in self._said or (self._said and not node):
            return
        self._said.add(node)
        where = f" on {node}" if node else ""
        self.note(f"note: torch sees no GPU in a worker{where} that got one: it trains on the CPU")


def trouble_in(logs: Path | None) -> str | None:
    """The last error in the log files of Ray's session that keeps workers from starting, if any.

    logs: their folder.
    """
    if logs is None:
        return None
    for pattern, wanted in (
        ("worker-*.err", r"^\w*(?:Error|Exception|Interrupt)\b.*"),
        ("raylet.err", r".*(?:No such file|not found|[Pp]ermission denied|cannot).*"),
        ("runtime_env_agent.log", r".*(?:ERROR|Error:).*"),
        ("raylet.out", r".* (?:E|C|F) \d+ .*(?:[Ww]orker|[Ff]ork|process|memory|disk).*"),
    ):
        with suppress(OSError):
            files = sorted(logs.glob(pattern), key=lambda p: p.stat().st_mtime, reverse=True)
            for file in files[:8]:
                if found := last_line(tail(file), wanted):
                    return found
    return None


def start_trouble(logs: Path) -> str | None:
    """The last error of Ray's own servers in the log files of a session, if any."""
    for name in ("gcs_server.err", "gcs_server.out", "raylet.err", "raylet.out"):
        with suppress(OSError):
            text = tail(logs / name)
            said = [_LEVEL] if name.endswith(".out") else [_LEVEL, r".*\S.*"]
            for wanted in said:
                if found := last_line(text, f"{_NO_FRAME}{wanted}"):
                    return _BOILERPLATE.sub("", found)
    return None


def tail(file: Path) -> str:
    """The last part of a log, which may be long. Raises OSError where it cannot be read."""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _TAIL))
        return stream.read().decode(errors="replace")


def last_line(text: str, wanted: str) -> str | None:
    """The last line that matches the pattern `wanted`, without its time, process and place in Ray's
    code.
    """
    for line in reversed(text.splitlines()):
        if re.match(wanted, line):
            return " ".join(_PREFIX.sub("", line).split())[:300]
    return None


def cause_of(error: BaseException) -> str:
    """Why a worker was lost, in one line: the same cause gives the same words, to be counted."""
    inner = getattr(error, "cause", None)
    if isinstance(inner, BaseException):
        return f"{type(inner).__name__}: {inner}"
    text = str(error)
    if "running low on memory" in text:
        limit = re.search(r"threshold of \d+B \((\d+(?:\.\d+)?)%", text)
        use = f"above {float(limit[1]):.3g}%" if limit else "too high"
        return f"the worker was ended by Ray: this machine's memory use is {use}"
    if "creation task" in text or type(error).__name__ == "RuntimeEnvSetupError":
        raised = last_line(text, _RAISED)
        if raised is not None:
            return f"the worker could not start: {raised}"
    if "its node has died" in text or type(error).__name__ == "NodeDiedError":
        return "its node is gone"
    if type(error).__name__ in ("ActorDiedError", "RayActorError", "WorkerCrashedError"):
        return "the worker died"
    return f"the worker died ({type(error).__name__})"
