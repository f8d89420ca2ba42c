"""`--storage`: where Ray Tune keeps its records, checked before anything starts.

A place on this machine is tried by writing there. Another file system (s3://, gs://) is tried by a
separate process, which can be given up: its libraries may wait for minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from recsys.errors import ConfigError

PATIENCE_S = 30.0
EXPECTED = "expected a folder, or a URI such as s3://bucket/folder, that every machine can write to"

# Writes a file where the run will write, and deletes it; the last line says what went wrong.
_TRY = """
import sys, uuid
from pyarrow import fs
try:
    system, path = fs.FileSystem.from_uri(sys.argv[1])
    system.create_dir(path)
    probe = f"{path}/.recsearch-{uuid.uuid4().hex}"
    with system.open_output_stream(probe) as file:
        file.write(b"probe")
    system.delete_file(probe)
except Exception as error:
    print(" ".join(str(error).split())[:300] or type(error).__name__)
    sys.exit(1)
"""


def resolve_storage(storage: str) -> str:
    """A folder of this machine, also with `~` or file://, as an absolute path; other URIs as given.

    Raises ConfigError for anything else.
    """
    if not storage.strip():
        raise ConfigError(f"--storage {storage!r}: {EXPECTED}")
    if "://" not in storage:
        return str(Path(storage).expanduser().absolute())
    parts = urlsplit(storage)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise ConfigError(f"--storage {storage}: expected file:///absolute/path")
        return unquote(parts.path)
    return storage


def is_local(storage: str) -> bool:
    """Whether a resolved storage is a folder of this machine."""
    return "://" not in storage


def check_storage(storage: str, patience_s: float = PATIENCE_S) -> None:
    """Write a little there. patience_s: seconds to wait for another file system. Raises ConfigError
    where it fails.
    """
    if is_local(storage):
        try:
            Path(storage).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=storage) as file:
                file.write(b"probe")
                file.flush()
        except OSError as error:
            where = os.fsdecode(error.filename) if error.filename else storage
            why = error.strerror or type(error).__name__
            at = "" if where.startswith(f"{storage}/") or where == storage else f" at {where}"
            raise ConfigError(f"--storage {storage}: cannot be written ({why}{at})") from None
        return
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _TRY, storage],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience_s,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"--storage {storage}: no answer within {patience_s:.0f} s: {EXPECTED}"
        ) from None
    if done.returncode:
        why = (done.stdout.strip().splitlines() or ["the check itself failed"])[-1]
        raise ConfigError(f"--storage {storage}: {why}: {EXPECTED}")
