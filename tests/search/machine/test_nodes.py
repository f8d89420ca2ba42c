"""Which nodes of a cluster can work, what is sent to them, and what a worker trains on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.errors import ConfigError
from search.machine import ask_nodes, shipping
from search.machine import cluster as cluster_module
from search.machine import place as place_module
from search.machine.ask_nodes import answer
from search.machine.cluster import Cluster, Resources, resolve_device
from search.machine.nodes import (
    FIRST_MODULES,
    MODULES,
    PACKAGES,
    ClusterNode,
    Place,
    choose,
    own_versions,
    several_processors,
    trouble,
)
from search.machine.room import Room, fit_at_once
from search.machine.shipping import script_elsewhere, shipped, size_of
from search.record.settings import Settings
from search.tune.tuner import asked
from search.tune.worker import own_device

MINE = {"numpy": "2.4.6", "torch": "2.13.0+cpu"}
GOOD = ClusterNode("ab", "w1", "10.0.0.2", 4.0, 0.0, "3.11.9", MINE)


@pytest.mark.parametrize(
    ("change", "cuda", "words"),
    [
        ({}, False, None),
        ({"python": "3.11.2"}, False, None),
        ({"versions": MINE | {"torch": "2.13.0+cu128"}}, False, None),
        ({"python": "3.12.1"}, False, "has Python 3.12.1, the driver has 3.11.4"),
        ({"versions": MINE | {"numpy": "2.3.0"}}, False, "has numpy 2.3.0, the driver has 2.4.6"),
        ({"versions": MINE | {"numpy": None}}, False, "lacks numpy: `pip install"),
        ({"error": "ModuleNotFoundError: No module named 'rich'"}, False, "'rich'): `pip install"),
        ({"versions": {}, "python": "", "error": "no answer within 60 s"}, False, "no answer"),
        ({"error": "two\n  lines"}, False, "cannot run a task (two lines)"),
        ({"gpus": 2.0}, True, "has 2 GPUs for Ray, but torch sees none"),
        ({"gpus": 2.0, "cuda": 2}, True, None),
        ({"gpus": 2.0}, False, None),
        ({}, True, None),  # no trial that asks for a GPU comes here
    ],
)
def test_a_node_that_cannot_work_is_one_line(
    change: dict[str, Any], cuda: bool, words: str | None
) -> None:
    found = trouble(replace(GOOD, **change), MINE, cuda=cuda, python="3.11.4")
    if words is None:
        assert found is None
        return
    assert found is not None
    assert "\n" not in found
    assert words in found


def mine(name: str, **changes: Any) -> ClusterNode:
    """A node like this machine."""
    version = ".".join(map(str, sys.version_info[:3]))
    node = ClusterNode(f"id{name}", name, "10.0.0.2", 4.0, 0.0, version, own_versions())
    return replace(node, **changes)


def test_bad_nodes_are_left_out_and_said() -> None:
    good, place = choose(
        "h:1",
        [mine("a"), mine("b", error="odd"), mine("c", python="2.7.1")],
        cuda=False,
        gpus=False,
        trial=Room(1),
    )
    assert [node.name for node in good] == ["a"]
    assert place.selector == {"ray.io/node-id": "!in(idb,idc)"}
    assert [line.split()[0] for line in place.lines] == ["b", "c"]
    assert Place().selector is None


def test_where_no_node_is_good_the_search_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"no node can work: a \(10.0.0.2\) cannot run.*odd"
    ) as caught:
        choose("h:1", [mine("a", error="odd")], cuda=False, gpus=False, trial=Room(1))
    assert "\n" not in str(caught.value)
    assert choose("h:1", [], cuda=False, gpus=False, trial=Room(1)) == ([], Place())
    some = [mine("a", memory=3), mine("b", memory=7), mine("c", memory=9, error="odd")]
    assert choose("h:1", some, cuda=False, gpus=False, trial=Room(1))[1].memory == 7


def test_a_node_that_has_not_answered_is_asked_again_where_others_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = mine("b", error="no answer within 60 s", answered=False)
    good, place = choose("h:1", [mine("a"), late], cuda=False, gpus=False, trial=Room(1))
    assert [node.name for node in good] == ["a"]
    assert place == Place(good=("ida",), late=("b (10.0.0.2)",))
    with pytest.raises(ConfigError, match=r"no node can work: b .*no answer within 60 s"):
        choose("h:1", [late], cuda=False, gpus=False, trial=Room(1))
    said: list[str] = []
    settings = Settings("d", None, None, 1, 3, None, 1, 0.0, "cpu", "auto", None, None)
    monkeypatch.setattr(place_module, "check_address", lambda *_: [mine("a"), late])
    place_module.check_place(settings, said.append)
    assert said[-1] == "note: b (10.0.0.2) has not answered yet; it gets work once it has"
    with pytest.raises(ConfigError, match=r"there are 4 CPU.* \(b \(10.0.0.2\) did not answer in"):
        place_module.check_place(replace(settings, cpus_per_trial=9), said.append)
    with pytest.raises(ConfigError, match=r"any node \(b \(10.0.0.2\) did not answer in time\);"):
        choose("h:1", [mine("a"), late], cuda=True, gpus=True, trial=Room(1))


def test_the_device_is_compared_with_the_nodes() -> None:
    with pytest.raises(ConfigError, match="torch sees no GPU on any node"):
        choose("h:1", [mine("a")], cuda=True, gpus=True, trial=Room(1))
    nodes = [mine("a"), mine("b", gpus=1.0, cuda=1)]
    place = Place(good=("ida", "idb"), gpus=True)
    assert choose("h:1", nodes, cuda=True, gpus=True, trial=Room(1)) == (nodes, place)


def test_cores_and_gpus_count_where_a_trial_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit_at_once([Room(4), Room(3, 1)], Room(2)) == 3
    assert (
        fit_at_once([Room(8), Room(8, 1)], Room(1, 0.5)) == 2
    )  # the cores of the first have no GPU
    settings = Settings("d", None, None, 1, 3, None, 6, 0.0, "cpu", "auto", None, None)
    nodes = [mine("a", cpus=4.0), mine("b", cpus=8.0, error="odd")]
    monkeypatch.setattr(place_module, "check_address", lambda *_: nodes)
    said: list[str] = []
    with pytest.raises(ConfigError, match="there are 4 CPU cores"):
        place_module.check_place(settings, said.append)
    assert said[-1].startswith("note: b (10.0.0.2) cannot run a task (odd)")
    assert said[-1].endswith("this node is left out")
    fits = replace(settings, cpus_per_trial=4)
    assert place_module.check_place(fits, said.append).excluded == ("idb",)


def test_the_memory_that_counts_is_of_nodes_that_a_trial_fits_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [mine("a", memory=64), mine("b", gpus=1.0, cuda=1, memory=8)]
    for gpus, memory, among in ((0.0, 64, ""), (1.0, 8, "of those with 1 core and 1 GPU ")):
        settings = Settings("d", None, None, 1, 3, None, 1, gpus, "auto", "auto", None, None)
        monkeypatch.setattr(place_module, "check_address", lambda *_: nodes)
        place = place_module.check_place(settings, lambda _: None)
        assert (place.memory, place.among) == (memory, among)


def test_memory_counts_where_trials_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores with memory for two trials run two; nodes that come and go are counted alike."""
    assert fit_at_once([Room(8, 0, 16), Room(8, 0, 7)], Room(1, 0, 8)) == 2
    there, nodes = Cluster("h:1", place=Place(memory=16)), [Room(8, 0, 16)]
    monkeypatch.setattr(there, "rooms", lambda: nodes)
    found = there.preflight(1, 0.0, "cpu", 8)
    assert found == Resources(1, 0.0, 8, 2, 16, 8)
    assert there.preflight(1, 0.0, "cpu").concurrent == 8
    now = there.slots(found)
    assert now is not None
    assert now() == 2
    nodes.append(Room(2, 0, 64))
    monkeypatch.setattr(cluster_module, "NODES_EVERY_S", 0.0)
    assert now() == 4


@pytest.mark.parametrize(("device", "excluded"), [("auto", ("idb",)), ("cpu", ())])
def test_torch_has_to_see_the_gpus_that_trials_train_on(
    monkeypatch: pytest.MonkeyPatch, device: str, excluded: tuple[str, ...]
) -> None:
    settings = Settings("d", None, None, 1, 3, None, 1, 1.0, device, "auto", None, None)
    nodes = [mine("a", gpus=1.0, cuda=1), mine("b", gpus=1.0)]
    monkeypatch.setattr(place_module, "check_address", lambda *_: nodes)
    assert place_module.check_place(settings, lambda _: None).excluded == excluded


def test_what_a_trial_asks_of_a_node() -> None:
    assert asked(Resources(2, 0.5, 4, 2)) == {"cpu": 2, "gpu": 0.5}
    found = asked(Resources(2, 0.5, 4, 2), 7)
    assert found.bundles == [{"CPU": 2.0, "GPU": 0.5, "memory": 7}]  # type: ignore[union-attr]
    assert Cluster("h:1", place=Place(("ab",), ("ab is odd",))).left_out == ("ab is odd",)


class Growing:
    """A Ray whose cluster has another node at each look."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.to_come, self.there = list(nodes), [node_with({})]
        self.asked: list[dict[str, float]] = []
        self.cancelled = 0

    def nodes(self) -> list[dict[str, Any]]:
        if self.asked and self.to_come:
            self.there.append(node_with(self.to_come.pop(0)))
        return self.there

    def remote(self, **options: float) -> Any:
        self.asked.append(options)
        return lambda _: SimpleNamespace(remote=lambda *_: None)

    def cancel(self, _: object, force: bool) -> None:
        self.cancelled += force


def node_with(has: dict[str, float]) -> dict[str, Any]:
    return {
        "NodeID": "a",
        "NodeManagerHostname": "a",
        "NodeManagerAddress": "a",
        "Alive": True,
        "Resources": has,
    }


def test_where_no_node_has_a_core_the_first_that_fits_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = Growing({"memory": 9.0}, {"CPU": 1.0}, {"CPU": 1.0}, {"CPU": 4.0, "memory": 7.0})
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    monkeypatch.setattr(ask_nodes, "LOOK_S", 0.0)
    monkeypatch.setattr(ask_nodes, "draining", dict)
    assert ask_nodes.with_cores() == []
    found = ask_nodes.first_nodes(2, 0.0)
    assert [node["cpus"] for node in found] == [1, 1, 4]
    assert ray.asked == [{"num_cpus": 2, "num_gpus": 0.0, "max_retries": 0}]
    assert ray.cancelled == 1  # what it asked for is free for the search
    assert capsys.readouterr().out.splitlines() == [
        '{"waiting": [], "ending": 0}',
        '{"waiting": [[1.0, 0, 0]], "ending": 0}',
        '{"waiting": [[1.0, 0, 0], [1.0, 0, 0]], "ending": 0}',
    ]


def test_nodes_that_were_told_to_end_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [node_with({"CPU": 1.0}) | {"NodeID": name} for name in ("a", "b")]
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(nodes=lambda: there))
    monkeypatch.setattr(ask_nodes, "draining", lambda: {"b": 0})
    found = [[node["id"] for node in nodes] for nodes in ask_nodes.staying_and_ending()]
    assert found == [["a"], ["b"]]


def test_where_every_node_was_told_to_end_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = Growing({"CPU": 4.0}, {"CPU": 4.0})
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    monkeypatch.setattr(ask_nodes, "LOOK_S", 0.0)
    told = iter([{"a": 0}])
    monkeypatch.setattr(ask_nodes, "draining", lambda: next(told, {}))
    assert len(ask_nodes.first_nodes(2, 0.0)) == 2
    assert capsys.readouterr().out.splitlines() == ['{"waiting": [], "ending": 1}']


def test_a_cluster_whose_nodes_went_while_it_was_asked_is_no_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Cluster("h:1", place=Place(memory=7))
    monkeypatch.setattr(there, "rooms", lambda: [Room(0)])
    assert there.preflight(2, 0.0, "cpu") == Resources(2, 0.0, 0, 1, 7)
    monkeypatch.setattr(there, "rooms", lambda: [Room(1)])
    with pytest.raises(ConfigError, match="there are 1 CPU cores"):
        there.preflight(2, 0.0, "cpu")
    monkeypatch.setattr(there, "rooms", lambda: [Room(16), Room(4, 1)])
    with pytest.raises(ConfigError, match="of those with 8 cores none has a GPU"):
        there.preflight(8, 1.0, "auto")


# --- the code -------------------------------------------------------------------------------------


def test_the_code_that_is_sent_is_enough_to_work(tmp_path: Path) -> None:
    sent = shipped({"A": "1"})
    assert sent["env_vars"] == {"A": "1"}
    for folder in map(Path, sent["py_modules"]):
        for root, _, names in os.walk(folder):
            if "__pycache__" in root:
                continue
            there = tmp_path / Path(root).relative_to(folder.parent)
            there.mkdir()
            for name in names:
                (there / name).symlink_to(Path(root) / name)
    lines = f"import {', '.join(MODULES)}, recsys; print(recsys.__file__)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {lines}"],
        capture_output=True,
        text=True,
        cwd="/",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )
    assert done.stdout.strip() == str(tmp_path / "recsys" / "__init__.py"), done.stderr
    assert sum(size_of(Path(folder)) for folder in sent["py_modules"]) < 4 << 20


def test_code_with_data_among_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipping, "LIMIT", 10)
    for name in ("recsys", "search"):
        (tmp_path / name / "__pycache__").mkdir(parents=True)
        (tmp_path / name / "__pycache__" / "a.pyc").write_bytes(bytes(99))
        (tmp_path / name / "a.py").write_bytes(bytes(10))
    shipped({}, tmp_path)
    (tmp_path / "search" / "big.csv").write_bytes(b"1")
    with pytest.raises(ConfigError, match="search: 0 MB would be sent to every node"):
        shipped({}, tmp_path)


def test_ray_does_not_put_the_folder_of_the_program_on_the_workers_path() -> None:
    before = sys.argv
    with script_elsewhere():
        assert str(Path(sys.argv[0]).parent) not in sys.path
    assert sys.argv is before


def test_what_a_node_answers() -> None:
    found = answer(["numpy", "no-such-package"], ["search.names"])
    assert found["error"] is None
    assert found["versions"]["numpy"] == own_versions()["numpy"]
    assert found["versions"]["no-such-package"] is None
    assert found["processor"]
    assert "no_such_module" in answer([], ["no_such_module"])["error"]
    assert set(PACKAGES) == set(own_versions())


def test_torch_is_imported_only_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # importing it fails
    assert answer([], FIRST_MODULES, torch=False)["error"] is None
    assert "torch" in answer([], FIRST_MODULES)["error"]


# --- the device -----------------------------------------------------------------------------------


@pytest.mark.parametrize("there", [False, True])
def test_a_worker_trains_on_what_ray_gave_it(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert own_device("cpu") == "cpu"
    assert own_device("auto") == ("cuda" if there else "cpu")
    if there:
        assert own_device("cuda") == "cuda"
    else:
        with pytest.raises(RuntimeError, match="torch sees no GPU on"):
            own_device("cuda")


def test_the_drivers_torch_decides_nothing_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto", 1.0, "h:1") == "auto"
    assert resolve_device("cuda", 1.0, "h:1") == "cuda"
    assert resolve_device("auto", 0.0, "h:1") == "cpu"
    assert resolve_device("auto", 1.0) == "cpu"
    with pytest.raises(ConfigError, match="no GPU on this machine"):
        resolve_device("cuda", 1.0)


def test_different_processors_are_said_in_a_line() -> None:
    """Kernels are compiled for each, and round differently."""
    nodes = [
        ClusterNode(name, name, name, 1.0, 0.0, processor=kind)
        for name, kind in (("a", "znver3"), ("b", ""), ("c", "znver3"))
    ]

    def said_of(nodes: Sequence[ClusterNode]) -> str | None:
        place = choose("h:1", nodes, cuda=False, gpus=False, trial=Room(1))[1]
        return several_processors(place.processors)

    assert said_of(nodes) is None
    other = ClusterNode("d", "d", "d", 1.0, 0.0, processor="icelake-server")
    said = said_of([*nodes, other])
    assert said is not None and "(icelake-server, znver3)" in said
