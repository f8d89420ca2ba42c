"""Bounds that the best trials press against, and the settings that widen them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.record.events import State
from search.record.state import TrialRecord
from search.report.bounds import Pressed, pressed
from search.report.page import render_report
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.widen import widened
from tests.factories import fake_run
from tests.search.report.html_page import Page
from tests.search.spaces import override

SPEC = load_spec("bpr_hard")


def trials(spec: SearchSpec, n: int, good: Any, seed: int = 0) -> list[TrialRecord]:
    """Completed trials of random configs; `good`: a config's value."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        params = spec.sample(rng)
        one = TrialRecord(f"t{number:04d}", number, params, {}, 0, 0.0, State.COMPLETE)
        one.value = float(good(params))
        found.append(one)
    return found


def names(found: list[Pressed]) -> list[tuple[str, str]]:
    return [(one.name, one.end) for one in found]


@pytest.mark.parametrize(
    ("good", "expected", "setting"),
    [
        (lambda p: p["lr"], ("lr", "high"), "params.lr.high=0.3"),
        (lambda p: -p["lr"], ("lr", "low"), "params.lr.low=0.0017"),
        (lambda p: p["margin"], ("margin", "high"), "params.margin.high=6"),
        (
            lambda p: p["latent_factors"] + p["margin"] / 9,
            ("latent_factors", "high"),
            "params.latent_factors.choice=[64, 128, 256, 512]",
        ),
        (
            lambda p: p["num_candidate_neg_samples"],
            ("num_candidate_neg_samples", "high"),
            "params.num_candidate_neg_samples.high=600",
        ),
    ],
)
def test_the_best_at_an_end(good: Any, expected: tuple[str, str], setting: str) -> None:
    made = trials(SPEC, 200, good)
    found = pressed(SPEC, made)
    assert expected in names(found)
    one = next(one for one in found if (one.name, one.end) == expected)
    assert one.setting == setting
    # the command that is printed is one that the search takes
    assert widened(SPEC, [one.setting]) != SPEC


@pytest.mark.parametrize(
    ("lr", "sign", "setting"),
    [
        ("{low: 1.08, high: 1.12}", 1, "params.lr.high=1.14"),
        ("{low: 1.08, high: 1.12}", -1, "params.lr.low=1.06"),
        ("{low: 0.50012, high: 0.50016}", 1, "params.lr.high=0.50018"),
        ("{low: 0.50012, high: 0.50016}", -1, "params.lr.low=0.5001"),
        ("{low: 0.012345678, high: 0.0123456785, log: true}", 1, "params.lr.high=0.037"),
        ("{choice: [0.123456, 0.2, 0.3]}", 1, "params.lr.choice=[0.123456, 0.2, 0.3, 0.4]"),
    ],
)
def test_a_range_is_widened_however_narrow_it_is(lr: str, sign: int, setting: str) -> None:
    """Two digits may lie inside a range that differs in its third."""
    spec = override(SPEC, [f"lr={lr}"])
    (one,) = (
        p for p in pressed(spec, trials(spec, 200, lambda p: sign * p["lr"])) if p.name == "lr"
    )
    assert one.setting == setting
    (new,) = (p.domain for p in widened(spec, [one.setting]).params if p.name == "lr")
    (old,) = (p.domain for p in spec.params if p.name == "lr")
    assert all(new.contains(value) for value in old.corners())  # type: ignore[union-attr]


def test_a_bound_that_cannot_move_is_not_named() -> None:
    assert ("margin", "low") not in names(pressed(SPEC, trials(SPEC, 200, lambda p: -p["margin"])))


def test_chance_presses_against_nothing() -> None:
    """Values that have nothing to do with the configs: 200 searches, 17 ends each."""
    rng = np.random.default_rng(1)
    named = sum(
        len(pressed(SPEC, trials(SPEC, 60, lambda _: rng.random(), seed))) for seed in range(200)
    )
    assert named <= 200 * 17 * 0.01


def test_few_trials_say_nothing_and_leaky_ones_do_not_count() -> None:
    assert pressed(SPEC, trials(SPEC, 14, lambda p: p["lr"])) == []
    made = trials(SPEC, 200, lambda p: p["lr"])
    for one in made:
        if one.params["lr"] > 0.05:
            one.config = {"negatives_exclude": "all"}
    assert ("lr", "high") not in names(pressed(SPEC, made))


def test_the_report_prints_the_command_that_widens(tmp_path: Path) -> None:
    path = fake_run(tmp_path, "r", trials=60, lr=0.0999)
    page = Page(render_report(path))
    assert "lr: 5 of the 5 best trials are at the highest that the space allows, 0.1" in page.text
    assert "--extend 50 --set params.lr.high=0.3" in page.text


def test_a_run_without_a_space_has_a_report(tmp_path: Path) -> None:
    path = fake_run(tmp_path, "r", trials=20)
    for content in (None, "params: 3\n"):
        if content is None:
            (path / "spec.yaml").unlink()
        else:
            (path / "spec.yaml").write_text(content)
        assert "Bounds of the space" not in Page(render_report(path)).text
