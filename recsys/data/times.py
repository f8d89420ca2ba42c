"""Times as they grow while files are read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.data.cells import BadCellError, finite, numbers_of

ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ].*)?$"


class TimeColumn:
    """Times of any number of batches: all numbers, or all ISO 8601 dates (UTC unless they say)."""

    def __init__(self) -> None:
        self._chunks: list[NDArray] = []
        self._kind: str | None = None

    def add(self, times: pa.Array) -> None:
        """Append strings or integers. `BadCellError` for what is neither number nor date."""
        if not len(times):
            return
        if pa.types.is_integer(times.type):
            kind, values = "number", times.cast(pa.int64()).to_numpy(zero_copy_only=False)
        else:
            kind, values = _parse_times(times)
        if self._kind not in (None, kind):
            raise BadCellError("timestamp", None, f"expected a {self._kind}, as in the rows before")
        self._kind = kind
        self._chunks.append(values)

    def finish(self) -> NDArray:
        """int64, or float64 where a time has a fraction."""
        chunks, self._chunks = self._chunks, []
        return np.concatenate(chunks) if chunks else np.empty(0, np.int64)


def _parse_times(times: pa.Array) -> tuple[str, NDArray]:
    as_float = numbers_of(times)
    if as_float is not None:
        finite("timestamp", as_float)
        try:  # exact, where a float would round nanoseconds
            exact = pc.cast(pc.ascii_trim_whitespace(times), pa.int64())
        except pa.ArrowInvalid:
            return "number", as_float
        return "number", exact.to_numpy(zero_copy_only=False)
    trimmed = pc.ascii_trim_whitespace(times)
    shaped = pc.match_substring_regex(trimmed, ISO_DATE).to_numpy(zero_copy_only=False)
    dates = pd.to_datetime(trimmed.to_pandas(), format="ISO8601", utc=True, errors="coerce")
    bad = ~shaped | dates.isna().to_numpy()
    if bad.any():
        what = "expected a number or an ISO date such as 2024-01-31, the same in all rows"
        raise BadCellError("timestamp", int(bad.argmax()), what)
    return "date", dates.dt.as_unit("us").astype("int64").to_numpy()
