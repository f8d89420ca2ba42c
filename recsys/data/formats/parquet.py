"""Reading parquet: row groups in batches, with the rules of text for ids, ratings and times."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.cells import BadCellError
from recsys.data.formats.base import Format
from recsys.data.layout import Head
from recsys.data.names import COMMON, ROLES, find_columns, normal
from recsys.data.rows import Rows
from recsys.data.stream import BROKEN, FREE_GROWTH, MAX_GROWTH, Source, shown
from recsys.data.typed import add_batch
from recsys.errors import InputError

_BATCH = 1 << 19
_ROWS_A_BYTE = 64  # no table of distinct pairs can be compressed further than this


def _find(head: Head) -> ParquetTable | None:
    return ParquetTable(head.source, head.columns) if head.kind == "parquet" else None


@dataclass(frozen=True)
class ParquetTable:
    """A parquet file. columns: names by role, as the user gave them."""

    source: Source
    columns: Mapping[str, str] | None

    def check(self) -> None:
        """Check that its schema has users and items."""
        find_columns(self.source, stored_names(self.source), self.columns)

    def read(self, rows: Rows) -> Mapping[str, str]:
        """Append every row to `rows`; returns the column of each role."""
        return read_parquet(self.source, self.columns, rows)


def read_parquet(
    source: Source, columns: Mapping[str, str] | None, rows: Rows
) -> Mapping[str, str]:
    """Append every row of `source` to `rows`; returns the names of the columns by role.

    columns: as for `load`. Raises InputError, which names the row (from 1) and the column.
    """
    try:
        with source.open_in_arrow() as raw:
            file = pq.ParquetFile(raw)
            _check_claims(source, file)
            stored = tuple(file.schema_arrow.names)
            constants = _needed_constants(source, stored, columns)
            names = (*stored, *constants)
            found = find_columns(source, names, columns, rated=rows.min_rating is not None)
            rows.begin_columns(found, names)
            said = (name for name, _ in source.constants if name not in names)
            rows.unused.update(dict.fromkeys(said))
            wanted = {role: names[at] for role, at in found.columns.items()}
            doubled = [name for name in wanted.values() if names.count(name) > 1]
            if doubled:
                raise source.error(f"has two columns {shown(doubled[0])}: expected unique names")
            if file.metadata.num_rows == 0:
                raise source.no_rows("has no rows")
            seen = 0
            for batch in file.iter_batches(
                _BATCH, columns=[name for name in wanted.values() if name in stored]
            ):
                cells = {
                    role: batch.column(name)
                    if name in stored
                    else pa.repeat(constants[name], batch.num_rows)
                    for role, name in wanted.items()
                }
                try:
                    add_batch(cells, rows)
                except BadCellError as error:
                    row = "" if error.row is None else f"row {seen + error.row + 1}, "
                    name = wanted[error.role]
                    raise source.error(f"{row}column {name}: {error.role} {error.what}") from None
                seen += batch.num_rows
            return wanted
    except InputError:
        raise
    except (pa.ArrowException, MemoryError, *BROKEN) as error:
        detail = " ".join(str(error).split())[:200]
        raise source.error(f"cannot be read as parquet: {detail}") from None


def parquet_ids(source: Source, names: Sequence[str]) -> Iterator[tuple[int, Any, Any]]:
    """(row from 1, user, item) of every row, with values of any type. names: of their columns."""
    with source.open_in_arrow() as raw:
        file = pq.ParquetFile(raw)
        if not set(names) <= set(file.schema_arrow.names):
            return  # a column comes from the names of folders
        rows = itertools.count(1)
        for batch in file.iter_batches(_BATCH, columns=list(names)):
            users, items = (batch.column(name).to_pylist() for name in names)
            for user, item in zip(users, items, strict=True):
                yield next(rows), _text(user), _text(item)


def _text(cell: Any) -> Any:
    return cell.decode(errors="replace") if isinstance(cell, bytes) else cell


def stored_names(source: Source) -> list[str]:
    """The names of the columns of a parquet file. Raises InputError if it is damaged."""
    try:
        with source.open_in_arrow() as raw:
            return list(pq.ParquetFile(raw).schema_arrow.names)
    except (pa.ArrowException, *BROKEN) as error:
        detail = " ".join(str(error).split())[:200]
        raise source.error(f"cannot be read as parquet: {detail}") from None


def _needed_constants(
    source: Source, stored: Sequence[str], columns: Mapping[str, str] | None
) -> dict[str, str]:
    """The columns in the names of folders that have roles which no stored column has."""
    wanted = set((columns or {}).values())
    there = {role for role in ROLES if any(normal(name) in COMMON[role] for name in stored)}
    there |= set(columns or {})
    return {
        name: value
        for name, value in source.constants
        if name not in stored
        and (
            name in wanted
            or any(normal(name) in COMMON[role] for role in ROLES if role not in there)
        )
    }


def _check_claims(source: Source, file: pq.ParquetFile) -> None:
    meta = file.metadata
    size = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
    if size > MAX_GROWTH * source.size + FREE_GROWTH or size < 0:
        raise source.error(f"claims {size} bytes of data in {source.size}: expected less")
    if meta.num_rows > _ROWS_A_BYTE * source.size:
        raise source.error(f"claims {meta.num_rows} rows in {source.size} bytes: expected fewer")


PARQUET = Format(
    "parquet",
    "parquet",
    "names of its columns; `year=2023/` among the folders is a column too",
    _find,
    folders=True,
)
