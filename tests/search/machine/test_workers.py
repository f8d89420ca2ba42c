"""Workers that do not start: how long that is waited for, and what is said of it."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from search.machine import cluster, workers
from search.machine.cluster import Cluster, import_failure, start_failure
from search.machine.nodes import LABEL, MODULES, Place
from search.machine.room import Room
from search.machine.workers import (
    GpuNotes,
    NodeUnfitError,
    NoWorkersError,
    Patience,
    cause_of,
    start_trouble,
    trouble_in,
    unfit,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(clock: Clock, trouble: str | None, joined: bool = False) -> tuple[Patience, list[str]]:
    lines: list[str] = []
    return Patience(lines.append, lambda: trouble, joined=joined, clock=clock), lines


@pytest.mark.parametrize(
    ("trouble", "joined", "limit"),
    [
        ("ModuleNotFoundError: x", False, workers.GIVE_UP_KNOWING_S),
        (None, False, workers.GIVE_UP_S),
        (None, True, workers.GIVE_UP_CLUSTER_S),
    ],
)
def test_one_line_within_half_a_minute_then_the_end(
    trouble: str | None, joined: bool, limit: float
) -> None:
    clock = Clock()
    patience, lines = watch(clock, trouble, joined)
    end = None
    while end is None:
        end = patience.look(running=False)
        assert clock.now < 30 or lines
        clock.now += 0.5
    assert clock.now - 0.5 == pytest.approx(limit, abs=1)
    assert len(lines) == (1 + (limit - workers.SAY_AFTER_S) // workers.SAY_AGAIN_S if joined else 1)
    assert lines[0].startswith("no worker has started for 20 s")
    assert end.startswith("no worker could be started in")
    if trouble:
        assert trouble in lines[0]
        assert trouble in end


def test_a_worker_that_runs_begins_the_wait_anew() -> None:
    clock = Clock()
    patience, lines = watch(clock, None)
    for second in range(4000):
        clock.now = float(second)
        assert patience.look(running=second % 20 == 0) is None
    assert lines == []


LOG = """\
[2026-11-25 21:09:38,113 W 29475 29475] (raylet) node.cc:12: A worker is late.
[2026-11-25 21:09:39,113 E 29475 29475] (raylet) worker_pool.cc:55: Could not fork a worker
[2026-11-25 21:09:39,113 I 29475 29475] (raylet) worker_pool.cc:56: noted
"""


def test_trouble_stands_in_rays_files(tmp_path: Path) -> None:
    assert trouble_in(None) is None
    assert trouble_in(tmp_path) is None
    (tmp_path / "raylet.out").write_text(LOG)
    assert trouble_in(tmp_path) == "Could not fork a worker"
    assert start_trouble(tmp_path) == "Could not fork a worker"
    (tmp_path / "raylet.err").write_text("bash: line 1: exec: /my: not found\n")
    assert trouble_in(tmp_path) == "bash: line 1: exec: /my: not found"
    (tmp_path / "worker-1-2-3.err").write_text(
        ':job_id:01\nTraceback (most recent call last):\n  File "x"\nImportError: no numba\n\n'
    )
    assert trouble_in(tmp_path) == "ImportError: no numba"


STACK = """\
[2026-11-27 09:03:23,541 E 33 33] (raylet) dlmalloc.cc:215: mmap failed: Cannot allocate memory
*** StackTrace Information ***
/site-packages/ray/core/src/ray/raylet/raylet(+0xff770a) [0x56008464d70a] ray::operator<<()
[2026-11-27 09:03:23,553 E 33 33] (raylet) logging.cc:474: *** SIGABRT received at time=17 ***
[2026-11-27 09:03:23,553 E 33 33] (raylet) logging.cc:474:     @     0x7fe3c645a050  (unknown)
"""


@pytest.mark.parametrize("name", ["raylet.err", "raylet.out", "gcs_server.err"])
def test_a_stack_is_no_cause(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(STACK)
    assert start_trouble(tmp_path) == "mmap failed: Cannot allocate memory"


class ActorDiedError(Exception):
    pass


class RuntimeEnvSetupError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ActorDiedError("The actor died unexpectedly. pid: 12"), "the worker died"),
        (
            ActorDiedError(
                "1 worker(s) were killed due to the node running low on memory. Memory on the "
                "node was 3.39GB used / 23.54GB limit (0.144000)\nOOM kill reason: Memory usage "
                "3637522432B exceeded threshold of 252765104B (1.0% of 25276510208B limit)\nObject"
            ),
            "the worker was ended by Ray: this machine's memory use is above 1%",
        ),
        (
            ActorDiedError(
                "The actor died because of an error raised in its creation task, ray::X()\n"
                "  File x\nModuleNotFoundError: No module named 'recsys.config'"
            ),
            "the worker could not start: ModuleNotFoundError: No module named 'recsys.config'",
        ),
        (
            RuntimeEnvSetupError("Failed to set up\nOSError: no room"),
            "the worker could not start: OSError: no room",
        ),
        (
            ActorDiedError("The actor died because its node has died. Node Id: ab\nmore"),
            "its node is gone",
        ),
        (KeyError("x"), "the worker died (KeyError)"),
    ],
)
def test_causes_are_the_same_words_for_the_same_cause(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


def test_a_task_runs_where_a_worker_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Cluster(num_cpus=1)
    for titles, runs in (
        (set(), True),  # titles can't be seen here, as far as is known
        ({"ray::IDLE"}, False),
        ({"ray::IDLE", "ray::race"}, True),
        (set(), False),
    ):
        monkeypatch.setattr(cluster, "ray_titles", lambda found=titles: found)
        assert here._runs("race") is runs


def test_a_worker_says_what_it_cannot_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_here.py").write_text("raise OSError('libx.so:\\n  no such file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert import_failure(["json"]) == (platform.node(), None)
    assert import_failure(["json", "broken_here"]) == (
        *(platform.node(), "OSError: libx.so:\n  no such file"),
    )
    assert "broken_here.py" in capsys.readouterr().err  # which Ray writes into its log files
    assert "No module named 'not_here_at_all'" in str(import_failure(["not_here_at_all"]))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "the worker is another task's next"


class RayOfOneTask:
    """A Ray whose only task answers, dies, or never comes back."""

    def __init__(self, answer: object) -> None:
        self.answer, self.asked, self.cancelled = answer, [], []
        self.exceptions = SimpleNamespace(RayError=RuntimeError)

    def remote(self, **options: object) -> Callable[[object], SimpleNamespace]:
        assert options == {"num_cpus": 1, "max_retries": 0, "label_selector": {LABEL: "!in(n1)"}}
        return lambda task: SimpleNamespace(remote=lambda *given: self.asked.append((task, given)))

    def wait(self, tasks: list[object], timeout: float) -> tuple[list[object], list[object]]:
        return ([], tasks) if self.answer is None else (tasks, [])

    def get(self, _: object) -> object:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self, task: object, force: bool) -> None:
        self.cancelled.append((task, force))


def cluster_of(monkeypatch: pytest.MonkeyPatch, ray: RayOfOneTask) -> Cluster:
    there = Cluster("head:6379", place=Place(excluded=("n1",)))
    monkeypatch.setattr(there, "_ray", ray, raising=False)
    monkeypatch.setattr(there, "rooms", lambda: [Room(2)])
    return there


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (("w1", None), None),
        (
            ("w1", "OSError: libx.so:\n  no such file"),
            "w1 cannot run a task (OSError: libx.so: no such file): see the log files of Ray there",
        ),
        (
            ("w1", "ModuleNotFoundError: No module named 'numba'"),
            "w1 cannot run a task (ModuleNotFoundError: No module named 'numba'): "
            "`pip install -r requirements.txt -c constraints.txt` there",
        ),
        (RuntimeError("the worker died"), "workers cannot start: the worker died (RuntimeError)"),
    ],
)
def test_workers_are_checked_by_what_a_trial_imports(
    monkeypatch: pytest.MonkeyPatch, answer: object, words: str | None
) -> None:
    ray = RayOfOneTask(answer)
    there = cluster_of(monkeypatch, ray)
    if words is None:
        there.check_workers()
    else:
        with pytest.raises(NoWorkersError) as caught:
            there.check_workers()
        assert str(caught.value) == words
    assert ray.asked == [(import_failure, (MODULES,))]


def test_a_check_that_never_comes_back_is_noted_and_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nodes that are there are no answer: they may be full, or hang in an import."""
    ray, notes, now = RayOfOneTask(None), list[str](), [0.0]
    there = cluster_of(monkeypatch, ray)

    def clock() -> float:
        now[0] += 5
        return now[0]

    monkeypatch.setattr(
        there, "patience", lambda: Patience(notes.append, lambda: None, joined=True, clock=clock)
    )
    with pytest.raises(NoWorkersError, match="no worker could be started in 18"):
        there.check_workers()
    assert 60 < len(notes) < 80
    assert ray.cancelled == [(None, True)]


def test_a_ray_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    logs = tmp_path / f"session_x_{os.getpid()}" / "logs"
    logs.mkdir(parents=True)
    late = RuntimeError("Timed out waiting for file x.\nMore.")
    assert str(start_failure(late, tmp_path)).startswith(
        "Ray cannot start on this machine: Timed out waiting for file x. (its log files:"
    )
    (logs / "raylet.out").write_text(LOG)
    assert "machine: Could not fork a worker (its log files: " in str(start_failure(late, tmp_path))
    named = OSError(28, "No space left on device", "/tmp/ray/x")
    assert str(start_failure(named, tmp_path)).endswith("/tmp/ray/x: No space left on device")
    (tmp_path / "file").touch()
    assert str(start_failure(late, tmp_path / "file")).startswith(f"{tmp_path}/file: ")


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (ModuleNotFoundError("No module named 'x'"), "ModuleNotFoundError: No module named 'x'"),
        (NodeUnfitError("no GPU"), "no GPU"),
        (
            RuntimeError(
                "The remote function failed to import on the worker. This may be because of "
                "this and that:\n\nTraceback (most recent call last):\n  File x\n"
                "ModuleNotFoundError: No module named 'rich'\n"
            ),
            "ModuleNotFoundError: No module named 'rich'",
        ),
        (RuntimeError("anything else"), None),
        (ValueError("x"), None),
    ],
)
def test_what_a_machine_lacks_is_told_from_what_a_task_does_wrong(
    error: Exception, lacking: str | None
) -> None:
    raised: Any = RuntimeError("as Ray raises it")
    raised.cause = error
    assert unfit(raised) == lacking


def test_a_gpu_that_torch_does_not_see_is_said_once_a_node_by_trials_and_stages_together() -> None:
    lines: list[str] = []
    gpus = GpuNotes(lines.append, given=True)
    for device, node in (
        ("cuda", "w1"),
        ("cpu", None),
        ("cpu", None),
        ("cpu", "w1"),
        ("cpu", "w1"),
    ):
        gpus.trained(device, node)
    gpus.trained("cpu")  # in a stage, which does not know the node
    gpus.trained("cpu", "w2")
    assert lines == [
        f"note: torch sees no GPU in a worker{where} that got one: it trains on the CPU"
        for where in ("", " on w1", " on w2")
    ]
    GpuNotes(lines.append, given=False).trained("cpu", "w3")
    assert len(lines) == 3
