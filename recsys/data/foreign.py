"""Files that are not tables, known by their first bytes: what each is, and what to do with it."""

from __future__ import annotations

from pathlib import PurePosixPath

_UNPACK = "unpack it and give what was in it"
_EXPORT = "save it as CSV or parquet"
_UTF8 = "save it as UTF-8"
_PICKLE = "load it where it comes from and save it as CSV or parquet"

_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"BZh", "bzip2", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (b"\x04\x22\x4d\x18", "LZ4", _UNPACK),
    (b"\x1f\x9d", "compress (.Z)", _UNPACK),
    (b"7z\xbc\xaf", "7z", _UNPACK),
    (b"Rar!", "RAR", _UNPACK),
    (b"\xff\xfe\0\0", "UTF-32 text", _UTF8),
    (b"\0\0\xfe\xff", "UTF-32 text", _UTF8),
    (b"\xff\xfe", "UTF-16 text", _UTF8),
    (b"\xfe\xff", "UTF-16 text", _UTF8),
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
    *(
        (bytes([release, order, 1, 0]), "a Stata file", _EXPORT)
        for release in (113, 114, 115)
        for order in (1, 2)
    ),
    (bytes(12) + b"\xc2\xea\x81\x60", "a SAS file", _EXPORT),
    (b"HEADER RECORD*******LIB", "a SAS transport file", _EXPORT),
    (b"$FL2", "an SPSS file", _EXPORT),
    (b"$FL3", "an SPSS file", _EXPORT),
    (b"\xff\xff\xff\xff", "an Arrow stream", _EXPORT),
    (b"PARE", "encrypted parquet", "save it without encryption"),
    (b"RDX", "R data", _EXPORT),
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "fetch it (git lfs pull)"),
    *((b"\x80" + bytes([n]), "a Python pickle", _PICKLE) for n in range(2, 6)),
)
_WEB = (b"<!doctype html", b"<html")
_TABLE = (b"<table", b"<meta", b"<style", b"<div", b"<body", b"<tr")  # as programs write .xls
_TAR_MARK, _TAR_AT = b"ustar", 257
_OFFICE = {"[Content_Types].xml": "an Excel workbook (or another Office file)"}


def foreign(head: bytes) -> str | None:
    """What a file that begins with `head` is, and what to do, if it is known not to be a table."""
    if head[_TAR_AT : _TAR_AT + len(_TAR_MARK)] == _TAR_MARK:
        return "is a tar archive: unpack it (tar xf) and give the folder or the file in it"
    for magic, name, cure in _MAGIC:
        # three ordinary letters may also begin a header: a foreign file soon has a NUL
        certain = not magic.isalpha() or len(magic) > 3 or b"\0" in head[:64] or magic == b"BZh"
        if head.startswith(magic) and certain:
            return f"is {name}: {cure} (expected UTF-8 text, parquet, gzip, xz, zip)"
    begins = head[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begins.startswith(_WEB):
        return "is a web page (HTML), perhaps about an error: fetch the file itself"
    if begins.startswith(_TABLE):
        return "is a table in HTML, whatever its name says: open it (Excel) and save it as CSV"
    if begins.startswith(b"<?xml"):
        excel = b"office:spreadsheet" in head[:2048] or b"excel" in begins
        return (
            "is an Excel workbook as XML: save its sheet as CSV" if excel else f"is XML: {_EXPORT}"
        )
    wide = _wide(head[:64])
    return None if wide is None else f"is {wide} text without a byte order mark: {_UTF8}"


def _wide(head: bytes) -> str | None:
    """UTF-32 or UTF-16, recognised by their zeros; None for other bytes."""
    for name, size in (("UTF-32", 4), ("UTF-16", 2)):
        for kept in (0, size - 1):  # the place of the letter within a character
            letters = head[kept::size]
            zeros = [head[n::size] for n in range(size) if n != kept]
            if len(head) >= 2 * size and 0 not in letters and not any(map(any, zeros)):
                return name
    return None


def foreign_zip(members: list[str]) -> str | None:
    """What a zip with these members is, and what to do, if it is known not to be data."""
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
