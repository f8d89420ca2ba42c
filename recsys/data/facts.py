"""A data set in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.data.read import Dataset
from recsys.interactions import Interactions

_QUANTILES = {"min": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "max": 1.0}


def describe(data: Dataset | Interactions) -> dict[str, Any]:
    """Facts about `data` as plain values, ready for JSON.

    They are name, users, items, positives, density (share of all pairs), per_user and per_item
    (min, 5%, median, 95%, max of the counts, including users and items without any), duplicates
    (merged), ordered (whether the order of time is known), times (first and last, in seconds since
    1970, or None), notes, digest; for a ready split also ready_valid and ready_test (pairs).
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
        "times": interactions.time_span,
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
    # the smallest count that at least this share of users (or items) does not exceed
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
        f"duplicates merged: {facts['duplicates']:,}{_share(facts)}; "
        f"order of time: {'known' if facts['ordered'] else 'unknown'}{_dates(facts['times'])}",
    ]
    given = [
        f"{what} {facts[key]:,}"
        for key, what in (("ready_valid", "validation"), ("ready_test", "test"))
        if key in facts
    ]
    if given:
        lines.append(f"given pairs: {', '.join(given)}")
    return lines + [f"note: {note}" for note in facts["notes"]]


def _share(facts: dict[str, Any]) -> str:
    repeats = facts["duplicates"]
    return f" ({repeats / (repeats + facts['positives']):.1%} of the rows)" if repeats else ""


def _dates(span: tuple[int, int] | None) -> str:
    if span is None:
        return ""
    first, last = (str(np.datetime64(seconds, "s"))[:10] for seconds in span)
    return f", {first} to {last}"


@dataclass(frozen=True)
class Bin:
    """How many users (or items) have `low` to `high` items (or users)."""

    low: int
    high: int
    count: int

    @property
    def label(self) -> str:
        """The label of the bin in a histogram: `5` or `1,000-1,999`."""
        return f"{self.low:,}" if self.low == self.high else f"{self.low:,}-{self.high:,}"


def histogram(counts: np.ndarray) -> list[Bin]:
    """Counts, integers (N,), in bins of doubling width: 0, 1, 2, 3-4, 5-8, 9-16 and so on.

    They range from the first bin that is not empty to the last.

    >>> [(one.label, one.count) for one in histogram(np.array([1, 1, 3, 9]))]
    [('1', 2), ('2', 0), ('3-4', 1), ('5-8', 0), ('9-16', 1)]
    """
    if not len(counts):
        return []
    # 0 for 0, 1 for 1, 2 for 2, 3 for 3 and 4, 4 for 5 to 8: exact, unlike a logarithm
    edges = np.concatenate([[0], 2 ** np.arange(0, 63, dtype=np.int64)])
    numbers = np.searchsorted(edges, counts, side="left")
    found = np.bincount(numbers)
    first = int(np.flatnonzero(found)[0])
    return [
        Bin(int(edges[n - 1]) + 1 if n else 0, int(edges[n]), int(found[n]))
        for n in range(first, len(found))
    ]
