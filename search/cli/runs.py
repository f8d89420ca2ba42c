"""`runs`: lists the runs in a folder, newest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recsys.errors import ConfigError, UserError
from search.cli.tables import Column
from search.record.events import Status
from search.record.folder import JOURNAL, RunFolder
from search.record.result import RunResult, refit_of, result_of
from search.record.standing import leader
from search.record.state import RunState
from search.words import number, utc

COLUMNS = (
    Column("run"),
    Column("began (UTC)", leaves=6),
    Column("status", wraps=True),
    Column("trials", leaves=5),
    Column("metric", leaves=3),
    Column("test", leaves=1),
    Column("winner", wraps=True, leaves=4),
    Column("size", leaves=7),
)


@dataclass(frozen=True)
class Line:
    """A run in the list. began: Unix seconds, 0 where unknown. cells: as in `COLUMNS`."""

    began: float
    cells: tuple[str, ...]


def lines(runs_dir: Path) -> list[Line]:
    """A line for every run in a folder, newest first. Raises ConfigError if there is no folder."""
    return sorted(map(_line, all_runs(runs_dir)), key=lambda line: (-line.began, line.cells))


def all_runs(runs_dir: Path) -> list[RunFolder]:
    """The runs in a folder, by name. Raises ConfigError if there is no folder."""
    if runs_dir.is_file():
        raise ConfigError(f"--runs-dir {runs_dir}: is a file, expected a folder")
    if not runs_dir.is_dir():
        raise ConfigError(f"{runs_dir}: no such folder: say where the runs are with --runs-dir DIR")
    return [
        RunFolder(path.resolve())
        for path in sorted(runs_dir.iterdir())
        if (path / JOURNAL).is_file()
    ]


def _line(folder: RunFolder) -> Line:
    size = readable(sum(sizes(folder.path)))
    try:
        state = folder.state()
        result = result_of(folder.path, state)
    except (UserError, OSError) as error:  # a damaged file concerns only this run
        reason = " ".join(str(error).split())
        return Line(0.0, (folder.name, "", f"can't be read: {reason}", "", "", "", "", size))
    began = (state.sessions[0].started if state.sessions else None) or 0.0
    cells = (
        folder.name,
        ((utc(began) or "") if began else "").replace("T", " ")[:16],
        _status(folder, state),
        str(len(state.trials)),
        state.run.metric or "",
        _test(result),
        _winner(state, result),
        size,
    )
    return Line(began, cells)


def _status(folder: RunFolder, state: RunState) -> str:
    """How the run ended, or that it still runs, or that it was cut off, with a journal that has no
    end or not even a beginning. A refit is marked, since its numbers are of other data than those
    of its search.
    """
    if folder.alive():
        return "running"
    if not folder.has_begun():
        return "never began"
    of = refit_of(state)
    ended = "cut off" if state.status == Status.RUNNING else str(state.status)
    return ended if of is None else f"{ended}, a refit of {of.run}"


def _test(result: RunResult | None) -> str:
    """The test value of what is named beside it."""
    value = None if result is None else result.handed_over.test
    return "" if value is None else number(value)


def _winner(state: RunState, result: RunResult | None) -> str:
    """The winner, or the blend in its place, in a few words; in brackets the best trial so far."""
    if result is not None and (blend := result.handed_over.name) is not None:
        return blend
    if result is not None and (result.is_table or result.won_by_leak):
        return ""
    best = state.trials.get((result and result.best_trial) or "") or leader(state.in_order())
    if best is None:
        return ""
    return best.title if state.stage_done("race") else f"({best.title})"


def sizes(place: Path) -> Iterator[int]:
    """The bytes of each file in a folder, or of a single file."""
    for path in [place, *place.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            yield path.stat().st_size


def readable(size: int) -> str:
    """Bytes as people read them.

    >>> readable(1_234_567)
    '1.2 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000  # type: ignore[assignment]
    raise AssertionError
