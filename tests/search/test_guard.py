"""What a process started ends with it, whatever its end; real processes, and no clock to beat."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from search import guard
from search.guard import Guard, Process, kill, look, ours
from tests.search.tracking.tracking_help import LONG_S, wait_until

ROOT = Path(__file__).resolve().parents[2]


# Starts a process, one below it with another session and an empty environment, and says their
# numbers; then lives until a signal ends it.
OWNER = """
import os, signal, subprocess, sys
from search.guard import Guard
guard = Guard("killed: resume", patience_s=0)
script = "env -i setsid sleep 600 & echo $!; sleep 600"
child = subprocess.Popen(
    ["bash", "-c", script], env=os.environ | guard.environment, stdout=subprocess.PIPE
)
below = int(child.stdout.readline())
print(child.pid, below, guard.pid, flush=True)
sys.stdin.readline()  # they have been seen alive
exec(sys.argv[1])
while True:
    signal.pause()
"""


class Owner:
    """A process with a guard and two processes of its own."""

    def __init__(self, more: str = "", prefix: tuple[str, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", OWNER, more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        numbers = [int(word) for word in self.process.stdout.readline().split()]
        found = [look(number) for number in numbers]
        self.child, self.below, self.guard = (p for p in found if p is not None)
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def gone(self) -> bool:
        return not any(alive(p) for p in (self.child, self.below, self.guard))

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.communicate()
        for process in (self.guard, self.child, self.below):
            kill(process)


def alive(process: Process) -> bool:
    return process.same(look(process.pid))


@pytest.fixture
def owner() -> Iterator[Owner]:
    owner = Owner()
    yield owner
    owner.end()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name
)
def test_nothing_outlives_its_owner(owner: Owner, number: int) -> None:
    assert alive(owner.child)
    assert alive(owner.below)
    owner.process.send_signal(number)
    _, said = owner.process.communicate(timeout=LONG_S)
    assert "killed: resume" in said
    wait_until(owner.gone)


def test_an_end_in_order_has_no_last_words() -> None:
    owner = Owner("guard.close(wait_s=60); os._exit(7)")
    try:
        _, said = owner.process.communicate(timeout=LONG_S)
        assert (owner.process.returncode, said) == (7, "")
        assert not alive(owner.child)  # at once: `close` has waited for it
        wait_until(owner.gone)
    finally:
        owner.end()


def test_a_guard_that_is_killed_is_replaced() -> None:
    more = """
import time
old = guard.pid
os.kill(old, signal.SIGKILL)
while guard.pid == old:
    time.sleep(0.01)
print(guard.pid, flush=True)
"""
    owner = Owner(more)
    assert owner.process.stdout is not None
    try:
        second = look(int(owner.process.stdout.readline()))
        assert second is not None
        owner.process.kill()
        _, said = owner.process.communicate(timeout=LONG_S)
        assert "killed: resume" in said
        wait_until(owner.gone)
        wait_until(lambda: not alive(second))
    finally:
        owner.end()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_guard_outlives_what_a_whole_service_is_sent(number: int) -> None:
    guard = Guard()
    process = look(guard.pid)
    assert process is not None
    # It has begun to ignore them once it reads: it answers no earlier than that.
    wait_until(lambda: ignored(guard.pid) >= {signal.SIGTERM, signal.SIGHUP, signal.SIGINT})
    os.kill(guard.pid, number)
    os.kill(guard.pid, 0)
    assert alive(process)
    guard.close(wait_s=LONG_S)
    assert not alive(process)


def ignored(pid: int) -> set[int]:
    """Signals that a process ignores."""
    text = Path(f"/proc/{pid}/status").read_text()
    mask = int(next(line for line in text.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    return {n for n in range(1, 65) if mask >> (n - 1) & 1}


def test_a_process_that_starts_late_in_a_slow_sweep_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look takes longer than all looks may, as on a machine with much else to do."""
    clock = iter(range(0, 1000, 10))
    stuck, late = Process(10, 1, 1), Process(20, 2, 1)
    seen = iter([[stuck], [stuck, late], [stuck]])  # the kernel keeps the first one alive
    killed: list[int] = []
    monkeypatch.setattr(guard.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(guard.time, "sleep", lambda _: None)
    monkeypatch.setattr(guard, "ours", lambda *_: next(seen))
    monkeypatch.setattr(guard, "kill", lambda process: killed.append(process.pid))
    guard.sweep("mark", "", None)
    assert killed == [10, 10, 20]
    assert next(seen, None) is None  # and it did not wait for the first one for ever


def test_a_process_that_got_the_number_of_another_is_not_killed() -> None:
    with subprocess.Popen(["sleep", "600"]) as innocent:
        there = look(innocent.pid)
        assert there is not None
        kill(there._replace(began=there.began - 1))
        assert innocent.poll() is None
        kill(there)
        assert innocent.wait(LONG_S) == -signal.SIGKILL


def test_files_in_a_folder_of_ours_give_a_process_away(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        bare = subprocess.Popen(["sleep", "600"], env={}, stdout=log)
    try:
        me = look(os.getpid())
        assert bare.pid in [p.pid for p in ours("no mark", str(tmp_path), me)]
        assert ours("no mark", str(tmp_path / "lo"), me) == []
        assert ours("no mark", "", me) == []
    finally:
        bare.kill()
        bare.wait()


def test_a_process_of_ours_ends_with_its_stdin() -> None:
    code = (
        "import signal; from search.guard import end_with_parent; end_with_parent(); "
        "print(1, flush=True); signal.pause()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == b"1\n"
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(LONG_S) == 3
    process.stdout.close()
