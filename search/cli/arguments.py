"""The arguments of every command: argparse that reports mistakes in one line, and types of options.

A type turns the text of an option into its value, and raises ArgumentTypeError for a wrong text.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from recsys.errors import UserError
from recsys.output import one_line
from search.durations import AUTO, EXPECTED, seconds_of
from search.paste import PROG
from search.words import hide_password

COMMANDS = (
    "export",
    "refit",
    "compare",
    "report",
    "sync",
    "fetch",
    "ui",
    "runs",
    "clean",
    "spaces",
    "data",
)


EPILOG = """\
other commands (each has --help):
  export RUN -o FILE    write the submission of a run or of one of its trials (--trial t0003), lists
                        for other users or of other items (--users FILE), vectors (--vectors DIR)
  refit RUN --data PATH train the winner of a run on new data, without a search
  compare RUN RUN ...   several runs on one page: tests side by side if the split is the same
  report RUN            write report.html again and print its path
  sync RUN              deliver to MLflow what has not arrived there yet
  fetch DIR             bring a run here from the head of a cluster, where it was a job
  ui [RUN]              open the MLflow UI on the local store: all searches, or one with its trials
  runs                  list the runs: status, winner, test, size on disk
  clean [RUN ...]       remove what runs no longer need (left by killed or old runs)
  spaces                list the search spaces
  data [NAME|PATH]      list the named data sets, or describe one

RECSEARCH_CPUS=N in the environment: use N cores instead of all that this process may use
"""


class Parser(argparse.ArgumentParser):
    """An argparse parser that reports a mistake in one line and accepts each option once, spelled
    in full.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)
        self.register("action", None, Once)
        self.register("action", "store", Once)
        self.register("action", "store_true", OnceTrue)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line on stderr, instead of argparse's usage text."""
        self.exit(2, f"{self.prog}: {one_line(message)} (see --help)\n")


class Once(argparse.Action):
    """An action that keeps the value of an option; giving the option twice is a mistake."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the value, and in `namespace.given`, by dest, how the option was spelled."""
        given = vars(namespace).setdefault("given", {})
        if option_string is not None:
            if self.dest in given:
                parser.error(f"{option_string} is given twice")
            given[self.dest] = option_string
        setattr(namespace, self.dest, values)


class OnceTrue(Once):
    """The same for an option without a value."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, const=True, default=False, help=help)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ARG002 - there are none
        option_string: str | None = None,
    ) -> None:
        """Store True."""
        super().__call__(parser, namespace, True, option_string)


def filled(value: str) -> str:
    """Any text but the empty one."""
    if not value.strip() or "\0" in value:
        raise argparse.ArgumentTypeError(f"{value!r}: expected a value")
    return value


def place(value: str) -> str:
    """A file or folder; `~` is the home folder even where no shell expands it."""
    return os.path.expanduser(filled(value))  # noqa: PTH111 - an unknown ~name stays as it is


def store_address(value: str) -> str:
    """The address of a tracking store; only its form is checked."""
    problem = None if filled(value).isprintable() else "expected no control characters"
    try:
        if value.startswith("sqlite:///"):
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                Path(value.removeprefix("sqlite:///")).stat()
        elif (parts := urlsplit(value)).port == 0 or (
            parts.scheme in ("http", "https") and not parts.hostname
        ):
            problem = "no host or port, expected http://HOST:PORT"
    except OSError as error:  # a name that is too long, links that lead in a circle
        problem = str(error.strerror)
    except ValueError as error:  # of urlsplit: a port, or brackets
        problem = f"{error}, expected http://HOST:PORT"
    if problem is not None:
        raise argparse.ArgumentTypeError(f"{hide_password(value)[:200]!r}: {problem}")
    return value


def duration(value: str) -> float | str:
    """Seconds of `90`, `90s`, `10m`, `1.5h`, `1h30m`, `2d`; infinity for `none`; or `AUTO`.

    >>> duration("1h30m")
    5400.0
    """
    if value.strip() == AUTO:
        return AUTO
    seconds = math.inf if value.strip() == "none" else seconds_of(value)
    if seconds is None:
        raise argparse.ArgumentTypeError(f"{value!r}: expected {EXPECTED}, {AUTO} or none")
    return seconds


def rating(value: str) -> float:
    """A finite number."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{value!r}: expected a number such as 3.5")
    return number


MOST = 999_999_999  # the largest whole number: a larger one is a slip


def positive(text: str) -> int:
    """A whole number from 1 to `MOST`."""
    number = text.isascii() and text.isdecimal() and len(text) <= 100
    if not (number and 1 <= int(text) <= MOST):
        end = f" from 1 to {MOST}" if number and int(text) else ", at least 1"
        raise argparse.ArgumentTypeError(f"{text[:100]!r}: expected a whole number{end}")
    return int(text)


def seed_number(text: str) -> int:
    """A whole number from 0 to 2^32 - 1."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0 to 4294967295")
    return int(text)


def fraction(text: str) -> float:
    """A number of GPUs; 0.25 puts four trials on one GPU."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    # Ray assigns either a part of one GPU, down to a hundredth, or whole GPUs.
    if not (value in (0, *range(1, 1025)) or 0.01 <= value < 1):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of GPUs, 0.25 for a quarter")
    return value


def _runs_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs-dir", type=place, metavar="DIR", help="folder of the runs (default: runs)"
    )


def _data_options(parser: argparse.ArgumentParser, default: str = "") -> None:
    parser.add_argument(
        "--min-rating",
        type=rating,
        metavar="R",
        help=f"explicit ratings: R and more are positive{default}",
    )
    parser.add_argument(
        "--columns",
        type=filled,
        metavar="user=A,item=B",
        help="names of columns that are not recognised: user, item, rating, timestamp "
        f"(timestamp=none ignores that column){default}",
    )


def separator(value: str) -> str:
    """The separator between the items in a row of a submission."""
    from recsys.data.lists import check_separator

    try:
        return check_separator(value)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("separator ")) from None


def _separator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--submission-sep",
        type=separator,
        metavar="SEP",
        help=r"separator of the items in submission.csv, e.g. '|' or \t (default: a blank)",
    )


def search_parser() -> Parser:
    """The parser of the search itself."""
    parser = Parser(
        prog=PROG,
        description="Hyperparameter search for implicit-feedback recommenders.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to search")
    what.add_argument(
        "--space", type=place, metavar="NAME|FILE", help="a search space (see: spaces)"
    )
    what.add_argument(
        "--data",
        type=filled,
        metavar="NAME|PATH",
        help="a named data set or your own file (default: ml-100k)",
    )
    _data_options(what)  # type: ignore[arg-type]
    what.add_argument(
        "--trials", type=positive, metavar="N", help="number of trials (default: the space's)"
    )
    what.add_argument(
        "--time-budget",
        type=duration,
        metavar="T",
        help="time for the whole run, e.g. 10m; auto: no more trials once they gain little",
    )
    what.add_argument("--seed", type=seed_number, metavar="S", help="seed of the run (default: 42)")
    what.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="override the space: a parameter (latent_factors=64) or a key (metric=ndcg@20)",
    )
    what.add_argument(
        "--prefer",
        choices=("best", "small"),
        metavar="best|small",
        help="who wins the race; small: the smallest model that is not proven worse than the best",
    )
    what.add_argument(
        "--warm-start",
        nargs="+",
        type=filled,
        default=[],
        metavar="RUN",
        help="try the best configs of these runs first, also of runs on other data",
    )
    _separator(what)  # type: ignore[arg-type]
    run = parser.add_argument_group("the run")
    run.add_argument(
        "--run",
        type=filled,
        metavar="NAME",
        help="name of the run (default: made of space, data and time)",
    )
    _runs_dir(run)  # type: ignore[arg-type]
    run.add_argument("--resume", action="store_true", help="resume --run NAME where it stopped")
    run.add_argument("--extend", type=positive, metavar="N", help="N more trials for --run NAME")
    run.add_argument("--dry-run", action="store_true", help="check everything, start nothing")
    where = parser.add_argument_group("where it runs")
    where.add_argument(
        "--cpus-per-trial", type=positive, metavar="C", help="CPU cores (default: 1)"
    )
    where.add_argument(
        "--gpus-per-trial", type=fraction, metavar="G", help="GPUs, e.g. 0.25 (default: 0)"
    )
    where.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: auto")
    where.add_argument(
        "--address",
        type=filled,
        metavar="ADDR",
        help="Ray cluster to join (none: leave it)",
    )
    where.add_argument(
        "--storage", type=filled, metavar="URI", help="Ray's storage, shared by all machines"
    )
    where.add_argument(
        "--tracking-uri",
        type=store_address,
        metavar="URI",
        help="MLflow store (default: the local one)",
    )
    where.add_argument(
        "--system-metrics",
        action="store_const",
        const=True,
        help="also record in MLflow how busy this machine is: processors and memory",
    )
    return parser


def command_parser(command: str) -> Parser:
    """The parser of one of the other commands."""
    parser = Parser(prog=f"{PROG} {command}")
    if command in ("export", "refit", "report", "sync"):
        parser.add_argument("run", type=place, metavar="RUN", help="name of a run, or its folder")
        _runs_dir(parser)
    match command:
        case "export":
            parser.description = "Write the submission of a run, or other lists of its model."
            parser.add_argument(
                "-o", "--output", type=place, metavar="FILE", help="file to write, CSV or .parquet"
            )
            parser.add_argument(
                "--vectors",
                type=place,
                metavar="DIR",
                help="write users and items as vectors instead, for a nearest-neighbour index",
            )
            parser.add_argument(
                "--trial",
                type=filled,
                metavar="ID",
                help="train this trial (best: the winner, alone) again, and write its lists",
            )
            parser.add_argument(
                "--data",
                type=filled,
                metavar="PATH",
                help="with --trial: the data, if it has moved",
            )
            _separator(parser)
            lists = parser.add_argument_group("lists other than the submission's")
            lists.add_argument(
                "--users", type=place, metavar="FILE", help="for these users, in this order"
            )
            lists.add_argument(
                "--items", type=place, metavar="FILE", help="recommend only these items"
            )
            lists.add_argument(
                "--exclude", type=place, metavar="FILE", help="never recommend these items"
            )
            lists.add_argument(
                "--include-seen", action="store_true", help="include items that a user already has"
            )
            lists.add_argument(
                "--k", type=positive, metavar="K", help="items per user (default: the run's)"
            )
            lists.add_argument(
                "--scores", action="store_true", help="add the scores, and where they come from"
            )
        case "refit":
            parser.description = "Train the winner of a run on new data: a new run, no search."
            parser.add_argument(
                "--data", type=filled, required=True, metavar="PATH", help="the new data"
            )
            _data_options(parser, " (default: the run's)")
            parser.add_argument(
                "--name", type=filled, metavar="NAME", help="name of the new run, beside the old"
            )
            parser.add_argument(
                "--tracking-uri", type=store_address, metavar="URI", help="default: the run's own"
            )
        case "compare":
            parser.description = "Compare runs: a table here, and a page that works offline."
            parser.add_argument(
                "runs", nargs="+", type=place, metavar="RUN", help="names of runs, or their folders"
            )
            _runs_dir(parser)
            parser.add_argument(
                "-o",
                "--output",
                type=place,
                default="compare.html",
                metavar="FILE",
                help="the page (default: compare.html)",
            )
        case "report":
            parser.description = "Write report.html of a run again."
        case "sync":
            parser.description = "Deliver to MLflow what has not arrived there yet."
            parser.add_argument(
                "--tracking-uri", type=store_address, metavar="URI", help="default: the run's own"
            )
            parser.add_argument(
                "--verify", action="store_true", help="compare everything afterwards"
            )
            parser.add_argument(
                "--champion", action="store_true", help="make its model the champion there"
            )
        case "fetch":
            parser.description = "Bring a run here from the head of a cluster (docs/cluster.md)."
            parser.add_argument(
                "folder", type=filled, metavar="DIR", help="absolute path of the run's folder there"
            )
            parser.add_argument(
                "--from",
                dest="dashboard",
                type=filled,
                metavar="URL",
                help="the head's dashboard, http://HOST:8265 (default: RAY_API_SERVER_ADDRESS)",
            )
            _runs_dir(parser)
        case "ui":
            parser.description = "Open the MLflow UI on the local store, on all searches or on one."
            parser.add_argument(
                "run", nargs="?", type=place, metavar="RUN", help="name of a run, or its folder"
            )
            _runs_dir(parser)
            parser.add_argument("--port", type=positive, default=5000, help="default: 5000")
            parser.add_argument(
                "--host", type=filled, default="127.0.0.1", help="default: this machine only"
            )
        case "runs":
            parser.description = "List the runs, newest first; in brackets: the best trial so far."
            _runs_dir(parser)
        case "clean":
            parser.description = (
                "Remove what runs no longer need: Ray's records and incomplete files. Nothing that "
                "a resume, an extension, a report or an export reads is removed."
            )
            parser.add_argument(
                "runs", nargs="*", type=place, metavar="RUN", help="these runs (default: all)"
            )
            _runs_dir(parser)
        case "spaces":
            parser.description = "List the search spaces, or show one."
            parser.add_argument("name", nargs="?", type=place, metavar="NAME|FILE")
        case "data":
            parser.description = "List the named data sets, or describe one."
            parser.add_argument("source", nargs="?", type=filled, metavar="NAME|PATH")
            _data_options(parser)
        case _:
            raise ValueError(f"{command!r} has no parser")
    return parser


def parse_columns(text: str | None) -> dict[str, str] | None:
    """`user=A,item=B` as a mapping from our names to the file's. Raises UserError."""
    if text is None:
        return None
    columns = {}
    for part in text.split(","):
        name, equals, column = part.partition("=")
        known = ("user", "item", "rating", "timestamp")
        needed = name.strip() in ("user", "item")
        if not equals or name.strip() not in known or (needed and not column.strip()):
            raise UserError(
                f"--columns: {part!r}: expected user=NAME, item=NAME, rating=NAME, timestamp=NAME "
                "(rating=none and timestamp=none leave these out)"
            )
        if name.strip() in columns:
            raise UserError(f"--columns: {name.strip()} is given twice")
        columns[name.strip()] = column.strip() or "none"
    return columns
