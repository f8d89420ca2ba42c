"""Searches on machines made here: starting them, watching them, what they leave."""

from __future__ import annotations

import csv
import io
import subprocess
import threading
import time
from collections.abc import Callable

import pytest

from tests.cluster.machines import HERE, PORT, PY, Machine, Machines, missing

WHY = missing()
SHORT = [  # of what `make test` runs too
    pytest.mark.xdist_group("cluster"),
    pytest.mark.skipif(WHY is not None, reason=str(WHY)),
]
MARKS = [pytest.mark.cluster, *SHORT]
LONG_S = 600.0  # for what never happens, on a machine with much else to do
TIMES = {"busy_s", "started", "ended"}


def start_head(machines: Machines, *, project: bool = True, **env: str) -> Machine:
    """The machine of the driver, whose Ray gives no core away."""
    head = machines.add("h", project=project)
    head.ray("--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false", env=env)
    return head


def join(
    machines: Machines, name: str, *options: str, project: bool = False, **env: str
) -> Machine:
    """A worker with one core, which has nothing of the project unless that is asked for.

    options: more of `ray start`.
    """
    node = machines.add(name, project=project)
    at = f"--address={machines.all['h'].address}:{PORT}"
    node.ray(at, "--num-cpus=1", *options, env=env)
    return node


def search(run: str, *options: str, data: str = "demo") -> str:
    words = ["--data", data, "--runs-dir", "/tmp/runs", "--run", run]
    words += ["--tracking-uri", f"sqlite:////tmp/{run}.db", *options]
    return f"cd {HERE} && exec {PY} run_search.py {' '.join(words)}"


def table(machine: Machine, run: str) -> list[dict[str, str]]:
    """trials.csv without what differs from one run of the same seed to another."""
    text = machine.run(f"cat /tmp/runs/{run}/trials.csv").stdout
    return [
        {name: value for name, value in row.items() if name not in TIMES}
        for row in csv.DictReader(io.StringIO(text))
    ]


def taken_places(rows: list[dict[str, str]]) -> set[tuple[str, str]]:
    """Nodes and devices of trials on a cluster, taken out of their rows: the rest is as at home."""
    return {(row.pop("node"), row.pop("device")) for row in rows}


def wait(condition: Callable[[], bool], what: str) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < LONG_S, what
        time.sleep(0.2)
    return time.monotonic() - began


def trials_on(node: Machine) -> int:
    """How many trials have begun there."""
    folders = "/tmp/ray/session_latest/artifacts/*/*/working_dirs/*"
    return int(node.run(f"ls -d {folders} 2>/dev/null | wc -l").stdout)


def until(process: subprocess.Popen[str], text: str) -> str:
    """What a process says, read until it has said this."""
    limit = threading.Timer(LONG_S, process.kill)
    limit.start()
    said = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if text in line:
            limit.cancel()
            return "".join(said)
    raise AssertionError("".join(said))


def end(process: subprocess.Popen[str]) -> str:
    """What a search said, once it has ended."""
    try:
        return process.communicate(timeout=LONG_S)[0]
    finally:
        process.kill()
