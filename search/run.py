"""One run from its options to its result: begin or resume, go through the stages, report.

The stages are in `stages.py`; this file decides what is run, where it is kept and how it ends.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recsys.data import SETS, Dataset, describe_lines, load
from recsys.errors import ConfigError
from recsys.metrics import check_metric
from recsys.split import make_split
from search.cluster import Cluster, resolve_device
from search.display import Display
from search.folder import RunFolder, default_name
from search.interrupt import EXIT_CODE, Interruption, interruptible
from search.session import Session
from search.settings import Settings, all_leaky, for_device, plan_of
from search.space import SearchSpec, load_spec, override
from search.tracking import (
    check_tracking_uri,
    default_tracking_uri,
    delivery_status,
    known_uri,
)

DEFAULT_DATA, DEFAULT_SEED = "ml-100k", 42


@dataclass(frozen=True)
class Options:
    """What the command line said; None where it said nothing."""

    space: str | None = None
    data: str | None = None
    min_rating: float | None = None
    columns: dict[str, str] | None = None
    trials: int | None = None
    time_budget: float | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    run: str | None = None
    runs_dir: Path = Path("runs")
    resume: bool = False
    extend: int | None = None
    dry_run: bool = False
    cpus_per_trial: int | None = None
    gpus_per_trial: float | None = None
    device: str | None = None
    address: str | None = None
    storage: str | None = None
    tracking_uri: str | None = None


def run_search(options: Options) -> int:
    """Run, resume or extend a search; returns the exit code."""
    with interruptible() as interruption:
        try:
            code = _start(options, interruption)
        except KeyboardInterrupt:
            interruption.farewell()
            code = EXIT_CODE
        if interruption.pressed:
            # Everything is closed; taking Python itself down would cost another second or more.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code


def _start(options: Options, interruption: Interruption) -> int:
    if options.resume or options.extend is not None:
        return _go_on(options, interruption)
    if options.space is None:
        raise ConfigError("--space is missing: say which search space (`run_search.py spaces`)")
    spec = override(load_spec(options.space), list(options.overrides))
    if options.trials is not None:
        spec = override(spec, [f"trials={options.trials}"])
    settings = Settings(
        data=_absolute(options.data or DEFAULT_DATA),
        min_rating=options.min_rating,
        columns=options.columns,
        seed=DEFAULT_SEED if options.seed is None else options.seed,
        trials=spec.trials,
        time_budget=options.time_budget if options.time_budget is not None else spec.time_budget,
        cpus_per_trial=options.cpus_per_trial or 1,
        gpus_per_trial=options.gpus_per_trial or 0.0,
        device=resolve_device(options.device or "auto", options.gpus_per_trial or 0.0),
        address=options.address,
        storage=options.storage,
        tracking_uri=check_tracking_uri(options.tracking_uri or default_tracking_uri()),
    )
    spec = for_device(spec, settings.device)
    return _run(spec, settings, options, interruption, None)


def _absolute(source: str) -> str:
    """A path as an absolute one, since workers start elsewhere; a name stays a name."""
    known = source in SETS or not Path(source).exists()
    return source if known else str(Path(source).resolve())


def _go_on(options: Options, interruption: Interruption) -> int:
    """Resume, or extend, an existing run."""
    if options.run is None:
        raise ConfigError("--run is missing: say which run, e.g. --resume --run NAME")
    if options.overrides or options.data or options.trials or options.seed is not None:
        raise ConfigError(
            "--resume and --extend go on with the run's own data, seed and space: "
            "leave out --data, --seed, --trials and --set (more trials: --extend N)"
        )
    folder = RunFolder.open(options.runs_dir, options.run, lock=True)
    state = folder.state()
    spec = load_spec(str(folder.path / "spec.yaml"))
    settings = Settings.from_dict(state.settings)
    changes: dict[str, Any] = {}
    for name in ("address", "storage", "time_budget"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    changes["tracking_uri"] = check_tracking_uri(options.tracking_uri or settings.tracking_uri)
    if options.extend is None and state.status == "done":
        with folder:
            return _finished_already(folder)
    if options.extend is not None:
        changes["trials"] = max(settings.trials, len(state.trials)) + options.extend
    settings = Settings.from_dict(asdict(settings) | changes)
    if options.extend is not None:
        spec = override(spec, [f"trials={settings.trials}"])
    return _run(spec, settings, options, interruption, folder)


def _finished_already(folder: RunFolder) -> int:
    """There is nothing to go on with; says so, and what MLflow lacks."""
    print(  # noqa: T201
        f"run {folder.name} is finished, nothing is left to do: see {folder.path / 'report.html'}; "
        f"more trials: python run_search.py --run {folder.name} --extend 20"
    )
    uri = known_uri(folder.path)
    if uri is not None and not (status := delivery_status(folder.path, uri)).delivered:
        print(status.sentence())  # noqa: T201
    return 0


def _check_data(dataset: Dataset, spec: SearchSpec) -> None:
    """What can only be known once space and data are both there."""
    n_items = dataset.interactions.n_items
    check_metric(spec.metric, n_items)
    if spec.purpose == "search" and all_leaky(spec):
        raise ConfigError(
            "negatives_exclude: all leaks the validation items, so nothing it finds may win; "
            "add --set purpose=table to see its numbers beside the test"
        )
    if spec.k > n_items:
        raise ConfigError(f"k: {spec.k} items a user, but the data has {n_items} items in all")


def _run(
    spec: SearchSpec,
    settings: Settings,
    options: Options,
    interruption: Interruption,
    folder: RunFolder | None,
) -> int:
    """Everything from the data on, for a new run (`folder` None) or one that goes on."""
    display = Display(
        spec.name,
        settings.data,
        spec.trials,
        settings.time_budget,
        metric=spec.metric,
        leaky=all_leaky(spec),
    )
    display.note(f"reading {settings.data}")
    dataset = load(
        settings.data,
        min_rating=settings.min_rating,
        columns=settings.columns,
        seed=settings.seed,
        notify=display.note,
    )
    display.data = dataset.interactions.name
    for line in describe_lines(dataset):
        display.note(line)
    _check_data(dataset, spec)
    split = make_split(dataset, plan_of(spec), settings.seed)
    display.note(f"split: {split.name} (digest {split.digest})")
    if folder is not None and settings.split_digest not in ("", split.digest):
        raise ConfigError(
            f"--run {folder.name}: the data has changed since the run began "
            f"(split digest {settings.split_digest} then, {split.digest} now)"
        )
    settings = replace(
        settings, data_digest=dataset.interactions.digest(), split_digest=split.digest
    )
    if options.dry_run:
        return _dry_run(spec, settings, display)
    if folder is None:
        name = options.run or default_name(spec.name, dataset.interactions.name, options.runs_dir)
        folder = RunFolder.create(options.runs_dir, name)
    with folder:
        folder.lock()
        display.run = folder.name
        return Session(spec, settings, dataset, split, folder, display, interruption).drive()


def _dry_run(spec: SearchSpec, settings: Settings, display: Display) -> int:
    """Everything was read and checked; say what would run."""
    with Cluster(settings.address) as cluster:
        resources = cluster.preflight(
            settings.cpus_per_trial, settings.gpus_per_trial, settings.device
        )
    display.note(
        f"{spec.trials} trials of at most {spec.max_epochs} epochs, {resources.concurrent} at a "
        f"time on {resources.cores} cores ({settings.device}); nothing was started"
    )
    return 0
