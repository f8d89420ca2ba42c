"""How the tests share a machine: what is made once for all, and what they must not see of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

# Behind `nohup` or an `&` these are ignored, by whatever the tests start as well, which then waits
# for ever for what a test sends it.
for _signal, _usual in (
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
):
    if signal.getsignal(_signal) == signal.SIG_IGN:
        signal.signal(_signal, _usual)

# A developer's own settings of what the tests start; RECSEARCH_CACHE, with the data, may stay.
FOREIGN = ("MLFLOW_", "RAY_", "TUNE_", "RECSEARCH_CPUS", "RECSEARCH_TEST_MARK")
# Each of some hundred processes would compile all modules and rewrite all tests for itself.
FOREIGN += ("PYTHONDONTWRITEBYTECODE",)
sys.dont_write_bytecode = False

EMPTY_STORE = "RECSEARCH_TEST_STORE"  # for tests/search/tracking/tracking_help.py

# What all processes need and would each make for themselves; side by side. The two that compile
# have half of the kernels each.
PREPARE = (
    """
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.warm_up import warm_up
warm_up(TrainConfig.from_flat({"lr": 0.1, "optimizer": "adam", "batch_size": 2, "redraw": "once"}))
""",
    """
from recsys.models.mf.config import TrainConfig
from recsys.models.mf.warm_up import warm_up
for loss in ("softmax", "bpr", "bce"):
    warm_up(TrainConfig.from_flat({"lr": 0.1, "loss": loss, "optimizer": "sgd", "batch_size": 1}))
""",
    f"""
import os
from pathlib import Path
from tests.search.tracking.tracking_help import make_database
make_database(Path(os.environ["{EMPTY_STORE}"]))
""",
)

# No example is judged by the clock, and none is remembered: a run depends on no earlier one.
settings.register_profile(
    "explore",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("same", settings.get_profile("explore"), derandomize=True)
settings.load_profile("explore")

preparing = pytest.StashKey[list["subprocess.Popen[bytes]"]]()


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    # known also where xdist is not loaded
    config.addinivalue_line("markers", "xdist_group(name): tests that run in one process")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes in a test's name are no help, and where the time is in them (gzip) no name at all:
    processes that share the tests have to call each the same."""
    return argname if isinstance(val, bytes) else None


def pytest_xdist_auto_num_workers() -> int:
    """A process a core, within reason: each holds torch, and starts searches of its own."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(2, min(8, usable or 2))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the tests, the long ones come first, so that none waits at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not any(map(item.get_closest_marker, ("slow", "faults"))))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Prepare for all processes while these import and collect."""
    if session.config.getoption("numprocesses", None):
        os.environ[EMPTY_STORE] = str(Path(tempfile.mkdtemp()) / "mlflow.db")
        session.config.stash[preparing] = [
            subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for code in PREPARE
        ]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Hand out no test before that is done."""
    for process in session.config.stash.get(preparing, []):
        assert process.wait() == 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    if preparing in session.config.stash:
        shutil.rmtree(Path(os.environ[EMPTY_STORE]).parent, ignore_errors=True)
