"""Spaces as cubes: there and back, and what is drawn from them."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from search.propose.surrogate.cube import ABSENT, Cube
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.strategies import SEARCHERS

SPACES = Path(__file__).resolve().parents[4] / "spaces"
SHIPPED = sorted(path.stem for path in SPACES.glob("*.yaml"))
CONDITIONAL = """
params:
  loss: {choice: [bpr, softmax, bce]}
  neg_mode: fixed
  optimizer: {choice: [sgd, adagrad]}
  latent_factors: {choice: [64, 256, 128]}
  neg_sample_num: {low: 1, high: 50, log: true}
  lr: {low: 0.001, high: 0.1, log: true}
  init_std: {low: 0.1, high: 0.5, step: 0.1}
  margin: {low: 0, high: 4, when: {loss: bpr}}
  temperature: {low: 0.3, high: 3, log: true, when: {loss: softmax}}
"""


def learned() -> list[SearchSpec]:
    found = []
    for name in SHIPPED:
        spec = load_spec(name)
        if SEARCHERS[spec.searcher].learns:
            found += [spec.of_method(value) for value in spec.methods()] or [spec]
    return found


@pytest.fixture
def conditional(tmp_path: Path) -> SearchSpec:
    path = tmp_path / "conditional.yaml"
    path.write_text(CONDITIONAL)
    return load_spec(str(path))


def test_every_config_of_a_shipped_space_comes_back() -> None:
    specs = learned()
    assert len(specs) > 10
    for spec in specs:
        cube = Cube(spec)
        rng = np.random.default_rng(1)
        configs = [spec.sample(rng) for _ in range(30)] + [dict(e) for e in spec.enqueue]
        rows = cube.rows(configs)
        assert rows.shape == (len(configs), cube.width)
        assert ((rows >= 0) & (rows <= 1)).all()
        for config, row in zip(configs, rows, strict=True):
            assert cube.config(row) == pytest.approx(config)


def test_shipped_spaces_have_the_same_parameters_in_every_config_of_a_method() -> None:
    assert all(Cube(spec).fixed for spec in learned())


@pytest.mark.parametrize("near", [False, True])
def test_what_is_drawn_can_be_trained(conditional: SearchSpec, near: bool) -> None:
    for spec in [*learned(), conditional]:
        cube, rng = Cube(spec), np.random.default_rng(2)
        rows = cube.draw(40, rng)
        if near:
            rows = cube.near(rows[:3], 40, 0.3, rng)
        assert ((rows >= 0) & (rows <= 1)).all()
        for row in rows:
            config = cube.config(row)
            spec.train_config(config)  # raises where something is missing or has no effect
            assert cube.config(cube.rows([config])[0]) == pytest.approx(config)


def test_a_condition_decides_which_columns_say_something(conditional: SearchSpec) -> None:
    cube = Cube(conditional)
    assert not cube.fixed
    base = {"loss": "softmax", "optimizer": "sgd", "latent_factors": 64, "neg_sample_num": 1}
    config = base | {"lr": 0.01, "init_std": 0.1, "temperature": 3.0}
    (row,) = cube.rows([config])
    # loss has three columns, optimizer two; margin is absent, temperature at its end
    assert cube.width == 3 + 2 + 6
    assert row[-2:].tolist() == [ABSENT, 1.0]
    drawn = cube.draw(200, np.random.default_rng(3))
    for one in drawn:
        had = cube.config(one)
        assert ("margin" in had) == (had["loss"] == "bpr")
        if "margin" not in had:
            assert one[-2] == ABSENT


def test_numbers_lie_in_their_order_and_on_the_scale_of_the_space(conditional: SearchSpec) -> None:
    cube = Cube(conditional)

    def place(column: int, **changed: float) -> float:
        base = {"loss": "bce", "optimizer": "sgd", "latent_factors": 64, "neg_sample_num": 1}
        base |= {"lr": 0.001, "init_std": 0.1}
        return float(cube.rows([base | changed])[0][column])

    assert [place(5, latent_factors=n) for n in (64, 128, 256)] == pytest.approx([0, 0.5, 1])
    assert place(7, lr=0.01) == pytest.approx(0.5)
    # whole numbers have the room of one, as they are drawn: from 0.5 to 50.5 here
    edge = (math.log(1) - math.log(0.5)) / (math.log(50.5) - math.log(0.5))
    assert place(6, neg_sample_num=1) == pytest.approx(edge)
    ladder = [place(8, init_std=x) for x in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert all(b - a == pytest.approx(0.25) for a, b in pairwise(ladder))


def test_a_move_changes_some_parameters_and_leaves_others(conditional: SearchSpec) -> None:
    spec = load_spec("bpr_hard")
    cube, rng = Cube(spec), np.random.default_rng(4)
    start = cube.draw(1, rng)
    moved = cube.near(start, 500, 0.01, rng)
    changed = moved != start
    assert 0 < changed.mean() < 0.5
    assert np.abs((moved - start)[:, 1:]).max() < 0.06  # the first is a choice and may jump
    both = cube.near(cube.rows([cube.config(r) for r in cube.draw(2, rng)]), 500, 0.01, rng)
    assert len(np.unique(both, axis=0)) > 300


def test_a_space_with_one_config_has_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("params:\n  lr: {choice: [0.1]}\n  latent_factors: {low: 8, high: 8}\n")
    spec = load_spec(str(path))
    cube = Cube(spec)
    assert cube.width == 0
    assert cube.draw(3, np.random.default_rng(0)).shape == (3, 0)
    assert cube.config(np.zeros(0)) == {"lr": 0.1, "latent_factors": 8}


def test_numbers_that_are_nearly_equal_are_options(tmp_path: Path) -> None:
    path = tmp_path / "near.yaml"
    path.write_text("params:\n  lr: {choice: [0.1, 0.10000000000000002]}\n")
    cube = Cube(load_spec(str(path)))
    rows = cube.draw(20, np.random.default_rng(0))
    assert np.isfinite(rows).all()
    assert {cube.config(row)["lr"] for row in rows} == {0.1, 0.10000000000000002}


def test_rows_in_which_only_one_parameter_is_drawn_again(conditional: SearchSpec) -> None:
    cube = Cube(conditional)
    rows = cube.exchanged(30, np.random.default_rng(3))
    assert rows.shape == (1 + len(cube.names()), 30, cube.width)
    for name, again in zip(cube.names(), rows[1:], strict=True):
        pairs = [(cube.config(a), cube.config(b)) for a, b in zip(rows[0], again, strict=True)]
        for before, after in pairs:
            conditional.train_config(after)
            same = before.keys() & after.keys() - {name}
            assert all(before[one] == pytest.approx(after[one]) for one in same)
            if name != "loss":
                assert before.keys() == after.keys()
        assert any(before != after for before, after in pairs)
