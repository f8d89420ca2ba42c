"""What nodes of a cluster have and what tasks ask for: cores, GPUs and memory.

Ray itself lets a task that fits on no node wait without end, and says nothing where others print
nothing for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from search.words import counted, gigabytes


@dataclass(frozen=True)
class Room:
    """Cores, GPUs and bytes of memory that a node gives away, or that a task asks of one node."""

    cpus: float
    gpus: float = 0.0
    memory: float = 0.0

    @staticmethod
    def of(resources: Mapping[str, float]) -> Room:
        """From Ray's own words for them."""
        return Room(*(resources.get(name, 0.0) for name in ("CPU", "GPU", "memory")))

    def holds(self, ask: Room) -> bool:
        """Whether a node of this room could run a task that asks for `ask`, with nothing else."""
        return self.cpus >= ask.cpus and self.gpus >= ask.gpus and self.memory >= ask.memory

    def times(self, ask: Room) -> int:
        """How many tasks that ask for `ask` a node of this room could run at once."""
        pairs = (self.cpus, ask.cpus), (self.gpus, ask.gpus), (self.memory, ask.memory)
        return min((int(has / wants) for has, wants in pairs if wants > 0), default=0)

    def words(self) -> str:
        """`2 cores, 0.5 GPUs and 1.1 GB of memory`, without what is 0; at least the cores."""
        said = [_cores(self.cpus)]
        said += [_gpus(self.gpus)] if self.gpus else []
        said += [f"{gigabytes(self.memory)} of memory"] if self.memory else []
        return " and ".join(filter(None, [", ".join(said[:-1]), said[-1]]))


def fit_at_once(nodes: Iterable[Room], ask: Room) -> int:
    """How many tasks that ask for `ask` fit at once on all nodes, each on a single one."""
    return sum(node.times(ask) for node in nodes)


def without_node(asks: Iterable[Room], nodes: Sequence[Room]) -> list[Room]:
    """Those of `asks` that no node could hold."""
    known: dict[Room, bool] = {}
    for ask in (found := list(asks)):
        if ask not in known:
            known[ask] = any(node.holds(ask) for node in nodes)
    return [ask for ask in found if not known[ask]]


def demand(asks: Iterable[Room], what: str) -> str:
    """`3 trials ask for 1 core and 1.1 GB of memory each`; several kinds are separated by commas.

    what: the noun for those that ask.
    """
    kinds = Counter(asks).items()
    return ", ".join(
        f"{counted(n, what)} {'asks' if n == 1 else 'ask'} for {ask.words()}"
        + ("" if n == 1 else " each")
        for ask, n in kinds
    )


def lacking(asks: Iterable[Room], nodes: Sequence[Room]) -> str:
    """What the nodes lack for `asks`, which none of them could hold, in words."""
    return " and ".join(dict.fromkeys(_lacking(ask, nodes) for ask in asks))


def _lacking(ask: Room, nodes: Sequence[Room]) -> str:
    working = [node for node in nodes if node.cpus > 0]
    if not working:
        return "no node gives a core away"
    if (cores := max(node.cpus for node in working)) < ask.cpus:
        return f"the largest node has {_cores(cores)}"
    large = [node for node in working if node.cpus >= ask.cpus]
    among = "" if len(large) == len(working) else f"of those with {_cores(ask.cpus)} "
    if (gpus := max(node.gpus for node in large)) < ask.gpus:
        if not gpus:
            return f"{among}none has a GPU" if among else "no node has a GPU"
        return f"{among}the node with the most GPUs has {_gpus(gpus)}"
    fast = [node for node in large if node.gpus >= ask.gpus]
    if len(fast) < len(large):
        among = f"of those with {Room(ask.cpus, ask.gpus).words()} "
    return f"{among}the node with the most memory offers {gigabytes(max(n.memory for n in fast))}"


def _cores(count: float) -> str:
    return f"{count:g} {'core' if count == 1 else 'cores'}"


def _gpus(count: float) -> str:
    return f"{count:g} {'GPU' if count == 1 else 'GPUs'}"
