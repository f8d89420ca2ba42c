"""Paired tests and intervals: by hand, against scipy, and by simulation under the null."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from search.stats import (
    PairedComparison,
    bootstrap_interval,
    compare_paired,
    explained_share,
    holm,
    mean_interval,
    of_ratio,
    p_text,
    rank_by_mean,
    verdict,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ap_like(generator: np.random.Generator, *shape: int) -> np.ndarray:
    """Values as AP has them: a third exactly zero, the others skewed."""
    values = generator.beta(0.6, 3.0, shape)
    return np.where(generator.random(shape) < 0.33, 0.0, values)


def slow_sign_flip(differences: list[float]) -> float:
    """The exact test as its definition reads."""
    observed = abs(sum(differences))
    hits = 0
    for signs in itertools.product((-1, 1), repeat=len(differences)):
        flipped = abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        hits += flipped >= observed - 1e-12
    return hits / 2 ** len(differences)


def test_gain_by_hand():
    # Replicate 1: users 0, 1, 2; replicate 2: users 0 and 2 only.
    a = [[0.5, 0.2, 0.9], [0.7, math.nan, 0.5]]
    b = [[0.4, 0.3, 0.3], [0.5, math.nan, 0.6]]
    c = compare_paired(a, b, rng())
    assert c.gain == pytest.approx(((0.1 - 0.1 + 0.6) / 3 + (0.2 - 0.1) / 2) / 2)
    assert (c.users, c.replicates) == (3, 2)


def test_gain_is_the_difference_of_the_means_a_race_shows():
    generator = rng(1)
    a, b = ap_like(generator, 4, 50), ap_like(generator, 4, 50)
    missing = generator.random((4, 50)) < 0.3
    a[missing] = b[missing] = np.nan
    c = compare_paired(a, b, rng())
    shown = np.nanmean(a, axis=1).mean() - np.nanmean(b, axis=1).mean()
    assert c.gain == pytest.approx(shown, abs=1e-12)


def test_p_of_few_users_is_the_exact_one():
    differences = [0.1, 0.25, -0.05, 0.3, 0.0, 0.15, 0.2]
    c = compare_paired(differences, np.zeros(7), rng())
    assert c.p == pytest.approx(slow_sign_flip(differences))
    assert c.p == pytest.approx(4 / 64)  # by hand: with the -0.05 as it is, and turned
    reference = scipy_stats.permutation_test(
        (np.array(differences),), lambda x: x.mean(), permutation_type="samples", n_resamples=np.inf
    )
    assert c.p == pytest.approx(reference.pvalue)


def test_p_of_many_users_is_that_of_the_t_test():
    generator = rng(2)
    a, b = ap_like(generator, 500), ap_like(generator, 500)
    b[:250] = a[:250]
    a = a + 0.012
    c = compare_paired(a, b, rng())
    assert 0.01 < c.p < 0.6
    assert c.p == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue, abs=0.02)


def test_p_does_not_depend_on_blocks_of_users():
    x = rng(3).normal(0.01, 0.1, 300_000)
    c = compare_paired(x, np.zeros_like(x), rng(), n=20, flips=200)
    assert c.p == pytest.approx(1 / 201)
    assert c.low < c.gain < c.high


def test_two_users_who_agree_prove_nothing():
    # A t test calls this certain: the variance of two equal numbers is zero.
    c = compare_paired([0.4, 0.4], [0.1, 0.1], rng())
    assert c.p == pytest.approx(0.5)
    assert not c.proven
    assert "no gap, however large" in verdict(c, "t0001")


def test_the_same_generator_gives_the_same_answer():
    a, b = ap_like(rng(4), 3, 200), ap_like(rng(5), 3, 200)
    assert compare_paired(a, b, rng(6)) == compare_paired(a, b, rng(6))


def test_swapping_turns_the_sign():
    a, b = ap_like(rng(4), 9), ap_like(rng(5), 9)
    one, two = compare_paired(a, b, rng(6)), compare_paired(b, a, rng(6))
    assert one.gain == pytest.approx(-two.gain)
    assert one.p == pytest.approx(two.p)


class TestDegenerate:
    def test_identical_configs(self):
        a = ap_like(rng(), 3, 40)
        c = compare_paired(a, a, rng())
        assert (c.gain, c.low, c.high, c.p) == (0, 0, 0, 1)
        assert "equal for every one of the 40 users" in verdict(c, "t0001")

    def test_one_user(self):
        c = compare_paired([[0.5]], [[0.25]], rng())
        assert c.gain == 0.25
        assert c.p == 1
        assert math.isnan(c.low)
        assert not c.proven
        assert "one user proves nothing" in verdict(c, "t0001")
        same = compare_paired([[0.5]], [[0.5]], rng())
        assert verdict(same, "t0001") == "the winner and t0001 are equal for the only user"
        near = compare_paired([[0.5]], [[0.50001]], rng())
        assert "are level for the only user" in verdict(near, "t0001")

    def test_nobody(self):
        c = compare_paired([[math.nan, math.nan]], [[0.1, math.nan]], rng())
        assert (c.users, c.replicates, c.p) == (0, 0, 1)
        assert "nothing can be said" in verdict(c, "t0001")

    def test_a_replicate_without_users_does_not_count(self):
        c = compare_paired([[0.5, 0.1], [math.nan] * 2], [[0.25, 0.0], [0.1, 0.1]], rng())
        assert c.replicates == 1
        assert c.gain == pytest.approx(0.175)

    def test_shapes_that_do_not_match_are_our_bug(self):
        with pytest.raises(AssertionError, match="expected equal shapes"):
            compare_paired([[0.1, 0.2]], [[0.1]], rng())


class TestSimulated:
    """Each bound is more than three standard errors of the simulation away."""

    @pytest.mark.parametrize("users", [8, 40, 200])
    def test_false_positives_under_the_null(self, users):
        generator, runs = rng(7), 600
        hits = 0
        for _ in range(runs):
            a, b = ap_like(generator, 2, users), ap_like(generator, 2, users)
            hits += compare_paired(a, b, generator, n=2, flips=299).p < 0.05
        assert 0.02 < hits / runs < 0.08

    @pytest.mark.parametrize(("users", "least"), [(15, 0.88), (60, 0.91), (400, 0.92)])
    def test_the_interval_covers_the_truth(self, users, least):
        generator, runs = rng(8), 600
        truth = float(ap_like(rng(9), 2_000_000).mean())
        hits = 0
        for _ in range(runs):
            low, high = bootstrap_interval(ap_like(generator, users), generator, n=500)
            hits += low <= truth <= high
        assert least < hits / runs < 0.985

    def test_users_are_the_unit_not_replicates(self):
        # Users differ, replicates only repeat them: more replicates must not shrink p.
        generator, runs = rng(10), 400
        hits = 0
        for _ in range(runs):
            taste_U = generator.normal(0, 0.1, 60)
            a = np.tile(taste_U, (10, 1)) + generator.normal(0, 0.01, (10, 60))
            hits += compare_paired(a, np.zeros((10, 60)), generator, n=2, flips=299).p < 0.05
        assert 0.015 < hits / runs < 0.09

    def test_choosing_the_winner_first_finds_no_gains_that_are_not_there(self):
        # Five equal finalists; the best of them against the runner-up and the first default, as
        # in a race.
        generator, runs = rng(11), 400
        hits = 0
        for _ in range(runs):
            base_U = ap_like(generator, 100)
            values = {str(f): base_U + generator.normal(0, 0.1, (3, 100)) for f in range(5)}
            best, second, *_ = rank_by_mean({n: v.mean(axis=1) for n, v in values.items()})
            found = holm(
                {
                    rival: compare_paired(values[best], values[rival], generator, n=2, flips=499)
                    for rival in sorted({second, "0"} - {best})
                }
            )
            hits += any(c.p_adjusted < 0.05 for c in found.values())
        assert hits / runs < 0.06

    def test_a_gap_of_the_detectable_size_is_found_half_of_the_time(self):
        generator, runs = rng(12), 400
        spread = 0.1
        gap = compare_paired(generator.normal(0, spread, 300), np.zeros(300), rng(), n=2).detectable
        assert gap == pytest.approx(1.968 * spread / math.sqrt(300), rel=0.15)
        gap = 1.968 * spread / math.sqrt(300)
        hits = sum(
            compare_paired(
                generator.normal(gap, spread, 300), np.zeros(300), generator, n=2, flips=499
            ).p
            < 0.05
            for _ in range(runs)
        )
        assert 0.42 < hits / runs < 0.58


class TestBootstrap:
    def test_agrees_with_scipy(self):
        x = ap_like(rng(13), 300)
        ours = bootstrap_interval(x, rng(), n=20_000)
        theirs = scipy_stats.bootstrap(
            (x,), np.mean, n_resamples=20_000, method="percentile", rng=rng(1)
        ).confidence_interval
        assert ours == pytest.approx((theirs.low, theirs.high), abs=0.0012)

    def test_missing_users_take_no_part(self):
        x = ap_like(rng(13), 30)
        padded = np.insert(x, [0, 10, 30], np.nan)
        assert bootstrap_interval(padded, rng()) == bootstrap_interval(x, rng())

    def test_two_users_give_no_more_than_their_range(self):
        low, high = bootstrap_interval([0.2, 0.6], rng())
        assert (low, high) == (pytest.approx(0.2), pytest.approx(0.6))

    def test_one_or_no_user(self):
        assert all(math.isnan(v) for v in bootstrap_interval([0.3], rng()))
        assert all(math.isnan(v) for v in bootstrap_interval([], rng()))

    def test_level(self):
        x = ap_like(rng(14), 100)
        narrow, wide = (bootstrap_interval(x, rng(), level=v) for v in (0.5, 0.99))
        assert wide[0] < narrow[0] < narrow[1] < wide[1]


def comparison(p: float, **changes: float) -> PairedComparison:
    values = {"gain": 0.0123, "low": 0.004, "high": 0.02, "p": p, "p_adjusted": p}
    values |= {"detectable": 0.0081, "users": 690, "replicates": 5}
    return PairedComparison(**(values | changes))  # type: ignore[arg-type]


class TestHolm:
    def test_by_hand(self):
        found = {
            name: comparison(p) for name, p in zip("abcd", (0.01, 0.04, 0.03, 0.005), strict=True)
        }
        adjusted = holm(found)
        assert list(adjusted) == ["a", "b", "c", "d"]
        # sorted: .005 x 4, .01 x 3, .03 x 2, then .04 x 1 raised to the one before
        assert [c.p_adjusted for c in adjusted.values()] == pytest.approx([0.03, 0.06, 0.06, 0.02])
        assert [c.p for c in adjusted.values()] == [0.01, 0.04, 0.03, 0.005]

    def test_a_gap_has_to_be_larger_for_two_questions(self):
        both = holm({"a": comparison(0.01), "b": comparison(0.5)})
        assert both["a"].p_adjusted == pytest.approx(0.02)
        assert both["a"].detectable > comparison(0.01).detectable

    def test_never_above_one_and_nothing_to_correct(self):
        assert holm({"a": comparison(0.6), "b": comparison(0.9)})["a"].p_adjusted == 1
        assert holm({"a": comparison(0.03)})["a"] == comparison(0.03)
        assert holm({}) == {}

    def test_what_is_not_proven_lies_below_the_detectable_gap(self):
        generator = rng(15)
        for _ in range(30):
            found = {
                str(i): compare_paired(
                    generator.normal(0.015, 0.1, 300), np.zeros(300), generator, n=50
                )
                for i in range(4)
            }
            for c in holm(found).values():
                if c.p_adjusted > 0.055:
                    assert abs(c.gain) < c.detectable
                elif c.p_adjusted < 0.045:
                    assert abs(c.gain) > c.detectable * 0.99


class TestWords:
    def test_proven(self):
        assert verdict(comparison(0.003), "the first default config") == (
            "the winner is better than the first default config by 0.0123 "
            "(95% interval 0.0040 to 0.0200, p = 0.003): a real gain"
        )

    def test_not_proven(self):
        words = verdict(comparison(0.21, gain=0.003, low=-0.001), "t0007")
        assert words == (
            "the winner is better than t0007 by 0.0030 (95% interval -0.0010 to 0.0200, p = 0.21): "
            "not proven; with these 690 users gaps below about 0.008 cannot be proven"
        )

    def test_worse(self):
        words = verdict(comparison(0.003, gain=-0.0123, low=-0.02, high=-0.004), "t0007")
        assert "worse than t0007 by 0.0123 (95% interval 0.0040 to 0.0200" in words
        assert words.endswith("a real loss")

    def test_a_gap_of_nothing_is_no_gap(self):
        words = verdict(comparison(1.0, gain=-0.00004, low=-0.00001, high=0.0003), "t0007")
        assert words.startswith(
            "the winner and t0007 are level (95% interval 0.0000 to 0.0003, p = 1.00): not proven"
        )
        assert "-0.0000" not in words
        tiny = verdict(comparison(0.003, gain=0.00002, low=0.00001, high=0.00003), "t0007")
        assert tiny.endswith("are level (95% interval 0.0000 to 0.0000, p = 0.003): a difference "
                             "too small to matter")  # fmt: skip

    def test_every_user_the_same(self):
        words = verdict(comparison(0.06, gain=0.01, low=0.01, high=0.01, detectable=0.0), "x")
        assert "by 0.0100 (the same for every user, p = 0.06): not proven" in words
        assert words.endswith("a gap of this size can still be chance")

    def test_few_users(self):
        found = compare_paired([[0.1, 0.2, 0.3]], [[0.1, 0.2, 0.1]], rng())
        assert verdict(found, "x").endswith(
            "with these 3 users no gap, however large, can be proven"
        )

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.sampled_from([0.0, 1e-6, 1e-3, 0.5, 1.0]), min_size=2, max_size=16))
    def test_no_verdict_names_a_gap_of_zero(self, values):
        half = len(values) // 2
        found = compare_paired(values[:half], values[half : 2 * half], rng(), n=50, flips=99)
        words = verdict(found, "x")
        assert "by 0.0000" not in words
        assert "-0.0000" not in words
        assert "nan" not in words
        assert "about 0 " not in words

    def test_a_small_p_with_an_interval_over_zero_is_not_proven(self):
        assert not comparison(0.049, low=-0.0001).proven

    @pytest.mark.parametrize(
        ("p", "text"),
        [
            (0.0001, "p < 0.001"),
            (0.001, "p = 0.001"),
            (0.034, "p = 0.034"),
            (0.0496, "p = 0.0496"),
            (0.04999, "p = 0.04999"),
            (0.0504, "p = 0.05"),
            (0.05, "p = 0.05"),
            (0.5, "p = 0.50"),
            (1, "p = 1.00"),
        ],
    )
    def test_p(self, p, text):
        assert p_text(p) == text


def test_rank_by_mean():
    values = {"t2": [0.1, 0.3], "t1": [0.2, 0.2], "t3": [0.5, 0.0]}
    assert rank_by_mean(values) == ["t3", "t1", "t2"]


class TestExplainedShare:
    def test_a_parameter_that_decides_everything(self):
        x = rng(16).random(200)
        assert explained_share(list(x), np.exp(3 * x)) > 0.85
        words = ["abc"[int(v * 3)] for v in x]
        assert explained_share(words, ["abc".index(w) for w in words]) == pytest.approx(1)

    def test_a_parameter_without_effect_is_near_zero(self):
        generator = rng(17)
        shares = [
            explained_share(list(generator.random(40)), generator.random(40)) for _ in range(200)
        ]
        assert np.mean(shares) < 0.06

    def test_nothing_to_say(self):
        assert explained_share([1] * 20, range(20)) is None
        assert explained_share([1, 2, 3], [1, 2, 3]) is None
        assert explained_share(list(range(20)), [0.5] * 20) is None


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = ap_like(rng(3), 40)
    known = scipy_stats.t.interval(0.99, 39, values.mean(), scipy_stats.sem(values))
    assert mean_interval(values, 0.99) == pytest.approx(known)
    assert mean_interval([0.5] * 9) == (0.5, 0.5)
    assert all(math.isnan(end) for end in mean_interval([0.5]))


def test_the_interval_of_a_ratio_holds_it_as_often_as_it_says() -> None:
    """A user has 1 to 30 items, and those with many find fewer of them."""
    draw = rng(5)
    chance = 1 / np.sqrt(np.arange(1, 31))
    truth = (np.arange(1, 31) * chance).sum() / np.arange(1, 31).sum()
    inside = 0
    for _ in range(600):
        held = draw.integers(1, 31, 150)
        found = draw.binomial(held, chance[held - 1])
        share = of_ratio(found, held)
        assert share.mean() == pytest.approx(found.sum() / held.sum())
        low, high = mean_interval(share)
        inside += low <= truth <= high
    assert 0.92 < inside / 600 < 0.98


def test_the_interval_of_a_ratio_is_as_wide_as_by_drawing_users_again() -> None:
    draw = rng(6)
    held = draw.integers(1, 20, 200)
    found = draw.binomial(held, draw.beta(1, 3, 200))
    again = [
        found[who].sum() / held[who].sum()
        for who in (draw.integers(0, 200, 200) for _ in range(4000))
    ]
    low, high = mean_interval(of_ratio(found, held))
    slow = np.quantile(again, [0.025, 0.975])
    assert high - low == pytest.approx(slow[1] - slow[0], rel=0.07)
    assert (low, high) == pytest.approx(slow, abs=0.01)
