"""What Ray would end without, said in one line before it starts."""

from __future__ import annotations

import os

import pytest

from recsys.errors import ConfigError
from search.machine.limits import check_limits, check_python, check_variables

GB = 1 << 30


def test_a_python_that_leaves_docstrings_out() -> None:
    with pytest.raises(ConfigError, match=r"^PYTHONOPTIMIZE=2 .* expected 0 or 1$"):
        check_python(2)
    check_python(1)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RAY_memory_monitor_refresh_ms", "abc", "a number"),
        ("RAY_worker_niceness", "abc", "a number"),
        ("RAY_worker_niceness", "", "a number"),
        ("RAY_memory_usage_threshold", "5", "a number between 0 and 1"),
        ("RAY_memory_usage_threshold", "nan", "a number between 0 and 1"),
        ("RAY_memory_usage_threshold", "", "a number between 0 and 1"),
    ],
)
def test_a_variable_that_ends_ray_is_named(name: str, value: str, expected: str) -> None:
    given = {"RAY_task_oom_retries": "3", name: value}
    with pytest.raises(ConfigError, match=rf"^{name}={value!r}: expected {expected}") as caught:
        check_variables(os.environ | given)
    assert "\n" not in str(caught.value)


def test_variables_that_ray_can_read() -> None:
    given = {"RAY_memory_usage_threshold": "0.9", "RAY_worker_niceness": "5"}
    check_variables(os.environ | given | {"RAY_enable_timeline": "TRUE", "RAY_ADDRESS": "x"})


def test_limits_of_the_system() -> None:
    with pytest.raises(ConfigError, match=r"40 files here, Ray needs 96: .*ulimit -n 1024"):
        check_limits(4, files=40, addresses=-1)
    with pytest.raises(ConfigError, match=r"ulimit -v\), Ray needs 8.0 GB"):
        check_limits(4, files=1024, addresses=3 * GB, memory=20 * GB)
    check_limits(4, files=1024, addresses=11 * GB, memory=20 * GB)
    check_limits(4, files=-1, addresses=-1)
