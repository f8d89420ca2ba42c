"""Searchers side by side on recorded trainings: a table and a plot.

    python -m benchmarks.replay.run FILE.parquet [FILE.parquet ...] [--seeds 50] [-o DIR]

For each file (of `record`): how far each search is from the best that is known of its world, on
validation and on test, at the end of the time in which random search finishes `--trials` trials;
how much earlier than random search it reaches random's end; a Wilcoxon test of ours against each,
Holm-corrected. Seeds take turns in `--draws` worlds. `--variant "reduction_factor=2 enqueue=[]"`
adds a row of ours with these settings, `--first-seed` plays other seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from benchmarks.replay.clock import ROWS, Log, Maker, Random, ours, simulate
from benchmarks.replay.world import World
from search.space.load import override

GRID = 120  # points in time
TWICE = "random, twice the time"


@dataclass(frozen=True, eq=False)
class Rows:
    """valid, test (S, T): of the best by then, for each seed. begun, finished: trials, means.
    end: the part of the time after which it was over, a mean.
    """

    valid: NDArray[np.float64]
    test: NDArray[np.float64]
    begun: float
    finished: float
    end: float


def play(
    worlds: Sequence[World], make: Maker | None, seeds: range, workers: int, seconds: float
) -> Rows:
    """One row of the table, for each seed, in one of the worlds after the other.

    make: of the search; None: random search with twice the time.
    """
    stretch = 2.0 if make is None else 1.0
    times = np.linspace(0, seconds, GRID + 1)[1:]
    logs: list[Log] = []
    for place, seed in enumerate(seeds):
        world = worlds[place % len(worlds)]
        player = Random(world.spec, seed) if make is None else make(world, seed, seconds)
        logs.append(simulate(world, player, workers, stretch * seconds))
    return Rows(
        np.array([[log.at(stretch * t).valid for t in times] for log in logs]),
        np.array([[log.at(stretch * t).test for t in times] for log in logs]),
        float(np.mean([log.begun for log in logs])),
        float(np.mean([log.finished for log in logs])),
        float(np.mean([log.end for log in logs])) / seconds,
    )


def holm(p: dict[str, float]) -> dict[str, float]:
    """p-values corrected for how many they are."""
    found, last = {}, 0.0
    for rank, (name, value) in enumerate(sorted(p.items(), key=lambda pair: pair[1])):
        last = max(last, min(1.0, value * (len(p) - rank)))
        found[name] = last
    return found


@dataclass(frozen=True, eq=False)
class Best:
    """The best that is known of each world, on validation and on test (worlds,)."""

    valid: NDArray[np.float64]
    test: NDArray[np.float64]

    @staticmethod
    def of(worlds: Sequence[World], rows: Mapping[str, Rows]) -> Best:
        """Of what was recorded, and of what any search found there."""

        def best(n: int, world: World, which: str) -> float:
            recorded = max(float(getattr(c, which).max()) for c in world.recorded)
            found = [getattr(r, which)[n :: len(worlds)] for r in rows.values()]
            return max(recorded, *(float(f.max()) for f in found if f.size))

        return Best(
            np.array([best(n, world, "valid") for n, world in enumerate(worlds)]),
            np.array([best(n, world, "test") for n, world in enumerate(worlds)]),
        )

    def regret(self, row: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How far a row is from it by then (S, T), on validation and on test."""
        world = np.arange(len(row.valid)) % len(self.valid)
        return self.valid[world, None] - row.valid, self.test[world, None] - row.test


def table(rows: dict[str, Rows], best: Best) -> list[str]:
    """The lines of a markdown table."""
    ours = rows["ours"]
    end = float(np.median(best.regret(rows["random"])[0][:, -1]))
    p = {}
    for name, row in rows.items():
        if name != "ours":
            gain = ours.valid[:, -1] - row.valid[:, -1]
            p[name] = float(wilcoxon(gain).pvalue) if np.any(gain) else 1.0
    adjusted = holm(p)
    lines = [
        "| search | trials (to their end) | regret, validation (quartiles) | regret, test "
        "| random's end reached after | over after | ours against it |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        regret, regret_test = best.regret(row)
        low, middle, high = np.quantile(regret[:, -1], [0.25, 0.5, 0.75])
        on_test = float(np.median(regret_test[:, -1]))
        reached = np.flatnonzero(np.median(regret, axis=0) <= end)
        stretch = 2.0 if name == TWICE else 1.0
        after = f"{stretch * (reached[0] + 1) / GRID:.2f} of its time" if len(reached) else "never"
        if name == "ours":
            verdict = "-"
        else:
            better = np.mean(ours.valid[:, -1] - row.valid[:, -1])
            verdict = f"{'better' if better > 0 else 'worse'}, p = {adjusted[name]:.2g}"
        lines.append(
            f"| {name} | {row.begun:.0f} ({row.finished:.0f}) "
            f"| {middle:.4f} ({low:.4f} to {high:.4f}) | {on_test:.4f} | {after} "
            f"| {row.end:.2f} | {verdict} |"
        )
    return lines


def plot(rows: dict[str, Rows], best: Best, seconds: float, title: str, path: Path) -> None:
    """Median regret and quartiles against time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharex=True)
    times = np.linspace(0, seconds, GRID + 1)[1:]
    for name, row in rows.items():
        if name == TWICE:
            continue
        for axis, regret in zip(axes, best.regret(row), strict=True):
            low, middle, high = np.quantile(regret, [0.25, 0.5, 0.75], axis=0)
            (line,) = axis.plot(times, middle, label=name)
            axis.fill_between(times, low, high, alpha=0.15, color=line.get_color())
    for axis, what in zip(axes, ("validation", "test"), strict=True):
        axis.set_yscale("log")
        axis.set_xlabel("seconds")
        axis.set_title(f"{title}: regret on {what}")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--rows", nargs="+", default=None, choices=list(ROWS))
    parser.add_argument("--variant", action="append", default=[], metavar="SETTINGS")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    makers: dict[str, Maker | None] = {name: ROWS[name] for name in args.rows or ROWS}
    makers |= {f"ours, {settings}": ours(settings) for settings in args.variant}
    makers[TWICE] = None
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for file in args.files:
        worlds = World.load(file, args.draws)
        for settings in args.variant:
            override(worlds[0].spec, settings.split())  # an hour before it is played
        ranks = worlds[0].check()
        for workers in args.workers:
            seconds = worlds[0].seconds_of(args.trials, workers)
            rows = {n: play(worlds, m, seeds, workers, seconds) for n, m in makers.items()}
            best = Best.of(worlds, rows)
            print(
                f"\n{file.stem}, {workers} workers, {seconds:.0f} s, {args.seeds} seeds in "
                f"{args.draws} worlds; best known {np.mean(best.valid):.4f} on validation, "
                f"{np.mean(best.test):.4f} on test (means); rank correlation on unseen configs "
                f"{ranks['valid']:.2f}, on test {ranks['test']:.2f}\n"
            )
            print("\n".join(table(rows, best)), flush=True)
            if args.output is not None:
                args.output.mkdir(parents=True, exist_ok=True)
                plot(rows, best, seconds, file.stem, args.output / f"{file.stem}-{workers}.png")


if __name__ == "__main__":
    main()
