"""The replay benchmark: its clock on a world with known curves, its world on recorded ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.replay.clock import ROWS, Ours, Player, Random, StockRay, ours, simulate
from benchmarks.replay.race import FINALISTS, SPLITS, Racer, best_of, race
from benchmarks.replay.race import table as race_table
from benchmarks.replay.record import Task, configs_of, train_one, write
from benchmarks.replay.run import Best, Rows, holm, play, table
from benchmarks.replay.world import Curve, Drawn, Shapes, World, fitted, natural_end
from recsys.errors import ConfigError
from recsys.models.base import Size
from search.space.load import load_spec, override

SPEC = load_spec("bpr_hard")


class Known:
    """A world whose best config has lr 0.03 and margin 2; an epoch takes a second."""

    spec, users, size = SPEC, 500, Size(500, 300, 9000)

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []

    def curve(self, params: Mapping[str, Any]) -> Curve:
        self.asked.append(params)
        good = 1 / (1 + abs(math.log(params["lr"] / 0.03)) + abs(params["margin"] - 2))
        valid = good * (1 - np.exp(-np.arange(1, 41) / 8))
        return Curve(valid, 0.9 * valid, 1.0)


@pytest.fixture
def world() -> Any:
    return Known()


class Fixed(Player):
    """Three trials and no more; the second is stopped after two epochs."""

    def __init__(self) -> None:
        super().__init__(SPEC, 0)
        self.over: list[tuple[str, int, bool]] = []

    def propose(self, time: float) -> Any:
        self.count += 1
        params = dict(SPEC.enqueue[0]) | {"margin": float(self.count)}
        return (
            (f"t{self.count}", params, 7 if self.count == 3 else None) if self.count < 4 else None
        )

    def goes_on(self, trial: Any) -> bool:
        return trial.id != "t2" or trial.epoch < 2

    def ended(self, trial: Any, by_itself: bool) -> None:
        self.over.append((trial.id, trial.epoch, by_itself))


def test_the_clock(world: Any) -> None:
    player = Fixed()
    log = simulate(world, player, workers=2, seconds=100.0)
    # t3 takes t2's worker after two seconds and wants seven epochs
    assert player.over == [("t2", 2, False), ("t3", 7, True), ("t1", 40, True)]
    assert (log.begun, log.finished) == (3, 1)
    assert [f.time for f in log.found] == sorted(f.time for f in log.found)
    assert [f.valid for f in log.found] == sorted(f.valid for f in log.found)
    assert log.at(0.5).valid == 0.0
    assert log.at(1.0).valid > 0.0
    short = simulate(world, Fixed(), workers=1, seconds=39.5)
    assert (short.begun, short.finished) == (1, 0)


@pytest.mark.parametrize("name", list(ROWS))
def test_every_row_searches(world: Any, name: str) -> None:
    row = play([world], ROWS[name], range(1), workers=2, seconds=60.0)
    assert row.valid.shape == (1, 120)
    assert np.all(np.diff(row.valid) >= 0)
    assert 0.1 < row.valid[0, -1] <= 1.0
    assert np.allclose(row.test, 0.9 * row.valid)
    assert row.begun >= 3  # 120 seconds of workers, 40 a trial


def test_a_row_of_ours_has_other_settings(world: Any) -> None:
    player = ours("reduction_factor=2 enqueue=[]")(world, 3, 60.0)
    assert isinstance(player, Ours)
    assert (player.spec.reduction_factor, player.spec.enqueue) == (2, ())
    with pytest.raises(ConfigError, match="reduction_factor"):
        ours("reduction_factor=1")(world, 3, 60.0)


def test_random_search_with_twice_the_time_finds_at_least_as_much(world: Any) -> None:
    once = play([world], ROWS["random"], range(4, 7), 2, 80.0)
    twice = play([world], None, range(4, 7), 2, 80.0)
    assert np.all(twice.valid[:, -1] >= once.valid[:, -1])
    assert twice.begun > 1.5 * once.begun


def test_pruning_begins_more_trials_in_the_same_time(world: Any) -> None:
    plain = simulate(world, Random(SPEC, 1), 2, 200.0)
    pruned = simulate(world, Ours(replace(SPEC, searcher="random"), 1, None), 2, 200.0)
    stock = simulate(world, StockRay(SPEC, 1), 2, 200.0)
    assert plain.begun == pytest.approx(2 * 200 / 40 + 2, abs=2)
    assert pruned.begun > 1.3 * plain.begun
    assert stock.begun > 1.3 * plain.begun
    assert world.asked[plain.begun] == dict(SPEC.enqueue[0])


def test_a_search_that_ends_by_itself_does_so_once_it_gains_nothing(world: Any) -> None:
    auto = play([world], ROWS["ours, ends by itself"], range(1), 2, 3000.0)
    whole = play([world], ROWS["ours"], range(1), 2, 3000.0)
    assert auto.end < 0.9 < whole.end == 1.0
    assert 32 <= auto.begun < whole.begun
    assert auto.valid[0, -1] > 0.95 * whole.valid[0, -1]


def racers(*values: tuple[float, float, float]) -> list[Racer]:
    return [Racer(*value) for value in values]


def test_a_race_without_noise_picks_what_is_worth_most() -> None:
    found = race(racers((0.5, 0.3, 0.2), (0.4, 0.4, 0.35)), 1, 0.0, np.random.default_rng(0))
    assert (found.other, found.better, found.worse) == (1.0, 1.0, 0.0)
    assert found.gain == pytest.approx(0.15)
    assert found.possible == pytest.approx(0.15)
    assert found.flattered == pytest.approx(0.2)
    assert found.race_flattered == 0.0


def test_more_splits_pick_better_and_flatter_less() -> None:
    some = racers((0.5, 0.40, 0.40), (0.49, 0.41, 0.41), (0.48, 0.39, 0.39))
    few, many = (race(some, n, 0.05, np.random.default_rng(0)) for n in (1, 100))
    assert few.gain < many.gain <= many.possible == pytest.approx(0.01)
    assert few.race_flattered > many.race_flattered > 0.0
    assert few.worse > many.worse


def test_a_race_among_one_picks_it() -> None:
    assert race(racers((0.5, 0.4, 0.3)), 3, 0.05, np.random.default_rng(0)).other == 0.0


class TwoSpeeds(Known):
    """Two factorizations, level at the end: `slow` has after 6 epochs what `fast` has in one."""

    spec = replace(
        override(load_spec("all"), ["method=[bpr_uniform, softmax_hard]", "max_epochs=60"]),
        enqueue=(),
    )

    def curve(self, params: Mapping[str, Any]) -> Curve:
        self.asked.append(params)
        good = 0.2 / (1 + 0.2 * abs(math.log(params["lr"] / 0.03)))
        slowness = 30.0 if params["method"] == "bpr_uniform" else 2.0
        valid = good * (1 - np.exp(-np.arange(1, 61) / slowness))
        return Curve(valid, 0.9 * valid, 1.0)


def test_a_method_that_learns_slowly_is_searched_to_its_end() -> None:
    """In the replay as in a search: both have the scheduler decide."""
    world: Any = TwoSpeeds()
    best: dict[str, float] = {}
    whole: Counter[str] = Counter()

    class Watched(Ours):
        def ended(self, trial: Any, by_itself: bool) -> None:
            super().ended(trial, by_itself)
            if by_itself:
                method = trial.params["method"]
                whole[method] += 1
                best[method] = max(best.get(method, 0.0), trial.best)

    log = simulate(world, Watched(replace(world.spec, searcher="random"), 2, None), 2, 600.0)
    began = Counter(params["method"] for params in world.asked)
    assert whole["bpr_uniform"] >= 3
    assert began["bpr_uniform"] > 1.5 * whole["bpr_uniform"]  # its weak ones are stopped
    assert best["bpr_uniform"] > 0.8 * best["softmax_hard"]
    assert log.begun == sum(began.values())


def test_the_best_of_a_search_race(world: Any) -> None:
    world.worth = lambda params: (10.0, float(params["lr"]))
    found = best_of(world, 1, 2, 200.0)
    assert 3 <= len(found) <= 12
    assert [r.found for r in found] == sorted((r.found for r in found), reverse=True)
    assert {r.worth for r in found} == {10.0}
    lines = race_table([found, found], 0.02, 0)
    assert len(lines) == 2 + len(FINALISTS) * len(SPLITS)
    assert lines[2].startswith("| 2 | 1 | 2 |")


def test_a_table(world: Any) -> None:
    names = ["random", "ours"]
    rows = {name: play([world], ROWS[name], range(2), 2, 80.0) for name in names}
    lines = table(rows, Best(np.array([1.0]), np.array([0.9])))
    assert len(lines) == 4
    assert lines[3].startswith("| ours |")
    assert "of its time" in lines[2]
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )


def test_regret_is_against_the_best_of_the_world_that_a_seed_was_in() -> None:
    def world(best: float) -> Any:
        return SimpleNamespace(recorded=[Curve(np.array([0.1, best]), np.array([best, 0.1]), 1.0)])

    def row(*ends: float) -> Rows:
        values = np.array([[0.0, end] for end in ends])
        return Rows(values, values / 2, 1, 1, 1.0)

    rows = {"random": row(0.2, 0.5, 0.3), "ours": row(0.4, 0.6, 0.35)}
    best = Best.of([world(0.5), world(0.3)], rows)
    assert (best.valid.tolist(), best.test.tolist()) == ([0.5, 0.6], [0.5, 0.3])
    valid, test = best.regret(rows["ours"])
    assert valid[:, -1] == pytest.approx([0.1, 0.0, 0.15])
    assert test[:, -1] == pytest.approx([0.3, 0.0, 0.325])
    assert "| 0.1000 (0.0500 to 0.1250) |" in table(rows, best)[3]


def test_patience() -> None:
    assert natural_end(np.array([0.1, 0.2, 0.2, 0.1, 0.3]), 2) == 4
    assert natural_end(np.array([0.1, 0.2, 0.2, 0.1, 0.3]), 3) == 5
    assert natural_end(np.array([0.3, 0.2, 0.1]), 0) == 3


def test_a_draw_goes_through_what_is_known_and_varies_between() -> None:
    rng = np.random.default_rng(3)
    x = rng.random((60, 2))
    values = 5 + np.sin(4 * x[:, 0]) + 0.5 * x[:, 1] + 0.05 * rng.standard_normal(60)
    kernel = fitted(x, values).kernel_
    draws = [Drawn(x, values, kernel, np.random.default_rng(n)) for n in range(20)]
    for drawn in draws:
        assert 0.025 < drawn.noise < 0.1
        found = np.array([drawn.at(one) for one in x])
        assert np.abs(found - values).mean() < 2 * 0.05
    inside, outside = np.array([0.5, 0.5]), np.array([3.0, 3.0])
    truth = 5 + np.sin(2) + 0.25
    there = np.array([drawn.at(inside) for drawn in draws])
    assert abs(there.mean() - truth) < 0.05
    assert 0.001 < there.std() < 0.1, "draws differ, by what the data leave open"
    assert np.std([drawn.at(outside) for drawn in draws]) > 5 * there.std()


def test_a_draw_is_as_rough_as_its_kernel_says() -> None:
    """Before anything is known, values have the variance and correlation of the process."""
    x = np.linspace(0, 1, 2)[:, None] * 100
    values = np.array([1.0, -1.0])
    kernel = fitted(x, values).kernel_
    draws = [Drawn(x, values, kernel, np.random.default_rng(n)) for n in range(400)]
    covariance = draws[0]._covariance
    a, b = np.array([40.0]), np.array([40.5])
    drawn = np.array([[one._before(at[None, :])[0] for at in (a, b)] for one in draws])
    expected = float(covariance(a[None, :], b[None, :])[0, 0])
    assert np.mean(drawn[:, 0] ** 2) == pytest.approx(float(covariance(a[None, :])[0, 0]), rel=0.25)
    assert np.mean(drawn[:, 0] * drawn[:, 1]) == pytest.approx(expected, rel=0.3)


def test_shapes_and_rest_make_the_row() -> None:
    rows = np.random.default_rng(1).random((12, 9))
    shapes = Shapes(rows)
    for parts, rest, row in zip(shapes.parts, shapes.rest, rows, strict=True):
        assert shapes.row(parts) + rest == pytest.approx(row)
    assert np.abs(shapes.rest).max() < np.abs(rows - rows.mean(0)).max()


def test_a_recording_makes_a_world(tmp_path: Path) -> None:
    settings = ["latent_factors=4", "max_epochs=4"]
    spec = load_spec("bpr_uniform", settings)
    chosen = [c for c, _ in zip(configs_of(spec, 1), range(10), strict=False)]
    rows: list[tuple[float, ...]] = []
    for n, params in enumerate(chosen):
        rows += train_one(Task(n, spec.train_config(params), "demo", spec.metric, 1))
    assert {row[1] for row in rows} == {1, 2, 3, 4}
    assert all(0 <= row[2] <= 1 and 0 <= row[3] <= 1 and row[4] >= 0 for row in rows)
    about = type("Args", (), {"data": "demo", "space": "bpr_uniform", "set": settings, "seed": 1})
    file = tmp_path / "demo.parquet"
    write(file, rows, spec, chosen, about)  # type: ignore[arg-type]
    world, other = World.load(file, draws=2)
    assert 200 < world.users <= 300
    assert set(world.check()) == {"valid", "test"}
    curve = world.curve(chosen[0])
    assert curve is world.recorded[0]  # what was recorded is what it does
    assert curve.valid.tolist() == pytest.approx([row[2] for row in rows[:4]], rel=1e-6)
    unseen = dict(chosen[0]) | {"lr": chosen[0]["lr"] * 1.1}
    curve = world.curve(unseen)
    assert len(curve.valid) == len(curve.test) == 4
    assert curve.seconds > 0
    assert np.array_equal(curve.valid, world.curve(unseen).valid)
    assert np.array_equal(curve.valid, World.load(file, draws=1)[0].curve(unseen).valid)
    assert not np.array_equal(curve.valid, other.curve(unseen).valid)
    assert np.array_equal(other.curve(chosen[0]).valid, world.recorded[0].valid)
    worth = np.array([world.worth(params)[0] for params in chosen])
    reached = np.array([c.valid.max() for c in world.recorded])
    assert np.corrcoef(worth, reached)[0, 1] > 0.8
