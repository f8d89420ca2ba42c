"""What a real search costs beside training: idle cores, starts of trials, memory of workers.

    python -m benchmarks.search                      # bpr_hard, 30 trials
    python -m benchmarks.search --trials 60 --seed 1
    python -m benchmarks.search --read runs/NAME     # only read the journal of a run

Times come from the journal of the run. Memory is what the system says of each worker while it
trains (USS: pages of this process alone; PSS: shared ones divided), against a worker of the same
Ray that imported the same modules and did nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import ROOT, used_by_others, wait_until_idle
from benchmarks.searches import environment
from recsys.data import load
from recsys.errors import UserError
from search.record.folder import JOURNAL
from search.record.journal import read_state
from search.record.state import RunState

BUSY_TARGET = 0.9
ADDED_TARGET_MB = 50
MODEL_COPIES = 3  # weights, Adagrad's squares, the best weights so far
SAMPLE_SECONDS = 0.5


@dataclass
class Memory:
    """Largest values seen of one process, bytes."""

    title: str = ""
    uss: int = 0
    pss: int = 0


def memory_of(pid: int | str) -> tuple[int, int]:
    """USS and PSS of a process, bytes; OSError where it is gone."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        values[name.rstrip(":")] = int(size) * 1024
    return values["Private_Clean"] + values["Private_Dirty"], values["Pss"]


def descendants(root: int) -> list[int]:
    """Processes below `root`, by their parents in /proc."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(folder.name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def sample(root: int, seen: dict[int, Memory]) -> None:
    """Note the memory of the workers that run trials now."""
    for pid in descendants(root):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()
            if not title.startswith("ray::") or "ImplicitFunc" not in title:
                continue
            uss, pss = memory_of(pid)
        except OSError:
            continue
        one = seen.setdefault(pid, Memory())
        one.title, one.uss, one.pss = title, max(one.uss, uss), max(one.pss, pss)


def search(options: argparse.Namespace, folder: Path) -> tuple[Path, dict[int, Memory], float]:
    """Run the search in a process of its own; its run folder, its workers, cores used before."""
    others = used_by_others(2.0)
    command = [sys.executable, "run_search.py", "--space", options.space]
    command += ["--data", options.data, "--trials", str(options.trials)]
    command += ["--seed", str(options.seed), "--run", "bench", "--runs-dir", str(folder / "runs")]
    command += ["--tracking-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    seen: dict[int, Memory] = {}
    log = folder / "search.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env=environment()
        )
        try:
            while process.poll() is None:
                sample(process.pid, seen)
                time.sleep(SAMPLE_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        sys.exit(f"the search failed ({process.returncode}): {log.read_text()[-2000:]}")
    return folder / "runs" / "bench", seen, others


def starts(state: RunState) -> tuple[list[float], list[float]]:
    """Seconds from the end of a trial to the next start, and inside a trial beside its work.

    A start takes the place of the earliest end that no start has followed yet. Work is training
    and evaluating; the rest of a trial is its model, its reports, and waiting for the driver.
    """
    trials = sorted((t for t in state.in_order() if t.started), key=lambda t: t.started or 0.0)
    ends = sorted(t.ended for t in trials if t.ended is not None)
    handovers, inside = [], []
    for trial in trials:
        assert trial.started is not None
        if ends and ends[0] <= trial.started:
            handovers.append(trial.started - ends.pop(0))
        if trial.ended is not None and trial.attempt == 1:
            inside.append(trial.ended - trial.started - trial.busy_s)
    return handovers, inside


def show_times(run: Path, cores: int) -> float:
    state = read_state(run / JOURNAL)
    busy = state.busy_fraction(cores)
    assert busy is not None
    counts = ", ".join(f"{n} {name.lower()}" for name, n in state.counts().items() if n)
    span = sum(s.trials_s for s in state.sessions)
    work = sum(s.busy_s for s in state.sessions)
    handovers, inside = starts(state)
    print(
        f"trials                    {counts}, {span:.1f} s, {work:.1f} s of work on {cores} cores"
    )
    print(f"busy fraction             {busy:.3f} (target >= {BUSY_TARGET})")
    print(f"idle a trial              {1e3 * (cores * span - work) / len(state.trials):.0f} ms")
    for name, values in {"end to next start": handovers, "rest of a trial": inside}.items():
        if values:
            late = sorted(values)[int(0.9 * (len(values) - 1))]
            print(
                f"{name:25} median {1e3 * statistics.median(values):.0f} ms, "
                f"nine of ten within {1e3 * late:.0f} ms"
            )
    return busy


def show_memory(
    run: Path, data: str, seen: dict[int, Memory], bare: dict[str, tuple[int, int]]
) -> None:
    csr = load(data).interactions.csr
    configs = [t.config for t in read_state(run / JOURNAL).trials.values()]
    factors = max(config["latent_factors"] for config in configs)
    model = 4 * ((csr.n_users + csr.n_items) * (factors + 1) + 1)
    held = MODEL_COPIES * model
    limit = held + ADDED_TARGET_MB * 10**6
    print(
        f"largest model             {model / 1e6:.1f} MB, d={factors}; {held / 1e6:.1f} MB with "
        "Adagrad's squares and the best weights"
    )
    for name, (uss, pss) in bare.items():
        print(f"bare worker, {name:12} USS {uss / 1e6:6.1f} MB, PSS {pss / 1e6:6.1f} MB")
    for pid, one in sorted(seen.items()):
        added, above = (one.uss - bare[kind][0] for kind in ("imports", "with kernels"))
        print(
            f"worker {pid:<7} at most    USS {one.uss / 1e6:6.1f} MB, PSS {one.pss / 1e6:6.1f} MB: "
            f"{added / 1e6:.1f} MB above a bare one (target <= {limit / 1e6:.1f}), "
            f"{above / 1e6:.1f} MB above one with kernels"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", default="bpr_hard")
    parser.add_argument("--data", default="ml-100k")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--wait", type=float, default=0, help="seconds to wait for an idle machine")
    parser.add_argument("--read", type=Path, metavar="RUN", help="a run folder; start no search")
    options = parser.parse_args()
    if options.read:
        show_times(options.read, os.cpu_count() or 1)
        return
    with tempfile.TemporaryDirectory(prefix="bench-search-") as name:
        folder = Path(name)
        wait_until_idle(options.wait)
        bare = json.loads(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.bare_worker"],
                cwd=ROOT,
                env=environment(),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout.splitlines()[-1]
        )
        run, seen, others = search(options, folder)
        print(f"others used {others:.0%} of the cores before the search")
        show_times(run, os.cpu_count() or 1)
        show_memory(run, options.data, seen, bare)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"benchmarks.search: {error}")
