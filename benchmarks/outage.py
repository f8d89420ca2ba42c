"""Whether a search waits for MLflow: its busy fraction beside stores that are well and unwell.

    python -m benchmarks.outage                      # bpr_hard, 20 trials, two rounds
    python -m benchmarks.outage --rounds 3 --wait 300

Each round runs the same search beside a database of its own (what it is compared with), no server
at all, a server that answers everything after 5 s, and a database that another process keeps
locked. Target: all within two points of the first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.contest import ROOT, used_by_others, wait_until_idle
from benchmarks.searches import environment
from search.record.folder import JOURNAL
from search.record.journal import read_state
from tests.search.tracking.tracking_help import Server, locked, slow_proxy, sqlite_store

TARGET_POINTS = 2.0
ANSWER_S = 5.0
NOBODY = "http://127.0.0.1:9"


@contextmanager
def well(folder: Path) -> Iterator[str]:
    yield f"sqlite:///{folder / 'store' / 'mlflow.db'}"


@contextmanager
def absent(folder: Path) -> Iterator[str]:  # noqa: ARG001
    yield NOBODY


@contextmanager
def slow(folder: Path) -> Iterator[str]:
    server = Server(folder / "server")
    server.start()
    try:
        with slow_proxy(server.port, ANSWER_S) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()


@contextmanager
def taken(folder: Path) -> Iterator[str]:
    uri = sqlite_store(folder / "store")
    with locked(uri):
        yield uri


STORES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "its own database": well,
    "no server": absent,
    f"a server that takes {ANSWER_S:.0f} s": slow,
    "a locked database": taken,
}


def busy(
    options: argparse.Namespace, store: Callable[[Path], AbstractContextManager[str]]
) -> float:
    """Run the search beside this store; its busy fraction."""
    with tempfile.TemporaryDirectory(prefix="bench-outage-") as name:
        folder = Path(name)
        command = [sys.executable, "run_search.py", "--space", options.space]
        command += ["--trials", str(options.trials), "--seed", "42", "--run", "bench"]
        command += ["--set", "race.finalists=0", "--runs-dir", str(folder / "runs")]
        with store(folder) as uri:
            done = subprocess.run(
                [*command, "--tracking-uri", uri],
                cwd=ROOT,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        if done.returncode:
            sys.exit(f"the search failed ({done.returncode}): {done.stdout[-2000:]}")
        value = read_state(folder / "runs" / "bench" / JOURNAL).busy_fraction(os.cpu_count() or 1)
        assert value is not None
        return value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", default="bpr_hard")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for an idle machine")
    options = parser.parse_args()
    wait_until_idle(options.wait)
    found: dict[str, list[float]] = {name: [] for name in STORES}
    others = used_by_others(2.0)
    for number in range(options.rounds):
        for name, store in STORES.items():
            found[name].append(busy(options, store))
            print(f"round {number + 1}, {name}: {found[name][-1]:.3f}", flush=True)
    print(f"others used {others:.0%} of the cores before")
    usual = statistics.mean(next(iter(found.values())))
    for name, values in found.items():
        points = 100 * (usual - statistics.mean(values))
        verdict = "met" if points <= TARGET_POINTS else "MISSED"
        print(
            f"{name:28} busy {statistics.mean(values):.3f}, {points:+.1f} points lost "
            f"(target <= {TARGET_POINTS:.0f}, {verdict})"
        )


if __name__ == "__main__":
    main()
