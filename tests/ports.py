"""Ports for the servers that tests start: no two tests, of whatever checkout, get the same one."""

from __future__ import annotations

import os
import random
import socket
import tempfile
from pathlib import Path

from recsys.safe_files import try_lock

# Below those that the kernel gives to connections, above those of Ray's workers.
FIRST, LAST = 20_000, 32_000

_held: list[int] = []  # locks of this process, kept until it ends


def free_port() -> int:
    """A port of 127.0.0.1 with nobody on it, this process's own as long as it lives.

    A port that was bound and closed again may be anybody's by the time that a server binds it.
    """
    folder = Path(tempfile.gettempdir()) / f"recsearch-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        port = random.SystemRandom().randrange(FIRST, LAST)
        fd = try_lock(folder / str(port))
        if fd is None:
            continue
        try:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(fd)
            continue
        _held.append(fd)
        return port
