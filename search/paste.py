"""Commands to be pasted into a shell: every command that the project prints is made here.

A command works where it is printed: in the current folder, with this interpreter, for this run.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

from search.names import RUN_NAME
from search.paths import CODE, COMMAND, NAME, SCRIPT

# The name by which this process was started, with which messages begin.
PROG = COMMAND if Path(sys.argv[0]).name == COMMAND else NAME


def command(*words: str | Path, lasting: bool = False) -> str:
    """`python run_search.py WORDS`, or `recsearch WORDS` if that was called, quoted for a shell.

    words: a `Path` among them is a run's folder. lasting: for a file that is read later, perhaps
    elsewhere: the command says where the runs are, unless that is where it would look anyway when
    called in the project's folder.
    """
    parts = [_installed()] if PROG == COMMAND else [*_program(), _short(CODE / SCRIPT)]
    for word in words:
        parts += _run(word, lasting) if isinstance(word, Path) else [word]
    encoding = "utf-8" if lasting else getattr(sys.stdout, "encoding", None) or "utf-8"
    return " ".join(quoted(part, encoding) for part in parts)


def job_command(head: str) -> str:
    """The command that submits a search from outside to the cluster of `head`, with `...` in place
    of the search's other options.
    """
    ray = f"ray job submit --address http://{quoted(head)}:8265 --working-dir ."
    return f"{ray} -- python {SCRIPT} ... --address auto --runs-dir /DIR/ON/THE/HEAD"


def quoted(word: str, encoding: str = "utf-8") -> str:
    """`word` quoted for a shell; with bash's escapes if `encoding` can't show it in one line.

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
    """`path` as the value of an option: with a dash at its start it would be taken for an option.

    >>> path_word("-x.csv"), path_word("x.csv")
    ('./-x.csv', 'x.csv')
    """
    return f"./{path}" if path.startswith("-") else path


def _run(folder: Path, lasting: bool) -> list[str]:
    """A run by its name, with `--runs-dir` if it is not found without that, or else by its path."""
    folder = folder.resolve()
    if not RUN_NAME.fullmatch(folder.name):
        return [str(folder)]
    here = _here()
    found = here is not None and folder.parent == here / "runs" and (here == CODE or not lasting)
    return [folder.name] if found else [folder.name, "--runs-dir", str(folder.parent)]


def _program() -> list[str]:
    """The shortest words that start this interpreter, with its packages, in the current folder."""
    if not sys.executable:
        return ["python"]
    return [_shortest(Path(sys.executable), "python", "python3")]


def _installed() -> str:
    """The shortest word that starts `recsearch`: the one that was called, or this Python's."""
    called = Path(sys.argv[0])
    ours = called if called.name == COMMAND else Path(sys.executable).parent / COMMAND
    return _shortest(ours, COMMAND) if ours.exists() else COMMAND


def _shortest(ours: Path, *names: str) -> str:
    """One of `names` if a shell finds the program `ours` by it, else the path of `ours`."""
    ours = ours.absolute()
    for word in names:
        found = shutil.which(word)
        if found and _place(Path(found)) == _place(ours):
            return word
    path = _short(ours)
    return path if "/" in path else f"./{path}"


def _place(program: Path) -> tuple[Path, Path]:
    """The real path of a program, and its folder: in a virtual environment it is a link."""
    return program.absolute().parent.resolve(), program.resolve()


def _short(path: Path) -> str:
    """`path` relative to the current folder if it lies below that, else the full path."""
    here = _here()
    if here is not None and here.parent != here and path.is_relative_to(here):
        return str(path.relative_to(here))
    return str(path)


def _here() -> Path | None:
    """The current folder; None if it was deleted."""
    try:
        return Path.cwd()
    except OSError:
        return None
