"""A program of its own, which `jobs.py` runs on the head: writes a run folder to stdout.

Nothing of the project is imported here, since the head need not have it. Only text comes back from
the head, namely what a job prints: lines of base64, and then one of JSON with their number and the
SHA-256 of the archive that they make, or with what is wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

JOURNAL = "journal.jsonl"
LINE = 48 << 10  # bytes of the archive in a line; a multiple of three
LIMIT = 256 << 20  # bytes: dashboard and client hold all of it in memory, several times


def pack(folder: Path, archive: Any) -> None:
    """Write a zip archive of all files of `folder` to the file object `archive`. A file that
    vanishes meanwhile is left out.

    The journal comes last, so that all files that it mentions are in the archive.
    """
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    with zipfile.ZipFile(
        archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1, strict_timestamps=False
    ) as target:
        for path in sorted(files, key=lambda path: (path.name == JOURNAL, path)):
            with suppress(FileNotFoundError):
                target.write(path, path.relative_to(folder))


def lines(folder: Path, limit: int = LIMIT) -> Iterator[str]:
    """The lines to print for a run folder. limit: the most bytes of an archive."""
    if not folder.is_absolute():
        yield json.dumps({"error": "expected the absolute path of a run folder on the head"})
        return
    try:
        if not (folder / JOURNAL).is_file():
            yield json.dumps({"error": f"no run there: expected a folder with a {JOURNAL}"})
            return
        with tempfile.TemporaryFile() as archive:
            pack(folder, archive)
            if (size := archive.tell()) > limit:
                why = f"{size >> 20} MB, at most {limit >> 20} MB can be fetched: copy it instead"
                yield json.dumps({"error": why})
                return
            archive.seek(0)
            count, digest = 0, hashlib.sha256()
            while part := archive.read(LINE):
                digest.update(part)
                count += 1
                yield base64.b64encode(part).decode()
    except OSError as error:
        yield json.dumps({"error": f"{error.filename or folder}: {error.strerror}"})
        return
    yield json.dumps({"lines": count, "sha256": digest.hexdigest()})


if __name__ == "__main__":
    for line in lines(Path(sys.argv[1])):
        sys.stdout.write(line + "\n")
