"""Compiled sums of what belongs to the items of lists: rows of a table, dense or sparse.

Shapes: L lists, I items, d columns of a table. A list is a row of a CSR of L x I. Sums are float32,
in the order of the list, so that no list depends on the others. As in `recsys.kernels.topk`,
signatures are explicit: all is compiled, or loaded, on import.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from recsys.kernels.jit import F32R, F32R2, F32W2, I32R, I64R, exact


@exact(types.void(I64R, I32R, F32R2, F32W2))
def add_rows(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    table_Id: NDArray[np.float32],
    sums_Ld: NDArray[np.float32],
) -> None:
    """Add the rows of `table_Id` for the items of each list to the list's row of `sums_Ld`.

    indptr, indices: int64 (L+1,) and int32, the lists. table_Id, sums_Ld: float32.
    """
    for row in range(len(sums_Ld)):
        for at in range(indptr[row], indptr[row + 1]):
            item = indices[at]
            for column in range(sums_Ld.shape[1]):
                sums_Ld[row, column] += table_Id[item, column]


@exact(types.void(I64R, I32R, I64R, I32R, F32R, F32W2))
def add_sparse_rows(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    table_indptr: NDArray[np.int64],
    table_indices: NDArray[np.int32],
    table_data: NDArray[np.float32],
    sums_LI: NDArray[np.float32],
) -> None:
    """`add_rows` for a table in compressed rows: int64 (I+1,), int32 and float32."""
    for row in range(len(sums_LI)):
        for at in range(indptr[row], indptr[row + 1]):
            item = indices[at]
            for cell in range(table_indptr[item], table_indptr[item + 1]):
                sums_LI[row, table_indices[cell]] += table_data[cell]
