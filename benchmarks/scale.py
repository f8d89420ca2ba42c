"""What the driver of a search costs a trial and a report, by how many trials have ended before.

    python -m benchmarks.scale                          # 1,000, 3,000 and 10,000 ended trials
    python -m benchmarks.scale --ended 1000 --space all
    python -m benchmarks.scale_ray                      # the same under a real Ray

Everything that ships is at work: searcher, scheduler, recorder, journal, display, time budget,
tables, study and the courier to MLflow. No model is trained. The journal of a run gets so many
trials made up, the run is resumed, and its next trials are fed to the driver by a
stand-in for Ray's loop. Times are the processor's, so that a busy machine changes them little;
every number of trials is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from rich.console import Console

from benchmarks.contest import ROOT, used_by_others
from benchmarks.searches import environment
from recsys.data import load
from recsys.models.progress import Stop
from recsys.split import make_split
from search.machine.cluster import Resources
from search.machine.workers import Patience
from search.record.events import (
    EpochRow,
    EpochsReported,
    Reason,
    SessionBegan,
    StageMarked,
    StageState,
    State,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.folder import RunFolder
from search.record.journal import Journal
from search.record.settings import Settings
from search.screen.display import Display
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.trial import TrialConfig
from search.stages import search as search_stage
from search.stages.context import Stages
from search.tracking.delivery import RunDelivery
from search.tune.outcome import Report, trial_of

TARGET_PROPOSAL_MS, TARGET_MEMORY_MB, TARGET_GROWTH = 50.0, 1000.0, 1.1
EPOCHS_A_REPORT = 5
SEED, SOME = 42, 7
DATA, BUDGET_S = "demo", 36_000.0


# --- a run with trials that nobody trained --------------------------------------------------------


@cache
def level(number: int) -> float:
    """How good a trial turns out, from 0 to 1; the same for each number."""
    return float(np.random.default_rng([SOME, number]).random())


def row(number: int, epoch: int, metrics: Sequence[str]) -> EpochRow:
    """What a trial reports of an epoch."""
    value = level(number) * (1 - math.exp(-epoch / 9))
    return EpochRow(epoch, 1 / epoch, (value,) * len(metrics), 0.4, 0.1)


def length(number: int, ends: list[int]) -> int:
    """Epochs of a trial of which each of `ends`, but the last, lets a third go on."""
    reached = int(-math.log(1 - level(number)) / math.log(3))
    return ends[min(reached, len(ends) - 1)]


def made_up(run: Stages, count: int, metrics: Sequence[str]) -> None:
    """Put `count` ended trials into the journal of a run, as ASHA might have left them."""
    spec, rng = run.spec, np.random.default_rng(SEED)
    ends = [*run.data.rungs, spec.max_epochs]
    append = run.journal.append
    for number in range(count):
        trial = TrialConfig.of(spec, spec.sample(rng), SEED, number)
        name, epochs = trial.id, length(number, ends)
        rows = [row(number, epoch, metrics) for epoch in range(1, epochs + 1)]
        append(
            TrialMade(
                id=name,
                number=number,
                params=trial.params,
                config=trial.train.to_flat(),
                seed=trial.seed,
            )
        )
        append(TrialBegan(id=name, attempt=1))
        append(EpochsReported.of(name, 1, metrics, rows))
        whole = epochs == spec.max_epochs
        append(
            TrialEnded(
                id=name,
                state=State.COMPLETE if whole else State.PRUNED,
                reason=Reason.EPOCHS if whole else Reason.ASHA,
                value=rows[-1].values[0],
                best_epoch=epochs,
                epochs=epochs,
                busy_s=epochs * 0.5,
            )
        )


def stages(spec: SearchSpec, folder: RunFolder, journal: Journal, concurrent: int) -> Stages:
    """The stages of a run on the demo data, without a cluster, with a time budget that is far."""
    dataset = load(DATA)
    split = make_split(dataset, spec.split, SEED)
    settings = Settings(
        data=DATA,
        min_rating=None,
        columns=None,
        seed=SEED,
        trials=spec.trials,
        time_budget=BUDGET_S,
        cpus_per_trial=1,
        gpus_per_trial=0.0,
        device="cpu",
        address=None,
        storage=None,
        tracking_uri=None,
    )
    journal.append(
        SessionBegan(
            name=folder.name, space=spec.name, settings=asdict(settings), metric=spec.metric
        )
    )
    patience = Patience(lambda _: None, lambda: None)
    cluster: Any = SimpleNamespace(
        patience=lambda _: patience,
        lost=lambda: None,
        slots=lambda _: None,
        watch=None,
        fetch=lambda _: None,
        store=lambda _: None,
    )
    return Stages(
        spec=spec,
        settings=settings,
        dataset=dataset,
        split=split,
        plan=spec.split,
        folder=folder,
        journal=journal,
        display=Display(spec.name, DATA, spec.trials, console=Console(file=io.StringIO())),
        cluster=cluster,
        resources=Resources(1, 0.0, concurrent, concurrent),
        deadline=time.monotonic() + BUDGET_S,
    )


# --- the stand-in for Ray's loop ------------------------------------------------------------------


@dataclass
class Ledger:
    """What was done how often, and the milliseconds of processor time that each took."""

    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        began = time.thread_time()
        try:
            yield
        finally:
            self.taken[what].append(1000 * (time.thread_time() - began))


@dataclass(eq=False)
class Live:
    """A trial that runs, as searcher, scheduler and recorder see Ray's own."""

    trial_id: str
    config: dict[str, Any]
    epoch: int = 0
    last_result: dict[str, Any] = field(default_factory=dict)
    evaluated_params: dict[str, Any] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return int(trial_of(self.config).number)


class Loop:
    """In place of `run_trials`: tells the driver what Ray tells it, in Ray's order (ray 2.60,
    `TuneController.step`, `_process_trial_result` and `stop_trial`), and measures.
    """

    def __init__(self, spec: SearchSpec, concurrent: int) -> None:
        self.spec, self.concurrent, self.ledger = spec, concurrent, Ledger()
        self.ended, self.written = 0, 0  # trials; bytes, after the first of them have begun
        self.begun = self.over = 0.0  # of `time.thread_time`

    def __call__(
        self,
        resources: Resources,  # noqa: ARG002
        data: Any,  # noqa: ARG002
        searcher: Searcher,
        scheduler: Any,
        budget: int,  # noqa: ARG002
        recorder: Any,
        *_: Any,
    ) -> None:
        self.searcher, self.scheduler, self.recorder = searcher, scheduler, recorder
        live = deque(filter(None, [self.begin() for _ in range(self.concurrent)]))
        self.begun, before = time.thread_time(), written()
        self.ledger.taken.clear()  # what the first proposal prepares is a part of the resume
        while live:
            trial = live.popleft()
            if self.goes_on(trial):
                live.append(trial)
            elif (new := self.begin()) is not None:
                live.append(new)
        self.written, self.over = written() - before, time.thread_time()

    def begin(self) -> Live | None:
        name = self.searcher.next_id()
        with self.ledger.of("proposal"):
            config = self.searcher.suggest(name)
        if not isinstance(config, dict):
            self.ledger.taken["proposal"].pop()  # it said that there is none
            return None
        trial = Live(name, config)
        with self.ledger.of("start"):
            self.recorder.on_trial_start(0, [], trial)
            self.step()
        return trial

    def goes_on(self, trial: Live) -> bool:
        """The next report of a trial; False where it was the last."""
        first, rungs = trial.epoch + 1, self.scheduler.rungs_of(trial_of(trial.config).train)
        most = self.spec.max_epochs
        while True:
            trial.epoch += 1
            if (
                trial.epoch in rungs
                or trial.epoch == most
                or trial.epoch - first + 1 == EPOCHS_A_REPORT
            ):
                break
        rows = [row(trial.number, e, self.recorder.metrics) for e in range(first, trial.epoch + 1)]
        over = trial.epoch == most
        stop: Stop | None = "epochs" if over else None
        result = Report(trial.epoch, rows[-1].values[0], trial.epoch, stop, rows).flat()
        with self.ledger.of("report"):
            stopped = self.report(trial, result)
            self.step()
        if not over and not stopped:
            return True
        with self.ledger.of("end"):
            self.end(trial)
            self.step()
        self.ended += 1
        return False

    def report(self, trial: Live, result: dict[str, Any]) -> bool:
        """Whether the trial is to be stopped."""
        stop = self.recorder.watch(trial.trial_id, result)
        if not stop:
            decision = self.scheduler.on_trial_result(None, trial, result)
            stop = decision == TrialScheduler.STOP
        if not stop:
            self.searcher.on_trial_result(trial.trial_id, result)
        trial.last_result = result
        self.recorder.on_trial_result(0, [], trial, result)
        return bool(stop)

    def end(self, trial: Live) -> None:
        self.scheduler.on_trial_complete(None, trial, trial.last_result)
        self.searcher.on_trial_complete(trial.trial_id, trial.last_result)
        self.recorder.on_trial_complete(0, [], trial)

    def step(self) -> None:
        """What Ray asks after every event."""
        self.recorder.watch.stop_all()
        self.recorder.on_step_end(0, [])


def written() -> int:
    """Bytes that this process has written so far."""
    found = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(found["wchar"])


def memory_mb() -> float:
    """What this process has in memory."""
    fields = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) / 1024


# --- MLflow, where nobody is at home --------------------------------------------------------------


class Client:
    """A store that takes everything at once and keeps nothing."""

    def __init__(self) -> None:
        self.runs = 0

    def create_run(self, *_: Any, **__: Any) -> Any:
        self.runs += 1
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{self.runs:032x}"))

    def list_artifacts(self, *_: Any) -> list[Any]:
        return []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def courier_ms(run: RunFolder, journal: Journal) -> tuple[float, float]:
    """Milliseconds of the courier's processor time: a trial, and a pass that brings no trial.

    The store's own share, 5 to 30 ms a trial, is not in it.
    """
    store: Any = SimpleNamespace(
        uri="stub", client=Client(), experiment_id="1", threads=1, runs_of=lambda _: {}
    )
    delivery = RunDelivery(run.path, store, "scale")
    began = time.thread_time()
    delivery.run_pass()
    first = time.thread_time() - began
    journal.append(StageMarked(name="race", state=StageState.START))
    began = time.thread_time()
    delivery.run_pass()
    return 1000 * first / len(delivery.state.trials), 1000 * (time.thread_time() - began)


# --- one measurement ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Of a driver with `ended` trials behind it. Milliseconds of the processor for one proposal,
    start of a trial, report, end of a trial; seconds to begin (a resume), and for tables and study
    at the search's end; bytes written a trial; size of process and run folder; `courier_ms`.
    """

    ended: int
    proposal_ms: float
    start_ms: float
    report_ms: float
    end_ms: float
    bytes_a_trial: float
    resume_s: float
    files_s: float
    memory_mb: float
    folder_mb: float
    courier_trial_ms: float
    courier_pass_ms: float


def measure(spec: SearchSpec, ended: int, concurrent: int, more: int, folder: Path) -> Cost:
    """What the next `more` trials of a run cost, of which `concurrent` run at once."""
    spec = replace(spec, trials=ended + more)
    with RunFolder.create(folder, "scale") as run, run.journal() as journal:
        one = stages(spec, run, journal, concurrent)
        made_up(one, ended, one.metrics)
        loop, began = Loop(spec, concurrent), time.thread_time()
        one.state = run.state()
        with patch.object(search_stage, "run_trials", loop):
            search_stage.search(one)
        files = time.thread_time() - loop.over
        memory = memory_mb()
        size = sum(f.stat().st_size for f in run.path.rglob("*") if f.is_file())
        courier = courier_ms(run, journal)
    means = {what: float(np.mean(taken)) for what, taken in loop.ledger.taken.items()}
    return Cost(
        ended=ended,
        proposal_ms=means["proposal"],
        start_ms=means["start"],
        report_ms=means["report"],
        end_ms=means["end"],
        bytes_a_trial=loop.written / loop.ended,
        resume_s=loop.begun - began,
        files_s=files,
        memory_mb=memory,
        folder_mb=size / 1e6,
        courier_trial_ms=courier[0],
        courier_pass_ms=courier[1],
    )


ROWS: tuple[tuple[str, Callable[[Cost], str]], ...] = (
    (f"a proposal (target <= {TARGET_PROPOSAL_MS:.0f} ms)", lambda c: f"{c.proposal_ms:.1f} ms"),
    ("start of a trial", lambda c: f"{c.start_ms:.2f} ms"),
    ("a report", lambda c: f"{c.report_ms:.2f} ms"),
    ("end of a trial", lambda c: f"{c.end_ms:.2f} ms"),
    ("written a trial", lambda c: f"{c.bytes_a_trial / 1000:.1f} kB"),
    ("resume, to the first proposal", lambda c: f"{c.resume_s:.1f} s"),
    ("tables and study at the end", lambda c: f"{c.files_s:.1f} s"),
    (f"memory (target <= {TARGET_MEMORY_MB:.0f} MB)", lambda c: f"{c.memory_mb:.0f} MB"),
    ("run folder", lambda c: f"{c.folder_mb:.0f} MB"),
    ("courier, a trial, without the store", lambda c: f"{c.courier_trial_ms:.2f} ms"),
    ("courier, a pass without a new trial", lambda c: f"{c.courier_pass_ms:.0f} ms"),
)


def table(costs: Sequence[Cost]) -> list[str]:
    """The lines of a markdown table, a column for each number of trials."""
    lines = ["| ended trials | " + " | ".join(f"{c.ended:,}" for c in costs) + " |"]
    lines.append("|---" * (len(costs) + 1) + "|")
    return lines + [f"| {name} | " + " | ".join(map(show, costs)) + " |" for name, show in ROWS]


def missed(costs: Sequence[Cost]) -> list[str]:
    """The targets that are not met, in words."""
    found, first, last = [], costs[0], costs[-1]
    if last.proposal_ms > TARGET_PROPOSAL_MS:
        found.append(f"a proposal takes {last.proposal_ms:.0f} ms")
    if last.memory_mb > TARGET_MEMORY_MB:
        found.append(f"the driver takes {last.memory_mb:.0f} MB")
    if last.bytes_a_trial > TARGET_GROWTH * first.bytes_a_trial:
        found.append(f"a trial writes {last.bytes_a_trial / first.bytes_a_trial:.1f} times as much")
    return found


def in_a_process(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The JSON that a module prints when it is run with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{module} {' '.join(arguments)} failed")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", default="bpr_hard")
    parser.add_argument("--ended", type=int, nargs="+", default=[1000, 3000, 10_000])
    parser.add_argument("--concurrent", type=int, default=20)
    parser.add_argument("--more", type=int, default=100, help="trials that are measured")
    parser.add_argument("--json", action="store_true", help="measure here, one number of --ended")
    options = parser.parse_args()
    if options.json:
        with tempfile.TemporaryDirectory(prefix="bench-scale-") as folder:
            spec = load_spec(options.space)
            cost = measure(spec, options.ended[0], options.concurrent, options.more, Path(folder))
        print(json.dumps(asdict(cost)))
        return
    print(f"others used {used_by_others(2.0):.0%} of the cores before\n")
    given = ["--space", options.space, "--concurrent", str(options.concurrent)]
    given += ["--more", str(options.more)]
    costs = [
        Cost(**in_a_process("benchmarks.scale", [*given, "--ended", str(n), "--json"]))
        for n in sorted(options.ended)
    ]
    print("\n".join(table(costs)))
    for words in missed(costs):
        print(f"MISSED: {words}")


if __name__ == "__main__":
    main()
