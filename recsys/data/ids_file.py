"""Files with only ids: users to recommend to, items that may or must not be recommended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.doubts import missing_among
from recsys.data.files import source_of
from recsys.data.layout import lines_of
from recsys.data.names import COMMON, normal
from recsys.data.stream import BROKEN, Source, TextStream, kind_of, shown
from recsys.data.users_file import cell_at, filled_rows
from recsys.errors import InputError

_OTHER = {"user": None, "item": "user"}  # a column which shows that the file is something else
_SEPARATORS = "\t,;|"


@dataclass(frozen=True)
class IdList:
    """The ids of a file, each once, as text. headed: whether a header says what they are. repeated:
    the number of rows with an id that came before.
    """

    names: list[str]
    headed: bool
    repeated: int = 0


def read_ids(path: Path, role: str) -> IdList:
    """The ids of `role` ("user" or "item") in a file, as text, in its order, each once.

    The file is CSV, TSV or parquet, and either has a column with a common name of the role (a
    sample submission, a list of products), or a single column, with such a header or none. Raises
    InputError for anything else, for a file of items that also has users (it would be a table of
    pairs), for an empty id or a missing value, and for a file without rows.
    """
    if not path.is_file():
        other = "not a regular file" if path.exists() else "there is no such file"
        raise InputError(f"{path}: {'is a folder' if path.is_dir() else other}")
    source = source_of(path)
    kind = kind_of(source)
    if kind == "zip":
        raise source.error(f"is a zip: expected one file of {role} ids, CSV or parquet")
    ids, headed = (_of_parquet if kind == "parquet" else _of_text)(source, role)
    if not ids:
        raise source.error(f"has no rows: expected {role} ids")
    if "" in ids:
        raise source.error(f"{role} {ids.index('') + 1} is empty: expected an id in every row")
    distinct = list(dict.fromkeys(ids))
    if (missing := missing_among(distinct)) is not None:
        raise source.error(
            f"{role} {ids.index(missing) + 1} is {shown(missing)}, a missing value: expected an id"
        )
    return IdList(distinct, headed, len(ids) - len(distinct))


def _place(source: Source, names: list[str], role: str) -> int | None:
    """The place of the column of `role` among `names`; None for a single column without a name."""
    clean = [normal(name.strip().removesuffix(":token")) for name in names]
    found = [n for n, name in enumerate(clean) if name in COMMON[role]]
    if (other := _OTHER[role]) is not None and any(name in COMMON[other] for name in clean):
        raise source.error(
            f"has a column of {other}s too: expected only {role} ids, which apply to every user"
        )
    if len(found) == 1:
        return found[0]
    if len(names) == 1:
        return None
    what = f"{len(found)} columns" if found else "no column"
    raise source.error(
        f"has {what} of {role}s among {', '.join(map(shown, names[:6]))}: expected one, such as "
        f"{role}_id, or a single column"
    )


def _of_parquet(source: Source, role: str) -> tuple[list[str], bool]:
    try:
        with source.open_in_arrow() as raw:
            file = pq.ParquetFile(raw)
            names = list(file.schema_arrow.names)
            column = file.read([names[_place(source, names, role) or 0]], use_threads=False)
            ids = column.column(0)
            if pa.types.is_dictionary(ids.type):
                ids = ids.cast(ids.type.value_type)
            return [(text or "").strip() for text in pc.cast(ids, pa.string()).to_pylist()], True
    except InputError:
        raise
    except (pa.ArrowException, *BROKEN):
        raise source.error(f"cannot be read: expected parquet with {role} ids") from None


def _of_text(source: Source, role: str) -> tuple[list[str], bool]:
    with TextStream(source) as stream:
        try:
            text = stream.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise source.error("is not UTF-8 text: save it as UTF-8") from None
    first = next((line for line in lines_of(text) if line.strip()), "")
    separator = max(_SEPARATORS, key=lambda mark: (first.count(mark), -_SEPARATORS.index(mark)))
    rows = filled_rows(source, text, separator)
    header = next(rows, [])
    at = _place(source, header, role)
    ids = [] if at is not None else [cell_at(header, 0)]
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            wanted = "only an id" if len(header) == 1 else f"{len(header)}, as in the first"
            raise source.error(f"row {number} has {len(row)} cells: expected {wanted}")
        ids.append(cell_at(row, at or 0))
    return ids, at is not None
