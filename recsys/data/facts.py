"""A data set in a few numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.data.read import Dataset
from recsys.interactions import Interactions

_QUANTILES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}


def describe(data: Dataset | Interactions) -> dict[str, Any]:
    """Facts about `data` as plain values, ready for JSON.

    name, users, items, positives, density (share of all pairs), per_user and per_item (min, 5%,
    median, 95%, max of the counts, users and items without any included), duplicates (merged),
    ordered (whether the order of time is known), notes, digest; of a ready split also
    ready_valid and ready_test (pairs).
    """
    interactions = data.interactions if isinstance(data, Dataset) else data
    csr = interactions.csr
    facts: dict[str, Any] = {
        "name": interactions.name,
        "users": csr.n_users,
        "items": csr.n_items,
        "positives": csr.nnz,
        "density": csr.nnz / max(1, csr.n_users * csr.n_items),
        "per_user": _quantiles(csr.degrees()),
        "per_item": _quantiles(csr.item_counts()),
        "duplicates": interactions.duplicates,
        "ordered": interactions.ordered,
        "notes": list(interactions.notes),
        "digest": interactions.digest(),
    }
    if isinstance(data, Dataset):
        for name, ready in (("ready_valid", data.ready_valid), ("ready_test", data.ready_test)):
            if ready is not None:
                facts[name] = ready.nnz
    return facts


def _quantiles(counts: np.ndarray) -> dict[str, int]:
    if not len(counts):
        return dict.fromkeys(_QUANTILES, 0)
    # the smallest count that at least this share of users does not exceed
    values = np.quantile(counts, list(_QUANTILES.values()), method="inverted_cdf")
    return {name: int(value) for name, value in zip(_QUANTILES, values, strict=True)}


def describe_lines(data: Dataset | Interactions) -> list[str]:
    """The facts of `describe` as lines for a terminal."""
    facts = describe(data)

    def row(name: str, counts: dict[str, int]) -> str:
        return f"{name}: " + ", ".join(f"{k} {v:,}" for k, v in counts.items())

    lines = [
        f"{facts['name']}: {facts['users']:,} users x {facts['items']:,} items, "
        f"{facts['positives']:,} positives, density {facts['density']:.3%}",
        row("positives a user", facts["per_user"]),
        row("positives an item", facts["per_item"]),
        f"duplicates merged: {facts['duplicates']:,}; "
        f"order of time: {'known' if facts['ordered'] else 'unknown'}",
    ]
    given = [
        f"{what} {facts[key]:,}"
        for key, what in (("ready_valid", "validation"), ("ready_test", "test"))
        if key in facts
    ]
    if given:
        lines.append(f"given pairs: {', '.join(given)}")
    return lines + [f"note: {note}" for note in facts["notes"]]
