"""Does a short search ever hand over something worse than what one would have run without it?

    python -m benchmarks.short_searches -o FILE [--searches 100] [--trials 10] [DATA ...]

Each search is of another small data set: planted (another shape each time), or a sample of the
users of MovieLens-100K or of DATA, by turns `bpr_hard` and `all`. What it hands over is compared on
the test items, user by user, with the first config of its space, which is trained on train +
validation for its learned epochs. FILE has one line a search (JSON) and is continued where it
exists. On two cores a search takes about half a minute. Of comparisons of equals one in forty is
"proven" to be a loss, by chance.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import searches
from benchmarks.contest import used_by_others
from benchmarks.searches import SearchFailedError
from recsys.data import load, planted
from recsys.evaluation import evaluate
from recsys.interactions import Interactions
from recsys.split import make_split
from search.record.folder import RunFolder
from search.record.measured import load_test_values
from search.record.result import blended, decided
from search.record.settings import settings_of
from search.record.state import TrialRecord
from search.space.load import load_run_spec
from search.stages.winner import FinalTraining, learned
from search.stats import compare_paired

SPACES = ("bpr_hard", "all")
LEAST_USERS, MOST_USERS = 200, 1_000


def shape(rng: np.random.Generator) -> Interactions:
    """A planted set of any shape that a short search can take."""
    users, items = int(rng.integers(LEAST_USERS, MOST_USERS)), int(rng.integers(100, 600))
    return planted(
        users,
        items,
        int(users * rng.uniform(8, min(40, items / 4))),
        rng=rng,
        clusters=int(rng.integers(3, 16)),
        taste=float(rng.uniform(0.5, 0.95)),
        skew=float(rng.uniform(0.3, 1.2)),
    )


def write_sample(kind: str, path: Path, rng: np.random.Generator) -> None:
    """A small data set as pairs in a CSV file: a planted one, or some users of another."""
    found = shape(rng) if kind == "planted" else load(kind).interactions
    csr = found.csr
    active = np.flatnonzero(csr.degrees() >= 5)
    count = min(len(active), int(rng.integers(LEAST_USERS, MOST_USERS)))
    users = np.sort(rng.choice(active, count, replace=False))
    lines = (f"{u},{i}\n" for u in users for i in csr.row(int(u)))
    path.write_text("user,item\n" + "".join(lines))


def search(number: int, kind: str, trials: int, folder: Path) -> Path:
    """One search; returns its run folder."""
    data = folder / f"{number}.csv"
    write_sample(kind, data, np.random.default_rng([number, 0x5407]))
    arguments = ["--space", SPACES[number % len(SPACES)], "--data", str(data)]
    arguments += ["--trials", str(trials), "--seed", str(number)]
    return searches.search(folder / "runs", str(number), arguments)


def compared(run: Path) -> dict[str, Any]:
    """What a search handed over against the first config of its space, on the test items."""
    folder = RunFolder(run)
    state = folder.state()
    spec = load_run_spec(folder.path)
    race, mine = decided(state), load_test_values(run)
    if race is None or mine is None:
        raise SearchFailedError("the run has no race, or no values of its test")
    first = state.in_order()[0]
    blend = blended(state)
    found: dict[str, Any] = {"winner": race.winner, "first": first.id}
    found["blend"] = blend is not None and blend.handed_over
    settings = settings_of(state)
    data = load(settings.data)
    split = make_split(data, spec.split, seed=settings.seed)
    assert split.test is not None
    seen = split.search_data()
    epochs = epochs_of(first, [one.best_epochs for one in race.finalists if one.id == first.id])
    training = FinalTraining.of(first.training, epochs, seed=1, threads=1, device="cpu")
    theirs = evaluate(training.train(seen), seen, split.test, [spec.metric])
    assert np.array_equal(theirs.users, mine.users)
    values = theirs.per_user[spec.metric]
    told = compare_paired(mine.values, values, np.random.default_rng(0))
    return found | {
        "users": len(values),
        "value": float(mine.values.mean()),
        "first_value": float(values.mean()),
        "gain": told.gain,
        "p": told.p,
        "proven": told.proven,
    }


def epochs_of(trial: TrialRecord, raced: list[tuple[int, ...]]) -> int:
    """How many epochs the first config would be trained for."""
    return learned(raced[0]) if raced else trial.best_epoch or max(1, trial.epochs)


def show(rows: list[dict[str, Any]]) -> None:
    failed = [row for row in rows if "error" in row]
    ended = [row for row in rows if "error" not in row]
    same = [row for row in ended if row["winner"] == row["first"] and not row["blend"]]
    others = [row for row in ended if row not in same]
    lower = [row for row in others if row["gain"] < 0]
    print(f"{len(rows)} searches, {len(failed)} failed; {len(same)} handed over the first config")
    print(
        f"  {len(others) - len(lower)} something at least as good on the test items, "
        f"{sum(row['gain'] > 0 and row['proven'] for row in others)} of them proven"
    )
    print(f"  {len(lower)} something lower, {sum(row['proven'] for row in lower)} of them proven")
    for row in sorted(lower, key=lambda row: row["gain"]):
        print(
            f"    {row['number']}: {row['kind']}, {row['space']}: {row['value']:.4f} for "
            f"{row['first_value']:.4f}, p = {row['p']:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", nargs="*", help="more data to take users from")
    parser.add_argument("-o", type=Path, required=True, metavar="FILE")
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--trials", type=int, default=10)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    kinds = ["planted", "ml-100k", *options.data]
    lines = options.o.read_text().splitlines() if options.o.exists() else []
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    asked = {"trials": options.trials, "kinds": [Path(kind).name for kind in kinds]}
    if any({key: row[key] for key in asked} != asked for row in rows):
        sys.exit(f"{options.o} was begun with other --trials or data: take another file")
    print(f"others use {used_by_others(2.0):.0%} of the cores")
    for number in range(len(rows), options.searches):
        began = time.monotonic()
        kind = kinds[number // len(SPACES) % len(kinds)]
        row = {"number": number, "kind": Path(kind).name, "space": SPACES[number % len(SPACES)]}
        with tempfile.TemporaryDirectory(prefix="bench-short-") as name:
            try:
                row |= compared(search(number, kind, options.trials, Path(name)))
            except SearchFailedError as error:
                row["error"] = str(error)
        row |= asked | {"seconds": round(time.monotonic() - began, 1)}
        rows.append(row)
        with options.o.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
    show(rows)


if __name__ == "__main__":
    main()
