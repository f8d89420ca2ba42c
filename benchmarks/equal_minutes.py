"""Is `all` at least as good as every single space in the same minutes?

    python -m benchmarks.equal_minutes -o FOLDER [--budget 10m] [--seeds 5] [--spaces ...] DATA ...

DATA is what `--data` takes; settings of the run follow after commas, as in
`health.zip,metric=ndcg@20` or `retail.csv,split.order=latest`. Each seed is another split of the
data, and all spaces search it, one after another; which one begins moves on with the seed. What
each hands over is compared on the test items, user by user, over all seeds, and so are the winners
that are a single trial where `all` hands over a blend. FOLDER keeps the runs; where it exists, runs
that are done are taken from it, and others begin anew.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import searches
from benchmarks.contest import used_by_others
from benchmarks.searches import SearchFailedError
from search.record.events import Status
from search.record.folder import RunFolder
from search.record.measured import load_test_values
from search.record.result import blended, tested
from search.space.load import load_run_spec
from search.stats import PairedComparison, compare_paired, holm

OURS = "all"
SPACES = (OURS, "bpr_hard", "bce", "softmax", "cosine")
NOT_WORSE = 0.005  # of its value: by no more than this may `all` be below a single space


@dataclass(frozen=True)
class Data:
    """A data set and the settings that its runs get. name: of its runs, unique in a benchmark."""

    path: str
    settings: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Data:
        """Read `PATH,KEY=VALUE,...`. Raises ValueError for a part that is no setting."""
        path, *settings = text.split(",")
        for setting in settings:
            if "=" not in setting:
                raise ValueError(f"{text}: expected KEY=VALUE after a comma, got {setting!r}")
        return cls(path, tuple(settings))

    @property
    def name(self) -> str:
        return Path(self.path).name.partition(".")[0]


@dataclass(frozen=True, eq=False)
class Ended:
    """A search that has ended.

    users, values: what was handed over, on the test items, by user. alone: the test value of the
    winning trial without a blend. trials: how many had an epoch.
    """

    users: NDArray[np.int32]
    values: NDArray[np.float64]
    alone: float
    trials: int
    blend: bool
    seconds: float


def read(run: Path) -> Ended:
    """What a finished search handed over. Raises SearchFailedError where it has no test values."""
    state = RunFolder(run).state()
    values, found = load_test_values(run), tested(state)
    if values is None or found is None or found.values is None:
        raise SearchFailedError(f"{run}: no values of its test")
    alone = found.values[load_run_spec(run).metric]
    assert alone is not None
    blend = blended(state)
    return Ended(
        values.users,
        values.values,
        alone,
        sum(trial.epochs > 0 for trial in state.in_order()),
        blend is not None and blend.handed_over,
        state.wall_s(),
    )


def search(data: Data, space: str, seed: int, budget: str, runs: Path) -> Path:
    """One search, unless it is there already; returns its run folder."""
    run = runs / f"{data.name}-{seed}-{space}"
    if run.exists() and RunFolder(run).state().status == Status.DONE:
        return run
    shutil.rmtree(run, ignore_errors=True)  # its minutes are part of what is measured
    arguments = ["--space", space, "--data", data.path, "--time-budget", budget]
    arguments += ["--seed", str(seed)]
    for setting in data.settings:
        arguments += ["--set", setting]
    return searches.search(runs, run.name, arguments)


def by_user(ended: list[Ended], n_users: int) -> NDArray[np.float64]:
    """Values of the searches, float64 (R, U); NaN where a user had no test items."""
    table_RU = np.full((len(ended), n_users), np.nan)
    for row_U, one in zip(table_RU, ended, strict=True):
        row_U[one.users] = one.values
    return table_RU


def against(ours: list[Ended], theirs: list[Ended]) -> PairedComparison:
    """`all` against another space over the same seeds, on the same users of each split."""
    for mine, other in zip(ours, theirs, strict=True):
        if not np.array_equal(mine.users, other.users):
            raise SearchFailedError("two searches of one seed were tested on different users")
    n_users = 1 + max(int(one.users.max()) for one in ours)
    return compare_paired(
        by_user(ours, n_users), by_user(theirs, n_users), np.random.default_rng(0)
    )


def table(name: str, ended: dict[str, list[Ended]]) -> list[str]:
    """The searches of one data set: a line for each space, and the verdict on `all`."""
    lines = [f"{name}, test values by seed; p: all against it, over users and seeds, corrected"]
    ours, others = ended[OURS], {space: found for space, found in ended.items() if space != OURS}
    told = holm({space: against(ours, found) for space, found in others.items()})
    means = {
        space: float(np.mean([x.values.mean() for x in found])) for space, found in ended.items()
    }
    for space, found in ended.items():
        values = " ".join(f"{one.values.mean():.4f}{'*' if one.blend else ' '}" for one in found)
        alone = np.mean([one.alone for one in found])
        line = (
            f"  {space:<12} {values} mean {means[space]:.4f}, single trials {alone:.4f}; "
            f"{np.mean([one.trials for one in found]):.0f} trials, "
            f"{np.mean([one.seconds for one in found]):.0f} s"
        )
        if space in told:
            one = told[space]
            line += f"; all {one.gain:+.4f} ({one.low:+.4f} to {one.high:+.4f}), "
            line += f"p = {one.p_adjusted:.2g}"
        lines.append(line)
    if others:
        best = max(others, key=lambda space: means[space])
        gain = means[OURS] / means[best] - 1
        verdict = "met" if gain >= -NOT_WORSE else "missed"
        lines.append(
            f"  all is {abs(gain):.1%} {'above' if gain >= 0 else 'below'} the best single space, "
            f"{best} (target: at most {NOT_WORSE:.1%} below): {verdict}"
        )
    return [*lines, "  *: a blend was handed over"]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", nargs="+", metavar="DATA[,KEY=VALUE...]")
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--budget", default="10m", help="--time-budget of each search")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--spaces", default=",".join(SPACES), help="with commas, all among them")
    options = parser.parse_args()
    options.spaces = options.spaces.split(",")
    if OURS not in options.spaces:
        parser.error(f"--spaces: expected {OURS} among them")
    if options.seeds < 1:
        parser.error("--seeds: expected at least 1")
    try:
        options.data = [Data.of(text) for text in options.data]
    except ValueError as error:
        parser.error(str(error))
    if len({data.name for data in options.data}) < len(options.data):
        parser.error("two data sets have the same name")
    return options


def main() -> None:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.o.mkdir(parents=True, exist_ok=True)
    for data in options.data:
        ended: dict[str, list[Ended]] = {space: [] for space in options.spaces}
        for seed in range(1, options.seeds + 1):
            turn = seed % len(options.spaces)
            for space in options.spaces[turn:] + options.spaces[:turn]:
                others = used_by_others(2.0)
                found = read(search(data, space, seed, options.budget, options.o.resolve()))
                ended[space].append(found)
                print(
                    f"{data.name} seed {seed} {space}: {found.values.mean():.4f}, "
                    f"{found.trials} trials, {found.seconds:.0f} s; others used {others:.0%} of "
                    "the cores before it",
                    flush=True,
                )
        print("\n".join(table(data.name, ended)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except SearchFailedError as error:
        sys.exit(f"benchmarks.equal_minutes: {error}")
