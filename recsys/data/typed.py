"""Columns of known types, from parquet and JSON: one pair per row, or a list of items per row."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import MISSING, BadCellError, as_text
from recsys.data.names import NEEDED
from recsys.data.rows import Rows


def add_batch(cells: Mapping[str, pa.Array], rows: Rows) -> None:
    """Append a batch of columns, by role, to `rows`. Raises BadCellError for a cell that cannot be
    used.

    If the items of a row are a list, its ratings and times may be lists of the same length. If they
    are lists of another length, their column is left out, unless it is needed.
    """
    cells = {role: _readable(role, values) for role, values in cells.items()}
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
        elif (bad := _misfit(values, counts)) is None:
            flat[role] = _readable(role, values.flatten())
        else:
            _leave_out(role, *bad, rows)
    try:
        if ordered:  # a list has its order, oldest first
            rows.add_counted(_ids("user", cells["user"]), _ids("item", flat["item"]), counts)
        else:
            _add_pairs(flat, rows, counts)
    except BadCellError as error:
        at = error.row
        if at is not None and not (ordered and error.role == "user"):
            at = int(places[at])
        raise BadCellError(error.role, at, error.what) from None


def _readable(role: str, values: pa.Array) -> pa.Array:
    """`values` with text as plain strings; ids, and bytes that are not text, as they are."""
    if role in NEEDED:
        return values
    with suppress(pa.ArrowInvalid):
        return as_text(values)
    return values


def _misfit(lists: pa.Array, counts: NDArray[np.int64]) -> tuple[int, str] | None:
    """The place of the first of `lists` with another length than in `counts`, and what is wrong
    with it; None if there is none.

    A missing list counts as an empty one.
    """
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    bad = lengths != counts
    if not bad.any():
        return None
    at = int(bad.argmax())
    if not lists[at].is_valid:
        return at, "list is missing (null)"
    return at, f"list has {lengths[at]} values for {counts[at]} items: expected one for each"


def _leave_out(role: str, at: int, what: str, rows: Rows) -> None:
    """Do without a column because of `what` is wrong with row `at` of the batch; if it is needed,
    raise BadCellError.

    Without ratings every item is a positive, and without times there is no order.
    """
    if role == "timestamp":
        rows.leave_out_times(at, what)
    elif role == "rating" and rows.min_rating is None:
        rows.leave_out_ratings(at, f"a rating {what}")
    else:
        raise BadCellError(role, at, what)


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _add_pairs(
    cells: Mapping[str, pa.Array], rows: Rows, counts: NDArray[np.int64] | None = None
) -> None:
    users, items = _ids("user", cells["user"]), _ids("item", cells["item"])
    rows.add(users, items, cells.get("rating"), cells.get("timestamp"), counts)


def _no_nulls(role: str, values: pa.Array) -> None:
    if values.null_count:
        at = pc.index(pc.is_null(values), pa.scalar(True)).as_py()
        raise BadCellError(role, at, MISSING)


def _decoded(role: str, values: pa.Array) -> pa.Array:
    """`values` as plain text, integers or floats, however they are stored."""
    try:
        values = as_text(values)
    except pa.ArrowInvalid:
        raise BadCellError(role, None, "is bytes that are not UTF-8: expected text") from None
    if not pa.types.is_decimal(values.type):
        return values
    for exact in (pa.int64(), pa.decimal128(38, 0), pa.decimal256(76, 0)):
        try:  # beyond int64 an id is a string
            whole = pc.cast(values, exact)
        except pa.ArrowInvalid:
            continue
        return whole if exact == pa.int64() else pc.cast(whole, pa.string())
    return pc.cast(values, pa.float64(), safe=False)  # not ids: an error will name the first


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _ids(role: str, values: pa.Array) -> pa.Array:
    _no_nulls(role, values)
    values = _decoded(role, values)
    if pa.types.is_uint64(values.type):
        return pc.cast(values, pa.string())  # beyond int64 an id is a string
    if pa.types.is_integer(values.type):
        return pc.cast(values, pa.int64())
    if pa.types.is_floating(values.type):
        return values  # whole numbers count as integers
    if _is_text(values.type):
        values.validate(full=True)  # raises if it is not UTF-8
        return pc.cast(values, pa.string())
    raise BadCellError(role, None, f"has type {values.type}: expected integers or strings")
