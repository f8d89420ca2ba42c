"""The machines of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.machines import Machines


@pytest.fixture
def machines() -> Iterator[Machines]:
    with Machines() as made:
        yield made
