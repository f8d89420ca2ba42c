"""The guard of a Ray that a driver started: when the driver is gone, so is all of that Ray.

A driver that is killed takes Ray's servers with it, but Ray's agents stay for another minute,
trying to report the loss to a server that is lost too. This runs as a process of its own, with
the standard library alone: it waits until its stdin ends, which no death of the driver can
prevent, and then kills what carries the driver's mark in its environment, or has a file open in
the folder of Ray's session (a process that changes its title may overwrite its environment).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

MARK = "RECSEARCH_CLUSTER"
PATIENCE_S, LOOK_AGAIN_S = 1.0, 0.5
SWEEPS = 6  # a process may be started while another one is being killed


def start_guard() -> tuple[str, subprocess.Popen[bytes]]:
    """A mark for the environment of what is to be guarded, and the guard; it ends with stdin.

    The folder of Ray's session, once it is known, is to be written to its stdin.
    """
    mark = uuid.uuid4().hex
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), mark]
    guard = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is not for the guard
        cwd="/",
    )
    return mark, guard


def marked(mark: str, folder: str, but: int) -> list[int]:
    """Processes with this mark, or with a file open in this folder, as far as can be seen."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else []:  # noqa: PTH112, PTH208
        if not name.isdigit() or int(name) in (os.getpid(), but):
            continue
        with suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                ours = wanted in file.read().split(b"\0")
            if ours or (folder and has_open(f"/proc/{name}/fd", f"{folder}/")):
                found.append(int(name))
    return found


def has_open(fds: str, start: str) -> bool:
    """Whether a process has a file open whose path starts so."""
    for fd in os.listdir(fds):  # noqa: PTH208
        with suppress(OSError):
            if os.readlink(f"{fds}/{fd}").startswith(start):  # noqa: PTH115
                return True
    return False


def main(mark: str) -> None:
    driver = os.getppid()  # may outlive its Ray: it ends by itself, or has begun anew
    said = b""
    while got := os.read(0, 4096):
        said += got
    folder = os.fsdecode(said.strip())
    time.sleep(PATIENCE_S)  # most end by themselves, and in order
    for _ in range(SWEEPS):
        if not (left := marked(mark, folder, driver)):
            return
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_AGAIN_S)


if __name__ == "__main__":
    main(sys.argv[1])
