"""What a race of the best configs on fresh splits gains over the best one on validation.

    python -m benchmarks.replay.race FILE.parquet [FILE.parquet ...] [--seeds 30] [--noise .018]

Plays ours in worlds of a recording (of `record`) and lets its best trials race, with different
numbers of finalists and splits. On a fresh split a config reaches what it is worth in its world,
without the noise of one training, and noise of its own: `--noise` of that value, as large as it
was between finalists and splits of real searches. What all finalists share of a split decides
nothing and is left out. The table says how often the race picks another config than validation
does, and what it gains on test; and by how much the value of validation's pick there, and the
winner's mean in the race, is above what it is worth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.replay.clock import Live, Ours, simulate
from benchmarks.replay.world import World
from recsys.models.base import Size
from search.space.spec import SearchSpec

FINALISTS, SPLITS = (2, 3, 4, 6, 8, 12), (1, 2, 3, 5, 8, 12)
NOISE = 0.018  # of the value: 1.2% on ml-100k, 1.6% on health, 2.3% on online_retail_690
REPEATS = 40  # races of the same finalists


@dataclass(frozen=True)
class Racer:
    """A config: its best value on validation as a search found it; what it is worth on validation
    and on test, without the noise of one training.
    """

    found: float
    worth: float
    test: float


class Kept(Ours):
    """Ours; it keeps what became of its trials."""

    def __init__(self, spec: SearchSpec, seed: int, size: Size | None) -> None:
        super().__init__(spec, seed, size)
        self.whole: list[Live] = []

    def ended(self, trial: Live, by_itself: bool) -> None:
        super().ended(trial, by_itself)
        if by_itself:
            self.whole.append(trial)


def best_of(world: World, seed: int, workers: int, seconds: float) -> list[Racer]:
    """The trials of one search that were trained to their end, the best on validation first."""
    player = Kept(world.spec, seed, world.size)
    simulate(world, player, workers, seconds)
    ranked = sorted(player.whole, key=lambda t: -t.best)[: max(FINALISTS)]
    return [Racer(t.best, *world.worth(t.params)) for t in ranked]


@dataclass(frozen=True)
class Raced:
    """Means over races of the finalists of one search.

    other, better, worse: how often the race picks another config than validation does, and one that
    is better or worse on test. gain, possible: on test, of the race and of who would know the test.
    flattered, race_flattered: by how much the pick of validation is above its worth there, and the
    winner's mean in the race.
    """

    other: float
    better: float
    worse: float
    gain: float
    possible: float
    flattered: float
    race_flattered: float


def race(racers: Sequence[Racer], splits: int, noise: float, rng: np.random.Generator) -> Raced:
    """Races of `racers`, the best on validation first. noise: of a config on a split, as a share of
    its value.
    """
    worth = np.array([r.worth for r in racers])
    gains = np.array([r.test - racers[0].test for r in racers])
    apart = noise * worth / np.sqrt(splits)
    means = worth + apart * rng.standard_normal((REPEATS, len(racers)))
    first = means.argmax(axis=1)
    return Raced(
        float(np.mean(first != 0)),
        float(np.mean(gains[first] > 0)),
        float(np.mean(gains[first] < 0)),
        float(np.mean(gains[first])),
        float(gains.max()),
        racers[0].found - racers[0].worth,
        float(np.mean(means.max(axis=1) - worth[first])),
    )


def table(searches: Sequence[Sequence[Racer]], noise: float, seed: int) -> list[str]:
    """The lines of a markdown table. searches: for each, its trials, the best first."""
    lines = [
        "| finalists | splits | trainings | another than validation's (better, worse on test) "
        "| gain on test (standard error) | at best | flattered: validation, race |",
        "|---|---|---|---|---|---|---|",
    ]
    for finalists in FINALISTS:
        for splits in SPLITS:
            rng = np.random.default_rng([seed, finalists, splits])
            raced = [race(racers[:finalists], splits, noise, rng) for racers in searches]

            def mean(name: str, of: Sequence[Raced] = tuple(raced)) -> float:
                return float(np.mean([getattr(one, name) for one in of]))

            gains: NDArray[np.float64] = np.array([one.gain for one in raced])
            error = float(gains.std(ddof=1) / np.sqrt(len(gains))) if len(gains) > 1 else 0.0
            lines.append(
                f"| {finalists} | {splits} | {finalists * splits} "
                f"| {mean('other'):.0%} ({mean('better'):.0%}, {mean('worse'):.0%}) "
                f"| {mean('gain'):+.4f} ({error:.4f}) | {mean('possible'):+.4f} "
                f"| {mean('flattered'):+.4f}, {mean('race_flattered'):+.4f} |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--noise", type=float, default=NOISE)
    args = parser.parse_args()
    for file in args.files:
        worlds = World.load(file, args.draws)
        seconds = worlds[0].seconds_of(args.trials, args.workers)
        searches = [
            best_of(worlds[seed % len(worlds)], seed, args.workers, seconds)
            for seed in range(args.seeds)
        ]
        best = float(np.mean([racers[0].test for racers in searches]))
        print(
            f"\n{file.stem}, {args.workers} workers, {seconds:.0f} s, {args.seeds} searches in "
            f"{args.draws} worlds, noise {args.noise:.1%}; validation's best has {best:.4f} on "
            f"test\n"
        )
        print("\n".join(table(searches, args.noise, 0)), flush=True)


if __name__ == "__main__":
    main()
