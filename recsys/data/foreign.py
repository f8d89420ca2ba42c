"""Files that are not tables, known by their first bytes: what each is, and what to do with it."""

from __future__ import annotations

from pathlib import PurePosixPath

_UNPACK = "unpack it and give what was in it"
_EXPORT = "save it as CSV or parquet"
_UTF16 = "save it as UTF-8"
_PICKLE = "load it where it comes from and save it as CSV or parquet"

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"BZh", "bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (b"\x04\x22\x4d\x18", "LZ4", _UNPACK),
    (b"\x1f\x9d", "compress (.Z)", _UNPACK),
    (b"7z\xbc\xaf", "7z", _UNPACK),
    (b"Rar!", "RAR", _UNPACK),
    (b"\xff\xfe", "UTF-16 text", _UTF16),
    (b"\xfe\xff", "UTF-16 text", _UTF16),
    (b"%PDF", "PDF", _EXPORT),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save its sheet as CSV"),
    (b"\x89HDF", "HDF5", _EXPORT),
    (b"CDF\x01", "NetCDF", _EXPORT),
    (b"SQLite format 3", "an SQLite database", "export its table of interactions as CSV"),
    (b"ARROW1", "Feather (Arrow)", _EXPORT),
    (b"FEA1", "Feather", _EXPORT),
    (b"ORC", "ORC", _EXPORT),
    (b"Obj\x01", "Avro", _EXPORT),
    (b"\x93NUMPY", "a NumPy array", _EXPORT),
    (b"MATLAB 5.0", "a MATLAB file", _EXPORT),
    (b"<stata_dta>", "a Stata file", _EXPORT),
    (b"RDX", "R data", _EXPORT),
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "fetch it (git lfs pull)"),
    *((b"\x80" + bytes([n]), "a Python pickle", _PICKLE) for n in range(2, 6)),
)
_WEB = (b"<!doctype html", b"<html")
_TAR_MARK, _TAR_AT = b"ustar", 257
_OFFICE = {"[Content_Types].xml": "an Excel workbook (or another Office file)"}


def foreign(head: bytes) -> str | None:
    """What a file that begins with `head` is and what to do, if it is known not to be a table."""
    if head[_TAR_AT : _TAR_AT + len(_TAR_MARK)] == _TAR_MARK:
        return "is a tar archive: unpack it (tar xf) and give the folder or the file in it"
    for magic, name, cure in _MAGIC:
        # three plain letters may also begin a header: a foreign file has a NUL soon
        certain = not magic.isalpha() or len(magic) > 3 or b"\0" in head[:64] or magic == b"BZh"
        if head.startswith(magic) and certain:
            return f"is {name}: {cure} (expected UTF-8 text, parquet, gzip, xz, zip)"
    if head[:64].lstrip().lower().startswith(_WEB):
        return "is a web page (HTML): fetch the file itself, this may be a page about an error"
    return None


def foreign_zip(members: list[str]) -> str | None:
    """The same for a zip with these files in it."""
    for name, what in _OFFICE.items():
        if name in members:
            return f"is {what}: save its sheet as CSV"
    if "content.xml" in members and "mimetype" in members:
        return "is an OpenDocument file: save its sheet as CSV"
    if members and all(name.endswith(".npy") for name in members):
        return "is a NumPy archive: save the interactions as CSV or parquet"
    if any(PurePosixPath(name).name == "data.pkl" for name in members):
        return "is a PyTorch file: save the interactions as CSV or parquet"
    return None
