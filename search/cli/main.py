"""The command line: parse, call, exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or input (one line on stderr), 130 interrupted.
Heavy imports wait until a command needs them, so that `--help` and mistakes answer at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NoReturn

from recsys.errors import DivergedError, UserError
from recsys.output import guard_output, leave, one_line, output_error
from recsys.safe_files import folder_gone
from search.cli.arguments import COMMANDS, command_parser, parse_columns, search_parser
from search.machine.environment import name_user, tidy_threads
from search.paste import PROG
from search.record.journal import StorageError
from search.run.signals import EXIT_CODE, terminable


def script() -> NoReturn:
    """The program, `recsearch` or `run_search.py`; ends this process."""
    guard_output()
    leave(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    began = time.monotonic()
    name_user()
    for line in tidy_threads():  # before a library that reads these variables is imported
        sys.stderr.write(f"{PROG}: {line}\n")
    try:
        _check_words(argv)
        code = _run(argv, began)
    except UserError as error:
        if isinstance(error, StorageError) and argv[0] in COMMANDS:
            return _fail(error.outside_a_search, 2)
        return _fail(str(error), 2)
    except DivergedError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return EXIT_CODE
    if code == 0 and (reason := output_error()) is not None:
        _fail(f"the output could not be written ({reason})", 1)
        return 1 if argv[0] in COMMANDS else 0  # a search has done its work all the same
    return code


def _check_words(argv: Sequence[str]) -> None:
    """Raise UserError for an argument of a search that Ray, which reads all of them, can't read."""
    if argv and argv[0] in COMMANDS and argv[0] not in ("data", "refit"):
        return
    for word in argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{os.fsencode(word)!r}: the name is not UTF-8, which a search can't use: rename it"
            ) from None


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"{PROG}: {one_line(message)}\n")
    return code


def _check_here() -> None:
    """Raise UserError if the current folder was deleted: libraries would fail with other errors."""
    if (gone := folder_gone()) is not None:
        raise UserError(gone)


def _run(argv: Sequence[str], began: float) -> int:
    if argv and argv[0] in COMMANDS:
        from search.cli import commands

        options = command_parser(argv[0]).parse_args(argv[1:])
        _check_here()
        command = getattr(commands, f"command_{argv[0]}")
        if argv[0] == "ui":  # it handles signals itself, as a server
            return int(command(options))
        with terminable():
            return int(command(options))
    if argv and not argv[0].startswith("-"):
        raise UserError(f"{argv[0]!r} is not a command: expected one of {', '.join(COMMANDS)}")
    said = vars(search_parser().parse_args(argv))
    _check_here()
    from search.run.start import Options, run_search

    said["columns"] = parse_columns(said["columns"])
    said["overrides"] = tuple(said["overrides"])
    said["warm_start"] = tuple(said["warm_start"])
    said["runs_dir"] = None if said["runs_dir"] is None else Path(said["runs_dir"])
    asked = Options(**{option.name: said[option.name] for option in fields(Options)})
    return run_search(asked, began)
