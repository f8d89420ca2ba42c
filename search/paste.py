"""Commands for a person to paste: every command that the project prints is made here.

A command works where it is printed: in the present folder, with this interpreter, for this run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from search.names import RUN_NAME
from search.paths import CODE, COMMAND, NAME, SCRIPT

# What messages begin with: the name under which this process was started.
PROG = COMMAND if Path(sys.argv[0]).name == COMMAND else NAME


def command(*words: str | Path, lasting: bool = False) -> str:
    """`python run_search.py WORDS`, or `recsearch WORDS` where that was called; for a shell.

    A `Path` among the words is a run's folder.

    `lasting`: for a file that is read later, somewhere else: it says where the runs are unless
    the reader in the project's folder would look there anyway.
    """
    parts = [_installed()] if PROG == COMMAND else [*_program(), _short(CODE / SCRIPT)]
    for word in words:
        parts += _run(word, lasting) if isinstance(word, Path) else [word]
    encoding = "utf-8" if lasting else getattr(sys.stdout, "encoding", None) or "utf-8"
    return " ".join(quoted(part, encoding) for part in parts)


def job_command(head: str) -> str:
    """How a search is submitted from outside to the cluster of `head`; `...`: its other options."""
    ray = f"ray job submit --address http://{quoted(head)}:8265 --working-dir ."
    return f"{ray} -- python {SCRIPT} ... --address auto --runs-dir /DIR/ON/THE/HEAD"


def quoted(word: str, encoding: str = "utf-8") -> str:
    """`word` for a shell; with bash's escapes where it can't be shown in one line of `encoding`.

    >>> print(quoted("my runs"), quoted("a" + chr(10) + "b"))
    'my runs' $'a\\x0ab'
    """
    try:
        word.encode(encoding)
        if word.isprintable():
            return shlex.quote(word)
    except (UnicodeEncodeError, LookupError):
        pass
    plain = set(range(0x20, 0x7F)) - set(b"\\'")
    return "$'" + "".join(chr(b) if b in plain else f"\\x{b:02x}" for b in os.fsencode(word)) + "'"


def path_word(path: str) -> str:
    """`path` as the value of an option: one that begins with a dash would be taken for an option.

    >>> path_word("-x.csv"), path_word("x.csv")
    ('./-x.csv', 'x.csv')
    """
    return f"./{path}" if path.startswith("-") else path


def _run(folder: Path, lasting: bool) -> list[str]:
    """A run by its name, with `--runs-dir` where it is not found without; else by its path."""
    folder = folder.resolve()
    if not RUN_NAME.fullmatch(folder.name):
        return [str(folder)]
    here = _here()
    found = here is not None and folder.parent == here / "runs" and (here == CODE or not lasting)
    return [folder.name] if found else [folder.name, "--runs-dir", str(folder.parent)]


def _program() -> list[str]:
    """The shortest word that starts this interpreter, with its packages, in the present folder."""
    if not sys.executable:
        return ["python"]
    return [_shortest(Path(sys.executable), "python", "python3")]


def _installed() -> str:
    """The shortest word that starts our `recsearch`: the one called, else that of this Python."""
    called = Path(sys.argv[0])
    ours = called if called.name == COMMAND else Path(sys.executable).parent / COMMAND
    return _shortest(ours, COMMAND) if ours.exists() else COMMAND


def _shortest(ours: Path, *names: str) -> str:
    """One of `names` that a shell finds as the program `ours`, else its path."""
    ours = ours.absolute()
    for word in names:
        found = shutil.which(word)
        if found and _place(Path(found)) == _place(ours):
            return word
    path = _short(ours)
    return path if "/" in path else f"./{path}"


def _place(program: Path) -> tuple[Path, Path]:
    """What a program is, and where: that of a virtual environment is a link."""
    return program.absolute().parent.resolve(), program.resolve()


def _short(path: Path) -> str:
    """`path` from the present folder where it lies below it, else in full."""
    here = _here()
    if here is not None and here.parent != here and path.is_relative_to(here):
        return str(path.relative_to(here))
    return str(path)


def _here() -> Path | None:
    """The present folder; None where it is gone."""
    try:
        return Path.cwd()
    except OSError:
        return None
