"""Nodes of a cluster that were told to end: spot instances, and machines that are shut down.

Ray starts nothing new on such a node (`ray drain-node`, or SIGTERM to `ray start --block`) and lets
run what runs there. Whoever keeps workers for more than one task has to let go of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from search.machine.ask_nodes import draining, node_of
from search.machine.nodes import ClusterNode

LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Warned:
    """A node that was told to end. title: its name and address. seconds: how long it has at most,
    None where that was not said.
    """

    id: str
    title: str
    seconds: float | None

    @property
    def line(self) -> str:
        """What the user is told."""
        when = "soon" if self.seconds is None else f"within {max(0.0, self.seconds):.0f} s"
        return (
            f"note: {self.title} will end {when}: nothing new starts there, and what it does not "
            "finish continues elsewhere"
        )


class Leaving:
    """The nodes that were told to end, each said in a line once.

    Ray forgets them once they are gone; here they stay known, for workers that died with them.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        ask: Callable[[], Iterable[Warned]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """note: shows the user a line. ask: the nodes that are told to end now; None: asks Ray.
        clock: in seconds.
        """
        self._note, self._ask, self._clock = note, ask or told_to_end, clock
        self._known: frozenset[str] = frozenset()
        self._looked = float("-inf")

    def look(self) -> frozenset[str]:
        """The ids of these nodes, those that have ended among them; asked for once a second."""
        now = self._clock()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            for node in self._ask():
                if node.id not in self._known:
                    self._known |= {node.id}
                    self._note(node.line)
        return self._known


def told_to_end() -> list[Warned]:
    """The nodes of the cluster of this process that were told to end and are still there."""
    import ray

    if not (until := draining()):
        return []
    nodes = {node["NodeID"]: node for node in ray.nodes()}
    now = time.time()
    return [
        Warned(
            id,
            ClusterNode(**node_of(nodes[id])).title,
            by / 1000 - now if by else None,
        )
        for id, by in until.items()
        if id in nodes
    ]


def own_node_leaves() -> bool:
    """Whether the node of this worker was told to end; False outside of a worker, and where Ray
    does not say.
    """
    import ray

    if not ray.is_initialized():
        return False
    try:
        return ray.get_runtime_context().get_node_id() in draining()
    except (RuntimeError, ray.exceptions.RayError):  # its head is away: no reason to end a trial
        return False
