"""One trial inside a worker: the adapter between Ray Tune and a model's `train`.

A worker runs trial after trial (`reuse_actors`), so nothing here may outlive a trial: no global
state, every generator made from the trial's own seed.
"""

from __future__ import annotations

import ctypes
import platform
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.evaluation import evaluate
from recsys.interactions import CSR
from recsys.models import EpochReport, ModelConfig, new_model
from recsys.models.progress import Checkpoints
from recsys.models.warm_up import warm_up_machine
from search.machine.workers import UNFIT, NodeUnfitError
from search.record.events import EpochRow
from search.tune.checkpoints import EVERY_S, FROM, Keeper, opened
from search.tune.outcome import AT_ONCE, Report, trial_of
from search.tune.pace import paced_rungs
from search.words import counted

REPORT_EVERY_S, REPORTS_A_SECOND = 0.5, 200  # by one trial; by all trials together, at most


def report_every_s(concurrent: int) -> float:
    """Seconds between two reports of a trial, apart from those at rungs: the more trials run at
    once, the longer, so that the driver, which needs about a millisecond per report, keeps up.
    """
    return max(REPORT_EVERY_S, concurrent / REPORTS_A_SECOND)


@dataclass(frozen=True, eq=False)
class TrialData:
    """What all trials of a run share, read-only and zero-copy from the object store.

    `test` is None in a search: a worker cannot leak what it does not have. Only the tables of the
    report (`purpose: table`) have it. metric: the one that is searched by. metrics: all that are
    measured. rungs: the epochs after which every trial reports. threads: of a worker.
    """

    train: CSR
    valid: CSR
    test: CSR | None
    metric: str
    metrics: tuple[str, ...]
    rungs: tuple[int, ...]
    threads: int
    device: str
    blend: bool = False  # whether the race keeps the lists that a blend is made of
    watched: CSR | None = None  # the part of `valid` that trials are validated on; None: all
    sampled: int | None = None  # users who choose the epoch of a training of the race; None: all
    parts: int | None = None  # ASHA's factor where trials differ in length: see `paced_rungs`
    keep_every: float = EVERY_S  # seconds between two checkpoints of a trial
    joined: bool = False  # whether workers are on a cluster, which may have other nodes

    def rungs_of(self, config: ModelConfig) -> tuple[int, ...]:
        """The epochs after which a trial of this config is judged."""
        epochs = config.most_epochs
        if self.parts is None or epochs is None:
            return self.rungs
        return tuple(paced_rungs(epochs, self.parts))


class Trial:
    """One training of one config: the same config, seed and data give the same epochs."""

    def __init__(self, config: ModelConfig, seed: int, data: TrialData) -> None:
        self.config = config
        self.data = data
        prepare(config, data)
        self.device = own_device(data.device)
        self.rng = np.random.default_rng(seed)
        self.model = new_model(self.config, data.train, self.rng)

    def epochs(self, checkpoints: Checkpoints | None = None) -> Iterator[EpochReport]:
        """Train, yielding a report per epoch; afterwards `model` holds the best weights.

        checkpoints: takes them as the training makes them, and has the one it continues from.
        """
        data = self.data
        yield from self.model.train(
            self.config,
            data.train,
            data.valid if data.watched is None else data.watched,
            rng=self.rng,
            metric=data.metric,
            metrics=data.metrics,
            exclude=data.valid if self.config.leaky else None,
            threads=data.threads,
            device=self.device,
            checkpoints=checkpoints,
        )

    def test(self) -> dict[str, float]:
        """Every metric on the test items (report tables only)."""
        data = self.data
        assert data.test is not None
        seen = data.train.union(data.valid)
        return evaluate(
            self.model, seen, data.test, list(data.metrics), threads=data.threads
        ).values


def own_device(device: str) -> str:
    """The device this worker trains on; on a cluster, `auto` is cuda where Ray gave it a GPU.

    Raises NodeUnfitError for cuda where torch sees no GPU.
    """
    if device == "cpu":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "auto":
        return "cpu"
    raise NodeUnfitError(f"--device cuda: torch sees no GPU on {platform.node()}")


def blames_node(error: Exception, data: TrialData) -> bool:
    """Whether a training failed because of what its node lacks, and may be tried on another one."""
    return data.joined and isinstance(error, UNFIT)


def prepare(config: ModelConfig, data: TrialData) -> None:
    """On a cluster, have one worker of this node compile what trains `config`: it had nobody else
    to do that, and all of its workers would.
    """
    if data.joined:
        warm_up_machine(config, threads=data.threads)


def limit_threads(threads: int) -> None:
    """Give torch exactly the threads that Ray reserved for this worker."""
    import torch

    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def return_freed_memory() -> None:
    """Give memory that earlier trials of this worker have freed back to the system; takes half a
    millisecond.

    glibc keeps freed blocks that lie below used ones, so a worker would grow with every larger
    model. Other C libraries have no such call, and do not need it.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return


def run_trial(config: dict[str, Any], data: TrialData) -> None:
    """Train the trial of `config`, reporting at rungs and beside that as often as the number of
    trials that run at once allows (`config["at_once"]`): what is decided at rungs does not depend
    on it.

    A trial that continues from a checkpoint (`config["from"]`) first repeats its earlier reports.

    A failure of the training itself (divergence, out of memory) is reported as a result with
    an `error`, so that Ray's retries are spent on dead workers only. On a cluster, what a node
    lacks is raised: another node may have it.
    """
    import ray
    from ray import tune

    limit_threads(data.threads)
    return_freed_memory()
    ours, at_once = trial_of(config), config[AT_ONCE]
    rows: list[EpochRow] = []
    said = Report(objective=float("-inf"))
    last = time.monotonic()
    try:
        trial = Trial(ours.train, ours.seed, data)
        said = replace(said, device=trial.device)
        by = f"{trial.device}, {counted(data.threads, 'thread')}"
        # taken out, since Tune keeps the config with the last result of each trial
        found = opened(ray.get(config.pop(FROM)), by) if FROM in config else None
        keeper = Keeper(found, ray.put, data.keep_every, trials=at_once, by=by)
        rungs, every = data.rungs_of(ours.train), report_every_s(at_once)
        for epoch in trial.epochs(keeper):
            values = tuple(epoch.metrics[m] for m in data.metrics)
            rows.append(
                EpochRow(epoch.epoch, epoch.loss, values, epoch.train_seconds, epoch.eval_seconds)
            )
            best = (epoch.best_value, epoch.best_epoch)
            said = Report(epoch.epoch, *best, epoch.stop, rows, device=trial.device)
            due = epoch.epoch in rungs or time.monotonic() - last >= every
            if epoch.stop is None and (due or keeper.waiting):
                tune.report(replace(said, checkpoint=keeper.take()).flat())
                rows, last = [], time.monotonic()
        if data.test is not None:
            said = replace(said, test=trial.test())
    except Exception as error:
        if blames_node(error, data):
            raise
        cause, text = f"{type(error).__name__}: {error}", traceback.format_exc()
        said = replace(said, error=text, cause=cause, rows=rows)
    tune.report(said.flat())
