"""The commands other than the search, each a function named after its command."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from recsys.errors import ConfigError
from recsys.output import one_line
from search.paste import PROG, command, path_word

if TYPE_CHECKING:
    from rich.console import Console

    from recsys.data import Dataset
    from search.record.folder import RunFolder


def command_spaces(options: argparse.Namespace) -> int:
    """List the spaces, or show one with all of its defaults."""
    from rich.console import Console

    from search.cli.tables import Column, print_table
    from search.space.load import load_spec, space_names

    console = Console()
    if options.name:
        console.print(
            load_spec(options.name).to_yaml(), markup=False, highlight=False, soft_wrap=True
        )
        return 0
    columns = (
        Column("space"),
        Column("trials", leaves=1),
        Column("epochs", leaves=2),
        Column("metric", leaves=3),
        Column("what it searches", wraps=True),
    )
    specs = map(load_spec, space_names())
    rows = [(s.name, str(s.trials), str(s.max_epochs), s.metric, s.about) for s in specs]
    print_table(console, columns, rows)
    console.print(command("--space", "bpr_hard"), style="bold", soft_wrap=True)
    return 0


def command_data(options: argparse.Namespace) -> int:
    """List the named data sets, or describe one source."""
    from rich.console import Console

    from recsys.data import SETS, describe_lines, load
    from search.cli.arguments import parse_columns
    from search.cli.overview import bar_of, overview
    from search.cli.tables import Column, print_table
    from search.record.settings import DEFAULT_SEED
    from search.run.evidence import default_evidence

    if options.source is None and (options.columns or options.min_rating is not None):
        flag = "--columns" if options.columns else "--min-rating"
        raise ConfigError(f"{flag} needs a data set: data NAME|PATH {flag} ...")
    console = Console()
    if options.source is None:
        columns = Column("name"), Column("what it is", wraps=True), Column("licence", wraps=True)
        rows = [(named.name, named.about, named.licence) for named in SETS.values()]
        print_table(console, columns, rows)
        console.print(f"or your own file: {command('data', 'FILE')}", style="bold", soft_wrap=True)
        return 0
    dataset = load(
        options.source,
        min_rating=options.min_rating,
        columns=parse_columns(options.columns),
        seed=DEFAULT_SEED,  # what `demo` is for a search
    )
    bar = bar_of(console.encoding)
    read = ["--columns", options.columns] if options.columns else []
    if options.min_rating is not None:
        read += ["--min-rating", repr(options.min_rating).removesuffix(".0")]
    cost = command("--space", "all", "--data", path_word(options.source), *read, "--dry-run")
    for line in [
        *describe_lines(dataset),
        *overview(dataset, bar),
        *default_evidence(dataset),
    ]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for line in [
        *_measured(dataset, console),
        f"the same, measured in a search's own workers: {cost}",
    ]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _measured(dataset: Dataset, console: Console) -> list[str]:
    """Lines on what the default search takes, as measured now; a terminal shows the progress."""
    from rich.text import Text

    from search.run.estimate import estimate
    from search.space.load import load_spec

    spec = load_spec("all")
    if not console.is_terminal or console.is_dumb_terminal:
        text = "measured now, with an epoch of each kind of model:"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        return list(estimate(dataset, spec, lambda _: None))
    with console.status("") as status:
        return list(estimate(dataset, spec, lambda text: status.update(Text(text))))


def command_refit(options: argparse.Namespace) -> int:
    """Train the winner of a run on newer data."""
    from search.cli.arguments import parse_columns
    from search.run.refit import RefitOptions, refit

    folder = _open(options)
    return refit(
        RefitOptions(
            run=folder.path,
            data=options.data,
            min_rating=options.min_rating,
            columns=parse_columns(options.columns),
            name=options.name,
            tracking_uri=options.tracking_uri,
        )
    )


def command_compare(options: argparse.Namespace) -> int:
    """Print a table of several runs, and write a page about them."""
    from rich.console import Console
    from rich.text import Text

    from search.cli.tables import Column, print_table
    from search.cli.targets import target_file, whole_file
    from search.report.compare import CHOOSING, COLUMNS, compare_runs, render_comparison

    folders = [_open(options, run).path for run in options.runs]
    target = target_file(options.output)
    if target.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(
            f"-o {options.output}: compare writes a page: expected a name ending in .html"
        )
    compared = compare_runs(folders)
    with whole_file(target) as temporary:
        temporary.write_text(render_comparison(compared), encoding="utf-8")
    console = Console()
    for group in compared.groups:
        columns = [Column(title, wraps=title == "winner") for title in COLUMNS]
        print_table(console, columns, [side.cells() for side in group.sides])
        for line in group.verdicts:
            console.print(Text(line), soft_wrap=True)
    for _, why in compared.apart:
        console.print(
            Text(f"note: {why}: their tests say nothing about each other"), soft_wrap=True
        )
    console.print(Text(f"note: {CHOOSING}"), soft_wrap=True)
    print(target)  # noqa: T201
    return 0


def command_report(options: argparse.Namespace) -> int:
    """Write report.html of a run again."""
    from search.record.folder import REPORT
    from search.report.page import render_report

    folder = _open(options)
    folder.write(REPORT, render_report(folder.path))
    print(folder.path / REPORT)  # noqa: T201
    return 0


def command_sync(options: argparse.Namespace) -> int:
    """Deliver what MLflow does not have yet."""
    from search.tracking.driver import sync
    from search.tracking.verify import make_champion

    folder = _open(options)
    status = sync(folder.path, options.tracking_uri)
    print(status.sentence())  # noqa: T201
    if options.champion and not status.delivered:
        print("note: --champion needs a run that was delivered completely")  # noqa: T201
    elif options.champion:
        print(make_champion(folder.path, options.tracking_uri))  # noqa: T201
    elif status.registered is not None:
        print(status.registered)  # noqa: T201
    if status.delivered and options.verify:
        problems = _differences(folder.path, options.tracking_uri)
        for problem in problems:
            print(problem)  # noqa: T201
        return 1 if problems else 0
    if not status.delivered and options.verify:
        print("note: --verify needs a run that was delivered completely")  # noqa: T201
    return 0 if status.delivered else 1


def _differences(run_dir: Path, uri: str | None) -> list[str]:
    """What MLflow has otherwise than the run; a terminal shows the progress."""
    from rich.console import Console
    from rich.text import Text

    from search.tracking.verify import verify_delivery

    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return verify_delivery(run_dir, uri)
    what = "comparing with MLflow"
    with console.status(what) as status:
        return verify_delivery(
            run_dir,
            uri,
            lambda done, of: status.update(Text(f"{what}: {done:,} of {of:,} trials")),
        )


def command_fetch(options: argparse.Namespace) -> int:
    """Bring the folder of a run from the head of a cluster."""
    from search.cli.fetch import fetch
    from search.record.events import Status
    from search.tracking.memory import delivery_status, known_uri

    def note(line: str) -> None:
        print(f"note: {line}", flush=True)  # noqa: T201

    folder = fetch(options.folder, options.dashboard, Path(options.runs_dir or "runs"), note)
    print(folder.path)  # noqa: T201
    if folder.state().status != Status.DONE:
        print("note: the run has not finished there: fetch it again later")  # noqa: T201
    status = delivery_status(folder.path, known_uri(folder.path))
    if not status.delivered:
        print(f"note: {status.sentence()}")  # noqa: T201
    return 0


def command_ui(options: argparse.Namespace) -> int:
    """Run the MLflow UI: on the local store, or on the store of a run."""
    from search.tracking.ui import serve

    if options.run is None:
        if options.runs_dir is not None:
            raise ConfigError("--runs-dir needs a run: ui RUN --runs-dir DIR")
        return serve(options.port, options.host)
    return serve(options.port, options.host, run_dir=_open(options).path)


def command_runs(options: argparse.Namespace) -> int:
    """List the runs in the folder of runs."""
    from rich.console import Console

    from search.cli.runs import COLUMNS, lines
    from search.cli.tables import print_table

    found = lines(Path(options.runs_dir or "runs"))
    print_table(Console(), COLUMNS, [line.cells for line in found])
    return 0


def command_clean(options: argparse.Namespace) -> int:
    """Remove what runs no longer need; exit code 2 where a run could not be cleaned."""
    from search.cli.clean import clean
    from search.cli.runs import all_runs

    failed: list[str] = []

    def refused(why: str) -> None:
        failed.append(why)
        sys.stderr.write(f"{PROG}: {one_line(why)}\n")

    named = [_open(options, run) for run in options.runs]
    for line in clean(named or all_runs(Path(options.runs_dir or "runs")), refused):
        print(line)  # noqa: T201
    return 2 if failed else 0


def command_export(options: argparse.Namespace) -> int:
    """Write a run's submission, other lists of its model, or vectors."""
    from search.cli.export import export

    return export(options, _open(options))


def _open(options: argparse.Namespace, name: str | None = None) -> RunFolder:
    """The run that a command is about; name: of one of several."""
    from search.record.folder import RunFolder, is_path

    run = options.run if name is None else name
    if options.runs_dir is not None and is_path(run):
        raise ConfigError(f"{run} is a path: leave out --runs-dir, or give the run's name")
    return RunFolder.open(options.runs_dir or "runs", run, said="RUN")
