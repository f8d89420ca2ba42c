"""Speed against the peers, as ratios measured in one run: `make bench`.

    python -m benchmarks.run                    # everything, about half an hour on an idle machine
    python -m benchmarks.run --quick            # two rounds instead of five
    python -m benchmarks.run --only uniform     # the contests whose name contains this

Each contender is a process with one thread; they take turns, A B A B ..., and the median turn
counts. A ratio is the time per visited row of the other over ours. The ratio of processor time
is shown beside it: where the two differ, other programs were using the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import sets
from benchmarks.contest import ROOT, ContenderError, contest, stopwatch, wait_until_idle
from benchmarks.rows import Contest, Line, Memory, Roster
from recsys.errors import UserError

RESULTS = ROOT / "benchmarks" / "results"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="contests whose name contains this")
    parser.add_argument(
        "--wait", type=float, default=0, help="seconds to wait for an idle machine before each"
    )
    parser.add_argument("--peers", default=str(ROOT / ".bench-venv/bin/python"))
    parser.add_argument(
        "--report-script",
        type=Path,
        default=Path(
            os.environ.get("REPORT_REFERENCE", ROOT.parent / "shared/bench/report_reference.py")
        ),
    )
    parser.add_argument("--gowalla", type=Path, default=ROOT.parent / "shared/data/gowalla.zip")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: expected at least 1")
    if options.quick:
        options.rounds = 2
    return options


def plan(options: argparse.Namespace, folder: Path) -> dict[str, Callable[[], Contest] | str]:
    """Contest -> how to make it (its data are written then), or why it cannot be held."""
    script = options.report_script.resolve()
    roster = Roster(sys.executable, options.peers, script)

    def data(name: str) -> Path:
        return sets.write(name, folder, options.gowalla)

    no_script = f"skipped: no script at {options.report_script} (set REPORT_REFERENCE)"
    no_gowalla = f"skipped: no data at {options.gowalla} (--gowalla)"
    return {
        "uniform-64": lambda: roster.uniform(data("ml-100k"), 64),
        "uniform-128": lambda: roster.uniform(data("ml-100k"), 128),
        "hard": lambda: roster.hard(data("ml-100k")),
        "report": (lambda: roster.report(data("ml-100k"))) if script.exists() else no_script,
        "frameworks": lambda: roster.frameworks(data("ml-100k")),
        "gowalla": (
            (lambda: roster.gowalla(data("gowalla"))) if options.gowalla.exists() else no_gowalla
        ),
        "scale": lambda: roster.scale(data("small"), data("large")),
    }


def hold(held: Contest, options: argparse.Namespace, folder: Path) -> tuple[list[Line], Any]:
    wait_until_idle(options.wait)
    rounds = min(options.rounds * held.times, held.rounds or options.rounds * held.times)
    timing: dict[str, float] = {}
    with stopwatch(timing, "seconds"):
        turns, others = contest(held.contenders, rounds, folder)
    by_name = {turn.name: turn for turn in turns}
    lines: list[Line] = []
    for check in held.checks:
        lines += check.lines(by_name) if isinstance(check, Memory) else [check.line(by_name)]
    facts = {
        "key": held.key,
        "rounds": rounds,
        "used_by_others": others,
        **timing,
        "contenders": [asdict(contender) for contender in held.contenders],
        "turns": [asdict(turn) for turn in turns],
        "lines": [asdict(line) | {"met": line.met} for line in lines],
    }
    return lines, facts


def table(lines: list[Line]) -> str:
    """Markdown."""
    rows = [
        "| what | ours | other | ratio | its range | by cpu time | target | |",
        "|---" * 8 + "|",
    ]
    for line in lines:
        sign = ">=" if line.at_least else "<="
        met = {True: "met", False: "MISSED", None: ""}[line.met]
        target = "" if line.limit is None else f"{sign} {line.limit:g} {line.unit}"
        cells = [
            line.what,
            line.ours,
            line.other,
            "" if line.ratio is None else f"{line.ratio:.2f} {line.unit}",
            "" if line.spread is None else f"{line.spread[0]:.2f} .. {line.spread[1]:.2f}",
            "" if line.cpu_ratio is None else f"{line.cpu_ratio:.2f} x",
            target,
            met,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def main() -> int:
    options = parse()
    lines: list[Line] = []
    contests: list[Any] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        chosen = {k: v for k, v in plan(options, folder).items() if options.only in k}
        for key, make in chosen.items():
            if isinstance(make, str):
                print(f"{key}: {make}", flush=True)
                lines.append(Line(key, make, "", None))
                continue
            print(f"{key} ...", flush=True)
            try:
                held, facts = hold(make(), options, folder)
            except (ContenderError, UserError) as error:
                failed = True
                print(f"{key}: {error}", file=sys.stderr, flush=True)
                lines.append(Line(key, f"failed: {error}", "", None))
                continue
            lines += held
            contests.append(facts)
            print(table(held))
            print(
                f"{facts['rounds']} rounds, {facts['seconds']:.0f} s, "
                f"others used {facts['used_by_others']:.0%} of the cores\n",
                flush=True,
            )
    print(table(lines))
    when = time.strftime("%Y-%m-%dT%H%M%S")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{when}.json"
    machine = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
    }
    path.write_text(json.dumps({"when": when, "machine": machine, "contests": contests}, indent=1))
    path.with_suffix(".md").write_text(table(lines) + "\n")
    print(f"\nwritten: {path.relative_to(ROOT)} and .md")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
