"""Real searches in processes of their own: start, watch, kill, and compare what they left."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.record.folder import RunFolder
from search.tracking.verify import verify_delivery
from tests.search.fake_search import open_study, records
from tests.search.tracking.tracking_help import sqlite_store

ROOT = Path(__file__).resolve().parents[2]
# Limits are for what never happens, on a machine with much else to do: no test waits for one.
LONG_S = 600.0
GONE_S = 40.0  # less than the minute for which Ray's agents would stay by themselves
MARK = "RECSEARCH_TEST_MARK"  # inherited by everything a search starts, so that all of it is found

# Seconds of work in all, but more than the ten trials that are drawn at random, and every stage.
SPACE = """\
searcher: gp
metric: map@10
trials: 14
max_epochs: 6
k: 10
race: {finalists: 2, replicates: 2}
params:
  optimizer: adagrad
  batch_size: 1
  patience: 3
  method:
    choice:
      hard: {loss: bpr, neg_mode: hard, num_candidate_neg_samples: 20, hard_fraction: 0.1}
      uniform: {loss: bpr, neg_mode: even}
  latent_factors: {choice: [8, 16]}
  margin: {low: 0, high: 2, step: 0.5}
  lr: {low: 0.02, high: 0.3, log: true}
enqueue:
  - {method: hard, latent_factors: 16, margin: 1, lr: 0.1}
"""


@dataclass
class Home:
    """A folder with runs and a store of their own."""

    path: Path
    uri: str = ""

    def __post_init__(self) -> None:
        self.uri = self.uri or sqlite_store(self.path / "store")
        self.space = self.path / "tiny.yaml"
        self.space.write_text(SPACE)

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def start(self, *args: str, cpus: int | None = 1, **more: Any) -> Live:
        """`run_search.py ARGS` with this home's runs and store; `cpus` 1: one trial at a time."""
        where = ["--runs-dir", str(self.runs), "--tracking-uri", self.uri]
        return Live.start([*args, *where], self.path, cpus, **more)

    def search(self, run: str, *args: str, cpus: int | None = 1, **more: Any) -> Live:
        """A new search of the tiny space on the generated data."""
        what = ("--space", str(self.space), "--data", "demo", "--run", run)
        return self.start(*what, *args, cpus=cpus, **more)

    def resume(self, run: str, *args: str, cpus: int | None = 1, **more: Any) -> Live:
        return self.start("--resume", "--run", run, *args, cpus=cpus, **more)

    def call(self, *args: str, timeout: float = LONG_S) -> subprocess.CompletedProcess[str]:
        """A command that is not a search, to its end."""
        command = [sys.executable, str(ROOT / "run_search.py"), *args]
        where = ["--runs-dir", str(self.runs)]
        return subprocess.run(
            [*command, *where], cwd=self.path, capture_output=True, text=True, timeout=timeout
        )

    def state(self, run: str) -> Any:
        return RunFolder.open(self.runs, run).state()


@dataclass
class Live:
    """One process of a search, and whatever it started."""

    process: subprocess.Popen[bytes]
    mark: str
    out: Path
    err: Path
    began: float = field(default_factory=time.monotonic)

    @staticmethod
    def start(
        args: Sequence[str],
        cwd: Path,
        cpus: int | None,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        stdout: int | None = None,
    ) -> Live:
        mark = uuid.uuid4().hex
        more = {MARK: mark, "COLUMNS": "200"} | (env or {})
        if cpus is not None:
            more["RECSEARCH_CPUS"] = str(cpus)
        out, err = cwd / f"{mark}.out", cwd / f"{mark}.err"
        with out.open("wb") as stdout_file, err.open("wb") as stderr_file:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(ROOT / "run_search.py"), *args],
                cwd=cwd,
                env=os.environ | more,
                stdin=subprocess.DEVNULL,
                stdout=stdout_file if stdout is None else stdout,
                stderr=stderr_file,
                start_new_session=True,  # a group of its own, as a shell gives it
            )
        return Live(process, mark, out, err)

    def wait(self, seconds: float = LONG_S) -> int:
        """The exit code; everything is killed where it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"still running after {seconds} s: {self.said()}") from None

    def said(self) -> str:
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def errors(self) -> str:
        return self.err.read_text(errors="replace")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """A signal to the driver alone."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def press(self, number: int = signal.SIGINT) -> None:
        """A signal to the whole group, as a terminal sends Ctrl-C."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within the block the driver does nothing; what it started runs on."""
        self.kill(signal.SIGSTOP)
        try:
            yield
        finally:
            self.kill(signal.SIGCONT)

    def others(self, *words: str) -> dict[int, str]:
        """Living processes of this search beside the driver: pid -> command line."""
        found = {pid: line for pid, line in processes(self.mark).items() if pid != self.process.pid}
        return {p: line for p, line in found.items() if all(w in line for w in words)}

    def gone(self, seconds: float = GONE_S, but: str = "search.tracking.courier") -> None:
        """Assert that nothing of it is left within `seconds` (the courier has its last effort)."""
        end = time.monotonic() + seconds
        while left := {p: c for p, c in self.others().items() if but not in c}:
            assert time.monotonic() < end, f"left behind after {seconds} s: {left}"
            time.sleep(0.1)

    def end(self) -> None:
        """Kill all of it."""
        self.kill()
        self.process.wait()
        for pid in self.others():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def until(self, condition: Callable[[], bool], seconds: float = LONG_S) -> bool:
        """Wait for a condition; False where the search ended before."""
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                return condition()
            assert time.monotonic() < end, f"not within {seconds} s: {self.said()}"
            time.sleep(0.01)
        return True


def processes(mark: str) -> dict[int, str]:
    """Living processes with this mark in their environment: pid -> command line."""
    found = {}
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if wanted in (entry / "environ").read_bytes():
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z":
                        found[int(entry.name)] = line
    return found


def lines(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of a run's journal, so far."""
    try:
        content = (folder / "journal.jsonl").read_bytes()
    except OSError:
        return []
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def seen(folder: Path, kind: str, count: int = 1, **fields: Any) -> Callable[[], bool]:
    """Whether the journal has `count` lines of a kind with these fields."""

    def look() -> bool:
        found = [
            e
            for e in lines(folder)
            if e["t"] == kind and all(e.get(k) == v for k, v in fields.items())
        ]
        return len(found) >= count

    return look


# --- what has to hold of a run that came to its end -------------------------------------------


def check_whole(home: Home, run: str, trials: int) -> None:
    """trials.csv, the Optuna study, MLflow and the journal are the same, whole, without doubles."""
    folder = home.runs / run
    state = home.state(run)
    ids = [f"t{n:04d}" for n in range(trials)]
    assert state.status == "done"
    assert sorted(state.trials) == ids  # the budget, neither more nor less
    ordered = state.in_order()
    assert not [t.id for t in ordered if t.state == "RUNNING"]

    with (folder / "trials.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == ids
    for trial, row in zip(ordered, table, strict=True):
        assert row["state"] == trial.state
        assert row["value"] == ("" if trial.value is None else str(trial.value))
        params = {k[6:]: v for k, v in row.items() if k.startswith("param.") and v != ""}
        assert params == {k: str(v) for k, v in trial.params.items()}
        rows = list(trial.rows)
        assert [r[0] for r in rows] == list(range(1, len(rows) + 1))  # every epoch, once

    study = records(open_study(folder / "study.journal"))
    assert [t.number for t in study] == list(range(trials))
    for trial, told in zip(ordered, study, strict=True):
        assert (told.state, told.params) == (trial.state, trial.params)
        if trial.state == "COMPLETE":
            assert told.value == trial.value

    assert verify_delivery(folder, home.uri) == []  # every run, param, step, tag and artifact

    result = json.loads((folder / "result.json").read_text())
    assert result["status"] == "done"
    assert sum(result["trials"].values()) == trials
    assert result["test_reads"] == 1
    assert len(state.race) == 2 * len(result["race"]["finalists"])
    assert {path.name for path in folder.glob("model/*")} >= {"weights.pt", "config.json"}
    rows = (folder / "submission.csv").read_text().splitlines()
    assert len(rows) == 301
    assert "<html" in (folder / "report.html").read_text()
    assert not list(folder.glob(".*tmp"))


def outcome(home: Home, run: str) -> dict[str, Any]:
    """What a run decided, without what depends on the clock: equal for equal seeds."""
    folder = home.runs / run
    state = home.state(run)
    result = json.loads((folder / "result.json").read_text())
    for key in ("wall_s", "busy_fraction", "run"):
        del result[key]
    return {
        "trials": {
            t.id: (t.params, t.config, t.seed, t.state, t.reason, t.value, t.best_epoch, t.epochs)
            for t in state.in_order()
        },
        "epochs": {t.id: [row[:-2] for row in t.rows] for t in state.in_order()},
        "race": {k: (r.value, r.best_epoch, r.split_seed) for k, r in state.race.items()},
        "result": result,
        "submission": (folder / "submission.csv").read_text(),
    }
