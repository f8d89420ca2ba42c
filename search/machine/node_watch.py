"""The nodes of a joined cluster while a search runs: each is asked before it gets work.

Those of the start were asked by `head`. One that joins later is asked when it is first seen, and
one on which a worker died is asked again. What is said of one that cannot work is the same as at
the start. The first question to one that joins is short: its first trial waits for the answer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from search.machine import ask_nodes
from search.machine.ask_nodes import answer, no_answer, with_cores
from search.machine.leaving import Leaving
from search.machine.nodes import (
    FIRST_MODULES,
    LOGS,
    MODULES,
    PACKAGES,
    ClusterNode,
    Place,
    another_processor,
    cannot_run,
    left_out,
    own_versions,
    trouble,
    without,
)
from search.machine.workers import cause_of, unfit

LOOK_EVERY_S = 1.0  # between two looks at the nodes, so that one that joins is used within seconds
LOST_IN_A_ROW = 3  # different trials or tasks whose worker died, with none done in between
ANSWER_S = 120.0  # how long a node may take to answer: a busy one imports slowly


class Door(Protocol):
    """What the watch needs of Ray."""

    def nodes(self) -> list[ClusterNode]:
        """The nodes with cores that are there now, as Ray describes them."""

    def ask(self, node: str, modules: Sequence[str], torch: bool) -> Any:
        """Send the question of `ask_nodes` to the node with this id; returns the task.

        modules: what it is to import. torch: whether to import torch too, and count its GPUs.
        """

    def answer(self, task: Any) -> Mapping[str, Any] | None:
        """Fields of `ClusterNode` that the node has said of itself; None while it works on it."""

    def give_up(self, task: Any) -> None:
        """End a question that is no longer waited for."""


class RayDoor:
    """The door of a cluster that this process has joined."""

    def __init__(self) -> None:
        import ray
        from ray import cloudpickle

        self._ray = ray
        # It travels by value: a node on which nothing can be imported can still say so.
        cloudpickle.register_pickle_by_value(ask_nodes)
        self._question = ray.remote(num_cpus=0, max_retries=0)(answer)

    def nodes(self) -> list[ClusterNode]:
        """As in `Door`."""
        return [ClusterNode(**node) for node in with_cores()]

    def ask(self, node: str, modules: Sequence[str], torch: bool) -> Any:
        """As in `Door`."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = NodeAffinitySchedulingStrategy(node, soft=False)
        return self._question.options(scheduling_strategy=there).remote(PACKAGES, modules, torch)

    def answer(self, task: Any) -> Mapping[str, Any] | None:
        """As in `Door`; a task that failed says so in `error`."""
        if not self._ray.wait([task], timeout=0)[0]:
            return None
        try:
            said: Mapping[str, Any] = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            return {"error": str(error)}
        return said

    def give_up(self, task: Any) -> None:
        """As in `Door`."""
        self._ray.cancel(task, force=True)


@dataclass(frozen=True)
class _Question:
    task: Any
    since: float


class NodeWatch:
    """Which nodes may work now.

    lines: why nodes are left out, one for each, also those of the start.
    """

    def __init__(
        self,
        place: Place,
        door: Door,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        leaving: Leaving | None = None,
    ) -> None:
        """place: what the start has found out. note: called with a line for the user where a node
        is left out. clock: in seconds. leaving: knows which nodes were told to end; None: none is.
        """
        self.leaving = leaving
        self.lines = list(place.lines)
        self._excluded, self._good = set(place.excluded), set(place.good)
        self._gpus, self._mine = place.gpus, own_versions()
        self._processors = set(place.processors)
        self._door, self._note, self._clock = door, note, clock
        self._there: dict[str, ClusterNode] = {}
        self._titles: dict[str, str] = {}
        self._questions: dict[str, _Question] = {}
        self._lost: defaultdict[str, set[str]] = defaultdict(set)  # since something was done there
        self._looked = float("-inf")

    @property
    def selector(self) -> dict[str, str] | None:
        """The label selector for Ray's scheduler; None where no node is left out.

        Ray gives room also on a node that was told to end, and then starts nothing there.
        """
        return without(self._excluded | self.told_to_end)

    def look(self) -> None:
        """See who is there, ask who was not asked, and hear the answers. Call this often."""
        if self._clock() - self._looked >= LOOK_EVERY_S:
            self._see()
        for node in list(self._questions):
            self._hear(node)

    def usable(self) -> list[ClusterNode]:
        """The nodes that are there and not left out, those that have not answered among them."""
        self.look()
        return [node for node in self._there.values() if not self.is_left_out(node.id)]

    def working(self) -> list[ClusterNode]:
        """The nodes that are there and have answered that they can work."""
        return [node for node in self.usable() if node.id in self._good]

    def selector_of_working(self) -> dict[str, str] | None:
        """As `selector`, which also keeps off nodes that have not answered, where others have."""
        usable = {node.id for node in self.usable()}
        silent = usable - self._good if usable & self._good else set()
        return without(self._excluded | self.told_to_end | silent)

    def may_work(self, node: str) -> bool | None:
        """Whether the node with this id can work; None until it has answered. One that is gone or
        was told to end cannot.
        """
        if node not in self._there:
            self._see()
        if node not in self._there or self.is_left_out(node):
            return False
        return True if node in self._good else None

    def is_left_out(self, node: str) -> bool:
        """Whether the node with this id is left out, or was told to end: what fails there does not
        count.
        """
        return node in self._excluded or self.leaves(node)

    @property
    def told_to_end(self) -> frozenset[str]:
        """The ids of the nodes that were told to end."""
        return frozenset() if self.leaving is None else self.leaving.look()

    def leaves(self, node: str) -> bool:
        """Whether the node with this id was told to end."""
        return node in self.told_to_end

    def title(self, node: str) -> str:
        """What a node is called in messages: its name and address. node: its id."""
        if node not in self._titles:
            self._see()
        return self._titles.get(node, node)

    def worked(self, node: str) -> None:
        """Something that was to be done on this node was done."""
        self._lost.pop(node, None)

    def failed(self, node: str, error: BaseException, what: str) -> None:
        """A worker on this node failed, or died, for no fault that is known of what it was to do.

        A node that lacks something is left out at once; any other one is asked again, and gets no
        more work before it has answered. One that answers well, but fails whatever it gets, is left
        out too where another node can work. error: as Ray raised it. what: names what was to be
        done, since a trial may be at fault that fails again and again.
        """
        if self.is_left_out(node):
            return
        if (lacking := unfit(error)) is not None:
            self._leave_out(node, cannot_run(lacking))
            return
        self._good.discard(node)
        self._lost[node].add(what)
        self._see()
        if (
            len(self._lost[node]) >= LOST_IN_A_ROW
            and node in self._there
            and any(one in self._there and not self.is_left_out(one) for one in self._good)
        ):
            times = f"{LOST_IN_A_ROW} times in a row"
            self._leave_out(node, f"lost its workers {times} ({cause_of(error)}): {LOGS}")

    def trouble(self) -> str | None:
        """Why nothing runs, as far as that is the nodes' fault, in one line."""
        usable = self.usable()
        asked = [self.title(node.id) for node in usable if node.id in self._questions]
        if not usable and self._there:
            told = [self.title(node) for node in self._there if self.leaves(node)]
            why = [*self.lines, *(f"{title} was told to end" for title in told)]
            return f"no node is left to work on: {'; '.join(why)}"
        if asked and len(asked) == len(usable):
            return f"no answer yet from {', '.join(asked)}"
        return None

    def _see(self) -> None:
        self._looked = self._clock()
        self._there = {node.id: node for node in self._door.nodes()}
        self._titles |= {node.id: node.title for node in self._there.values()}
        for node in self._questions.keys() - self._there.keys():
            del self._questions[node]
        known = self._good | self._excluded | self._questions.keys()
        for node in [one for one in self._there if one not in known and not self.leaves(one)]:
            failed = bool(self._lost.get(node))
            modules = MODULES if failed else FIRST_MODULES
            task = self._door.ask(node, modules, failed or self._gpus)
            self._questions[node] = _Question(task, self._clock())

    def _hear(self, node: str) -> None:
        if (question := self._questions.get(node)) is None:
            return  # it went while another one was heard
        if self.leaves(node):
            self._door.give_up(self._questions.pop(node).task)
            return
        said = self._door.answer(question.task)
        if said is None:
            if self._clock() - question.since < ANSWER_S:
                return
            self._door.give_up(question.task)
            said = {"error": no_answer(ANSWER_S)}
        if said.get("error") is not None:
            self._see()  # it may have ended meanwhile, and then there is nothing to say of it
        if self._questions.pop(node, None) is None:
            return
        found = replace(self._there[node], **said)
        why = trouble(found, self._mine, cuda=self._gpus)
        if why is None:
            self._good.add(node)
            self._compare(found)
        else:
            self._leave_out(node, why)

    def _compare(self, node: ClusterNode) -> None:
        """Say once of each kind of processor that no node had before."""
        if not node.processor or node.processor in self._processors:
            return
        if self._processors:
            self._note(f"note: {another_processor(node, self._processors)}")
        self._processors.add(node.processor)

    def _leave_out(self, node: str, why: str) -> None:
        self._excluded.add(node)
        self._good.discard(node)
        self._questions.pop(node, None)
        line = f"{self.title(node)} {why}"
        if line not in self.lines:  # a machine that joins again and again is a new node each time
            self.lines.append(line)
            self._note(left_out(line))
