"""From a path to the files to read: a table, in one file or many, or a ready split of them.

| what is there | what is read |
|---|---|
| a file | that table |
| train, valid, test as files, as folders, or as `train-00000-of-00002` | a ready split |
| one `.inter` file | the interactions of a RecBole folder |
| one `u.data`, `ratings.*`, `interactions.*` among others | a data set as it is downloaded |
| `part-00000-...`, `2023-01.csv` `2023-02.csv`, `year=2023/part-0.parquet` | one table in parts |
| a single table, or a single one with users and items | that table, whatever lies beside it |

The same holds for nested folders and for a zip. Names that begin with a dot or an underscore,
checksums and `__MACOSX` are ignored. Nothing in a zip is ever written to disk, so the paths inside
it can do no harm.
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote

from recsys.data.foreign import foreign_zip
from recsys.data.formats import find_format
from recsys.data.layout import Head
from recsys.data.stream import BROKEN, Source, kind_of, problem, shown
from recsys.errors import InputError

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
_WORDS = _PART_NAMES | {"base": "train"}  # MovieLens has u1.base
_NEGATIVES = re.compile(r"(?<![a-z])neg(ative)?s?(?![a-z])")  # items to rank with a test item
_TABLES = {
    *(".csv", ".tsv", ".txt", ".dat", ".data", ".inter", ".parquet", ".pq", ".json", ".jsonl"),
    *(".ndjson", ".base"),
}
_PACKED = {".gz", ".xz", ".snappy", ".zip"}
_SUFFIXES = _TABLES | _PACKED
_MAIN = re.compile(r"u\.data|(ratings|interactions)(\.[a-z]+)+")
_SAMPLE = re.compile(r"sample_?submission", re.IGNORECASE)
_TEXTS = re.compile(r"(readme|licen[cs]e|changelog|citation|summary|about)\b.*", re.IGNORECASE)
_PIECE = re.compile(r"part[-_.].*")
_SHARD = re.compile(r"[-_.]\d+(-of-\d+)?$")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_ADDRESS = re.compile(r"(\w{2,}):/+")  # in a path, which keeps only one slash
_MAX_MEMBERS, _MAX_DEPTH = 10_000, 8
_MAX_LOOK = 50  # tables whose header is read to find the one with users and items


@dataclass(frozen=True)
class FoundFiles:
    """The files to read. parts: {"all": files}, or the parts of a ready split, with "train".

    receivers: a file that may have the users of the submission. notes: lines on what was chosen.
    """

    parts: dict[str, list[Source]]
    receivers: Source | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Entry:
    """A file, and its place in the folder or zip."""

    place: PurePosixPath
    source: Source
    size: int  # bytes, unpacked

    @property
    def name(self) -> str:
        return self.place.name

    def below(self) -> _Entry:
        return replace(self, place=PurePosixPath(*self.place.parts[1:]))


def find_sources(path: Path, columns: Mapping[str, str] | None = None) -> FoundFiles:
    """The files to read for `path`. Raises InputError, which says what is there and what was
    expected.

    columns: as for `load`; they show which of several tables has users and items.
    """
    label = str(path)
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such file"
        if (address := _ADDRESS.match(label)) is not None:
            label = f"{address[1]}://{label[address.end() :]}"
            raise problem(
                f"{label!r} is an address, not a path: download it first, and give the path of the "
                "file"
            ) from None
        raise problem(f"{label!r}: {reason}: expected a file or folder of data") from None
    if stat.S_ISDIR(mode):
        return _choose(label, _in_folder(path), columns)
    if not stat.S_ISREG(mode):
        raise problem(f"{label}: is not a regular file: expected a file or folder of data")
    source = source_of(path)
    if kind_of(source) != "zip":
        return FoundFiles({"all": [source]})
    return _choose(label, _in_zip(source, path), columns)


def source_of(path: Path) -> Source:
    """A file on disk."""
    return Source(str(path), path.stat().st_size, partial(_open_file, path))


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _in_folder(path: Path) -> list[_Entry]:
    found: list[_Entry] = []
    walked: set[tuple[int, int]] = set()  # a link may lead back, or to a folder that is read too

    def walk(folder: Path, place: PurePosixPath) -> None:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in walked:
            return
        walked.add((status.st_dev, status.st_ino))
        for entry in sorted(folder.iterdir()):
            own = place / entry.name
            if _passed_over(own):
                continue
            if entry.is_dir():
                if len(own.parts) <= _MAX_DEPTH:
                    walk(entry, own)
            elif entry.is_file():
                source = source_of(entry)
                found.append(_Entry(own, source, source.size))
                if len(found) > _MAX_MEMBERS:
                    raise problem(f"{path}: holds more than {_MAX_MEMBERS} files: expected fewer")

    try:
        if (path / "_delta_log").is_dir():
            raise problem(
                f"{path}: is a Delta table, whose log says which files count: write it as "
                "plain parquet files first"
            )
        walk(path, PurePosixPath())
    except OSError as error:
        raise problem(f"{error.filename or path}: {error.strerror}") from None
    return found


def _in_zip(source: Source, path: Path) -> list[_Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if not info.is_dir()]
    except BROKEN as error:
        raise source.error(f"is a damaged zip: {error}") from None
    if len(members) > _MAX_MEMBERS:
        raise source.error(f"holds {len(members)} files: expected train, valid and test")
    what = foreign_zip([info.filename for info in members])
    if what is not None:
        raise source.error(what)
    found = []
    for info in members:
        name = info.filename.replace("\\", "/")  # which some programs on Windows write
        place = PurePosixPath(name.lstrip("/"))
        if not name.endswith("/") and not _passed_over(place):
            opened = partial(_open_member, path, info)
            member = Source(f"{path}/{info.filename}", info.compress_size, opened)
            found.append(_Entry(place, member, info.file_size))
    return found


def _open_member(path: Path, info: zipfile.ZipInfo) -> IO[bytes]:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError(
            "it is packed by another method than deflate: unpack the zip and give the folder"
        )
    if info.flag_bits & 1:
        raise NotImplementedError("it is encrypted: unpack the zip and give the folder")
    # the member keeps the shared file open after the archive object is closed
    with zipfile.ZipFile(path) as archive:
        return archive.open(info)


def _passed_over(place: PurePosixPath) -> bool:
    """Whether a file or folder is ignored: hidden, left by a program, a checksum."""
    for part in place.parts:
        if part.startswith(".") and part not in ("..", "."):
            return True
        if part.startswith("_") and not set(PurePosixPath(part).suffixes) & _TABLES:
            return True
    return place.name.lower().endswith((".crc", ".md5", ".sha256", "thumbs.db", "desktop.ini"))


def _stem(name: str) -> str:
    """`name` in lower case, without the endings of tables and compressed files."""
    stem = name.lower()
    while (suffix := PurePosixPath(stem).suffix) in _SUFFIXES:
        stem = stem.removesuffix(suffix)
    return stem


def _part_of(name: str) -> str | None:
    """The part of a ready split that a file is by its name: `train.tsv.gz`, `ml.train.inter`."""
    return _PART_NAMES.get(_stem(name).rpartition(".")[2])


def _choose(label: str, entries: list[_Entry], columns: Mapping[str, str] | None) -> FoundFiles:
    texts = [e for e in entries if _TEXTS.match(e.name)]
    rest = _unnested([e for e in entries if e not in texts])
    if not texts and len(rest) == 1 and _part_of(rest[0].name) in (None, "train"):
        (only,) = rest
        on_disk = Path(only.source.label)
        if kind_of(only.source) == "zip" and on_disk.is_file():
            return find_sources(on_disk, columns)
        return FoundFiles({"all": _parted([only])})
    samples = [e for e in rest if _SAMPLE.match(e.name)]
    rest = [e for e in rest if e not in samples]
    receivers = samples[0].source if len(samples) == 1 else None
    parts = _split(label, rest)
    if "train" in parts:
        unread = _left_out([*rest, *(samples if receivers is None else [])], parts)
        return FoundFiles(parts, receivers, unread)
    tables = [e for e in rest if _is_table(e)]
    if not parts and _are_shards(tables):
        whole = _parted(tables)
        note = f"{len(whole)} files are read as the parts of one table"
        if len(whole) == 1:
            note = f"one file of {len(tables)} is read"
        if empty := len(tables) - len(whole):
            note += f"; {empty} without rows {'is' if empty == 1 else 'are'} left out"
        return FoundFiles({"all": whole}, receivers, (note,))
    inters = [e for e in tables if PurePosixPath(_unpacked(e.name)).suffix == ".inter"]
    mains = [e for e in tables if _MAIN.fullmatch(_unpacked(e.name).lower())]
    if parts or len(tables) > _MAX_LOOK:
        tables = []
    both = tables if len(tables) == 1 else [e for e in tables if _has_both(e.source, columns)]
    for few in (inters, mains, both):
        if len(few) == 1:
            note = f"of {len(entries)} files only {few[0].name} is read"
            return FoundFiles({"all": _parted(few)}, receivers, (note,))
    if (cure := _renaming(rest)) is not None:
        raise problem(f"{label}: {_holds(entries)}: {cure}")
    if len(rest) > 1 and not any(map(_is_table, rest)):
        endings = " ".join(sorted(_TABLES - {".base", ".data", ".pq"}))
        raise problem(
            f"{label}: {_holds(entries)}: none has the ending of a table ({endings}): put the "
            "pieces of one together (cat), or rename them to part-1.csv and so on, or give the "
            "path of one"
        )
    raise problem(
        f"{label}: {_holds(entries)}: expected train, test and perhaps valid files, or "
        "one table; give the path of the file that has the interactions"
    )


def _renaming(entries: list[_Entry]) -> str | None:
    """What to do with files whose names tell train from test, but not as those of a ready split."""
    said: dict[str, list[str]] = {}
    for entry in entries:
        if (part := _said_part(entry)) is not None and not _NEGATIVES.search(entry.name.lower()):
            said.setdefault(part, []).append(str(entry.place))
    if not {"train"} < said.keys():
        return None
    if any(len(names) > 1 for names in said.values()):
        return "the names tell train from test: put one of each in a folder, as train.csv, test.csv"
    renamed = " and ".join(
        f"{shown(said[part][0])[1:-1]} to {part}{_ending(said[part][0])}"
        for part in PARTS
        if part in said
    )
    return (
        f"the names tell train from test: rename {renamed} (whatever is in them), or give the "
        "path of one alone"
    )


def _ending(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in _SUFFIXES else ".csv"


def _said_part(entry: _Entry) -> str | None:
    """The part of a split that a word in the name of a file or of its folders means, if any."""
    for name in reversed(entry.place.parts):
        for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name):
            if (part := _WORDS.get(word.lower())) is not None:
                return part
    return None


def _left_out(entries: list[_Entry], parts: Mapping[str, list[Source]]) -> tuple[str, ...]:
    """A note on tables that are not among the parts, if there are any."""
    taken = {source.label for sources in parts.values() for source in sources}
    rest = [e for e in entries if _is_table(e) and e.size and e.source.label not in taken]
    return (f"not read: {_listed(rest)}",) if rest else ()


def _unpacked(name: str) -> str:
    while PurePosixPath(name).suffix.lower() in _PACKED:
        name = name[: -len(PurePosixPath(name).suffix)]
    return name


def _unnested(entries: list[_Entry]) -> list[_Entry]:
    """The same files, with places in the innermost folder that contains all of them."""
    while len({e.place.parts[0] for e in entries}) == 1 and all(
        len(e.place.parts) > 1 and "=" not in e.place.parts[0] for e in entries
    ):
        top = entries[0].place.parts[0]
        if _part_of(top) == "train" and not any(_part_of(e.name) for e in entries):
            break
        entries = [e.below() for e in entries]
    return entries


def _split(label: str, entries: list[_Entry]) -> dict[str, list[Source]]:
    """The files of each part, by their names or those of the folders they are in."""
    found: dict[str, dict[str, list[_Entry]]] = {}
    for entry in entries:
        top = entry.place.parts[0]
        own = top if len(entry.place.parts) > 1 else _SHARD.sub("", _stem(top))
        part = _part_of(own)
        if part is None and len(entry.place.parts) > 1 and not _nested_table(entries):
            part = _part_of(entry.name)
        if part is not None:
            what = own if len(entry.place.parts) > 1 or own != _stem(top) else top
            found.setdefault(part, {}).setdefault(what, []).append(entry)
    for part, kinds in found.items():
        if len(kinds) > 1 and "train" in found:
            first, second = list(kinds)[:2]
            raise problem(f"{label}: has two {part} files, {first} and {second}: expected one")
    return {part: _parted(next(iter(found[part].values()))) for part in PARTS if part in found}


def _is_table(entry: _Entry) -> bool:
    return bool(set(PurePosixPath(entry.name.lower()).suffixes) & _TABLES)


def _has_both(source: Source, columns: Mapping[str, str] | None) -> bool:
    """Whether a table has users and items, by its header or its cells."""
    try:
        _, table = find_format(Head(source, columns))
        table.check()
    except InputError:
        return False
    return True


def _nested_table(entries: Sequence[_Entry]) -> bool:
    return any("=" in part for e in entries for part in e.place.parts[:-1])


def _parted(entries: list[_Entry]) -> list[Source]:
    """The sources of a table, in order, with the columns in the names of their folders."""
    tables = [e for e in entries if _is_table(e)] or entries
    full = [e for e in tables if e.size] or tables  # an empty part has no rows
    return [replace(e.source, constants=_partitions(e.place)) for e in full]


def _partitions(place: PurePosixPath) -> tuple[tuple[str, str], ...]:
    """The columns that the folders `key=value` around a file give to all of its rows."""
    pairs = [part.partition("=") for part in place.parts[:-1] if "=" in part]
    return tuple(
        (unquote(key), "" if value == _NO_PARTITION else unquote(value)) for key, _, value in pairs
    )


def _are_shards(entries: list[_Entry]) -> bool:
    """Whether files are numbered parts of one table."""
    if len(entries) < 2:
        return False
    if {"train"} < {_said_part(e) for e in entries} - {None}:  # train and test: not one table
        return False
    kinds = {_numberless(e) for e in entries}
    return len(kinds) == 1 and "fold" not in next(iter(kinds))


def _numberless(entry: _Entry) -> str:
    """The name of a file without the number that distinguishes it from other parts."""
    folders = [re.sub(r"=.*", "=", part) for part in entry.place.parts[:-1]]
    name = _UUID.sub("#", entry.name.lower())
    if any("=" in part for part in folders) or _PIECE.match(name):
        name = "".join(PurePosixPath(_unpacked(name)).suffixes[-1:])
    return "/".join([*folders, re.sub(r"\d+", "#", name)])


def _holds(entries: list[_Entry]) -> str:
    return f"holds {_listed(entries)}" if entries else "holds nothing that could be read"


def _listed(entries: list[_Entry]) -> str:
    names = [str(e.place) for e in entries]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(shown(name)[1:-1] for name in names[:8]) + more
