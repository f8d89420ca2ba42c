"""Several runs on one page: tests side by side if data, split and metric are the same.

Only then can two test values be compared. If the runs kept the value of every user, the first run
that was named is compared with each of the others, user by user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from markupsafe import Markup

from recsys.errors import ConfigError
from search import stats, words
from search.record.compared import comparison
from search.record.measured import UserValues, load_test_values
from search.record.result import Comparison, Interval
from search.record.settings import known_settings
from search.record.standing import leads
from search.report import charts
from search.report.files import RunFiles, baselines, read_run
from search.report.render import rendered
from search.stats import compare_paired, holm
from search.words import duration, interval, number, short

CHOOSING = (
    "Choosing one of several runs by these values is a choice on the test items: the value of the "
    "one chosen is then too high, like the best validation value of a search."
)
COLUMNS = ("", "run", "winner", "test", "95% interval", "users", "validation", "trials", "time")


@dataclass(frozen=True, eq=False)
class Side:
    """One of the runs. letter: its name in charts. values: its test value for every user."""

    letter: str
    files: RunFiles
    values: UserValues | None

    @property
    def name(self) -> str:
        """The run's name, which is that of its folder."""
        return self.files.name

    @cached_property
    def test(self) -> tuple[float, Interval | None] | None:
        """The test value of what the run hands over, with its interval; None without one."""
        _, value, ci = self.files.result.handed_over
        return None if value is None else (value, ci if words.is_interval(ci) else None)

    @property
    def winner(self) -> str:
        """What the run hands over, in a few words."""
        result = self.files.result
        if (blend := result.handed_over.name) is not None:
            return blend
        best = self.files.state.trials.get(result.best_trial or "")
        return best.title if best is not None else ""

    @property
    def held_out(self) -> tuple[str, str, str, str]:
        """Metric, data and split: if these are equal, test values are of the same items."""
        settings = known_settings(self.files.state)
        data, ids = ("", "") if settings is None else (settings.data_digest, settings.ids_digest)
        return self.files.metric, data, ids, str(self.files.shown.split_digest)

    def cells(self) -> tuple[str, ...]:
        """A row of the table, as in `COLUMNS`."""
        result, (value, ci) = self.files.result, self.test or (None, None)
        return (
            self.letter,
            self.name,
            self.winner,
            number(value),
            interval(ci),
            "" if result.test_users is None else f"{result.test_users:,}",
            number(result.valid),
            f"{len(self.files.trials):,}",
            duration(result.wall_s),
        )


@dataclass(frozen=True, eq=False)
class Group:
    """Runs whose tests can be compared, in the order given.

    comparisons: the first against each of the others. gaps: lines that say why some could not be
    compared user by user.
    """

    sides: tuple[Side, ...]
    comparisons: tuple[Comparison, ...]
    gaps: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The metric, which is the same for all sides of a group."""
        return self.sides[0].files.metric

    @property
    def verdicts(self) -> list[str]:
        """What the comparisons show, as sentences."""
        return [*(c.words for c in self.comparisons), *self.gaps]


@dataclass(frozen=True, eq=False)
class Compared:
    """All runs. apart: the runs whose tests cannot be compared with any other, each with the
    reason.
    """

    groups: tuple[Group, ...]
    apart: tuple[tuple[Side, str], ...]


def compare_runs(run_dirs: Sequence[Path]) -> Compared:
    """Read and compare runs. Raises ConfigError if no two of them can be compared."""
    if len(run_dirs) < 2:
        raise ConfigError("compare: expected two runs or more")
    if len(set(run_dirs)) < len(run_dirs):
        raise ConfigError("compare: a run is given twice")
    sides = [_side(n, path) for n, path in enumerate(run_dirs)]
    together: dict[tuple[str, ...], list[Side]] = {}
    for side in sides:
        together.setdefault(side.held_out, []).append(side)
    groups = [_group(found) for found in together.values() if len(found) > 1]
    if not groups:
        first, *others = sides
        why = "; ".join(_apart(one, first) for one in others)
        raise ConfigError(f"compare: no two of these runs can be compared: {why}")
    first = groups[0].sides[0]
    alone = [found[0] for found in together.values() if len(found) == 1]
    apart = [(one, _apart(one, first)) for one in alone]
    apart += [(one, _apart(one, first)) for group in groups[1:] for one in group.sides]
    return Compared(tuple(groups), tuple(apart))


def _side(number: int, path: Path) -> Side:
    files = read_run(path)
    if files.is_table:
        raise ConfigError(
            f"{files.name}: is a table of configs and has no winner: its report shows everything"
        )
    letter = chr(ord("A") + number) if number < 26 else str(number + 1)
    return Side(letter, files, load_test_values(path))


def _apart(side: Side, other: Side) -> str:
    """Why the tests of two runs cannot be compared."""
    mine, theirs = side.held_out, other.held_out
    if mine[1:3] != theirs[1:3]:
        what = "other data"
    elif mine[3] != theirs[3]:
        what = f"another split ({mine[3]}, not {theirs[3]})"
    else:
        what = f"another metric ({mine[0]}, not {theirs[0]})"
    return f"{side.name} has {what} than {other.name}"


def _group(sides: Sequence[Side]) -> Group:
    first, *others = sides
    found: dict[str, stats.PairedComparison] = {}
    gaps: list[str] = []
    for other in others:
        for side in (first, other):
            if side.test is None:
                gaps.append(f"{side.name} has no test value yet")
            elif side.values is None:
                gaps.append(
                    f"{side.name} kept no values of single users (it is from an earlier version): "
                    "nothing can be said beyond the intervals"
                )
        a, b = first.values, other.values
        if first.test is None or other.test is None or a is None or b is None:
            continue
        if not np.array_equal(a.users, b.users):
            gaps.append(f"{first.name} and {other.name} were tested on different users")
            continue
        rng = np.random.default_rng([len(found), 11])
        found[other.letter] = compare_paired(a.values, b.values, rng)
    names = {side.letter: side.name for side in sides}
    return Group(
        tuple(sides),
        tuple(
            comparison(letter, c, names[letter], first.name) for letter, c in holm(found).items()
        ),
        tuple(dict.fromkeys(gaps)),
    )


# --- the page -------------------------------------------------------------------------------------


def render_comparison(compared: Compared) -> str:
    """The comparison as one HTML page."""
    groups = [
        {
            "group": group,
            "rows": [side.cells() for side in group.sides],
            "charts": _charts(group),
            "rivals": _rivals(group),
            "configs": _configs(group),
            "data": group.sides[0].files.result.data,
            "split": group.sides[0].files.shown.split,
            "digest": group.sides[0].files.shown.split_digest,
        }
        for group in compared.groups
    ]
    count = sum(len(group.sides) for group in compared.groups)
    context = {
        "groups": groups,
        "count": count,
        "columns": COLUMNS,
        "apart": [why for _, why in compared.apart],
        "choosing": CHOOSING,
    }
    return rendered("compare.html.j2", context)


def _charts(group: Group) -> list[tuple[str, str, Markup]]:
    metric = group.metric
    tests = [(s.letter, s.name, *s.test) for s in group.sides if s.test is not None]
    first = group.sides[0]
    found = [
        ("Test", "The bar is the value on the test items, the line its 95% interval. Intervals "
         "that overlap can still belong to a proven difference: see the lead.",
         charts.tests_chart(tests, metric)),
        (f"The lead of {first.letter}", f"Of {first.name} over each other run, paired over users. "
         "An interval that includes zero proves nothing.",
         charts.gains_chart(group.comparisons, metric)),
        ("Best value so far", "On the same validation items, by seconds since each run began.",
         charts.pace_chart({s.letter: _best_by_time(s.files) for s in group.sides}, metric)),
    ]  # fmt: skip
    return [(title, text, svg) for title, text, svg in found if svg is not None]


def _best_by_time(files: RunFiles) -> list[tuple[float, float]]:
    """(seconds since the run began, best honest value so far): where it rises, and at the end."""
    if not files.state.sessions:
        return []
    began = files.state.sessions[0].started
    ended = sorted(
        (t for t in files.trials if t.ended is not None and t.value is not None),
        key=lambda t: (t.ended or 0.0, t.number),
    )
    steps = [(max(0.0, (t.ended or 0.0) - began), value) for t, value in leads(ended)]
    last = max((t.ended or 0.0 for t in ended), default=began) - began
    return [*steps, (last, steps[-1][1])] if steps else []


def _rivals(group: Group) -> list[tuple[str, list[float | None]]]:
    """(baseline, its test values in each run)."""
    found: dict[str, list[float | None]] = {}
    for n, side in enumerate(group.sides):
        for name, _, test, _ in baselines(side.files.result):
            found.setdefault(name, [None] * len(group.sides))[n] = test
    return list(found.items())


def _configs(group: Group) -> list[tuple[str, list[str], bool]]:
    """(parameter, its values in each run, whether these differ)."""
    params = []
    for side in group.sides:
        best = side.files.state.trials.get(side.files.result.best_trial or "")
        params.append({} if best is None else best.params)
    names = dict.fromkeys(name for one in params for name in one)
    rows = [(name, [short(one[name]) if name in one else "" for one in params]) for name in names]
    epochs = [short(side.files.result.best_epoch or "") for side in group.sides]
    return [(name, one, len(set(one)) > 1) for name, one in [*rows, ("epochs", epochs)]]
