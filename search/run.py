"""One run from its options to its result: begin or resume, go through the stages, report.

The stages are in `stages.py`; this file decides what is run, where it is kept and how it ends.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any

from recsys.data import load
from recsys.errors import ConfigError
from recsys.evaluate import check_metric
from recsys.split import make_split
from search.cluster import Cluster, forbid_shadowed_engine, resolve_device
from search.display import Display
from search.folder import RunFolder, default_name
from search.journal import RunState
from search.space import SearchSpec, load_spec, override
from search.stages import Failed, Stages
from search.tracking import Tracker, check_tracking_uri, default_tracking_uri

DEFAULTS = {"data": "ml-100k", "seed": 42, "cpus_per_trial": 1, "gpus_per_trial": 0.0}


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


@dataclass(frozen=True)
class Settings:
    """What a run is, for good: written into its first journal line and read back on resume."""

    data: str
    min_rating: float | None
    columns: dict[str, str] | None
    seed: int
    trials: int
    time_budget: float | None
    cpus_per_trial: int
    gpus_per_trial: float
    device: str
    address: str | None
    storage: str | None
    tracking_uri: str
    data_digest: str = ""
    split_digest: str = ""

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Settings:
        """Read back what `asdict` wrote; keys of later versions are ignored."""
        known = {f.name for f in fields(Settings)}
        return Settings(**{k: v for k, v in values.items() if k in known})


def run_search(options: Options) -> int:
    """Run, resume or extend a search; returns the exit code."""
    forbid_shadowed_engine("mlflow")
    if options.resume or options.extend is not None:
        return _go_on(options)
    if options.space is None:
        raise ConfigError("--space is missing: say which search space (`run_search.py spaces`)")
    spec = override(load_spec(options.space), list(options.overrides))
    if options.trials is not None:
        spec = override(spec, [f"trials={options.trials}"])
    seed = DEFAULTS["seed"] if options.seed is None else options.seed
    settings = Settings(
        data=_absolute(options.data or str(DEFAULTS["data"])),
        min_rating=options.min_rating,
        columns=options.columns,
        seed=int(seed),
        trials=spec.trials,
        time_budget=options.time_budget if options.time_budget is not None else spec.time_budget,
        cpus_per_trial=options.cpus_per_trial or 1,
        gpus_per_trial=options.gpus_per_trial or 0.0,
        device=resolve_device(options.device or "auto", options.gpus_per_trial or 0.0),
        address=options.address,
        storage=options.storage,
        tracking_uri=options.tracking_uri or default_tracking_uri(),
    )
    check_tracking_uri(settings.tracking_uri)
    return _run(spec, settings, options, None)


def _absolute(source: str) -> str:
    """A path as an absolute one, since workers start elsewhere; a name stays a name."""
    return str(Path(source).resolve()) if Path(source).exists() else source


def _go_on(options: Options) -> int:
    """Resume, or extend, an existing run."""
    if options.run is None:
        raise ConfigError("--run is missing: say which run, e.g. --resume --run NAME")
    if options.overrides or options.data or options.trials or options.seed is not None:
        raise ConfigError(
            "--resume and --extend go on with the run's own data, seed and space: "
            "leave out --data, --seed, --trials and --set (more trials: --extend N)"
        )
    folder = RunFolder.open(options.runs_dir, options.run)
    state = folder.state()
    spec = load_spec(str(folder.path / "spec.yaml"))
    settings = Settings.from_dict(state.settings)
    changes: dict[str, Any] = {}
    for name in ("tracking_uri", "address", "storage", "time_budget"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    if options.extend is not None:
        changes["trials"] = max(settings.trials, len(state.trials)) + options.extend
    settings = Settings.from_dict(asdict(settings) | changes)
    if options.extend is not None:
        spec = override(spec, [f"trials={settings.trials}"])
    return _run(spec, settings, options, folder)
