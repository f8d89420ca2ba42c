"""Charts of many parameters at once: what is drawn where, and when there is nothing to draw."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recsys.interactions import CSR
from recsys.models import Size
from recsys.split import Split
from search.record.events import State
from search.record.state import TrialRecord
from search.report.maps import (
    LOWEST,
    MOST_AXES,
    MOST_LETTERS,
    MOST_LINES,
    NONE_AT,
    Axis,
    clipped,
    cost_chart,
    negatives_map,
    parallel_chart,
    size_chart,
    sizes_of,
)
from search.stages.lineup import memory_of


def no_pairs(users: int, items: int) -> CSR:
    none = np.empty(0, np.int64)
    return CSR.from_pairs(none, none, users, items)


def trial(number: int, value: float, busy_s: float = 1.0, **params: Any) -> TrialRecord:
    made = TrialRecord(f"t{number:04d}", number, params, dict(params), 0, 0.0, State.COMPLETE)
    made.value, made.busy_s = value, busy_s
    return made


def hard(number: int, value: float, **params: Any) -> TrialRecord:
    """A trial of hard negatives."""
    return trial(number, value, lr=0.1, neg_mode="hard", **params)


def lines(svg: str) -> dict[str, tuple[str, list[tuple[float, float]]]]:
    """Trial -> (class, points) of every curve."""
    found = re.findall(r'class="curve (\w+)" data-trial="(\w+)" points="([^"]+)"', svg)
    return {
        name: (kind, [tuple(map(float, p.split(","))) for p in points.split()])  # type: ignore[misc]
        for kind, name, points in found
    }


class TestParallel:
    trials = tuple(
        trial(n, 0.1 + n / 100, lr=0.01 * 3**n, loss=("bpr", "bce")[n % 2]) for n in range(10)
    )

    def test_a_line_a_trial_through_every_axis(self) -> None:
        svg = parallel_chart(self.trials, ["lr", "loss"], "map@50", "t0009")
        assert svg is not None
        drawn = lines(svg)
        assert len(drawn) == 10 and all(len(points) == 3 for _, points in drawn.values())
        assert drawn["t0009"][0] == "winner" and drawn["t0008"][0] == "complete"
        assert drawn["t0000"][0] == "pruned"
        # the better, the higher; lr is spread evenly, as its axis is logarithmic
        ends = [drawn[f"t{n:04d}"][1][2][1] for n in range(10)]
        assert ends == sorted(ends, reverse=True)
        starts = [drawn[f"t{n:04d}"][1][0][1] for n in range(10)]
        steps = [a - b for a, b in pairwise(starts)]
        assert max(steps) - min(steps) < 0.3

    def test_a_trial_without_the_parameter_goes_through_none(self) -> None:
        with_margin = [trial(n, 0.1, lr=0.1 + n, margin=1.0 + n) for n in range(3)]
        without = [trial(9, 0.2, lr=0.5)]
        svg = parallel_chart([*with_margin, *without], ["lr", "margin"], "map@50", None)
        assert svg is not None and ">none<" in svg
        drawn = lines(svg)
        lowest = max(points[1][1] for name, (_, points) in drawn.items() if name != "t0009")
        assert drawn["t0009"][1][1][1] > lowest

    def test_the_axis_of_a_parameter_that_only_some_have(self) -> None:
        axis = Axis.of("n", [trial(0, 0.1, n=4), trial(1, 0.1, n=4), trial(2, 0.1)])
        assert axis is not None and axis.absent
        assert axis.height(None) == NONE_AT and axis.height(4) >= LOWEST
        assert Axis.of("n", [trial(0, 0.1, n=4), trial(1, 0.1, n=4)]) is None
        assert Axis.of("w", [trial(n, 0.1, w=f"word{n}") for n in range(40)]) is None

    def test_the_words_of_the_first_axis_are_not_cut(self) -> None:
        made = [trial(n, 0.1 * n, loss=("bce", "x" * 40)[n % 2], lr=n + 1.0) for n in range(4)]
        svg = parallel_chart(made, ["loss", "lr"], "map@50", None)
        assert svg is not None
        found = re.search(rf'x="([\d.]+)" y="[\d.]+">({"x" * (MOST_LETTERS - 1)}…)<', svg)
        assert found is not None
        assert float(found[1]) > 8.5 * MOST_LETTERS  # letters of 15 pixels are about so wide

    def test_without_a_tick_none_no_room_is_left_for_it(self) -> None:
        made = [trial(n, 0.1 * n, a=n, b=n, **({"c": n} if n else {})) for n in range(4)]
        ends = []
        for names in (["a", "b"], ["a", "c"]):
            svg = parallel_chart(made, names, "map@50", None)
            assert svg is not None
            ends.append(max(y for _, points in lines(svg).values() for _, y in points))
        assert ends[0] == ends[1]

    def test_bounded_whatever_the_numbers(self) -> None:
        many = [trial(n, n / 1000, **{f"p{i}": n + i for i in range(20)}) for n in range(1000)]
        svg = parallel_chart(many, [f"p{i}" for i in range(20)], "map@50", "t0500")
        assert svg is not None
        drawn = lines(svg)
        assert len(drawn) <= MOST_LINES + 1 and "t0500" in drawn
        assert {len(points) for _, points in drawn.values()} == {MOST_AXES}
        assert len(svg) < 80_000

    @pytest.mark.parametrize("names", [[], ["lr"], ["lr", "gone"]])
    def test_nothing_to_draw(self, names: list[str]) -> None:
        assert parallel_chart(self.trials, names, "map@50", None) is None

    def test_text_is_escaped(self) -> None:
        evil = "<script>"
        svg = parallel_chart(
            [trial(0, 0.1, **{evil: evil, "b": 1}), trial(1, 0.2, **{evil: "x", "b": 2})],
            [evil, "b"],
            evil,
            None,
        )
        assert svg is not None and evil not in svg


class TestNegatives:
    def test_m_is_what_the_training_keeps(self) -> None:
        share = {"num_candidate_neg_samples": 10, "hard_fraction": 0.01}
        made = [
            hard(0, 0.1, **share),
            hard(1, 0.3, num_candidate_neg_samples=100, hard_fraction=0.25),
            hard(2, 0.2, num_candidate_neg_samples=50, num_hard_neg_samples=7),
            trial(3, 0.2, of_another_version=1, **share),
        ]
        svg = negatives_map(made, "t0001")
        assert svg is not None
        said = re.findall(r"<title>(t\d+): [\d.]+, N (\d+), M (\d+)</title>", svg)
        assert said == [("t0000", "10", "1"), ("t0002", "50", "7"), ("t0001", "100", "25")]
        assert 'class="dot winner" data-trial="t0001"' in svg
        assert 'class="dot fifth0" data-trial="t0000"' in svg

    def test_other_negatives_have_no_map(self) -> None:
        fixed = {"lr": 0.1, "neg_mode": "fixed"}
        others = [trial(n, 0.1, neg_sample_num=n + 1, **fixed) for n in range(9)]
        others += [trial(n, 0.1, model="ease", ease_l2=n + 1.0) for n in range(9, 12)]
        assert negatives_map(others, None) is None


class TestCost:
    def test_the_front_only_rises(self) -> None:
        made = [trial(n, v, s) for n, (v, s) in enumerate([(0.1, 1), (0.3, 2), (0.2, 3), (0.4, 9)])]
        svg = cost_chart(made, "map@50", "t0003")
        assert svg is not None
        points = re.search(r'class="curve best" points="([^"]+)"', svg)
        assert points is not None
        heights = [float(p.split(",")[1]) for p in points[1].split()]
        assert heights == sorted(heights, reverse=True)
        assert len(set(heights)) == 3  # 0.2 after 3 s is no better than 0.3 after 2 s

    def test_of_equal_cost_the_best_counts(self) -> None:
        made = [trial(0, 0.1), trial(1, 0.3), trial(2, 0.4), trial(3, 0.9, negatives_exclude="all")]
        sizes = {"t0000": 1_000_000, "t0001": 1_000_000, "t0002": 64_000_000, "t0003": 1}
        svg = size_chart(made, sizes, "map@50", None)
        assert svg is not None
        points = re.search(r'class="curve best" points="([^"]+)"', svg)
        assert points is not None and len(points[1].split()) == 4  # no step at 0.1
        assert "t0002: 0.4000, 64 MB" in svg
        same = dict.fromkeys(sizes, 2**20)
        assert size_chart(made, same, "map@50", None) is None

    def test_sizes_are_those_that_a_race_compares(self) -> None:
        flat = {"loss": "bpr", "lr": 0.05, "latent_factors": 4, "epochs": 3}
        made = [
            trial(0, 0.1, **flat),
            trial(1, 0.1, **(flat | {"latent_factors": 64})),
            trial(2, 0.1, model="ease", ease_l2=10.0),
            trial(3, 0.1, of_another_version=1),
        ]
        split = Split(no_pairs(50, 30), no_pairs(50, 30), None, "", 0)
        run: Any = SimpleNamespace(split=split)
        found = sizes_of(made, Size(50, 30, 0))
        assert found == {t.id: memory_of(run, t) for t in made[:3]}
        assert found["t0000"] < found["t0001"]

    def test_without_seconds_there_is_none(self) -> None:
        assert cost_chart([trial(n, 0.1, 0.0) for n in range(5)], "map@50", None) is None

    def test_the_front_is_that_of_all_trials_however_few_are_drawn(self) -> None:
        """Dear trials are the best ones; the cheap one that begins the line ranks last but one."""
        made = [trial(n, 0.2 + n / 1e4, 10.0 + n) for n in range(1000)]
        made[501] = trial(501, 0.15, 0.5)
        made[503] = trial(503, 0.1, 0.4)
        svg = cost_chart(made, "map@50", None)
        assert svg is not None
        assert svg.count('data-trial="t0501"') == svg.count('data-trial="t0503"') == 1
        points = re.search(r'class="curve best" points="([^"]+)"', svg)
        assert points is not None
        assert len(points[1].split()) == 2 * 1000


def test_a_word_that_does_not_fit_between_axes_says_so() -> None:
    assert clipped("softmax_uniform") == "softmax_uniform"
    long = clipped("softmax_with_sampled_items")
    assert long == "softmax_with_sa…"
    assert len(long) == MOST_LETTERS
