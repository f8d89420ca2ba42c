"""The commands beside the search: export, report, sync, ui, spaces, data."""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.errors import ConfigError, InputError
from recsys.safe_files import check_replaceable, replacing
from search.paste import command

if TYPE_CHECKING:
    from search.record.folder import RunFolder
    from search.record.state import RunState


def command_spaces(options: argparse.Namespace) -> int:
    """List the spaces, or show one as it is read."""
    from rich.console import Console
    from rich.table import Table

    from search.space.load import load_spec, space_names

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
    console.print(command("--space", "bpr_hard"), style="bold", soft_wrap=True)
    return 0


def command_data(options: argparse.Namespace) -> int:
    """List the named data sets, or describe one source."""
    from rich.console import Console
    from rich.table import Table

    from recsys.data import SETS, describe_lines, load
    from search.cli.arguments import parse_columns
    from search.run.evidence import default_evidence

    if options.source is None and (options.columns or options.min_rating is not None):
        flag = "--columns" if options.columns else "--min-rating"
        raise ConfigError(f"{flag}: of which data? say data NAME|PATH {flag} ...")
    console = Console()
    if options.source is None:
        table = Table("name", "what it is", "licence", box=None)
        for named in SETS.values():
            table.add_row(named.name, named.about, named.licence)
        console.print(table)
        console.print(
            f"or a file of yours: {command('data', 'FILE')}", style="bold", soft_wrap=True
        )
        return 0
    dataset = load(
        options.source, min_rating=options.min_rating, columns=parse_columns(options.columns)
    )
    for line in [*describe_lines(dataset), *default_evidence(dataset)]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def command_report(options: argparse.Namespace) -> int:
    """Write report.html of a run anew."""
    from search.report.page import render_report

    folder = _open(options)
    folder.write("report.html", render_report(folder.path))
    print(folder.path / "report.html")  # noqa: T201
    return 0


def command_sync(options: argparse.Namespace) -> int:
    """Deliver what MLflow does not have yet."""
    from search.tracking.driver import sync
    from search.tracking.verify import verify_delivery

    folder = _open(options)
    status = sync(folder.path, options.tracking_uri)
    print(status.sentence())  # noqa: T201
    if status.delivered and options.verify:
        problems = verify_delivery(folder.path, options.tracking_uri)
        for problem in problems:
            print(problem)  # noqa: T201
        return 1 if problems else 0
    if not status.delivered and options.verify:
        print("note: --verify compares what was delivered, which is not all of it")  # noqa: T201
    return 0 if status.delivered else 1


def command_ui(options: argparse.Namespace) -> int:
    """The MLflow UI on the local store."""
    from search.tracking.ui import serve

    return serve(options.port, options.host)


def command_export(options: argparse.Namespace) -> int:
    """Write a run's submission, or train one of its trials again and write its."""
    target = _target(options.output)
    if options.data is not None and options.trial is None:
        raise ConfigError("--data: the run's own submission is ready: leave it out, or say --trial")
    folder = _open(options)
    if options.trial is None:
        ready = folder.path / "submission.csv"
        if not ready.exists():
            raise InputError(
                f"{folder.name}: this run has no submission yet: finish it with "
                f"`{command('--resume', '--run', folder.path)}`, or name a trial with --trial"
            )
        with _whole(target) as temporary:
            if options.submission_sep is None:
                shutil.copyfile(ready, temporary)
            else:
                from recsys.submission import rewrite_submission

                before = _separator_of(folder)
                rewrite_submission(ready, temporary, before, options.submission_sep)
    else:
        _export_trial(folder, options.trial, options.data, options.submission_sep, target)
    print(f"wrote {target}")  # noqa: T201
    return 0


def _separator_of(folder: RunFolder) -> str:
    """What separates the items of a run's submission."""
    from search.record.result import Refitted, refitted

    return (refitted(folder.state()) or Refitted()).separator


def _target(output: str) -> Path:
    """The file to write; ConfigError where it can't be written, before anything is done for it."""
    try:
        target = Path(output).resolve()
        if target.is_dir():
            raise ConfigError(f"-o {output}: a folder; expected the name of a file")
        if target.exists() and not target.is_file():
            raise ConfigError(f"-o {output}: no regular file; expected the name of a file")
        if not target.parent.is_dir():
            raise ConfigError(f"-o {output}: there is no folder {target.parent}")
        if not os.access(target.parent, os.W_OK):
            raise ConfigError(f"-o {output}: the folder {target.parent} is not writable")
        # As the writer will: a name that is too long, a disk that is full or read-only.
        check_replaceable(target)
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"-o {output}: {getattr(error, 'strerror', None) or error}") from None
    return target


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """A file beside `target` that takes its place once it is whole; ConfigError for a full disk."""
    try:
        with replacing(target, durable=False) as temporary:
            yield temporary
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"-o {target}: cannot be written ({reason})") from None


def _open(options: argparse.Namespace) -> RunFolder:
    """The run that a command is about."""
    from search.record.folder import RunFolder, is_path

    if options.runs_dir is not None and is_path(options.run):
        raise ConfigError(f"{options.run} is a path: leave out --runs-dir, or say the run's name")
    return RunFolder.open(options.runs_dir or "runs", options.run)


def _winner_of(folder: RunFolder, state: RunState) -> str:
    """The trial that won the race; ConfigError where none has yet."""
    from search.record.result import decided

    race = decided(state)
    if race is None:
        raise ConfigError(f"--trial best: run {folder.name} has no winner yet")
    return race.winner


def _export_trial(
    folder: RunFolder, trial_id: str, data: str | None, separator: str | None, target: Path
) -> None:
    """Train a trial's config on everything, for its best number of epochs, and submit it."""
    from search.machine.cluster import resolve_device
    from search.record.settings import Settings
    from search.run.opened import absolute, open_data
    from search.space.load import load_run_spec
    from search.stages.refit import submit
    from search.stages.winner import FinalTraining

    state = folder.state()
    if trial_id == "best":
        trial_id = _winner_of(folder, state)
    trial = state.trials.get(trial_id)
    if trial is None:
        known = ", ".join(t.id for t in state.in_order()[:3])
        hint = f"expected one of {known}, ..." if known else "the run has none yet"
        raise ConfigError(f"--trial {trial_id}: no such trial; {hint}")
    if trial.best_epoch is None:
        raise ConfigError(f"--trial {trial_id}: it is {trial.state} and has no best epoch")
    settings = Settings.from_dict(state.settings)
    if data is not None:
        settings = replace(settings, data=absolute(data))
    spec = load_run_spec(folder.path)
    device = settings.device
    try:
        resolve_device(device, settings.gpus_per_trial)
    except ConfigError:
        print(f"note: there is no {device} here, the trial is trained on the CPU")  # noqa: T201
        device = "cpu"
    opened = open_data(spec, settings, folder.name, lambda _: None)
    everything = opened.split.full()
    training = FinalTraining.of(
        trial.training,
        trial.best_epoch,
        seed=trial.seed,
        threads=settings.cpus_per_trial,
        device=device,
    )
    model = training.train(everything)
    separator = separator or settings.submission_sep
    submit(target, model, opened.dataset, everything, spec.k, separator)
