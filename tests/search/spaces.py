"""Spaces for tests."""

from __future__ import annotations

from collections.abc import Sequence

from search.space.load import SearchSpec, read_space
from search.space.located import Origin


def override(spec: SearchSpec, settings: Sequence[str]) -> SearchSpec:
    """`spec`, written out and read again with `--set`."""
    return read_space(spec.to_dict(), Origin(spec.name), spec.name, settings)
