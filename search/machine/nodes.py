"""The machines of a cluster: which of them can work for this search, and why others cannot.

A node is good if it can import what is sent to it, and has the driver's versions of the packages:
with others, numbers would differ or nothing would run. A bad node is left out with a note; the
search is refused only if no node is good.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from recsys.errors import ConfigError
from search.machine.room import Room
from search.paths import COMMAND, INSTALLED

# Packages whose versions numbers and pickles depend on; all others only have to be there.
PACKAGES = ("ray", "torch", "numba", "numpy", "scipy", "pandas", "pydantic", "optuna")
# The modules that the tasks of a search are imported from.
MODULES = ("search.tune.worker", "search.tune.probe", "search.stages.test")
# What a trial needs before all else, in a fraction of the time; versions are compared in any case.
FIRST_MODULES = ("search.tune.worker", "numba")
LABEL = "ray.io/node-id"
LOGS = "see the log files of Ray there"
_DIFFERS = "a trial that runs again or goes on, on another kind, may differ in the last digits"


def title(name: str, address: str) -> str:
    """What a node is called in messages: its name, with its address where that differs."""
    return name if name == address else f"{name} ({address})"


@dataclass(frozen=True)
class ClusterNode:
    """A machine of the cluster, with what a task has found on it.

    cpus, gpus, memory (bytes): what Ray offers there. python, versions: of Python and of packages.
    cuda: how many GPUs torch sees. processor: as LLVM calls it, which compiles the kernels. error:
    why the task could not run, or not import something.
    answered: whether it has said anything in time.
    """

    id: str
    name: str
    address: str
    cpus: float
    gpus: float
    python: str = ""
    versions: Mapping[str, str | None] = field(default_factory=dict)
    cuda: int = 0
    processor: str = ""
    error: str | None = None
    memory: int = 0
    answered: bool = True

    @property
    def title(self) -> str:
        """Its name, with its address where that differs."""
        return title(self.name, self.address)

    @property
    def room(self) -> Room:
        """What Ray offers there."""
        return Room(self.cpus, self.gpus, self.memory)


@dataclass(frozen=True)
class Place:
    """Where trials may run. excluded: ids of nodes that are left out. lines: why, one for each.
    memory: bytes that the node with the most memory offers, of those that hold the cores and GPUs
    of a trial; None where no such node is known. good: ids of nodes that can work. gpus: whether
    trials train on GPUs, so that torch has to see those of a node. late: titles of nodes that have
    not answered in time, and get work only once they have. among: begins what is said of the node
    with the most memory, where others lack cores or GPUs: `of those with 1 core and 1 GPU `.
    processors: the kinds of those that can work.
    """

    excluded: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    memory: int | None = None
    good: tuple[str, ...] = ()
    gpus: bool = False
    late: tuple[str, ...] = ()
    among: str = ""
    processors: tuple[str, ...] = ()

    @property
    def selector(self) -> dict[str, str] | None:
        """The label selector for Ray's scheduler; None where every node is good."""
        return without(self.excluded)


def without(excluded: Collection[str]) -> dict[str, str] | None:
    """The label selector for Ray's scheduler that keeps off these nodes (ids); None for none.

    No blank follows a comma: Ray 2.60 would take it for a part of the next id.
    """
    return {LABEL: f"!in({','.join(sorted(excluded))})"} if excluded else None


def own_versions() -> dict[str, str]:
    """The driver's versions of the packages that numbers and pickles depend on."""
    return {name: version(name) for name in PACKAGES}


def trouble(
    node: ClusterNode, mine: Mapping[str, str], *, cuda: bool, python: str | None = None
) -> str | None:
    """Why a node cannot work, in one line with what to do; None where it can.

    mine: the driver's versions, by package. cuda: whether trials train on GPUs. python: the
    driver's version of Python, None for that of this process.
    """
    ours, theirs = python or platform.python_version(), node.python
    if theirs and theirs.split(".")[:2] != ours.split(".")[:2]:
        return f"has Python {theirs}, the driver has {ours}: start its Ray with that version"
    for name, expected in mine.items():
        found = node.versions.get(name, "") if node.versions else expected
        if found is None:
            return f"lacks {name}: {install_there()}"
        if _public(found) != _public(expected):
            return f"has {name} {found}, the driver has {expected}: {install_there()}"
    if node.error is not None:
        return cannot_run(node.error)
    if cuda and node.gpus and not node.cuda:
        return (
            f"has {node.gpus:g} GPUs for Ray, but torch sees none there: install a torch for its "
            "CUDA, or use --device cpu"
        )
    return None


def install_there() -> str:
    """How a node gets the packages that the driver has."""
    if INSTALLED:
        return f"install this {COMMAND} there, with all that it requires"
    return "`pip install -r requirements.txt -c constraints.txt` there"


def cannot_run(error: str) -> str:
    """What is said of a machine on which a task ended with this error, in one line."""
    what = " ".join(error.split())[:300]
    todo = install_there() if "ModuleNotFoundError" in what else LOGS
    return f"cannot run a task ({what}): {todo}"


def _public(text: str) -> str:
    """A version without what it was built for: 2.13.0+cpu is 2.13.0."""
    return text.partition("+")[0]


def several_processors(kinds: Collection[str]) -> str | None:
    """What different processors mean for the numbers of a search, in one line; None where all nodes
    have the same. kinds: those of the nodes.
    """
    if len(kinds) < 2:
        return None
    return f"the nodes have different processors ({', '.join(sorted(kinds))}): {_DIFFERS}"


def another_processor(node: ClusterNode, kinds: Collection[str]) -> str:
    """The same of a node that joined late. kinds: those of the nodes before it."""
    others = ", ".join(sorted(kinds))
    return f"{node.title} has another processor ({node.processor}; before: {others}): {_DIFFERS}"


def choose(
    address: str,
    nodes: Sequence[ClusterNode],
    *,
    cuda: bool,
    gpus: bool,
    trial: Room,
) -> tuple[list[ClusterNode], Place]:
    """The nodes that can work, and the Place that they make. Raises ConfigError where there are
    nodes but none can work, and where trials need a GPU and there is none.

    address: for messages. cuda: whether trials must train on GPUs. gpus: whether they may, and
    ask Ray for some. trial: the cores and GPUs that a trial asks for.
    """
    mine = own_versions()
    found = [(node, trouble(node, mine, cuda=gpus)) for node in nodes]
    good = [node for node, why in found if why is None]
    bad = [(node, f"{node.title} {why}") for node, why in found if why is not None]
    if nodes and not good:
        lines = "; ".join(line for _, line in bad)
        raise ConfigError(f"--address {address}: no node can work: {lines}")
    left = [(node.id, line) for node, line in bad if node.answered]
    late = tuple(node.title for node, _ in bad if not node.answered)
    if cuda and gpus and good and not any(node.cuda for node in good):
        raise ConfigError(
            f"--device cuda: torch sees no GPU on any node{unheard(late)}; use --device cpu"
        )
    able = [node for node in good if node.room.holds(trial)]
    largest = max((node.memory for node in able), default=0) or None
    return good, Place(
        tuple(id_ for id_, _ in left),
        tuple(line for _, line in left),
        largest,
        tuple(node.id for node in good),
        gpus,
        late,
        "" if len(able) == len(good) else f"of those with {trial.words()} ",
        tuple(sorted({node.processor for node in good if node.processor})),
    )


def left_out(line: str) -> str:
    """What the user is told of a node that is left out. line: its title, and why."""
    return f"note: {line}; this node is left out"


def unheard(late: Collection[str]) -> str:
    """Behind what is said of all nodes: those that have not answered. late: their titles."""
    return f" ({', '.join(late)} did not answer in time)" if late else ""


def not_yet(node: str) -> str:
    """What the user is told of a node that has not answered in time while others have. node: its
    title.
    """
    return f"note: {node} has not answered yet; it gets work once it has"
