"""The machines of a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from recsys.kernels.jit import cache_folder
from tests.cluster.machines import Machines


@pytest.fixture
def machines() -> Iterator[Machines]:
    with Machines() as made:
        yield made


@pytest.fixture
def ready_machines() -> Iterator[Machines]:
    """Machines that have the kernels that are compiled here, which saves a minute on each."""
    with Machines(cache_folder()) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have counted, beside what passed."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if getattr(report, "when", "") == "call":
                    terminalreporter.write_line(f"{name}: {value}")
