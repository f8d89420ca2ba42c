"""The guard of a Ray that a driver started: when the driver is gone, so is all of that Ray.

A driver that is killed takes Ray's servers with it, but Ray's agents stay for another minute,
trying to report the loss to a server that is lost too. This runs as a process of its own, with
the standard library alone: it waits until its stdin ends, which no death of the driver can
prevent, and then kills what carries the driver's mark in its environment, or has a file open in
the folder of Ray's session (a process that changes its title may overwrite its environment).

A driver that ended in order has dismissed its guard. For one that had no time to (`kill -9`, the
kernel short of memory, Ray's own code, which ends a process that finds its object store gone
without a word) the guard says how to go on.
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
DISMISSED = b"\0"
SWEEPS = 6  # a process may be started while another one is being killed


class Guard:
    """The guard of the Ray that is about to be started; `mark` goes into its environment."""

    def __init__(self, last_words: str) -> None:
        """`last_words` are said on stderr if this process dies without `dismiss`."""
        self.mark = uuid.uuid4().hex
        script = str(Path(__file__).resolve())
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, self.mark, last_words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C is not for the guard
            cwd="/",
        )

    def watch_session(self, folder: str) -> None:
        """The folder of Ray's session, once it is known."""
        self._tell(os.fsencode(folder))

    def dismiss(self) -> None:
        """From here on the end of this process is its own doing."""
        self._tell(DISMISSED)

    def close(self) -> None:
        """Let it sweep and end now."""
        self.dismiss()
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _tell(self, words: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # gone, or closed: there is nobody to tell
            os.write(self._process.stdin.fileno(), words)


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


def say(words: str) -> None:
    """On the driver's terminal, or where its errors go."""
    with suppress(OSError):
        shown = "\x1b[?25h\n" if os.isatty(2) else ""  # the live display had hidden the cursor
        os.write(2, f"{shown}{words}\n".encode(errors="replace"))


def main(mark: str, last_words: str) -> None:
    driver = os.getppid()  # may outlive its Ray: it ends by itself, or has begun anew
    said = b""
    while got := os.read(0, 4096):
        said += got
    folder, dismissed, _ = said.partition(DISMISSED)
    if not dismissed and last_words:
        say(last_words)
    os.close(2)  # whoever reads the driver's errors to their end need not wait for the sweep
    time.sleep(PATIENCE_S)  # most end by themselves, and in order
    for _ in range(SWEEPS):
        if not (left := marked(mark, os.fsdecode(folder.strip()), driver)):
            return
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(LOOK_AGAIN_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
