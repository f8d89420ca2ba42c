"""Nodes that come, go and fail while a search runs: who is asked, who may work, what is said."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from search.machine.cluster import Cluster as Machines
from search.machine.cluster import Resources
from search.machine.leaving import Leaving, Warned
from search.machine.node_watch import ANSWER_S, LOOK_EVERY_S, LOST_IN_A_ROW, NodeWatch
from search.machine.nodes import (
    FIRST_MODULES,
    LABEL,
    MODULES,
    ClusterNode,
    Place,
    own_versions,
)
from search.machine.workers import NodeUnfitError

GOOD = {"python": platform.python_version(), "versions": own_versions(), "cuda": 0, "error": None}
NUMPY = GOOD | {"versions": own_versions() | {"numpy": "1.0"}}


class Cluster:
    """Stands for Ray, with a clock: nodes by hand, and what they answer."""

    def __init__(self) -> None:
        self.there: dict[str, ClusterNode] = {}
        self.says: dict[str, Mapping[str, Any]] = {}  # no answer yet from those it lacks
        self.asked: list[str] = []
        self.how: list[tuple[tuple[str, ...], bool]] = []
        self.given_up: list[str] = []
        self.looks = 0
        self.now = 0.0
        self.notes: list[str] = []

    def join(self, node: str, **what: Any) -> None:
        self.there[node] = replace(ClusterNode(node, node, "10.0.0.2", 4.0, 0.0), **what)

    def nodes(self) -> list[ClusterNode]:
        self.looks += 1
        return list(self.there.values())

    def ask(self, node: str, modules: Sequence[str], torch: bool) -> str:
        self.asked.append(node)
        self.how.append((tuple(modules), torch))
        return node

    def answer(self, task: str) -> Mapping[str, Any] | None:
        return self.says.get(task)

    def give_up(self, task: str) -> None:
        self.given_up.append(task)

    def watch(self, place: Place | None = None) -> NodeWatch:
        return NodeWatch(place or Place(), self, self.notes.append, lambda: self.now)

    def later(self, watch: NodeWatch, seconds: float = LOOK_EVERY_S) -> None:
        self.now += seconds
        watch.look()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_nodes_of_the_start_are_not_asked_again(cluster: Cluster) -> None:
    cluster.join("a")
    cluster.join("b")
    watch = cluster.watch(Place(("b",), ("b is odd",), good=("a",)))
    watch.look()
    assert cluster.asked == []
    assert (watch.may_work("a"), watch.may_work("b")) == (True, False)
    assert watch.selector == {LABEL: "!in(b)"}
    assert watch.lines == ["b is odd"]
    assert [node.id for node in watch.usable()] == ["a"]


def test_a_node_that_joins_is_asked_once_and_works_once_it_has_answered(cluster: Cluster) -> None:
    watch = cluster.watch()
    watch.look()
    cluster.join("a")
    cluster.later(watch, LOOK_EVERY_S / 2)
    assert cluster.asked == []  # nodes are looked at once a second
    cluster.later(watch)
    assert (cluster.asked, watch.may_work("a")) == (["a"], None)
    assert [node.id for node in watch.usable()] == ["a"]  # trials may wait for it
    cluster.says["a"] = GOOD
    watch.look()  # an answer is heard at once
    assert watch.may_work("a")
    cluster.later(watch)
    assert (cluster.asked, cluster.notes, watch.selector) == (["a"], [], None)


def test_room_on_a_node_that_was_not_seen_yet_has_it_asked(cluster: Cluster) -> None:
    watch = cluster.watch()
    watch.look()
    cluster.join("a")
    assert watch.may_work("a") is None
    assert cluster.asked == ["a"]
    assert watch.may_work("gone") is False


@pytest.mark.parametrize(
    ("what", "said", "words"),
    [
        ({}, NUMPY, "has numpy 1.0, the driver has "),
        ({}, GOOD | {"versions": own_versions() | {"numba": None}}, "lacks numba: `pip install"),
        ({}, GOOD | {"error": "ImportError: libx.so"}, "cannot run a task (ImportError: libx.so)"),
        ({}, {"error": "Failed to set up\n  its files"}, "cannot run a task (Failed to set up its"),
        ({"gpus": 1.0}, GOOD, "has 1 GPUs for Ray, but torch sees none there"),
    ],
)
def test_one_that_cannot_work_is_left_out_with_a_line(
    cluster: Cluster, what: dict[str, Any], said: dict[str, Any], words: str
) -> None:
    watch = cluster.watch(Place(gpus=True))
    cluster.join("a", **what)
    cluster.says["a"] = said
    watch.look()
    assert watch.may_work("a") is False
    assert watch.is_left_out("a")
    assert watch.selector == {LABEL: "!in(a)"}
    (line,) = watch.lines
    assert line.startswith(f"a (10.0.0.2) {words}")
    assert cluster.notes == [f"note: {line}; this node is left out"]
    assert "\n" not in line
    cluster.later(watch)
    assert cluster.asked == ["a"]
    assert watch.usable() == []
    assert watch.trouble() == f"no node is left to work on: {line}"


def test_a_gpu_that_torch_does_not_see_matters_where_trials_ask_for_one(cluster: Cluster) -> None:
    watch = cluster.watch(Place(gpus=False))
    cluster.join("a", gpus=1.0)
    cluster.says["a"] = GOOD
    watch.look()
    assert watch.may_work("a")


def test_one_that_has_not_answered_is_no_room_yet(cluster: Cluster) -> None:
    cluster.join("a")
    cluster.join("late")
    watch = cluster.watch(Place(good=("a",), late=("late (10.0.0.2)",)))
    assert [node.id for node in watch.usable()] == ["a", "late"]
    assert [node.id for node in watch.working()] == ["a"]
    assert watch.selector is None  # a task of the search is asked by its seat
    assert watch.selector_of_working() == {LABEL: "!in(late)"}
    there = Machines("h:1", place=Place(memory=7))
    there.watch = watch
    assert there.preflight(2, 0.0, "cpu") == Resources(2, 0.0, 4, 2, 7)
    cluster.says["late"] = GOOD
    cluster.later(watch)
    assert there.preflight(2, 0.0, "cpu") == Resources(2, 0.0, 8, 4, 7)
    assert watch.selector_of_working() is None


def test_one_that_never_answers_is_left_out(cluster: Cluster) -> None:
    watch = cluster.watch()
    cluster.join("a")
    watch.look()
    assert watch.trouble() == "no answer yet from a (10.0.0.2)"
    cluster.later(watch, ANSWER_S - 1)
    assert watch.may_work("a") is None
    cluster.later(watch)
    assert watch.may_work("a") is False
    assert cluster.given_up == ["a"]
    assert "(no answer within 120 s)" in watch.lines[0]


@pytest.mark.parametrize("gpus", [False, True])
def test_the_first_question_is_short_and_one_after_a_failure_is_not(
    cluster: Cluster, gpus: bool
) -> None:
    watch = cluster.watch(Place(gpus=gpus))
    cluster.join("a")
    cluster.says["a"] = GOOD
    watch.look()
    watch.failed("a", RuntimeError("the worker died"), "t0")
    assert cluster.how == [(FIRST_MODULES, gpus), (MODULES, True)]


def test_one_that_ends_before_it_answers_is_not_blamed(cluster: Cluster) -> None:
    watch = cluster.watch()
    cluster.join("a")
    watch.look()
    del cluster.there["a"]
    cluster.says["a"] = {"error": "the node is gone"}
    watch.look()
    assert (watch.lines, cluster.notes) == ([], [])
    assert watch.may_work("a") is False


def test_a_machine_that_joins_again_is_asked_again_and_said_once(cluster: Cluster) -> None:
    watch = cluster.watch()
    for name in ("a1", "a2"):
        cluster.there.clear()
        cluster.join(name, name="a")
        cluster.says[name] = NUMPY
        cluster.later(watch)
    assert cluster.asked == ["a1", "a2"]
    assert watch.selector == {LABEL: "!in(a1,a2)"}
    assert len(watch.lines) == len(cluster.notes) == 1


class TaskError(Exception):
    def __init__(self, cause: BaseException) -> None:
        super().__init__("ray::task")
        self.cause = cause


def test_where_a_worker_died_the_node_is_asked_before_it_gets_more(cluster: Cluster) -> None:
    cluster.join("a")
    watch = cluster.watch(Place(good=("a",)))
    watch.look()
    watch.failed("a", RuntimeError("the worker died"), "t0")
    assert (watch.may_work("a"), cluster.asked) == (None, ["a"])
    cluster.says["a"] = GOOD
    watch.look()
    assert watch.may_work("a")
    assert cluster.notes == []
    cluster.says["a"] = NUMPY
    watch.failed("a", RuntimeError("the worker died"), "t0")
    watch.look()
    assert (watch.may_work("a"), cluster.asked) == (False, ["a", "a"])


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (ModuleNotFoundError("No module named 'x'"), "(ModuleNotFoundError: No module named 'x')"),
        (NodeUnfitError("--device cuda: torch sees no GPU"), "(--device cuda: torch sees no GPU)"),
    ],
)
def test_one_that_lacks_something_is_left_out_at_once(
    cluster: Cluster, lacking: Exception, words: str
) -> None:
    cluster.join("a")
    watch = cluster.watch(Place(good=("a",)))
    watch.look()
    for _ in range(3):  # its workers may all fail before they hear of it
        watch.failed("a", TaskError(lacking), "t0")
    assert watch.may_work("a") is False
    assert cluster.asked == []
    assert len(cluster.notes) == 1
    assert words in cluster.notes[0]


def lose(cluster: Cluster, watch: NodeWatch, node: str, *names: str) -> None:
    """Workers die on a node, which answers well each time."""
    for name in names:
        watch.failed(node, RuntimeError("illegal instruction"), name)
        watch.look()


def test_one_that_answers_well_but_fails_whatever_it_gets_is_left_out(cluster: Cluster) -> None:
    for node in "ab":
        cluster.join(node)
        cluster.says[node] = GOOD
    watch = cluster.watch()
    watch.look()
    lose(cluster, watch, "a", "t1", "t1", "t1", "t2", "t2")  # these trials may be at fault
    watch.worked("a")
    lose(cluster, watch, "a", "t1", "t2")
    assert watch.may_work("a")
    lose(cluster, watch, "a", "t3")
    assert watch.may_work("a") is False
    (line,) = watch.lines
    assert line.startswith("a (10.0.0.2) lost its workers 3 times in a row (the worker died")
    cluster.later(watch)
    lose(cluster, watch, "b", "t4", "t5", "t6", "t7")
    assert watch.may_work("b"), "the last one stays, and its trials fail with their causes"


def test_a_look_is_cheap_and_titles_outlive_nodes(cluster: Cluster) -> None:
    cluster.join("a", name="10.0.0.2")
    watch = cluster.watch(Place(good=("a",)))
    for _ in range(100):
        watch.look()
        watch.may_work("a")
    assert cluster.looks == 1
    assert watch.title("a") == "10.0.0.2"
    del cluster.there["a"]
    cluster.later(watch)
    assert watch.title("a") == "10.0.0.2"
    assert watch.title("never seen") == "never seen"


def test_a_node_that_was_told_to_end_gets_nothing_and_is_not_to_blame(cluster: Cluster) -> None:
    cluster.join("a")
    cluster.join("b")
    told: list[Warned] = []
    leaving = Leaving(cluster.notes.append, lambda: told, lambda: cluster.now)
    watch = NodeWatch(
        Place(good=("a", "b")), cluster, cluster.notes.append, lambda: cluster.now, leaving
    )
    assert watch.may_work("a")
    told.append(Warned("a", "a", 30.0))
    cluster.later(watch)
    assert (watch.may_work("a"), watch.is_left_out("a")) == (False, True)
    assert [node.id for node in watch.usable()] == ["b"]
    for number in range(LOST_IN_A_ROW):
        watch.failed("a", RuntimeError("it is gone"), f"t{number}")
    assert watch.lines == []
    assert watch.selector == {LABEL: "!in(a)"}
    assert len(cluster.notes) == 1


def test_two_asked_nodes_that_vanish_together_are_no_trouble(cluster: Cluster) -> None:
    watch = cluster.watch()
    for node in ("a", "b"):
        cluster.join(node)
    watch.look()
    cluster.there.clear()
    cluster.says = {"a": {"error": "gone"}, "b": {"error": "gone"}}
    watch.look()
    assert (watch.lines, watch.usable()) == ([], [])


def test_a_node_that_is_told_to_end_is_not_asked_and_not_counted(cluster: Cluster) -> None:
    told = [Warned("a", "a", 30.0)]
    leaving = Leaving(lambda _: None, lambda: told, lambda: cluster.now)
    watch = NodeWatch(
        Place(good=("b",)), cluster, cluster.notes.append, lambda: cluster.now, leaving
    )
    for node in ("a", "b", "c"):
        cluster.join(node)
    watch.look()
    assert cluster.asked == ["c"]
    told.append(Warned("c", "c", 30.0))
    cluster.later(watch)
    assert cluster.given_up == ["c"]  # its answer no longer matters
    for number in range(LOST_IN_A_ROW):  # the only one that stays
        watch.failed("b", RuntimeError("x"), f"t{number}")
    assert watch.lines == []
    del cluster.there["b"]
    cluster.later(watch)
    assert watch.trouble() == (
        "no node is left to work on: a (10.0.0.2) was told to end; c (10.0.0.2) was told to end"
    )


def test_one_that_joins_with_another_processor_is_said_once_a_kind(cluster: Cluster) -> None:
    watch = cluster.watch(Place(processors=("znver3",)))
    for node, kind in (("a", "znver3"), ("b", "icelake"), ("c", "icelake"), ("d", "znver4")):
        cluster.join(node)
        cluster.says[node] = GOOD | {"processor": kind}
        cluster.later(watch)
        assert watch.may_work(node)
    differs = "a trial that runs again or goes on, on another kind, may differ in the last digits"
    assert cluster.notes == [
        f"note: {name} (10.0.0.2) has another processor ({kinds}): {differs}"
        for name, kinds in (
            ("b", "icelake; before: znver3"),
            ("d", "znver4; before: icelake, znver3"),
        )
    ]


def test_the_first_processor_that_is_known_is_no_other_one(cluster: Cluster) -> None:
    watch = cluster.watch()
    for node in "ab":
        cluster.join(node)
        cluster.says[node] = GOOD | {"processor": "znver3"}
    watch.look()
    assert watch.may_work("b")
    assert cluster.notes == []
