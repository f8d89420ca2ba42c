"""Whole searches, each in a process of its own, for benchmarks of what they hand over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import ROOT, UNSET


class SearchFailedError(RuntimeError):
    """A search ended with an error, or without what is asked of it; the message says which."""


def environment() -> dict[str, str]:
    """Of a process that searches: this checkout's code, and libraries as on a user's machine."""
    kept = {k: v for k, v in os.environ.items() if k not in UNSET}
    return kept | {"PYTHONPATH": str(ROOT)}


def search(runs: Path, name: str, arguments: Sequence[str]) -> Path:
    """Run `run_search.py` to its end and return its run folder, below `runs`, an absolute path.

    What it says goes to `NAME.log` beside the run. Where this process is ended, so is the search.
    Raises SearchFailedError with the last it said.
    """
    command = [sys.executable, "run_search.py", *arguments, "--run", name, "--runs-dir", str(runs)]
    command += ["--tracking-uri", f"sqlite:///{runs / 'mlflow.db'}"]
    runs.mkdir(parents=True, exist_ok=True)
    log = runs / f"{name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=out, stderr=subprocess.STDOUT
        )
        try:
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise SearchFailedError(f"{name}: exit {process.returncode}: {log.read_text()[-2000:]}")
    return runs / name
