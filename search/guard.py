"""The guard: whatever this process starts ends with it, however this process ends.

No handler in this process can ensure that: after `kill -9`, when the kernel is short of memory, or
when a library ends the process, what it started stays (Ray's agents for a minute, a server of
MLflow for good). So the guard is a separate process, which needs only the standard library. It
holds the reading end of a pipe whose other end only this process has: the end of this process
closes the pipe, whatever its cause. Then the guard kills every process with this process's mark in
its environment, all that descend from it, and those that have a file open in a folder of this
process (a process that changes its title may overwrite its environment). A guard that is killed
itself is replaced.

A process that runs our own code needs no guard: it holds such a pipe itself (`end_with_parent`, and
the courier's `Control`).

A process that ends properly dismisses its guard first. If there was no time for that, the guard
prints the last words of the process, such as how to resume.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

MARK = "RECSEARCH_GUARDED"  # in the environment of processes that are to end with this one
PATIENCE_S = 1.0
DISMISSED = b"\0"
SWEEPS_S, LOOK_AGAIN_S = 5.0, 0.05  # the kernel may keep a killed process alive for long
REPLACEMENTS = 5
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # may be sent to a whole service
_EXIT_CODE = 3


class Guard:
    """The guard of processes that will be started with `environment` in their environment."""

    def __init__(self, last_words: str = "", patience_s: float = PATIENCE_S) -> None:
        """last_words: written to stderr if this process dies without `dismiss`. patience_s: seconds
        in which the others may end on their own before they are killed.
        """
        self.mark = uuid.uuid4().hex
        self._last_words, self._patience_s = last_words, patience_s
        self._said, self._closed = b"", False
        self._lock = threading.Lock()
        self._process = self._start()
        threading.Thread(target=self._replace, daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a process end with this one."""
        return {MARK: self.mark}

    @property
    def pid(self) -> int:
        """Process id of the guard."""
        return self._process.pid

    def watch_session(self, folder: str) -> None:
        """Name a folder in which only processes started here have files open."""
        self._tell(os.fsencode(folder))

    def dismiss(self) -> None:
        """Tell the guard that from now on this process ends deliberately."""
        self._tell(DISMISSED)

    def close(self, wait_s: float = 0.0) -> None:
        """Let the guard kill what is left and end; returns when that is done, or after `wait_s`
        seconds.
        """
        self.dismiss()
        with self._lock:
            self._closed = True
            process = self._process
            assert process.stdin is not None
            with suppress(OSError):
                process.stdin.close()
        if wait_s:
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait_s)

    def _start(self) -> subprocess.Popen[bytes]:
        script = str(Path(__file__).resolve())
        words = [self.mark, str(self._patience_s), self._last_words]
        return subprocess.Popen(
            [sys.executable, "-I", "-S", script, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is not for the guard
            cwd="/",
        )

    def _replace(self) -> None:
        """Start another guard if this one was killed."""
        for _ in range(REPLACEMENTS):
            self._process.wait()
            with self._lock:
                if self._closed:
                    return
                with suppress(OSError):
                    assert self._process.stdin is not None
                    self._process.stdin.close()
                try:
                    self._process = self._start()
                except OSError:
                    return
                self._write(self._said)

    def _tell(self, words: bytes) -> None:
        with self._lock:
            self._said += words
            self._write(words)

    def _write(self, words: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # the guard is gone, or the pipe is closed
            os.write(self._process.stdin.fileno(), words)


def end_with_parent() -> None:
    """End this process as soon as its stdin, a pipe from the process that started it, ends."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        os._exit(_EXIT_CODE)

    threading.Thread(target=wait, daemon=True).start()


# --- in the guard's process -------------------------------------------------------------------


class Process(NamedTuple):
    """A living process. began: when it started, in ticks, which distinguishes it from a later one
    with the same number.
    """

    pid: int
    began: int
    parent: int

    def same(self, other: Process | None) -> bool:
        """Whether `other` is the same process, whose parent may have changed."""
        return other is not None and self[:2] == other[:2]


def look(pid: int) -> Process | None:
    """The process with this number; None where there is none, or where it has ended already."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            state, parent, *rest = file.read().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return None if state in (b"Z", b"X") else Process(pid, int(rest[17]), int(parent))


def processes() -> list[Process]:
    """All processes that can be seen; none on a system without /proc."""
    names = os.listdir("/proc") if os.path.isdir("/proc") else []  # noqa: PTH112, PTH208
    found = (look(int(name)) for name in names if name.isdigit())
    return [process for process in found if process is not None]


def ours(mark: str, folder: str, but: Process | None = None) -> list[Process]:
    """Processes with this mark, all that descend from them, and those with files open in `folder`.

    Never this process, nor `but`, which may have the mark or descend from one that has.
    """
    there = [p for p in processes() if p.pid != os.getpid() and not p.same(but)]
    wanted = f"{MARK}={mark}".encode()
    found = {p.pid for p in there if is_marked(p.pid, wanted)}
    known = 0
    while len(found) > known:
        known = len(found)
        found |= {p.pid for p in there if p.parent in found}
    return [p for p in there if p.pid in found or is_in(p.pid, folder)]


def is_marked(pid: int, wanted: bytes) -> bool:
    """Whether a process has `wanted` in its environment, as far as can be seen."""
    with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
        return wanted in file.read().split(b"\0")
    return False


def is_in(pid: int, folder: str) -> bool:
    """Whether a process has a file open in a folder."""
    with suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd") if folder else []:  # noqa: PTH208
            with suppress(OSError):
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(f"{folder}/"):  # noqa: PTH115
                    return True
    return False


def kill(process: Process) -> None:
    """Kill this process, but no other one that has got its number in the meantime."""
    with suppress(OSError):
        try:
            fd = os.pidfd_open(process.pid)
        except (AttributeError, OSError):  # a kernel without this: the risk is small
            if process.same(look(process.pid)):
                os.kill(process.pid, signal.SIGKILL)
            return
        try:
            if process.same(look(process.pid)):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)


def say(words: str) -> None:
    """Print to the driver's terminal, or to where its errors go."""
    with suppress(OSError):
        shown = "\x1b[?25h\n" if os.isatty(2) else ""  # the live display had hidden the cursor
        os.write(2, f"{shown}{words}\n".encode(errors="replace"))


def sweep(mark: str, folder: str, but: Process | None) -> None:
    """Kill until nothing is left, or for `SWEEPS_S` seconds if the kernel keeps a process alive.

    A process may start while another one is being killed, and a look takes seconds on a machine
    with much else to do: after that time, too, one that no look has shown before is killed.
    Parameters are as in `ours`.
    """
    end, pause = time.monotonic() + SWEEPS_S, LOOK_AGAIN_S
    killed: set[tuple[int, int]] = set()
    while left := ours(mark, folder, but):
        if killed.issuperset(p[:2] for p in left) and time.monotonic() >= end:
            return
        for process in left:
            kill(process)
            killed.add(process[:2])
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


def main(mark: str, patience_s: float, last_words: str) -> None:
    """Wait for the end of stdin, which comes when the driver ends or closes it, then `sweep`.

    mark: in the environment of the processes. patience_s: seconds in which they may end on their
    own. last_words: printed unless the driver has dismissed the guard; "": none.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    driver = look(os.getppid())  # may outlive its Ray: it ends on its own, or has started again
    said = b""
    while got := os.read(0, 4096):
        said += got
    folder, dismissed, _ = said.partition(DISMISSED)
    if not dismissed and last_words:
        say(last_words)
    os.close(2)  # a reader of the driver's errors need not wait for the sweep
    time.sleep(patience_s)  # most end on their own, and properly
    sweep(mark, os.fsdecode(folder.strip()), driver)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
