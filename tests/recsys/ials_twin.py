"""Half an epoch of iALS by its definition, one ridge regression a row."""

from __future__ import annotations

import numpy as np


def half(rows: np.ndarray, fixed: np.ndarray, alpha: float, nu: float) -> np.ndarray:
    """The factors of one side, (R, d), with l2 = .1.

    rows: (R, C), the weight of each pair, 0 where there is none. fixed: (C, d), the other side.
    """
    d, out = fixed.shape[1], []
    for row in rows:
        ridge = 0.1 * (row.sum() + alpha * rows.shape[1]) ** nu
        normal = fixed.T @ np.diag(row + alpha) @ fixed + ridge * np.eye(d)
        out.append(np.linalg.solve(normal, fixed.T @ row))
    return np.array(out).reshape(len(rows), d)
