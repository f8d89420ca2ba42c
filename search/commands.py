"""The commands beside the search: export, report, sync, ui, spaces, data."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from recsys.errors import ConfigError, InputError


def command_spaces(options: argparse.Namespace) -> int:
    """List the spaces, or show one as it is read."""
    from rich.console import Console
    from rich.table import Table

    from search.space import load_spec, space_names

    console = Console()
    if options.name:
        console.print(
            load_spec(options.name).to_yaml(), markup=False, highlight=False, soft_wrap=True
        )
        return 0
    table = Table("space", "trials", "epochs", "metric", "what it searches", box=None)
    for name in space_names():
        spec = load_spec(name)
        table.add_row(name, str(spec.trials), str(spec.max_epochs), spec.metric, spec.about)
    console.print(table)
    console.print("python run_search.py --space NAME", style="bold")
    return 0


def command_data(options: argparse.Namespace) -> int:
    """List the named data sets, or describe one source."""
    from rich.console import Console
    from rich.table import Table

    from recsys.data import SETS, describe_lines, load
    from search.cli import parse_columns

    console = Console()
    if options.source is None:
        table = Table("name", "what it is", "licence", box=None)
        for named in SETS.values():
            table.add_row(named.name, named.about, named.licence)
        console.print(table)
        console.print("or a file of yours: python run_search.py data PATH", style="bold")
        return 0
    dataset = load(
        options.source, min_rating=options.min_rating, columns=parse_columns(options.columns)
    )
    for line in describe_lines(dataset):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def command_report(options: argparse.Namespace) -> int:
    """Write report.html of a run anew."""
    from search.folder import RunFolder
    from search.report import render_report

    folder = RunFolder.open(options.runs_dir, options.run)
    folder.write("report.html", render_report(folder.path))
    print(folder.path / "report.html")  # noqa: T201
    return 0


def command_sync(options: argparse.Namespace) -> int:
    """Deliver what MLflow does not have yet."""
    from search.folder import RunFolder
    from search.tracking import sync, verify_delivery

    folder = RunFolder.open(options.runs_dir, options.run)
    status = sync(folder.path, options.tracking_uri)
    print(status.sentence())  # noqa: T201
    if status.delivered and options.verify:
        problems = verify_delivery(folder.path, options.tracking_uri)
        for problem in problems:
            print(problem)  # noqa: T201
        return 1 if problems else 0
    return 0 if status.delivered else 1


def command_ui(options: argparse.Namespace) -> int:
    """The MLflow UI on the local store."""
    from search.ui import serve

    return serve(options.port, options.host)


def command_export(options: argparse.Namespace) -> int:
    """Write a run's submission, or train one of its trials again and write its."""
    from search.folder import RunFolder

    target = Path(options.output).resolve()
    if target.is_dir():
        raise ConfigError(f"-o {options.output}: a folder; expected the name of a file")
    if not target.parent.is_dir():
        raise ConfigError(f"-o {options.output}: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise ConfigError(f"-o {options.output}: the folder {target.parent} is not writable")
    folder = RunFolder.open(options.runs_dir, options.run)
    if options.trial is None:
        ready = folder.path / "submission.csv"
        if not ready.exists():
            raise InputError(
                f"{folder.name}: this run has no submission yet: finish it with "
                f"`--resume --run {folder.name}`, or name a trial with --trial"
            )
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(ready, temporary)
        temporary.replace(target)
    else:
        _export_trial(folder, options.trial, target)
    print(f"wrote {target}")  # noqa: T201
    return 0


def _export_trial(folder, trial_id: str, target: Path) -> None:  # type: ignore[no-untyped-def]
    """Train a trial's config on everything, for its best number of epochs, and submit it."""
    from recsys.data import load
    from recsys.split import make_split
    from search.final import submit, train_fixed
    from search.settings import Settings, plan_of
    from search.space import load_spec

    state = folder.state()
    trial = state.trials.get(trial_id)
    if trial is None:
        known = ", ".join(t.id for t in state.in_order()[:3])
        raise ConfigError(f"--trial {trial_id}: no such trial; expected one of {known}, ...")
    if trial.best_epoch is None:
        raise ConfigError(f"--trial {trial_id}: it is {trial.state} and has no best epoch")
    settings = Settings.from_dict(state.settings)
    spec = load_spec(str(folder.path / "spec.yaml"))
    dataset = load(
        settings.data,
        min_rating=settings.min_rating,
        columns=settings.columns,
        seed=settings.seed,
    )
    everything = make_split(dataset, plan_of(spec), settings.seed).full()
    model = train_fixed(
        trial.config,
        trial.best_epoch,
        trial.seed,
        everything,
        settings.cpus_per_trial,
        settings.device,
    )
    submit(target, model, dataset.interactions, everything, spec.k)
