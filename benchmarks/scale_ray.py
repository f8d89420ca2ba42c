"""What the driver of a search costs under a real Ray, with workers that sleep instead of training.

    python -m benchmarks.scale_ray                          # 10, 100 and 1,000 workers
    python -m benchmarks.scale_ray --workers 1000 --mlflow  # 3,000 trials, delivered meanwhile
    python -m benchmarks.scale_ray --real --workers 10      # each worker a process (120 MB)
    python -m benchmarks.scale_ray --anchor bookkeeping --trials 1000
    python -m benchmarks.scale_ray --anchor throughput

Everything else ships: searcher, scheduler, controller, recorder, journal, Ray's own loop, and with
`--mlflow` the courier and a SQLite store. The cores are made up, so that many workers fit on a
small machine. By default the workers are played, hundreds by one process (`played.py`), and the
controller is as on a cluster that was joined, where so many workers are. Trials last 30 s on
average, from half of that to one and a half, and report as trials do where so many run at once.
What counts is the time from the moment when every worker has a trial until the last trial begins:
processor time of the driver's process, all its threads, and what workers wait.

The anchors are two of Ray's release tests, `test_bookkeeping_overhead` and
`test_result_throughput_cluster`. The first has 10,000 trials of a second on 16 cores, and may take
800 s; with `--trials` in proportion. The second has 1,000 trials at once, for 100 s and with 10
results a second each, and may take 120 s. Here these results are epochs, of which a report carries
several, as those of trials do. Both times are from the first proposal to the end of the last trial.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread
from unittest.mock import patch

import numpy as np

from benchmarks.contest import used_by_others
from benchmarks.played import Sleep, played, sleeper
from benchmarks.scale import in_a_process, memory_mb, stages
from search.machine.cluster import Cluster
from search.record.events import EpochsReported, TrialBegan, TrialEnded, TrialMade
from search.record.folder import JOURNAL, RunFolder
from search.record.journal import read_events
from search.record.state import RunState
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.stages.search import search
from search.tracking.driver import Tracker
from search.tune import tuner
from search.tune.worker import report_every_s

TARGET_CORES, TARGET_IDLE = 1.0, 0.02
WORKERS_A_HOST = 250
DELIVERY_S = 1800.0  # how long is waited for MLflow after the search


@dataclass(frozen=True)
class Load:
    """So many trials on so many workers: see `Sleep`. limit_s: what an anchor allows; real: whether
    each worker is a process.
    """

    workers: int
    trials: int
    seconds: float = 30.0
    spread: float = 0.5
    epoch_s: float = 0.5
    real: bool = False
    limit_s: float | None = None

    def script(self, metrics: int) -> Sleep:
        every = report_every_s(self.workers)
        return Sleep(self.seconds, self.spread, self.epoch_s, every, metrics)


ANCHORS = {
    "bookkeeping": Load(16, 10_000, 1.0, 0.0, 1.0, limit_s=800.0),
    "throughput": Load(1000, 1000, 100.0, 0.0, 0.1, limit_s=120.0),
}


@dataclass(frozen=True)
class Delivered:
    """What MLflow had at the search's end, how many seconds later it had everything (None: not in
    time), and the courier's processor time in seconds.
    """

    trials: int
    after_s: float | None
    courier_s: float


@dataclass(frozen=True)
class Measured:
    """The part of a search in which every worker had a trial: `seconds` long, with so many trials
    and reports that ended, and `cpu_s` of the driver's processor time. handover_ms: from the end of
    a trial to the next start; rest_ms: of a trial beside its sleep; means. idle: their share of a
    worker's time, NaN where no trial began in that part. whole_s: of all trials.
    """

    workers: int
    trials: int
    reports: int
    seconds: float
    cpu_s: float
    handover_ms: float
    rest_ms: float
    idle: float
    whole_s: float
    whole_cpu_s: float
    memory_mb: float
    delivered: Delivered | None = None


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


def waited(state: RunState, start: float) -> tuple[float, float, float]:
    """Of trials that began after `start`: mean seconds of a handover, of what a trial took beside
    its work, and of its work. NaN where there are none.

    A start takes the place of the earliest end that no start has followed yet.
    """
    trials = [t for t in state.in_order() if t.started is not None and t.ended is not None]
    ends = sorted(t.ended or 0.0 for t in trials)
    begun = sorted(t.started or 0.0 for t in trials)
    later = [(t, at) for at, t in zip(ends, [b for b in begun if b > start], strict=False)]
    handovers = [began - ended for began, ended in later]
    inside = [
        ((t.ended or 0.0) - (t.started or 0.0) - t.busy_s, t.busy_s)
        for t in trials
        if (t.started or 0.0) > start
    ]
    if not inside:
        return (float("nan"),) * 3
    rest, busy = zip(*inside, strict=True)
    return statistics.mean(handovers), statistics.mean(rest), statistics.mean(busy)


def processor_s(pid: int) -> float:
    """Processor time of a process so far, seconds."""
    import os

    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def deliver(tracker: Tracker, trials: int) -> Delivered:
    """Wait until MLflow has everything of a search that is over."""
    found, began = tracker.status(), time.monotonic()
    done = tracker.flush(DELIVERY_S).delivered
    after = time.monotonic() - began if done else None
    assert tracker.pid is not None
    spent = processor_s(tracker.pid)
    tracker.close()
    return Delivered(max(0, trials - found.pending), after, spent)


@contextmanager
def workers(load: Load, metrics: int) -> Iterator[None]:
    """Within the block trials sleep, in workers of Ray or in played ones."""
    script = load.script(metrics)
    if load.real:
        with patch.object(tuner, "run_trial", sleeper(script)):
            yield
    else:
        as_joined = patch.object(Cluster, "slots", lambda *_: lambda: load.workers)
        with as_joined, played(script, max(2, load.workers // WORKERS_A_HOST)):
            yield


def measure(spec: SearchSpec, load: Load, mlflow: bool, folder: Path) -> Measured:
    """Run the trials of a space on workers that sleep."""
    clock = Clock()
    clock.start()
    spec = replace(spec, scheduler="none", trials=load.trials)
    with ExitStack() as within:
        run = within.enter_context(RunFolder.create(folder / "runs", "scale"))
        journal = within.enter_context(run.journal())
        tracker = Tracker(run.path, f"sqlite:///{folder / 'mlflow.db'}")
        cluster = within.enter_context(Cluster(num_cpus=load.workers))
        one = replace(stages(spec, run, journal, load.workers), cluster=cluster)
        if mlflow:
            within.enter_context(tracker)
        within.enter_context(workers(load, len(one.metrics)))
        search(one)
        memory = memory_mb()
        delivered = deliver(tracker, load.trials) if mlflow else None
        state, events = run.state(), [event for event, _ in read_events(run.path / JOURNAL)]
    clock.done.set()

    def times(kind: type) -> list[float]:
        return sorted(e.time or 0.0 for e in events if isinstance(e, kind))

    began, ended, made = times(TrialBegan), times(TrialEnded), times(TrialMade)
    start, end = began[min(load.workers, len(began)) - 1], began[-1]
    end = end if end > start else ended[0]  # an anchor whose trials all run at once
    handover, rest, busy = waited(state, start)
    return Measured(
        workers=load.workers,
        trials=sum(start < at <= end for at in ended),
        reports=sum(start < at <= end for at in times(EpochsReported)),
        seconds=end - start,
        cpu_s=clock.between(start, end),
        handover_ms=1000 * handover,
        rest_ms=1000 * rest,
        idle=(handover + rest) / (handover + rest + busy),
        whole_s=ended[-1] - made[0],
        whole_cpu_s=clock.between(made[0], ended[-1]),
        memory_mb=memory,
        delivered=delivered,
    )


def judged(value: float, target: float) -> str:
    """Whether a value is at most its target."""
    return "met" if value <= target else "MISSED"


def lines(load: Load, found: Measured) -> list[str]:
    """What was measured, in words, each target with whether it is met."""
    cores = found.cpu_s / found.seconds
    words = [
        f"{found.workers:,} workers: {found.trials / found.seconds:.1f} trials and "
        f"{found.reports / found.seconds:.0f} reports a second for {found.seconds:.0f} s: "
        f"{cores:.2f} of a core (at most {TARGET_CORES:.0f}: {judged(cores, TARGET_CORES)}); "
        f"memory {found.memory_mb:.0f} MB",
    ]
    if found.idle == found.idle:  # not NaN
        words.append(
            f"  {1000 * found.cpu_s / max(1, found.trials):.1f} ms a trial with its reports; end "
            f"of a trial to the next start {found.handover_ms:.0f} ms, rest of a trial "
            f"{found.rest_ms:.0f} ms: {found.idle:.1%} of a worker's time "
            f"(at most {TARGET_IDLE:.0%}: {judged(found.idle, TARGET_IDLE)})"
        )
    if load.limit_s is not None:
        least = load.seconds * load.trials / load.workers
        words.append(
            f"  all {load.trials:,} trials took {found.whole_s:.0f} s (at most {load.limit_s:.0f}: "
            f"{judged(found.whole_s, load.limit_s)}; without a driver {least:.0f}), "
            f"{found.whole_cpu_s:.0f} s of the driver's processor time"
        )
    if (sent := found.delivered) is not None:
        later = "not all later" if sent.after_s is None else f"all {sent.after_s:.0f} s later"
        words.append(
            f"  MLflow had {sent.trials:,} of {load.trials:,} trials at the end, {later}; "
            f"courier {1000 * sent.courier_s / load.trials:.1f} ms a trial"
        )
    return words


def loads(options: argparse.Namespace) -> Sequence[Load]:
    """What is to be measured, by the options."""
    if options.anchor:
        load = replace(ANCHORS[options.anchor], real=options.real)
        if options.trials:
            part = options.trials / load.trials if load.trials > load.workers else 1.0
            load = replace(load, trials=options.trials, limit_s=part * (load.limit_s or 0.0))
        return [load]
    return [
        Load(
            n,
            options.trials or n * options.rounds,
            options.seconds,
            epoch_s=options.epoch,
            real=options.real,
        )
        for n in options.workers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", default="bpr_hard")
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--seconds", type=float, default=30.0, help="of a trial")
    parser.add_argument("--epoch", type=float, default=0.5, help="seconds of an epoch")
    parser.add_argument("--rounds", type=int, default=3, help="trials a worker")
    parser.add_argument("--trials", type=int, help="in all")
    parser.add_argument("--real", action="store_true", help="each worker a process")
    parser.add_argument("--anchor", choices=sorted(ANCHORS))
    parser.add_argument("--mlflow", action="store_true", help="deliver to a SQLite store")
    parser.add_argument("--load", help="measure this, and print JSON")
    options = parser.parse_args()
    if options.load:
        load = Load(**json.loads(options.load))
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            spec = load_spec(options.space)
            print(json.dumps(asdict(measure(spec, load, options.mlflow, Path(folder)))))
        return
    print(f"others used {used_by_others(2.0):.0%} of the cores before")
    given = ["--space", options.space] + (["--mlflow"] if options.mlflow else [])
    for load in loads(options):
        told = [*given, "--load", json.dumps(asdict(load))]
        answer = in_a_process("benchmarks.scale_ray", told)
        sent = answer.pop("delivered")
        found = Measured(**answer, delivered=None if sent is None else Delivered(**sent))
        print("\n".join(lines(load, found)), flush=True)


if __name__ == "__main__":
    main()
