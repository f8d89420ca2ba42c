"""Spaces for tests."""

from __future__ import annotations

from search.space.load import override

__all__ = ["override"]
