"""`race.prefer: small`: who races besides the best, and who of them wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.data import load
from recsys.errors import ConfigError
from recsys.split import Split, SplitPlan, make_split
from search.record.events import State
from search.record.folder import save_arrays
from search.record.state import RunState, TrialRecord
from search.space.load import load_spec
from search.stages.lineup import finalists, memory_of
from search.stages.race import race_summary
from search.stages.replicates import Standing, per_user_file
from search.stats import expected_reach
from tests.search.spaces import override

USERS = 300


@pytest.fixture(scope="module")
def split() -> Split:
    return make_split(load("demo"), SplitPlan(), 42)


def trial(number: int, value: float, factors: int) -> TrialRecord:
    flat = {"loss": "bpr", "lr": 0.05 + number / 100, "latent_factors": factors}
    made = TrialRecord(f"t{number:04d}", number, {}, flat, 0, 0.0, State.COMPLETE)
    made.value, made.busy_s = value, 1.0
    return made


def run_of(
    split: Split,
    trials: list[TrialRecord],
    folder: Path,
    prefer: str = "small",
    sampled: int | None = None,
) -> Any:
    """sampled: on how many users trials were validated; None: on all."""
    notes: list[str] = []
    spec = override(load_spec("smoke"), [f"race.prefer={prefer}", "race.finalists=2"])
    return SimpleNamespace(
        spec=spec,
        split=split,
        pace=None if sampled is None else SimpleNamespace(users=sampled),
        state=RunState(trials={t.id: t for t in trials}),
        settings=SimpleNamespace(seed=1, has_default=True),
        folder=SimpleNamespace(path=folder),
        display=SimpleNamespace(note=notes.append),
        notes=notes,
    )


# expected_reach of the demo's 300 users is some 0.012
TRIALS = [
    trial(0, 0.200, 64),
    trial(1, 0.240, 128),
    trial(2, 0.239, 128),
    trial(3, 0.238, 16),
    trial(4, 0.239, 16),
    trial(5, 0.236, 8),
    trial(6, 0.150, 2),
    trial(7, 0.237, 32),
]


def test_the_smallest_that_cannot_be_told_from_the_best_race_too(
    split: Split, tmp_path: Path
) -> None:
    best = finalists(run_of(split, TRIALS, tmp_path, "best"))
    assert [t.id for t in best] == ["t0001", "t0000", "t0002"]
    small = finalists(run_of(split, TRIALS, tmp_path))
    # 8 and 16 factors, of 16 the better; 2 factors are too bad, and 32 would be a third
    assert [t.id for t in small] == ["t0001", "t0000", "t0002", "t0005", "t0004"]


def test_values_on_a_sample_of_users_are_told_apart_less_well(split: Split, tmp_path: Path) -> None:
    """The race is on all users, but the values that it begins with are not."""
    low = [replace(t, value=0.224) if t.id == "t0006" else t for t in TRIALS]
    whole = [t.id for t in finalists(run_of(split, low, tmp_path))]
    for users, further in ((None, False), (USERS, False), (100, True)):
        run = run_of(split, low, tmp_path, sampled=users)
        assert (0.240 - expected_reach(users or USERS) <= 0.224) is further
        assert ("t0006" in [t.id for t in finalists(run)]) is further
    assert "t0006" not in whole


def decided(
    split: Split, tmp_path: Path, means: dict[str, float], prefer: str = "small"
) -> tuple[Any, Any]:
    """The race of trials whose values per user scatter about their means by half as much."""
    run = run_of(split, TRIALS, tmp_path, prefer)
    noise = np.random.default_rng(0).normal(size=(2, USERS))
    users = np.arange(USERS)
    table = []
    for name, mean in means.items():
        own = np.random.default_rng(int(name[1:])).normal(size=(2, USERS))
        for replicate in range(2):
            values = mean + 0.1 * noise[replicate] + 0.02 * (own - own.mean())[replicate]
            path = per_user_file(tmp_path, name, replicate)
            path.parent.mkdir(exist_ok=True)
            save_arrays(path, users=users, values=values)
        table.append(Standing(name, (mean, mean), (5, 5)))
    table.sort(key=lambda s: -s.mean)
    racers = [t for t in TRIALS if t.id in means]
    return run, race_summary(run, table, racers, 2)


def test_the_smallest_that_is_not_proven_worse_wins(split: Split, tmp_path: Path) -> None:
    means = {"t0001": 0.240, "t0004": 0.2399, "t0005": 0.220, "t0000": 0.2}
    run, found = decided(split, tmp_path, means)
    assert found.winner == "t0004"  # 8 factors are proven worse
    assert [one.id for one in found.finalists] == ["t0004", "t0001", "t0005", "t0000"]
    told = {one.against: one for one in found.comparisons}
    assert set(told) == {"t0001", "t0000"}
    assert not told["t0001"].proven
    assert told["t0000"].proven
    assert "the best of the race and larger" in told["t0001"].words
    (note,) = run.notes
    share = memory_of(run, TRIALS[4]) / memory_of(run, TRIALS[1])
    assert f"t0004 takes {share:.0%} of the memory of t0001" in note
    _, plain = decided(split, tmp_path, means, "best")
    assert plain.winner == "t0001"


def test_where_all_smaller_ones_are_worse_the_best_wins(split: Split, tmp_path: Path) -> None:
    run, found = decided(split, tmp_path, {"t0001": 0.24, "t0004": 0.22, "t0005": 0.21})
    assert found.winner == "t0001"
    assert not run.notes
    assert found.comparisons[0].name == "the runner-up t0004"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["race=none", "race.prefer=small"], "race and race.prefer overlap"),
        (["race={finalists: 0, prefer: small}"], "decided by a race, and there is none"),
        (["race.prefer=tiny"], "best, small"),
        (["race.prefer=small", "blend=3"], "with race.prefer small use blend: none"),
    ],
)
def test_what_has_no_meaning_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_spec("smoke", settings)


def test_a_spec_that_prefers_the_best_is_written_as_ever() -> None:
    assert "prefer" not in load_spec("smoke").to_yaml()
    assert "up_to" not in load_spec("smoke").to_yaml()
    assert "up_to: 9" in load_spec("smoke", ["race.up_to=9"]).to_yaml()
    small = load_spec("smoke", ["race.prefer=small"])
    assert "prefer: small" in small.to_yaml()
    assert small.digest() != load_spec("smoke").digest()
