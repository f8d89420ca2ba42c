"""What is proposed, from what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from recsys.models.base import Size
from search.propose.lengths import Lengths
from search.propose.new_configs import NoNewConfigError
from search.propose.surrogate import proposer as proposers
from search.propose.surrogate.cube import Cube
from search.propose.surrogate.gaussian import GaussianProcess, Seen
from search.propose.surrogate.proposer import (
    Cost,
    Costs,
    Surrogate,
    best_rows,
    improvement,
    refitted_at,
    scaled,
    spread,
)
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.domains import Value
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune.work import whole_work

SPACE = """
max_epochs: 80
trials: 60
params:
  latent_factors: 8
  patience: 0
  lr: {low: 0.001, high: 1, log: true}
  l2: {low: 0.001, high: 1, log: true}
  margin: {low: 0, high: 4}
"""
RUNGS = [8, 24, 72]


@pytest.fixture
def spec(tmp_path: Path) -> SearchSpec:
    path = tmp_path / "three.yaml"
    path.write_text(SPACE)
    return load_spec(str(path))


def make(spec: SearchSpec, startup: int = 5) -> Surrogate:
    return Surrogate(spec, startup, Lengths(lambda _: RUNGS))


def peak(params: dict[str, Any]) -> float:
    """1 at lr .03, l2 .2, margin 1; half a decade or 1 of margin off costs .1 to .2."""
    off = math.log10(params["lr"] / 0.03) ** 2 + math.log10(params["l2"] / 0.2) ** 2
    return math.exp(-off - 0.2 * (params["margin"] - 1) ** 2)


def play(
    made: Surrogate, count: int, seed: int, first: int = 0, had: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """One trial after the other, each to its end; had: known before."""
    found: list[dict[str, Any]] = []
    for number in range(first, first + count):
        params = made.propose(seed, number, lambda p: dict(p) in (*had, *found))
        found.append(params)
        finish(made, number, peak(params))
    return found


def grown(value: float, epoch: int) -> float:
    """What a training that ends at `value` shows before: half of it after a tenth."""
    return value * float((epoch / 80) ** 0.3)


def finish(made: Surrogate, number: int, value: float, stop: int | None = None) -> None:
    """Reports at every rung, and the end; stop: the rung after which it was stopped."""
    for epoch in RUNGS:
        if stop is None or epoch <= stop:
            made.report(number, epoch, grown(value, epoch))
    if stop is None:
        made.report(number, 80, value)
        made.tell(number, State.COMPLETE, value, None)
    else:
        made.tell(number, State.PRUNED, None, None)


def test_a_planted_peak_is_found(spec: SearchSpec) -> None:
    """In every search, also where it believes for a while that margin does nothing."""
    found = [max(peak(p) for p in play(make(spec), 30, seed)) for seed in range(12)]
    assert min(found) > 0.97
    draws = [np.random.default_rng(seed) for seed in range(12)]
    chance = [max(peak(spec.sample(rng)) for _ in range(30)) for rng in draws]
    assert all(a > b for a, b in zip(found, chance, strict=True))


@pytest.mark.parametrize("seed", range(3))
def test_it_learns_from_trials_that_were_stopped_early(spec: SearchSpec, seed: int) -> None:
    """Only what reaches half of the best goes past the first rung."""
    made, best, late = make(spec), 0.0, []
    for number in range(30):
        params = made.propose(seed, number, lambda _: False)
        weak = peak(params) < 0.5 * best
        best = max(best, peak(params))
        finish(made, number, peak(params), stop=8 if weak else None)
        late.append(peak(params))
    assert np.median(late[20:]) > 2 * np.median(late[:5])
    assert max(late) > 0.8


def test_where_trials_fail_no_more_are_proposed(spec: SearchSpec) -> None:
    made, failed = make(spec), []
    for number in range(40):
        params = made.propose(1, number, lambda _: False)
        if params["lr"] > 0.1:  # a third of the space
            made.tell(number, State.FAILED, None, "diverged")
        else:
            finish(made, number, peak(params))
        failed.append(params["lr"] > 0.1)
    assert sum(failed[20:]) <= 2


def test_trials_that_all_fail_are_borne(spec: SearchSpec) -> None:
    made = make(spec, startup=2)
    for number in range(6):
        made.propose(1, number, lambda _: False)
        made.tell(number, State.FAILED, None, "no memory")


@pytest.mark.parametrize("seed", range(2))
def test_running_trials_keep_others_away(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    def apart() -> float:
        made = make(spec)
        play(made, 12, seed)
        together = [made.propose(seed, number, lambda _: False) for number in range(12, 20)]
        rows = made._cube.rows(together)
        return float(np.sqrt(np.square(rows[:, None] - rows[None]).sum(2)).mean())

    with_them = apart()
    # without, the same peak is looked for again and again
    monkeypatch.setattr(GaussianProcess, "supposing", lambda process, _: process)
    assert with_them > 1.5 * apart()


def test_where_very_many_run_a_process_serves_several_proposals(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposers, "SUPPOSED", 6)
    monkeypatch.setattr(proposers, "SERVES", 4)
    made = make(spec)
    play(made, 12, 3)
    found, views = [], []
    for number in range(12, 31):
        found.append(made.propose(3, number, lambda p: dict(p) in found))
        views.append(made._kept)
    # one each until more than six run, the last of them for three more, and so on
    assert [views.index(view) for view in views] == [*range(7), 6, 6, 6, *[10] * 4, *[14] * 4, 18]
    assert np.mean([peak(p) for p in found]) > 0.5


@pytest.mark.parametrize(("running", "served", "fewer"), [(20, 8, 4), (32, 8, 4), (128, 32, 8)])
def test_a_process_serves_a_part_of_those_that_run(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch, running: int, served: int, fewer: int
) -> None:
    monkeypatch.setattr(proposers, "SUPPOSED", 6)
    monkeypatch.setattr(proposers, "CROWD", 32)
    made = make(spec)
    play(made, 12, 3)
    for number in range(12, 12 + running):
        made.begin(number, spec.sample(np.random.default_rng(number)))
    made._kept_for = 0  # the trials above were not proposed
    draw, even = made._cube.draw, []

    def drawn(count: int, rng: np.random.Generator) -> proposers.Rows:
        even.append(count)
        return draw(count, rng)

    monkeypatch.setattr(made._cube, "draw", drawn)
    views = []
    for number in range(200, 200 + served + 1):
        params = made.propose(3, number, lambda _: False)
        made.tell(number, State.FAILED, None, "so that as many run as before")
        assert params
        views.append(made._kept)
    assert [views.index(view) for view in views] == [0] * served + [served]
    assert set(even) == {proposers.EVEN // fewer}


def test_the_first_ones_are_random_and_then_it_learns(spec: SearchSpec) -> None:
    rng_only = make(spec, startup=10**6)
    assert play(rng_only, 6, 2)[:5] == play(make(spec), 6, 2)[:5]
    assert play(make(spec, startup=10**6), 6, 2)[5] != play(make(spec), 6, 2)[5]


def test_the_same_seed_and_trials_give_the_same(spec: SearchSpec) -> None:
    assert play(make(spec), 12, 7) == play(make(spec), 12, 7)
    assert play(make(spec), 12, 7) != play(make(spec), 12, 8)


def test_a_resumed_search_proposes_what_an_uninterrupted_one_does(spec: SearchSpec) -> None:
    whole = play(make(spec), 36, 7)
    for cut in (3, 12, 27, 29, 31):
        resumed = make(spec)
        resumed.add_all(
            StudyTrial(
                number, dict(params), State.COMPLETE, peak(params),
                (*((e, grown(peak(params), e)) for e in RUNGS), (80, peak(params))),
            )
            for number, params in enumerate(whole[:cut])
        )  # fmt: skip
        resumed.add_all([StudyTrial(99, dict(whole[0]), State.RUNNING)])  # it begins by itself
        assert play(resumed, 36 - cut, 7, first=cut, had=whole[:cut]) == whole[cut:]


def live_and_resumed(spec: SearchSpec, ends: Sequence[int], workers: int) -> tuple[Any, Any]:
    """What is proposed once trials have ended in this order, each worker beginning another one when
    one ends, and what after a resume at that point.
    """
    made, told = make(spec), list[StudyTrial]()
    params = [made.propose(7, number, lambda _: False) for number in range(workers - 1)]
    for nth, number in enumerate(ends):
        params.append(made.propose(7, len(params), lambda _: False))
        value = peak(params[number])
        steps = (*((e, grown(value, e)) for e in RUNGS), (80, value))
        finish(made, number, value)
        told.append(StudyTrial(number, params[number], State.COMPLETE, value, steps, nth=nth))
    resumed = make(spec)
    resumed.add_all(sorted(told, key=lambda t: t.number))
    for number in sorted(set(range(len(params))) - set(ends)):
        resumed.begin(number, params[number])
    at = len(params)
    return made.propose(7, at, lambda _: False), resumed.propose(7, at, lambda _: False)


@pytest.mark.parametrize(
    "ends",
    [
        [*range(25), 26, 25],  # a refit after 26 trials has seen the last one
        [*range(1, 30)],  # the first trial takes for ever
        [*range(1, 20), 21, 20, 24, 22, 23, 0, 26, 25],
    ],
)
def test_a_resumed_search_goes_on_in_whatever_order_trials_ended(
    spec: SearchSpec, ends: list[int]
) -> None:
    live, resumed = live_and_resumed(spec, ends, 4)
    assert live == resumed


def test_a_trial_that_never_ends_keeps_no_lengths_from_being_found_anew(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sizes = make(spec), list[int]()
    plain = proposers.likely
    monkeypatch.setattr(proposers, "likely", lambda seen: sizes.append(len(seen)) or plain(seen))
    made.propose(3, 0, lambda _: False)
    for number in range(1, 21):
        finish(made, number, peak(made.propose(3, number, lambda _: False)))
    made.propose(3, 21, lambda _: False)
    assert sizes == [4 * ended for ended in range(5, 21)]


def test_new_configs_are_looked_for_near_the_ten_best_ones(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial that came to its end has four values, all of them of one config."""
    made, near = make(spec), list[Any]()
    for number in range(12):
        params = made.propose(3, number, lambda _: False)
        finish(made, number, 1 - number / 100)
        near.append(made._cube.rows([params])[0])
    looked: list[Any] = []
    plain = Cube.near

    def watched(cube: Cube, rows: Any, *given: Any) -> Any:
        looked.append(rows)
        return plain(cube, rows, *given)

    monkeypatch.setattr(Cube, "near", watched)
    made.propose(3, 12, lambda _: False)
    assert np.array_equal(looked[0], np.array(near[:10]))


def test_the_best_rows_are_different_ones() -> None:
    rows = np.array([[0.1, 0.2], [0.1, 0.2], [0.3, 0.2], [0.1, 0.1], [0.3, 0.2]])
    seen = Seen(rows, np.ones(5), np.array([0.5, 0.9, 0.7, 0.1, 0.8]))
    assert best_rows(seen, 2).tolist() == [[0.1, 0.2], [0.3, 0.2]]
    assert best_rows(seen, 9).tolist() == [[0.1, 0.2], [0.3, 0.2], [0.1, 0.1]]


def test_nothing_known_is_proposed_and_it_says_when_all_is(tmp_path: Path) -> None:
    path = tmp_path / "few.yaml"
    path.write_text(
        "params:\n  lr: {choice: [0.01, 0.1, 1]}\n  margin: {low: 0, high: 1, step: 1}\n"
    )
    spec = load_spec(str(path))
    made, had = Surrogate(spec, 2, Lengths(lambda _: [])), []
    for number in range(6):
        had.append(made.propose(1, number, lambda p: dict(p) in had))
        made.tell(number, State.COMPLETE, float(number), None)
    assert len({str(p) for p in had}) == 6
    with pytest.raises(NoNewConfigError):
        made.propose(1, 6, lambda p: dict(p) in had)


def test_a_space_with_one_config_ends(tmp_path: Path) -> None:
    path = tmp_path / "one.yaml"
    path.write_text("params:\n  lr: {choice: [0.1]}\n")
    made, had = Surrogate(load_spec(str(path)), 0, Lengths(lambda _: [])), list[dict[str, Value]]()
    had.append(made.propose(1, 0, lambda p: dict(p) in had))
    made.tell(0, State.COMPLETE, 0.5, None)
    with pytest.raises(NoNewConfigError):
        made.propose(1, 1, lambda p: dict(p) in had)


def test_a_shorter_training_is_judged_at_the_parts_of_its_own_length(spec: SearchSpec) -> None:
    fit = Lengths(
        lambda config: [config.epochs // 9], lambda c: c.model_copy(update={"epochs": 18})
    )
    short = Surrogate(spec, 1, fit)
    long = Surrogate(spec, 1, Lengths(lambda config: [8]))
    for made, epoch in ((short, 2), (long, 8)):
        made.propose(1, 0, lambda _: False)
        made.report(0, epoch, 0.5)
        made.tell(0, State.PRUNED, 0.5, None)
    (a,), (b,) = short._points, long._points
    assert a[1] == pytest.approx(1 - math.log(9) / math.log(80))
    assert b[1] == pytest.approx(1 - math.log(10) / math.log(80))


def test_a_running_trial_is_known_at_its_rungs(spec: SearchSpec) -> None:
    made = make(spec, startup=1)
    play(made, 2, 1)
    made.propose(1, 2, lambda _: False)
    for epoch in range(1, 11):
        made.report(2, epoch, 0.3)
    made.propose(1, 3, lambda _: False)  # has not reported
    assert len(made._points) == 2 * 4
    seen = made._seen()
    assert len(seen) == 2 * 4 + 1
    assert seen.parts[-1] == pytest.approx(1 - math.log(10) / math.log(80))
    assert seen.parts.tolist()[:4] == seen.parts.tolist()[4:8] == sorted(seen.parts.tolist()[:4])


def test_a_model_without_epochs_is_known_at_its_end(tmp_path: Path) -> None:
    spec = load_spec("all").of_method("slim")
    made = Surrogate(spec, 1, Lengths(lambda _: []))
    made.propose(1, 0, lambda _: False)
    made.report(0, 1, 0.25)
    made.tell(0, State.COMPLETE, 0.25, None)
    assert [p[:3] for p in made._points] == [(0, 1.0, 0.25)]


def test_of_very_many_observations_a_part_is_learned_from(
    spec: SearchSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposers, "LEARNED_FROM", 30)
    monkeypatch.setattr(proposers, "FITTED_ON", 12)
    made = make(spec)
    found = play(made, 60, 5)
    assert len(made._points) > 200
    assert len(made._seen()) == 30
    assert max(peak(p) for p in found) > 0.97


def test_lengths_are_found_anew_as_trials_grow(spec: SearchSpec) -> None:
    made = make(spec, startup=2)
    at = []
    for number in range(40):
        made.propose(1, number, lambda _: False)
        finish(made, number, 0.1 + number / 100)
        if made._logs is not None:
            at.append(made._logs[0])
    assert at == sorted(at)
    assert set(range(2, 20)) <= set(at)  # each of the first
    assert [refitted_at(n) for n in (1, 2, 25, 26, 27, 28, 29)] == [1, 2, 25, 26, 26, 28, 28]


def test_the_first_configs_of_a_countable_space_come_from_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "counted.yaml"
    path.write_text(
        "params:\n  latent_factors: {low: 8, high: 512, log: true}\n"
        "  patience: {low: 1, high: 200}\n  lr: {choice: [0.01, 0.02, 0.05]}\n"
    )
    made = Surrogate(load_spec(str(path)), 100, Lengths(lambda _: []))
    factors = [
        int(made.propose(3, number, lambda _: False)["latent_factors"]) for number in range(40)
    ]
    assert min(factors) < 30
    assert max(factors) > 200


def test_a_metric_at_its_ceiling_still_tells_good_from_bad(spec: SearchSpec) -> None:
    made, found = make(spec), []
    for number in range(40):
        params = made.propose(1, number, lambda _: False)
        value = min(1.0, max(0.0, 1.5 - abs(math.log10(params["lr"] / 0.01))))
        finish(made, number, value)
        found.append(value)
    assert np.mean(found[20:]) > 0.85


def test_trials_that_never_reported_teach_nothing(spec: SearchSpec) -> None:
    made = make(spec, startup=1)
    for number in range(3):
        made.propose(1, number, lambda _: False)
        made.tell(number, State.PRUNED, None, None)
    assert not made._points


def test_of_two_that_promise_as_much_the_cheaper_one_is_taken(spec: SearchSpec) -> None:
    """Only lr decides what is reached, and only margin what it costs."""

    def margins(cost: Cost | None) -> float:
        made, found = Surrogate(spec, 5, Lengths(lambda _: RUNGS, cost=cost)), []
        for number in range(25):
            params = made.propose(1, number, lambda _: False)
            finish(made, number, math.exp(-(math.log10(params["lr"] / 0.03) ** 2)))
            found.append(params["margin"])
        return float(np.mean(found[10:]))

    dear = margins(lambda config: math.exp(config.to_flat()["margin"]))
    cheap = margins(lambda config: math.exp(-config.to_flat()["margin"]))
    assert dear < 1.5
    assert cheap > 2.5


@pytest.mark.parametrize("space", ["bpr_hard", "cosine"])
def test_costs_are_learned_as_they_are(space: str) -> None:
    spec, size = load_spec(space), Size(3000, 2000, 100_000)
    cube = Cube(spec)
    costs = Costs(spec, cube, lambda config: whole_work(config, size))
    rng = np.random.default_rng(9)
    configs = [spec.sample(rng) for _ in range(100)]
    exact = np.log([whole_work(spec.train_config(c), size) for c in configs])
    off = costs.logs(cube.rows(configs)) - exact
    assert np.ptp(exact) > 1
    assert np.sqrt(np.mean(off**2)) < 0.1


def test_values_are_scaled_by_what_lies_above_the_median() -> None:
    given = np.array([0.1, 0.2, 0.3, 0.4, -50.0])
    steps = np.array([0.1 - 0.2, 0.0, 0.1, 0.2, -0.4]) / 0.2  # the last at the floor
    assert scaled(given) == pytest.approx((steps - steps.mean()) / steps.std())
    assert scaled(np.array([0.2, 0.4, math.nan]))[2] == min(scaled(np.array([0.2, 0.4, math.nan])))
    assert scaled(np.array([0.5, 0.5])).tolist() == [0, 0]
    half = scaled(np.array([1.0, 1.0, 1.0, 0.0, 0.2]))
    assert half[0] == half[1] == half[2] > half[4] > half[3]
    assert scaled(np.array([math.nan, math.nan])).tolist() == [0, 0]


def test_the_best_and_an_even_part_of_the_rest() -> None:
    values = np.arange(100.0)
    assert spread(values, 100).tolist() == list(range(100))
    chosen = spread(values, 30)
    assert chosen[-10:].tolist() == list(range(90, 100))
    assert np.diff(chosen[:20]).tolist() == [4, 5] * 9 + [4]
    assert len(spread(np.full(50, -math.inf), 10)) == 10


@pytest.mark.parametrize("best", [-1.0, 0.0, 1.0, 3.0])
def test_the_expected_improvement_is_the_integral(best: float) -> None:
    known = Seen(np.array([[0.2], [0.7]]), np.ones(2), np.array([-1.0, 1.0]))
    process = GaussianProcess(known, np.log([0.3, 0.7, 0.7, 0.2, 0.01]))
    rows = np.array([[0.1], [0.45], [0.71]])
    mean, deviation = process.at_end(rows)
    found = improvement(process, rows, best)
    for m, s, value in zip(mean, deviation, found, strict=True):
        u = (best - m) / s
        low = max(u, -12.0)
        exact, _ = quad(
            lambda z, u=u: (z - u) * norm.pdf(z), low, max(low, 0) + 12, epsabs=0, epsrel=1e-10
        )
        assert u < 35  # far out, and still a normal number
        removed = 1 - math.sqrt(process.noise / (process.noise + s**2))
        assert value == pytest.approx(math.log(s * exact * removed), abs=0.02)
