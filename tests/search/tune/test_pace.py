"""How long trials may be: whom it concerns, that they fit, and that a session finds it again."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.interactions import CSR
from recsys.models import ModelConfig, bytes_of, model_of, new_model
from recsys.models.base import Size
from search.machine.cluster import Failure, Resources
from search.propose.allocation import terms_of
from search.propose.trials import StudyTrial
from search.record.events import State
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.tune import pace as paces
from search.tune import probe
from search.tune.lengths import as_long_as
from search.tune.need import asked_bytes, trial_bytes
from search.tune.pace import Pace, Probed
from search.tune.probe import Measured, measure, run_probe
from search.tune.work import epoch_work
from search.tune.worker import TrialData
from search.words import span
from tests.kernels.helpers import random_pairs
from tests.search.spaces import override

SIZE = Size(users=5_000, items=9_000, positives=170_000)
SPEC = load_spec("bpr_hard")
CONFIGS = list(SPEC.examples())
RATE = 2.5e-10  # seconds an operation


def probed(rate: float = RATE, each: float = 1e-4) -> Probed:
    """What a machine measures that makes 1 / rate operations a second."""
    return Probed("lfm bpr hard", 1e8, rate * 1e8, each * 1000, 1000)


def budget_of(seconds: float, concurrent: int = 2) -> float:
    """Of a run whose search has `seconds` on its cores together."""
    return seconds / (concurrent * paces.SEARCH_SHARE)


def pace_of(
    seconds: float,
    concurrent: int = 2,
    *,
    spec: SearchSpec = SPEC,
    rate: float = RATE,
    each: float = 1e-4,
) -> Pace | None:
    found, budget = [probed(rate, each)], budget_of(seconds, concurrent)
    return paces.make_pace(spec, list(spec.examples()), found, SIZE, 4_000, budget, concurrent)


def measured(seconds: float | None, *, rate: float = RATE, each: float = 1e-4) -> Measured:
    """Of a search that has `seconds` on its two cores together."""
    found = [probed(rate, each)]
    budget = None if seconds is None else budget_of(seconds)
    full = paces.full_length(found, SIZE, 4_000)
    return Measured(SPEC, CONFIGS, found, full, 4_000, 2, budget, threads=2)


def test_a_kind_is_what_its_probe_says() -> None:
    assert {c.kind for c in CONFIGS} == {"lfm bpr hard"}
    assert list(paces.to_probe(load_spec("all").examples())) == [
        *("lfm bpr hard", "ials", "lfm bpr fixed", "lfm softmax fixed"),
        *("lfm softmax_at_k fixed", "lfm bce fixed", "lfm softmax hard"),
    ]


def whole(config: ModelConfig, rate: float = RATE) -> float:
    """Seconds of a training of full length, as `probed` measures."""
    return 80 * (rate * epoch_work(config, SIZE) + 0.4)


def all_trials(spec: SearchSpec = SPEC) -> float:
    """Seconds on one core of all trials of a space."""
    return paces.planned_seconds(spec, list(spec.examples()), lambda c: whole(c) / 80)


def alike(spec: SearchSpec = SPEC) -> SearchSpec:
    """The space with configs that cost about the same."""
    fixed = ["latent_factors=64", "num_candidate_neg_samples=50", "hard_fraction=0.1"]
    return override(spec, ["enqueue=[]", *fixed, "num_random_neg_samples=1"])


def test_trials_that_fit_are_left_alone() -> None:
    spec = alike()
    for concurrent in (1, 2, 4):
        assert pace_of(1.01 * all_trials(spec), concurrent, spec=spec) is None
        assert pace_of(0.99 * all_trials(spec), concurrent, spec=spec) is not None


@pytest.mark.parametrize("concurrent", [4, 16, 64, 1000])
@pytest.mark.parametrize("rate", [RATE, 1e-8])
def test_no_trial_is_too_long_for_the_search_however_many_workers(
    concurrent: int, rate: float
) -> None:
    """Core-seconds are no wall-clock: a trial has one worker."""
    budget = 600.0
    seconds = paces.search_seconds(budget, concurrent)
    assert max(whole(c, rate) for c in CONFIGS) > budget  # a trial longer than the whole run
    pace = pace_of(seconds, concurrent, rate=rate)
    assert pace is not None
    # with a training in the race, one on test and one for good after a search to its end, or after
    # all trials where these are over before
    most = pace.trial_seconds
    rounds = max(1.0, SPEC.trials * paces.mean_share(SPEC) / concurrent)
    search = min(paces.SEARCH_SHARE * budget, rounds * most)
    assert search + 3 * most / 0.85 <= budget * 1.001
    assert most >= 0.1 * budget or concurrent < 16
    for config in CONFIGS:
        fitted = pace.fit(config)
        short = fitted.most_epochs == paces.LEAST_EPOCHS
        assert short or pace.whole_seconds(config) <= most * 1.001
    assert paces.worth_asking(SPEC, CONFIGS, SIZE, budget, concurrent)


def test_a_search_whose_longest_trial_fits_too_is_left_alone_on_many_workers() -> None:
    budget = max(whole(c) for c in CONFIGS) / 0.2
    assert pace_of(paces.search_seconds(budget, 1000), 1000) is None
    pace = pace_of(paces.search_seconds(budget / 2, 1000), 1000)
    assert pace is not None  # all trials fit, but the longest of them does not
    assert pace.trial_seconds == paces.longest_seconds(SPEC, budget / 2, 1000)


def test_few_trials_are_as_long_as_there_is_time_for() -> None:
    spec = override(SPEC, ["trials=20"])
    seconds = 0.98 * all_trials(spec)
    pace = pace_of(seconds, 1, spec=spec)
    assert pace is not None
    assert pace.trial_seconds * paces.mean_share(spec) * 20 >= 0.9 * seconds
    assert pace.starts(spec, seconds) == 20
    more = pace_of(seconds, 1, spec=override(SPEC, ["trials=1000"]))
    assert more is not None
    assert more.trial_seconds * paces.mean_share(spec) * paces.STARTS == pytest.approx(seconds)


def test_what_a_trial_of_a_space_takes() -> None:
    # 8 epochs, a third of 16 more, a ninth of 48 more, a twenty-seventh of the last 8
    assert paces.mean_epochs(SPEC) == pytest.approx(8 + 16 / 3 + 48 / 9 + 8 / 27)
    assert paces.mean_epochs(override(SPEC, ["scheduler=none"])) == 80
    assert paces.mean_share(SPEC) == pytest.approx(1 / 9 + 2 / 18 + 6 / 36)
    assert paces.mean_share(override(SPEC, ["scheduler=none"])) == 1.0


@pytest.mark.parametrize("settings", [[], ["reduction_factor=2"], ["scheduler=none"]])
def test_enough_trials_fit(settings: list[str]) -> None:
    """Simulated: every config trained to its rung, only the best third of a rung any further."""
    spec = override(SPEC, settings)
    configs = list(spec.examples())
    seconds = paces.planned_seconds(spec, configs, lambda c: RATE * epoch_work(c, SIZE)) / 3
    pace = pace_of(seconds, spec=spec)
    assert pace is not None
    rng = np.random.default_rng(0)
    spent, starts, factor = 0.0, 0, spec.reduction_factor
    while spent < seconds:
        config = pace.fit(configs[starts % len(configs)])
        epochs = config.most_epochs
        assert epochs is not None
        rungs = paces.paced_rungs(epochs, factor) if spec.scheduler == "asha" else []
        end = next((rung for rung in rungs if rng.random() > 1 / factor), epochs)
        spent += end * pace.epoch_seconds(config)
        starts += 1
    assert starts >= 0.8 * paces.STARTS


def test_a_dear_config_gets_fewer_epochs_and_a_cheap_one_all() -> None:
    pace = pace_of(2_500.0)
    assert pace is not None
    cheap = CONFIGS[0].model_copy(update={"latent_factors": 1})
    dear = CONFIGS[0].model_copy(update={"latent_factors": 2048})
    assert pace.fit(cheap).most_epochs == 80
    length = pace.fit(dear).most_epochs
    assert length is not None
    assert paces.LEAST_EPOCHS <= length < 80
    assert length == max(3, int(pace.trial_seconds / pace.epoch_seconds(dear)))
    assert pace.fit(dear).to_flat() == dear.to_flat() | {"epochs": length}


def test_fewer_starts_before_trials_of_nothing() -> None:
    """On a machine that is far too slow a few trials are trained for some epochs."""
    seconds = 1_000.0
    pace = pace_of(seconds, rate=1e-6)
    assert pace is not None
    share = paces.mean_share(SPEC)
    assert pace.trial_seconds == paces.longest_seconds(SPEC, budget_of(seconds), 2)
    assert pace.fit(CONFIGS[0]).most_epochs == paces.LEAST_EPOCHS
    assert "the time budget is small" in measured(seconds, rate=1e-6).pace_words(pace)[-1]
    roomy = pace_of(3_000.0)
    assert roomy is not None
    assert roomy.trial_seconds == pytest.approx(3_000 / (paces.STARTS * share))
    (line,) = measured(3_000.0).pace_words(roomy)
    assert "about 75 trials fit" in line


def test_methods_of_seconds_are_not_kept_waiting_by_those_of_minutes() -> None:
    spec = load_spec("all")
    large = Size(users=30_000, items=41_000, positives=800_000)
    kinds = {
        "ials": 7e-10,
        "lfm bpr hard": 5e-10,
        "lfm bpr fixed": 2.4e-10,
        "lfm bce fixed": 6e-12,
        "lfm softmax hard": 2.6e-10,
        "lfm softmax fixed": 1.6e-10,
    }  # measured on Gowalla, where softmax still stood in the place of SL@K
    kinds["lfm softmax_at_k fixed"] = kinds["lfm softmax fixed"]
    few = Pace(kinds, 100.0, 2.0, None, large).terms(spec, 1_000.0)
    assert few.first == 1
    assert set(few.costs) == {str(value) for value in spec.methods()}
    assert few.cost("rp3beta") == min(few.costs.values()) == 1.0
    assert few.cost("bpr_hard") > 3
    assert max(few.costs.values()) <= paces.DEAREST
    many = Pace(kinds, 10.0, 2.0, None, large).terms(spec, 5_000.0)
    assert many.first == 3
    plain = Pace(kinds, 10.0, 2.0, None, large).terms(SPEC, 5_000.0)  # a space of one method
    assert plain.costs == {}
    assert (few.places, plain.places) == (2, 1)  # `all` makes a blend
    assert (terms_of(spec).places, terms_of(SPEC).places) == (2, 1)


def test_users_are_sampled_only_where_evaluation_is_dear() -> None:
    training = np.median([RATE * epoch_work(c, SIZE) for c in CONFIGS])
    cheap = pace_of(500.0, each=0.9 * paces.EVAL_SHARE * float(training) / 4_000)
    assert cheap is not None
    assert cheap.users is None
    dear = pace_of(500.0, each=float(training) / 4_000)
    assert dear is not None
    assert dear.users == paces.LEAST_USERS
    assert dear.eval_seconds == pytest.approx(float(training) * paces.LEAST_USERS / 4_000)
    told = measured(500.0, each=float(training) / 4_000).pace_words(dear)
    assert "2,500 of 4,000 users" in told[1]


def test_what_is_far_below_the_budget_is_not_even_measured() -> None:
    assert not paces.worth_asking(SPEC, CONFIGS, Size(60, 40, 500), 500.0, 2)
    assert paces.worth_asking(SPEC, CONFIGS, SIZE, 500.0, 2)


def test_the_journal_keeps_it() -> None:
    pace = pace_of(500.0)
    assert pace is not None
    train = CSR(np.array([0, 2]), np.array([0, 3]), 9)
    again = Pace.from_event(pace.to_event(), train)
    assert again == Pace(pace.rates, pace.trial_seconds, pace.eval_seconds, None, Size(1, 9, 2))
    assert Pace.from_event(None, train) is None


def test_an_extension_validates_on_the_users_that_its_run_began_with() -> None:
    training = float(np.median([RATE * epoch_work(c, SIZE) for c in CONFIGS]))
    dear = measured(500.0, each=training / 4_000)
    free, same, all_of_them = dear.pace(), dear.pace(3_000), dear.pace(4_000)
    assert free is not None and same is not None and all_of_them is not None
    assert (free.users, same.users, all_of_them.users) == (paces.LEAST_USERS, 3_000, None)
    assert same.eval_seconds == pytest.approx(training * 3 / 4)
    cheap = measured(500.0).pace(3_000)  # where a sample would not be needed, it is kept too
    assert cheap is not None and cheap.users == 3_000
    whole_length = dear.at_full_length(3_000)
    assert whole_length.users == 3_000
    assert whole_length.eval_seconds == pytest.approx(same.eval_seconds)
    assert {whole_length.fit(c).most_epochs for c in CONFIGS} == {80}
    assert dear.at_full_length(4_000).users is None


def test_what_an_earlier_trial_says_of_one_of_another_length() -> None:
    steps = tuple((epoch, 0.1 * epoch) for epoch in range(1, 7))
    full = StudyTrial(0, {}, State.COMPLETE, 0.6, steps)
    shorter = as_long_as(full, 6, 4)  # it went on for longer than a trial would now
    assert (shorter.state, shorter.value, shorter.steps) == (State.COMPLETE, 0.4, steps[:4])
    longer = as_long_as(full, 6, 20)  # it used up its epochs: nothing is known of the rest
    assert (longer.state, longer.value, longer.steps) == (State.PRUNED, 0.6, steps)
    assert as_long_as(full, 80, 20) == full  # it had lost patience after 6 epochs
    assert as_long_as(full, 80, 6).state == State.COMPLETE
    assert as_long_as(full, 6, 6) == full
    stopped = StudyTrial(1, {}, State.PRUNED, 0.6, steps)
    assert as_long_as(stopped, 80, 20) == stopped
    assert as_long_as(stopped, 80, 5).state == State.COMPLETE
    assert as_long_as(full, None, None) == full  # a model without epochs
    failed = StudyTrial(2, {}, State.FAILED, None, steps[:1], "it diverged")
    assert as_long_as(failed, 80, 1) == failed


def test_rungs() -> None:
    assert paces.paced_rungs(36, 3) == [4, 12]
    assert paces.paced_rungs(10, 3) == [2, 4]
    assert paces.paced_rungs(3, 3) == [1, 1]
    assert paces.paced_rungs(8, 2) == [2, 4]


def test_what_a_trial_costs_is_said_in_a_line() -> None:
    line = measured(500.0).words()
    seconds = sorted(80 * (RATE * epoch_work(c, SIZE) + 0.4) for c in CONFIGS)
    assert line.startswith(f"a trial of 80 epochs takes about {span(seconds[len(seconds) // 2])} (")
    taken = max(trial_bytes(config, SIZE, 2) for config in CONFIGS)
    assert line.endswith(f"up to {taken / 1e6:,.0f} MB beside the data")
    assert taken > 1.3 * max(model_of(c).cost(c, SIZE).memory for c in CONFIGS)
    assert measured(None).pace() is None
    pace = measured(500.0).pace()
    assert pace == pace_of(500.0)


def data_of(train: CSR, valid: CSR) -> TrialData:
    return TrialData(train, valid, None, "map@5", ("map@5",), (), 1, "cpu")


def test_a_probe_measures_an_epoch() -> None:
    train = random_pairs(np.random.default_rng(3), 60, 40, 0.2)
    config = SPEC.train_config(dict(SPEC.enqueue[0])).model_copy(update={"latent_factors": 8})
    answer = run_probe(config, data_of(train, train), 0.1, 1.0)
    assert isinstance(answer, Probed)
    assert answer.kind == "lfm bpr hard"
    # so little that all users take part in the end
    assert answer.work == epoch_work(config, Size.of(train))
    assert answer.users == 60
    assert answer.train_seconds > 0 < answer.eval_seconds


@pytest.mark.parametrize(
    ("seconds", "longest", "shares"),
    [
        # seconds of a whole epoch; each share is measured once more at first, to compile
        (0.1, 1.0, [0.1, 0.1, 1.0]),  # whole, since even that is short
        (3.0, 4.0, [0.1, 0.1, 0.2, 1.0]),  # whole, since there is time for it
        (3.0, 2.0, [0.1, 0.1, 0.2]),  # a part that takes PROBE_S
        (30.0, 2.0, [0.1, 0.1]),
    ],
)
def test_a_probe_measures_a_whole_epoch_where_there_is_time(
    seconds: float, longest: float, shares: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    train = random_pairs(np.random.default_rng(3), 60, 40, 0.2)
    config = SPEC.train_config(dict(SPEC.enqueue[0])).model_copy(update={"latent_factors": 8})
    model = new_model(config, train, np.random.default_rng(0))

    def epoch(_config: object, _data: object, share: float) -> tuple[object, CSR, float]:
        asked.append(share)
        return model, train, share * seconds

    monkeypatch.setattr(probe, "_probe_epoch", epoch)
    assert isinstance(run_probe(config, data_of(train, train), 0.1, longest), Probed)
    assert asked == pytest.approx(shares)


def test_ranking_is_measured_after_it_was_done_once_in_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first time may compile: by other code for one user than for many."""
    calls: list[tuple[int, int]] = []

    def watched(model: Any, seen: CSR, users: Any, k: int, *, threads: int = 1) -> None:
        calls.append((len(users), threads))

    monkeypatch.setattr(probe, "top_items", watched)
    train = random_pairs(np.random.default_rng(3), 60, 40, 0.2)
    config = SPEC.train_config(dict(SPEC.enqueue[0])).model_copy(update={"latent_factors": 8})
    assert isinstance(run_probe(config, data_of(train, train), 0.1, 1.0), Probed)
    assert calls == [(60, 1)] * 2


def test_what_ranks_is_loaded_before_the_first_trial() -> None:
    script = (
        "import sys; from recsys.models.warm_up import RANKING, warm_up_models; "
        "from search.space.load import override, load_spec; "
        "spec = override(load_spec('smoke'), ['model=ease']); "
        "warm_up_models(list(spec.examples()), note=print); "
        "assert set(RANKING) <= set(sys.modules); "
        "assert 'recsys.models.mf.entry' not in sys.modules"  # no trial trains it
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])


def test_a_probe_that_fails_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError("3 GiB")

    monkeypatch.setattr(probe, "new_model", full)
    train = random_pairs(np.random.default_rng(3), 60, 40, 0.2)
    answer = run_probe(CONFIGS[0], data_of(train, train), 1.0, 1.0)
    assert isinstance(answer, Failure)
    assert answer.cause == "MemoryError: 3 GiB"
    found = measure(Here(), Resources(1, 0.0, 2, 2), SPEC, data_of(train, train), 1e-6)  # type: ignore[arg-type]
    assert found is None


class Here:
    """A cluster of this process, with as many workers as are asked for."""

    def put(self, value: object) -> object:
        return value

    def map(self, function: Any, tasks: Any, resources: Any, memory: Any = ()) -> Any:
        self.tasks, self.memory = list(tasks), list(memory)
        return ((n, function(*task)) for n, task in enumerate(self.tasks))


def test_measuring_a_space() -> None:
    train = random_pairs(np.random.default_rng(3), 60, 40, 0.2)
    valid = random_pairs(np.random.default_rng(4), 60, 40, 0.05)
    spec = override(load_spec("all"), ["latent_factors=4", "ials_factors=4"])
    data, here = data_of(train, valid), Here()
    assert measure(here, Resources(1, 0.0, 2, 2), spec, data, 600.0) is None  # type: ignore[arg-type]
    found = measure(here, Resources(1, 0.0, 2, 2), spec, data, 1e-6)  # type: ignore[arg-type]
    assert found is not None
    assert {one.kind for one in found.probed} == set(paces.to_probe(found.configs))
    assert len(here.tasks) == 7  # more kinds than workers: one of each
    assert here.memory == [0] * 7
    both = override(load_spec("bpr_hard"), ["latent_factors={choice: [64, 256]}"])
    found = measure(here, Resources(1, 0.0, 2, 2), both, data, 1e-6)  # type: ignore[arg-type]
    assert found is not None
    assert len(here.tasks) == 4  # the first and the largest, each on all workers
    assert set(found.full.growths) == {"lfm bpr hard"}
    there = Resources(1, 0.0, 2, 2, largest=10**12)
    measure(here, there, spec, data, 1e-6)  # type: ignore[arg-type]
    size = Size.of(train)  # on a cluster each asks for what a trial of its config takes
    assert here.memory == [asked_bytes(task[0], size, 1, 10**12) for task in here.tasks]
    small = override(load_spec("bpr_hard"), ["latent_factors=4"])
    assert measure(here, Resources(1, 0.0, 5, 5), small, data, 1e-6) is not None  # type: ignore[arg-type]
    assert len(here.tasks) == 5  # all workers at once
    linear = override(load_spec("all"), ["method=slim"])
    assert measure(here, Resources(1, 0.0, 2, 2), linear, data, 1e-6) is None  # type: ignore[arg-type]


def test_the_largest_model_of_a_kind_is_measured_too() -> None:
    largest = {c.kind: c for c in paces.larger_ones(CONFIGS, SIZE)}["lfm bpr hard"]
    first = paces.to_probe(CONFIGS)["lfm bpr hard"]
    assert (first.to_flat()["latent_factors"], largest.to_flat()["latent_factors"]) == (64, 256)
    doubled = {c.kind for c in paces.larger_ones(list(load_spec("all").examples()), SIZE)}
    assert {"lfm bpr hard", "lfm bce fixed", "lfm softmax_at_k fixed"} <= doubled
    alike = override(SPEC, ["latent_factors={choice: [64, 80]}"])
    assert paces.larger_ones(list(alike.examples()), SIZE) == []
    assert paces.larger_ones(list(load_spec("all").of_method("slim").examples()), SIZE) == []

    small, large = (bytes_of(one, SIZE) for one in (first, largest))
    found = [replace(probed(), model_bytes=small), replace(probed(3 * RATE), model_bytes=large)]
    full = paces.full_length(found, SIZE, 4_000)
    assert full.rates == {"lfm bpr hard": pytest.approx(RATE)}
    each = full.eval_seconds
    for config, times in ((first, 1.0), (largest, 3.0)):
        train = times * RATE * epoch_work(config, SIZE)
        assert full.epoch_seconds(config) == pytest.approx(train + each)
    between = next(c for c in CONFIGS if c.to_flat()["latent_factors"] == 128)
    train = (full.epoch_seconds(between) - each) / (RATE * epoch_work(between, SIZE))
    assert train == pytest.approx(3**0.5, rel=0.02)  # 128 lies half way between 64 and 256
    # a config of another kind, and one larger than what was measured, are what the nearest is
    growth = paces.Growth(10.0, 100.0, 3.0)
    assert [growth.at(size) for size in (1.0, 10.0, 100.0, 1e9)] == [1.0, 1.0, 3.0, 3.0]
    # a costly config has fewer epochs for it, and the journal keeps it
    pace = paces.make_pace(SPEC, CONFIGS, found, SIZE, 4_000, budget_of(3_000.0), 2)
    plain = paces.make_pace(SPEC, CONFIGS, found[:1], SIZE, 4_000, budget_of(3_000.0), 2)
    assert pace is not None and plain is not None
    assert pace.fit(largest).most_epochs < plain.fit(largest).most_epochs
    train_csr = random_pairs(np.random.default_rng(3), 60, 40, 0.2)
    again = Pace.from_event(pace.to_event(), train_csr)
    assert again is not None
    assert again.growths == pace.growths


def test_one_slow_measurement_of_several_decides_nothing() -> None:
    """What runs beside it may hold up a probe for seconds."""
    found = [probed(), probed(3 * RATE, 5e-3), probed(1.1 * RATE, 1.1e-4)]
    full = paces.full_length(found, SIZE, 4_000)
    assert full.rates["lfm bpr hard"] == pytest.approx(1.1 * RATE)
    assert full.eval_seconds == pytest.approx(1.1e-4 * 4_000)
