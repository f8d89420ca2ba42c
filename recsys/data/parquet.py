"""Reading parquet: row groups in batches, with the same rules for ids, ratings and times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.data.cells import BadCellError
from recsys.data.names import COMMON, ROLES, find_columns, normal
from recsys.data.rows import Rows
from recsys.data.stream import BROKEN, FREE_GROWTH, MAX_GROWTH, Source, shown
from recsys.errors import InputError

_BATCH = 1 << 19
_ROWS_A_BYTE = 64  # no table of distinct pairs packs tighter than this


def read_parquet(
    source: Source, columns: Mapping[str, str] | None, rows: Rows
) -> Mapping[str, str]:
    """Append every row of `source` to `rows`; `InputError` names the row (from 1) and column.

    Returns the names of the columns by role.
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
                    _add(cells, rows)
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


def stored_names(source: Source) -> list[str]:
    """The names of the columns of a parquet file; `InputError` if it is damaged."""
    try:
        with source.open_in_arrow() as raw:
            return list(pq.ParquetFile(raw).schema_arrow.names)
    except (pa.ArrowException, *BROKEN) as error:
        detail = " ".join(str(error).split())[:200]
        raise source.error(f"cannot be read as parquet: {detail}") from None


def _needed_constants(
    source: Source, stored: Sequence[str], columns: Mapping[str, str] | None
) -> dict[str, str]:
    """The columns that the names of folders add, for roles that no stored column has."""
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


def _add(cells: Mapping[str, pa.Array], rows: Rows) -> None:
    if not _is_list(cells["item"].type):
        _add_pairs(cells, rows)
        return
    _no_nulls("item", cells["item"])
    counts = pc.list_value_length(cells["item"]).to_numpy(zero_copy_only=False).astype(np.int64)
    places = np.repeat(np.arange(len(counts)), counts)
    ordered = "timestamp" not in cells and rows.min_rating is None
    flat = {}
    for role, values in cells.items():
        if role == "user" and ordered:
            continue
        if not _is_list(values.type):
            flat[role] = values.take(pa.array(places))
        elif pc.list_value_length(values).equals(pc.list_value_length(cells["item"])):
            flat[role] = values.flatten()
        else:
            raise BadCellError(role, None, "has lists of another length than those of the items")
    try:
        if ordered:  # a list has its order, oldest first
            rows.add_counted(_ids("user", cells["user"]), _ids("item", flat["item"]), counts)
        else:
            _add_pairs(flat, rows)
    except BadCellError as error:
        at = error.row
        if at is not None and not (ordered and error.role == "user"):
            at = int(places[at])
        raise BadCellError(error.role, at, error.what) from None


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _add_pairs(cells: Mapping[str, pa.Array], rows: Rows) -> None:
    users, items = _ids("user", cells["user"]), _ids("item", cells["item"])
    rows.add(users, items, cells.get("rating"), cells.get("timestamp"))


def _no_nulls(role: str, values: pa.Array) -> None:
    if values.null_count:
        at = pc.index(pc.is_null(values), pa.scalar(True)).as_py()
        raise BadCellError(role, at, "is missing (null)")


def _decoded(values: pa.Array) -> pa.Array:
    """`values` without what is only a way of storing them: plain text, integers or floats."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_string_view(kind):
        return pc.cast(values, pa.string())  # as Hive, Impala and old Spark keep text
    if pa.types.is_decimal(kind) and kind.scale <= 0:
        return pc.cast(values, pa.int64())
    return pc.cast(values, pa.float64()) if pa.types.is_decimal(kind) else values


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _ids(role: str, values: pa.Array) -> pa.Array:
    _no_nulls(role, values)
    values = _decoded(values)
    if pa.types.is_uint64(values.type):
        return pc.cast(values, pa.string())  # beyond int64 an id is a string
    if pa.types.is_integer(values.type):
        return pc.cast(values, pa.int64())
    if pa.types.is_floating(values.type):
        return values  # whole numbers are as good as integers
    if _is_text(values.type):
        values.validate(full=True)  # that it is UTF-8
        return pc.cast(values, pa.string())
    raise BadCellError(role, None, f"has type {values.type}: expected integers or strings")
