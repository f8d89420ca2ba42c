"""Charts and scales: what is drawn where, and what is not drawn."""

from __future__ import annotations

import itertools
import math
import re

import pytest

from search.record.events import State
from search.record.result import Beside, Comparison, Group
from search.record.standing import ByValue
from search.record.state import TrialRecord
from search.report import charts, svg


def trial(number: int, value: float | None, *, leaky: bool = False, **changes) -> TrialRecord:
    known = {"state": State.COMPLETE, "best_epoch": 1, "epochs": 1, "busy_s": 1.0, "params": {}}
    known |= {"config": {"negatives_exclude": "all" if leaky else "train"}, "seed": 0}
    return TrialRecord(f"t{number}", number, created=0.0, value=value, **(known | changes))


class TestCharts:
    def test_line_is_the_best_so_far_without_leaky_trials(self):
        trials = [trial(0, 0.1), trial(1, 0.9, leaky=True), trial(2, 0.05), trial(3, 0.2)]
        markup = charts.progress_chart(trials, "m", "t3", {})
        assert markup is not None
        points = re.search(r'class="curve best" points="([^"]*)"', markup)
        assert points is not None
        ys = [float(p.split(",")[1]) for p in points[1].split()]
        assert len(ys) == 4  # start, before the step, after it, the right edge
        assert ys[0] == ys[1] > ys[2] == ys[3]  # up the page is down in y
        dots = [float(y) for y in re.findall(r'cy="([\d.]+)"', markup)]
        assert min(ys) > min(dots)  # the leaky dot lies above the line

    def test_by_time_the_line_follows_the_ends_and_not_the_numbers(self):
        trials = [trial(0, 0.3), trial(1, 0.1), trial(2, 0.2), trial(3, 0.9, leaky=True)]
        ends = {"t0": 90.0, "t1": 10.0, "t2": 50.0, "t3": 20.0, "t9": 100.0}
        markup = charts.progress_by_time_chart(trials, ends, "m", "t0", {"ease": 0.25})
        assert markup is not None
        points = re.search(r'class="curve best" points="([^"]*)"', markup)
        assert points is not None
        pairs = [tuple(map(float, p.split(","))) for p in points[1].split()]
        assert len(pairs) == 6  # two steps up, and the right edge
        xs, ys = zip(*pairs, strict=True)
        assert list(xs) == sorted(xs)
        assert ys[0] == ys[1] > ys[2] == ys[3] > ys[4] == ys[5]
        dots = dict(re.findall(r'data-trial="(t\d)" cx="([\d.]+)"', markup))
        assert [float(dots[name]) for name in ("t1", "t2", "t0")] == [xs[0], xs[2], xs[4]]
        assert "t0: 0.3000, 90 seconds" in markup
        assert "EASE" in markup

    @pytest.mark.parametrize(
        ("last", "unit"), [(100.0, "seconds"), (600.0, "minutes"), (20_000.0, "hours")]
    )
    def test_the_unit_of_time_follows_its_length(self, last, unit):
        ends = {"t0": last / 2, "t1": last}
        markup = charts.progress_by_time_chart([trial(0, 0.1), trial(1, 0.2)], ends, "m", None, {})
        assert f"{unit} since the search began" in (markup or "")

    def test_one_moment_is_no_time(self):
        made = [trial(0, 0.1), trial(1, 0.2)]
        assert charts.progress_by_time_chart(made, {"t0": 3.0, "t1": 3.0}, "m", None, {}) is None
        assert charts.progress_by_time_chart(made, {}, "m", None, {}) is None

    @pytest.mark.parametrize("last", [16, 17, 1000])
    def test_many_epochs_are_on_a_logarithmic_axis(self, last):
        made = trial(0, 0.2, epochs=last)
        curves = {"t0": [(e, e / last) for e in range(1, last + 1)]}
        markup = charts.curves_chart([made], curves, "m", None)
        assert markup is not None
        found = re.search(r'data-trial="t0" points="([^"]*)"', markup)
        assert found is not None
        xs = [float(pair.split(",")[0]) for pair in found[1].split()]
        assert len(xs) <= charts.MOST_POINTS
        assert (xs[-1] > 600) and (xs[0] < 130)
        first, final = xs[1] - xs[0], xs[-1] - xs[-2]
        assert (first > 2 * final) == (last > charts.FEW_EPOCHS)

    def test_groups(self):
        rows = [
            Group(low=0, high=0, users=9, value=0.1, ci=(0.05, 0.15)),
            Group(low=1, high=4, users=9, value=0.3, ci=(None, None),
                  rivals={"ease": Beside(value=0.35), "popularity": Beside(value=0.2)}),
        ]  # fmt: skip
        markup = charts.groups_chart(rows, "user", "m", ["ease", "popularity"])
        assert markup is not None
        assert ">new</text>" in markup and ">1-4</text>" in markup
        assert markup.count("whisker") == 1
        assert markup.count('class="mean complete"') == markup.count('class="dot pruned"') == 1
        assert charts.groups_chart(rows[:1], "user", "m", []) is None

    def test_nothing_to_draw(self):
        assert charts.progress_chart([trial(0, None)], "m", None, {}) is None
        assert charts.curves_chart([], {}, "m", None) is None
        assert charts.race_chart({"t0": []}, "m", None) is None
        unknown = [Comparison(), Comparison(gain=0.1, ci=(None, 1)), Comparison(gain=math.nan)]
        assert charts.gains_chart(unknown, "m") is None
        assert charts.importance_chart({"lr": 0.0}) is None
        one = [trial(0, 0.1, params={"method": "slim"}), trial(1, None, params={"method": "bce"})]
        rows = {"slim": ByValue(1, 0.1, 0.1), "bce": ByValue(1, None, None)}
        assert charts.by_value_chart(one, "method", rows, "m", None) is None
        assert charts.scatter_chart([trial(0, 0.1, params={"lr": 1})], "lr", "m", None) is None

    def test_trials_by_a_value(self):
        made = [trial(n, 0.1 * n, params={"method": "ab"[n % 2]}) for n in range(6)]
        rows = {"b": ByValue(3, 0.5, 0.3), "a": ByValue(3, 0.4, 0.2)}
        markup = charts.by_value_chart(made, "method", rows, "m", "t5")
        assert markup is not None
        dots = {
            name: float(y)
            for name, y in re.findall(r'data-trial="(t\d)" cx="[^"]*" cy="([^"]*)"', markup)
        }
        assert dots["t1"] == dots["t3"] == dots["t5"] < dots["t0"] == dots["t2"]
        assert markup.count("mean complete") == 2
        assert "median 0.3000" in markup

    def test_bars_of_importance_are_those_that_may_matter(self):
        shares = {"lr": 0.5, "l2": 0.0, "margin": 0.008, "d": 0.005}
        ends = {"lr": (0.3, 0.6), "l2": (0.0, 0.3), "margin": (0.0, 0.1), "d": (0.02, 0.03)}
        markup = charts.importance_chart(shares, ends)
        assert markup is not None
        assert markup.count('class="bar"') == 2
        assert charts.unimportant(shares, ends) == ["l2", "margin"]

    def test_scatter_of_words_and_logs(self):
        words = [trial(i, 0.1 * i, params={"loss": "ab"[i % 2]}) for i in range(6)]
        markup = charts.scatter_chart(words, "loss", "m", "t1")
        assert markup is not None
        assert ">a</text>" in markup
        numbers = [trial(i, 0.1, params={"lr": 10.0**-i}) for i in range(4)]
        markup = charts.scatter_chart(numbers, "lr", "m", None)
        assert markup is not None
        xs = [float(x) for x in re.findall(r'cx="([\d.]+)"', markup)]
        gaps = [a - b for a, b in itertools.pairwise(xs)]
        assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)  # powers of ten, evenly spread

    def test_one_point(self):
        markup = charts.curves_chart([trial(0, 0.1)], {"t0": [(1, 0.1)]}, "m", "t0")
        assert markup is not None
        assert "nan" not in markup

    def test_the_winner_is_drawn_however_many_there_are(self):
        trials = [trial(i, 0.5 - i * 1e-4) for i in range(2000)]
        shown = charts.drawn(trials, "t1777", 100)
        assert len(shown) <= 101
        assert {"t0", "t1777", "t1999"} <= {t.id for t in shown}

    def test_thinned_keeps_the_ends(self):
        assert charts.thinned(range(1000), 10)[::9] == [0, 999]
        assert charts.thinned([1, 2], 10) == [1, 2]

    def test_thinned_for_a_logarithmic_axis_keeps_the_ends_and_the_beginning(self):
        found = charts.thinned_log(range(1, 1001), 60)
        assert found[:5] == [1, 2, 3, 4, 5]
        assert found[-1] == 1000
        assert found == sorted(set(found)) and len(found) <= 60
        assert charts.thinned_log([1, 2], 10) == [1, 2]


class TestScales:
    @pytest.mark.parametrize(
        ("low", "high"),
        [(0, 1), (0.0593, 0.1702), (-3e-5, 2e-5), (1e-9, 3e-9), (0, 12345), (-7, 100)],
    )
    def test_ticks_are_round_and_inside(self, low, high):
        found = svg.ticks(low, high)
        assert 2 <= len(found) <= 6
        assert all(low - 1e-12 <= t <= high + 1e-12 for t in found)
        step = found[1] - found[0]
        mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
        assert any(mantissa == pytest.approx(m) for m in (1, 2, 5, 10))

    def test_degenerate(self):
        assert svg.ticks(0.3, 0.3) == [0.3]
        low, high = svg.padded([0.2])
        assert low < 0.2 < high
        low, high = svg.padded([0.0])
        assert low < 0 < high
        assert svg.Scale(1, 1, 0, 10)(1) == 5

    @pytest.mark.parametrize(("low", "high"), [(1e-5, 1), (0.01, 0.2), (0.3, 0.31), (1, 3000)])
    def test_log_ticks(self, low, high):
        found = svg.log_ticks(low, high)
        assert 2 <= len(found) <= 6
        assert all(low * 0.998 <= t <= high * 1.002 for t in found)

    def test_values_outside_stay_on_the_paper(self):
        assert svg.Scale(0, 1, 10, 90)(7) == 90
        assert svg.Scale(0, 1, 90, 10)(-7) == 90

    def test_text_is_escaped(self):
        plot = svg.Plot.area("<a>", (0, 1), (0, 1))
        plot.axes("<b>", "<c>")
        plot.dot(0, 0, "k", "<d>", '"><e>')
        markup = plot.markup()
        assert not re.search(r"<[abcde]>", markup)
