"""What a run keeps of its space, for those who do not read one: to know it imports nothing."""

from __future__ import annotations

from enum import StrEnum

SPEC = "spec.yaml"  # in the run folder: the space with all that was set


class Purpose(StrEnum):
    """What a space is for: to find a winner, or to compare all of its configs on test."""

    SEARCH = "search"
    TABLE = "table"
