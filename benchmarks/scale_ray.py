"""What the driver of a search costs under a real Ray, with workers that sleep instead of training.

    python -m benchmarks.scale_ray                      # 10 and 40 workers
    python -m benchmarks.scale_ray --workers 100        # about 80 MB each; starting takes minutes

Everything else ships: searcher, scheduler, controller, recorder, journal, Ray's own loop. The
cores are made up, so that many workers fit on a small machine. Processor time of the driver's
process, all its threads, is divided among trials and reports: the same trials are run with few
reports and with many. From that follows what a thousand workers would ask of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.contest import used_by_others
from benchmarks.scale import in_a_process, memory_mb, stages
from benchmarks.search import starts
from search.machine.cluster import Cluster
from search.record.events import EpochRow, EpochsReported, TrialBegan, TrialEnded
from search.record.folder import JOURNAL, RunFolder
from search.record.journal import read_events
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig
from search.stages.search import search
from search.tune import tuner
from search.tune.outcome import Report
from search.tune.worker import report_every_s

CONCURRENT, TRIAL_S = 1000, 30.0  # what is extrapolated to
TARGET_CORES, TARGET_IDLE = 1.0, 0.02
FEW, MANY = 2, 20  # reports of a trial


def sleeper(seconds: float, reports: int, metrics: Sequence[str]) -> Callable[..., None]:
    """In place of `run_trial`: sleeps, and reports an epoch after each part of its time."""

    def run(config: dict[str, TrialConfig], data: Any) -> None:  # noqa: ARG001
        from ray import tune

        for epoch in range(1, reports + 1):
            time.sleep(seconds / reports)
            row = EpochRow(epoch, 1.0, (0.1,) * len(metrics), seconds / reports, 0.0)
            stop = "epochs" if epoch == reports else None
            tune.report(Report(epoch, 0.1, 1, stop, [row]).flat())

    return run


@dataclass(frozen=True)
class Played:
    """The part of one search in which every worker had a trial: `seconds` long, with so many ended
    trials and reports, and `cpu_s` of the driver's processor time. handover_ms: from a trial's end
    to the next start, and the rest of a trial beside its sleep, medians.
    """

    workers: int
    trials: float
    reports: float
    seconds: float
    cpu_s: float
    handover_ms: float
    rest_ms: float
    memory_mb: float


class Clock(Thread):
    """Notes the processor time of this process, all threads, a few times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.done = Event()
        self.at: list[float] = []
        self.spent: list[float] = []

    def run(self) -> None:
        while not self.done.wait(0.2):
            self.at.append(time.time())
            self.spent.append(time.process_time())

    def between(self, start: float, end: float) -> float:
        spent = np.interp([start, end], self.at, self.spent)
        return float(spent[1] - spent[0])


def play(spec: SearchSpec, workers: int, seconds: float, reports: int, folder: Path) -> Played:
    """Run the trials of a space on workers that sleep."""
    clock = Clock()
    clock.start()
    with RunFolder.create(folder, "scale") as run, run.journal() as journal:
        with Cluster(num_cpus=workers) as cluster:
            one = replace(stages(spec, run, journal, workers), cluster=cluster)
            with patch.object(tuner, "run_trial", sleeper(seconds, reports, one.metrics)):
                search(one)
        memory = memory_mb()
        events = [event for event, _ in read_events(run.path / JOURNAL)]
        handovers, rest = starts(run.state())
    clock.done.set()
    began = sorted(e.time or 0.0 for e in events if isinstance(e, TrialBegan))
    start, end = began[workers - 1], began[-1]  # before, workers start; later there is less to do

    def within(kind: type) -> int:
        return sum(start < (e.time or 0.0) <= end for e in events if isinstance(e, kind))

    return Played(
        workers=workers,
        trials=within(TrialEnded),
        reports=within(EpochsReported),
        seconds=end - start,
        cpu_s=clock.between(start, end),
        handover_ms=1000 * statistics.median(handovers),
        rest_ms=1000 * statistics.median(rest),
        memory_mb=memory,
    )


def each_ms(few: Played, many: Played) -> tuple[float, float]:
    """Milliseconds of the driver a trial (with its proposal) and a report."""
    amounts = [[few.trials, few.reports], [many.trials, many.reports]]
    trial, report = np.linalg.solve(np.array(amounts, float), np.array([few.cpu_s, many.cpu_s]))
    return 1000 * float(trial), 1000 * float(report)


def lines(few: Played, many: Played) -> list[str]:
    """What was measured with so many workers, and what it means for a thousand."""
    trial, report = each_ms(few, many)
    trials_a_second = CONCURRENT / TRIAL_S
    reports_a_second = CONCURRENT / report_every_s(CONCURRENT)
    cores = (trials_a_second * trial + reports_a_second * report) / 1000
    idle = (few.handover_ms + few.rest_ms) / 1000 / TRIAL_S
    busy = many.cpu_s / many.seconds
    return [
        f"{few.workers} workers: a trial {trial:.1f} ms of the driver, a report {report:.2f} ms "
        f"({many.reports / many.seconds:.0f} reports a second: {busy:.2f} of a core; "
        f"memory {many.memory_mb:.0f} MB)",
        f"  end of a trial to the next start {few.handover_ms:.0f} ms, rest {few.rest_ms:.0f} ms: "
        f"{idle:.1%} of {TRIAL_S:.0f} s idle (at most {TARGET_IDLE:.0%})",
        f"  {CONCURRENT:,} trials of {TRIAL_S:.0f} s at once: {trials_a_second:.0f} trials and "
        f"{reports_a_second:.0f} reports a second: {cores:.2f} cores (at most {TARGET_CORES:.0f})",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", default="bpr_hard")
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 40])
    parser.add_argument("--seconds", type=float, default=2.0, help="of a trial")
    parser.add_argument("--rounds", type=int, default=10, help="trials a worker")
    parser.add_argument("--reports", type=int, help="of a trial: measure here, and print JSON")
    options = parser.parse_args()
    space = replace(load_spec(options.space), scheduler="none")
    if options.reports:
        (workers,) = options.workers
        spec = replace(space, trials=workers * options.rounds)
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            played = play(spec, workers, options.seconds, options.reports, Path(folder))
        print(json.dumps(asdict(played)))
        return
    print(f"others used {used_by_others(2.0):.0%} of the cores before")
    given = ["--space", options.space, "--seconds", str(options.seconds)]
    given += ["--rounds", str(options.rounds)]
    for workers in options.workers:
        few, many = (
            Played(
                **in_a_process(
                    "benchmarks.scale_ray",
                    [*given, "--workers", str(workers), "--reports", str(reports)],
                )
            )
            for reports in (FEW, MANY)
        )
        print("\n".join(lines(few, many)), flush=True)


if __name__ == "__main__":
    main()
