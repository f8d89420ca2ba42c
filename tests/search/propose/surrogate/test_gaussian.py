"""The Gaussian process, against its slow twin, and what it learns from rungs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import check_grad

from search.propose.surrogate.gaussian import JITTER, GaussianProcess, Seen, likely, loss, plausible

LOGS = np.array([-0.3, 0.2, 0.5, -0.4, -0.2, -1.0, -3.0])  # three columns


def seen(count: int = 30, seed: int = 0) -> Seen:
    rng = np.random.default_rng(seed)
    return Seen(
        rng.random((count, 3)), rng.choice([0.3, 0.6, 1.0], count), rng.standard_normal(count)
    )


def matern(squared: float) -> float:
    r = math.sqrt(5 * squared)
    return (1 + r + r * r / 3) * math.exp(-r)


def twin(a: Seen, b: Seen, logs: np.ndarray) -> np.ndarray:
    """The covariances one by one, as the formula is written."""
    lengths, part_length = np.exp(logs[:3]), math.exp(logs[3])
    stays, changes = np.exp(logs[4:6])
    return np.array(
        [
            [
                matern(float(np.sum(((x - y) / lengths) ** 2)))
                * (stays + changes * matern(((s - t) / part_length) ** 2))
                for y, t in zip(b.rows, b.parts, strict=True)
            ]
            for x, s in zip(a.rows, a.parts, strict=True)
        ]
    )


def test_mean_and_deviation_are_those_of_the_formula() -> None:
    known, asked = seen(), seen(10, 1)
    ends = Seen(asked.rows, np.ones(10), asked.values)
    noise = math.exp(LOGS[6]) + JITTER
    inverse = np.linalg.inv(twin(known, known, LOGS) + noise * np.eye(30))
    across = twin(ends, known, LOGS)
    mean, deviation = GaussianProcess(known, LOGS).at_end(asked.rows)
    assert mean == pytest.approx(across @ inverse @ known.values)
    prior = math.exp(LOGS[4]) + math.exp(LOGS[5])
    left = prior - np.einsum("ij,jk,ik->i", across, inverse, across)
    assert deviation == pytest.approx(np.sqrt(left))


def test_the_gradient_of_the_loss() -> None:
    known = seen(25)
    squares = np.square(known.rows[:, None, :] - known.rows[None, :, :])
    parts = np.square(known.parts[:, None] - known.parts[None, :])

    def value(logs: np.ndarray) -> float:
        return loss(logs, squares, parts, known.values)[0]

    def slope(logs: np.ndarray) -> np.ndarray:
        return loss(logs, squares, parts, known.values)[1]

    size = float(np.linalg.norm(slope(LOGS)))
    assert check_grad(value, slope, LOGS) < 1e-4 * size


def test_the_loss_is_the_likelihood_of_a_normal_distribution() -> None:
    from scipy.stats import multivariate_normal, norm

    known = seen(12)
    squares = np.square(known.rows[:, None, :] - known.rows[None, :, :])
    parts = np.square(known.parts[:, None] - known.parts[None, :])
    noise = math.exp(LOGS[6]) + JITTER
    covariance = twin(known, known, LOGS) + noise * np.eye(12)
    other = LOGS + 0.1
    priors = [(math.log(0.8), 0.8)] * 3 + [(math.log(0.7), 0.7), (math.log(0.7), 1.0)]
    priors += [(math.log(0.2), 1.0), (math.log(0.05), 1.2)]

    def exact(logs: np.ndarray) -> float:
        noise = math.exp(logs[6]) + JITTER
        covariance = twin(known, known, logs) + noise * np.eye(12)
        of_prior = sum(norm(m, s).logpdf(x) for x, (m, s) in zip(logs, priors, strict=True))
        return -float(multivariate_normal(np.zeros(12), covariance).logpdf(known.values) + of_prior)

    assert covariance.shape == (12, 12)
    difference = exact(other) - exact(LOGS)
    found = (
        loss(other, squares, parts, known.values)[0] - loss(LOGS, squares, parts, known.values)[0]
    )
    assert found == pytest.approx(difference)


def test_a_column_without_influence_gets_a_long_length() -> None:
    rng = np.random.default_rng(5)
    rows = rng.random((60, 3))
    values = np.sin(6 * rows[:, 0])
    logs = likely(Seen(rows, np.ones(60), (values - values.mean()) / values.std()))
    assert logs[0] < min(logs[1], logs[2]) - 1
    assert math.exp(logs[-1]) < 0.05  # hardly any noise


def test_noise_is_told_from_what_configs_do() -> None:
    rng = np.random.default_rng(6)
    rows = rng.random((80, 3))
    values = rng.standard_normal(80)
    logs = likely(Seen(rows, np.ones(80), values))
    mean, _ = GaussianProcess(Seen(rows, np.ones(80), values), logs).at_end(rows)
    assert np.abs(mean).mean() < 0.6 * np.abs(values).mean()


def test_early_rungs_tell_of_the_end() -> None:
    """Ends are twice the first rung: few ends are known, the others are guessed from the rung."""
    rng = np.random.default_rng(7)
    rows = rng.random((40, 3))
    first = np.sin(4 * rows[:, 0]) + rows[:, 1]
    ends = 2 * first
    known = Seen(
        np.vstack([rows, rows[:8]]),
        np.concatenate([np.full(40, 0.4), np.ones(8)]),
        np.concatenate([first, ends[:8]]),
    )
    values = (known.values - known.values.mean()) / known.values.std()
    known = Seen(known.rows, known.parts, values)
    guessed, _ = GaussianProcess(known, likely(known)).at_end(rows[8:])
    alone = Seen(rows[:8], np.ones(8), values[40:])
    without, _ = GaussianProcess(alone, likely(alone)).at_end(rows[8:])
    with_rungs = np.corrcoef(guessed, ends[8:])[0, 1]
    assert with_rungs > 0.95
    assert with_rungs > np.corrcoef(without, ends[8:])[0, 1]


def test_what_is_supposed_changes_no_mean_and_narrows_what_is_near() -> None:
    known = seen()
    process = GaussianProcess(known, LOGS)
    rows = np.random.default_rng(8).random((20, 3))
    mean, deviation = process.at_end(rows)
    later, narrower = process.supposing(rows[:2]).at_end(rows)
    assert later == pytest.approx(mean, abs=1e-4)
    assert (narrower <= deviation + 1e-9).all()
    # what is left of the variance there is at most the noise
    assert (narrower[:2] ** 2 < math.exp(LOGS[6])).all()
    assert (narrower[:2] < 0.9 * deviation[:2]).all()


@pytest.mark.parametrize("count", [1, 7, 130])
def test_supposing_is_learning_anew_from_what_is_expected(count: int) -> None:
    """The slow way: all observations together, the supposed ones with their expected values."""
    known, rng = seen(), np.random.default_rng(3)
    process = GaussianProcess(known, LOGS)
    rows = rng.random((count, 3))
    expected, _ = process.at_end(rows)
    anew = GaussianProcess(
        Seen(
            np.vstack([known.rows, rows]),
            np.concatenate([known.parts, np.ones(count)]),
            np.concatenate([known.values, expected]),
        ),
        LOGS,
    )
    asked = rng.random((300, 3))  # more than a block
    for mine, theirs in zip(process.supposing(rows).at_end(asked), anew.at_end(asked), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6, abs=1e-8)


def test_functions_are_drawn_with_the_mean_and_the_covariance_of_the_process() -> None:
    process = GaussianProcess(seen(), LOGS)
    rows = np.vstack([seen(6, 1).rows, seen(6, 1).rows])  # the same ones twice
    drawn = process.drawn_at_end(rows, 4_000, np.random.default_rng(0))
    mean, deviation = process.at_end(rows)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.06)
    assert drawn.std(axis=0) == pytest.approx(deviation, rel=0.05)
    assert drawn[:, :6] == pytest.approx(drawn[:, 6:], abs=0.01)


def test_plausible_lengths_lie_around_the_most_likely_and_those_nobody_knows_of_spread() -> None:
    rng = np.random.default_rng(2)
    rows = rng.random((60, 3))
    values = np.sin(6 * rows[:, 0]) + 0.3 * rng.standard_normal(60)
    known = Seen(rows, np.ones(60), (values - values.mean()) / values.std())
    found = plausible(known, 30, np.random.default_rng(0))
    assert found.shape == (30, 7)
    assert abs(np.median(found[:, 0]) - likely(known)[0]) < 0.5
    assert found[:, 0].std() < found[:, 1].std()  # the second column does nothing
    assert np.median(found[:, 1]) > np.median(found[:, 0])
    assert found[:, 3].std() > 0.3  # all are ends: nothing is known of how values change
