"""What `data` says of the minutes and the memory of a search, on any file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from recsys.data import Dataset, load
from recsys.interactions import CSR, Interactions
from recsys.models.base import Size
from search.machine.cluster import Failure
from search.run import estimate as estimate_module
from search.run.estimate import BESIDE_S, counted_words, estimate, later_trainings
from search.space.load import load_spec
from search.space.spec import RaceSpec
from search.tune.need import trial_bytes
from search.tune.pace import Probed, larger_ones, to_probe
from search.tune.work import epoch_work
from tests.search.spaces import override

SPEC = load_spec("all")
CONFIGS = list(SPEC.examples())
KINDS = len(to_probe(CONFIGS)) + len(
    larger_ones(CONFIGS, Size(users=500, items=300, positives=5000))
)


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate_module, "usable_cores", lambda: 2)
    monkeypatch.setattr(estimate_module, "usable_memory", lambda: 8_000_000_000)


def probing(monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[str]:
    """Epochs that take so many seconds on the demo set; returns whose were asked for."""
    asked: list[str] = []

    def probe(config, data, first, longest):
        asked.append(config.label())
        size = Size.of(data.train)
        work = epoch_work(config, size)
        return Probed(config.kind, work, seconds, 0.0, 100)

    monkeypatch.setattr(estimate_module, "run_probe", probe)
    return asked


def test_a_search_that_fits(monkeypatch: pytest.MonkeyPatch, cores: None) -> None:
    asked, said = probing(monkeypatch, 0.001), []
    lines = list(estimate(load("demo"), SPEC, said.append))
    assert len(asked) == 2 * KINDS  # as many at a time as a search trains
    assert said[0] == f"measuring an epoch of {asked[0]} (1 of {KINDS})" and len(said) == KINDS
    assert lines[0].startswith("a trial of 60 epochs takes about 0.0")
    assert lines[1].startswith("a whole search (--space all) takes about ")
    assert lines[1].endswith(": 150 trials, 2 at a time, and race, blend, test and refit")
    assert lines[2] == "in ten minutes (--time-budget 10m) it begins all 150 trials"
    assert lines[3].endswith("GB (2 at a time), of the 8.0 GB here")


def test_products_have_one_thread_while_an_epoch_is_measured(
    monkeypatch: pytest.MonkeyPatch, cores: None
) -> None:
    """As in a worker: more of them wait for each other on a machine that is busy."""
    threads = []

    def probe(*_):
        threads.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")
        return Failure("enough", "")

    monkeypatch.setattr(estimate_module, "run_probe", probe)
    with threadpool_limits(2, user_api="blas"):
        list(estimate(load("demo"), SPEC, lambda _: None))
        assert threads and set(threads) == {1}
        after = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    assert set(after) == {2}


def test_the_same_epoch_takes_the_same_search_longer(
    monkeypatch: pytest.MonkeyPatch, cores: None
) -> None:
    probing(monkeypatch, 30.0)
    lines = list(estimate(load("demo"), SPEC, lambda _: None))
    assert "takes its time budget of 30m 00s, with about" in lines[1]
    assert "all 150 in full length would take about" in lines[1]
    assert lines[2].endswith("trials, with fewer epochs for costly configs")
    assert "about " in lines[2]


def seconds(shown: str) -> int:
    """Of `2m 49s`."""
    units = {"s": 1, "m": 60, "h": 3600}
    return sum(int(part[:-1]) * units[part[-1]] for part in shown.split())


def test_what_follows_the_trials_does_not_grow_with_them(
    monkeypatch: pytest.MonkeyPatch, cores: None
) -> None:
    assert later_trainings(SPEC) == 9 * 4 + 5 + 2  # methods, splits, members, test and refit
    assert later_trainings(replace(SPEC, race=RaceSpec(0, 0), blend=0)) == 2
    probing(monkeypatch, 0.1)
    data, found = load("demo"), []
    for trials in (20, 40, 60):
        spec = replace(SPEC, trials=trials, time_budget=None)
        line = list(estimate(data, spec, lambda _: None))[1]
        found.append(seconds(line.split("about ")[1].split(":")[0]))
    assert found[1] - found[0] == pytest.approx(found[2] - found[1], abs=2)
    assert found[0] > BESIDE_S + 2 * (found[1] - found[0])  # 20 trials and twice as many trainings


def test_where_nothing_can_be_told_it_is_said(monkeypatch: pytest.MonkeyPatch, cores: None) -> None:
    monkeypatch.setattr(estimate_module, "run_probe", lambda *_: Failure("it broke", "at length"))
    (line,) = estimate(load("demo"), SPEC, lambda _: None)
    assert line == "note: how long a search takes cannot be measured: it broke"
    pairs = CSR.from_pairs(np.array([0, 1]), np.array([0, 1]), 2, 2)
    ids = np.arange(2)
    tiny = Dataset(Interactions(pairs, np.zeros(2), ids, ids, ordered=False), None, None, None)
    (line,) = estimate(tiny, SPEC, lambda _: None)
    assert line.startswith("note: how long a search takes cannot be measured: ")


def test_what_is_measured_is_what_is_said(cores: None) -> None:
    """Really, on a small space."""
    spec = override(load_spec("smoke"), ["trials=8"])
    lines = list(estimate(load("demo"), spec, lambda _: None))
    assert lines[0].startswith(f"a trial of {spec.max_epochs} epochs takes about ")
    assert "8 trials" in lines[1]


def test_what_could_not_be_measured_is_counted_and_says_so() -> None:
    size = Size(1_000, 500, 20_000)
    spec = override(SPEC, ["method=[slim]"])
    line = counted_words(replace(spec, enqueue=()), size, 1)
    assert line.startswith("a trial takes about 0.")
    assert "not measured, but from a count of operations) and up to " in line
    larger = counted_words(replace(spec, enqueue=()), Size(100_000, 50_000, 2_000_000), 1)
    assert larger != line
    taken = max(trial_bytes(config, size, 1) for config in replace(spec, enqueue=()).examples())
    assert f"up to {taken / 1e6:,.0f} MB" in line  # with the worker, not the weights alone


def test_a_space_without_epochs_has_no_estimate(cores: None) -> None:
    spec = override(SPEC, ["method=[slim]"])
    (line,) = estimate(load("demo"), replace(spec, enqueue=()), lambda _: None)
    assert "cannot be measured" in line
