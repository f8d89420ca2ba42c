"""From a path to the files to read: one file, or the train, valid and test of a folder or zip.

Nothing in a zip is ever written to disk, so the paths inside it cannot escape anywhere.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from recsys.data.stream import BROKEN, Source, kind_of, problem

PARTS = ("train", "valid", "test")
_PART_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
_SUFFIXES = {".csv", ".tsv", ".txt", ".dat", ".data", ".inter", ".parquet", ".pq", ".gz", ".xz"}
_MAX_MEMBERS = 10_000


def find_sources(path: Path) -> dict[str, Source]:
    """The files behind `path`: {"all": file}, or a ready split by part ("train" is among them)."""
    shown = str(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such file"
        raise problem(f"{shown!r}: {reason}: expected a file or folder of data") from None
    if stat.S_ISDIR(mode):
        try:
            files = [_on_disk(entry) for entry in sorted(path.iterdir()) if entry.is_file()]
        except OSError as error:
            raise problem(f"{shown}: {error.strerror}") from None
        return _parts(shown, files)
    if not stat.S_ISREG(mode):
        raise problem(f"{shown}: is no regular file: expected a file or folder of data")
    source = _on_disk(path)
    if kind_of(source) != "zip":
        return {"all": source}
    return _parts(shown, _in_zip(source, path))


def _on_disk(path: Path) -> Source:
    return Source(str(path), path.stat().st_size, partial(_open_file, path))


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _in_zip(source: Source, path: Path) -> list[Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except BROKEN as error:
        raise source.error(f"is a damaged zip: {error}") from None
    if len(members) > _MAX_MEMBERS:
        raise source.error(f"holds {len(members)} files: expected train, valid and test")
    return [
        Source(f"{path}/{info.filename}", info.compress_size, partial(_open_member, path, info))
        for info in members
        if not info.filename.startswith("__MACOSX/")
    ]


def _open_member(path: Path, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("it is not packed with deflate")
    if info.flag_bits & 1:
        raise NotImplementedError("it is encrypted")
    # the member keeps the shared file open after the archive object is closed
    with zipfile.ZipFile(path) as archive:
        return archive.open(info)


def _part_of(name: str) -> str | None:
    """Which part of a ready split a file name stands for: `train.tsv.gz`, `ml.train.inter`."""
    path = PurePosixPath(name)
    stem = path.name.lower()
    while (suffix := PurePosixPath(stem).suffix) in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    return _PART_NAMES.get(stem.rpartition(".")[2])


def _parts(label: str, sources: Iterable[Source]) -> dict[str, Source]:
    visible = [s for s in sources if not PurePosixPath(s.label).name.startswith(".")]
    found: dict[str, Source] = {}
    for source in visible:
        part = _part_of(source.label)
        if part in found:
            first, second = PurePosixPath(found[part].label).name, PurePosixPath(source.label).name
            raise problem(f"{label}: has two {part} files, {first} and {second}: expected one")
        if part is not None:
            found[part] = source
    if "train" in found:
        return {part: found[part] for part in PARTS if part in found}
    if found or len(visible) != 1:
        names = ", ".join(PurePosixPath(s.label).name for s in visible[:8]) or "nothing"
        raise problem(f"{label}: holds {names}: expected train, test and perhaps valid files")
    return {"all": visible[0]}
