"""Who becomes the champion: decided user by user where both were tested on the same items."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.errors import ConfigError
from search.record.measured import UserValues, save_test_values
from search.record.result import Comparison, RefitOf, succeeds
from search.tracking.memory import delivery_status
from search.tracking.succession import judged
from search.tracking.verify import make_champion, verify_delivery
from tests.factories import SETTINGS, FakeRun
from tests.search.tracking.tracking_help import deliver, query, sqlite_store

NOISE = np.random.default_rng(0).normal(0, 0.1, 400)
BASE = 0.2 + np.random.default_rng(1).uniform(-0.1, 0.1, 400)


def of(values: NDArray[np.float64], first: int = 0) -> UserValues:
    return UserValues(np.arange(first, first + len(values), dtype=np.int32), values)


CENTRED = NOISE - NOISE.mean()
CASES: list[tuple[str, NDArray[np.float64], NDArray[np.float64], bool]] = [
    ("the same", BASE, BASE, True),
    ("better by so little that nothing is proven", BASE + CENTRED + 1e-4, BASE, True),
    ("better, and it is proven", BASE + 0.05, BASE, True),
    ("worse by half a percent for everybody, which counts as equal", BASE * 0.995, BASE, True),
    ("worse by two percent for everybody", BASE * 0.98, BASE, False),
    ("worse, proven by nothing", BASE + CENTRED - 1e-4, BASE, False),
    ("worse, with four users", (BASE - 0.1)[:4], BASE[:4], False),
    ("better for one, worse for another", BASE[:2] + np.array([0.1, -0.2]), BASE[:2], False),
    ("nobody has ever got anything right", np.zeros(9), np.zeros(9), True),
]  # fmt: skip


@pytest.mark.parametrize(("what", "mine", "other", "leads"), CASES, ids=[c[0] for c in CASES])
def test_better_or_equal(
    what: str, mine: NDArray[np.float64], other: NDArray[np.float64], leads: bool
) -> None:
    found = judged(of(mine), of(other), "version 3, of run a", "map@50")
    assert found.leads == leads, what
    numbers = (
        f"map@50 {mine.mean():.4f}, that one {other.mean():.4f}"
        if leads
        else f"it reaches map@50 {other.mean():.4f}, this one {mine.mean():.4f}"
    )
    assert f"{numbers}, on the same" in found.why
    assert ("stayed champion" in found.why) == (not leads)
    assert found.open == (not leads)


def test_a_model_trained_again_is_judged_by_the_same_rule() -> None:
    known = Comparison(gain=-0.1, ci=(-0.3, 0.1), p=0.4, proven=False)
    assert not RefitOf(comparison=known, before=0.5).stands
    equal = Comparison(gain=-0.001, ci=(-0.002, 0.0), p=0.04, proven=True)
    assert RefitOf(comparison=equal, before=0.5).stands
    assert not RefitOf(comparison=equal).stands  # of a version that kept no value to be 1% of
    assert RefitOf(comparison=Comparison(gain=0.0, ci=(-0.3, 0.3))).stands
    assert not RefitOf().stands
    assert not succeeds(Comparison(gain=float("nan"), ci=(float("nan"),) * 2), 0.5)  # no users


class Told(FakeRun):
    """A run whose first session says of what metric, split and data it is."""

    def __init__(self, runs: Path, name: str, seed: int, known: dict[str, str]) -> None:
        self.known = known
        super().__init__(runs, name, seed)

    def session(self) -> None:
        settings = asdict(replace(SETTINGS, data_digest=self.known["data"]))
        split, metric = self.known["split"], self.known["metric"]
        self.began(settings=settings, split_digest=split, metric=metric)


class Searches:
    """Searches of one data set, each later than the one before, brought to one store."""

    def __init__(self, folder: Path) -> None:
        self.uri, self.runs, self.count = sqlite_store(folder / "store"), folder / "runs", 0

    def finished(self, name: str, values: UserValues | None, **known: str) -> FakeRun:
        """A run with what its model reached for every user; None: nothing was kept."""
        self.count += 1
        known = {"metric": "map@50", "split": "ab12", "data": "d1"} | known
        run = Told(self.runs, name, self.count, known)
        run.trial()
        if values is not None:
            save_test_values(run.path, values)
        run.finish(model=True)
        result = json.loads((run.path / "result.json").read_text())
        run.folder.write_json("result.json", result | {"metric": known["metric"]})
        weights = next((run.path / "model").glob("weights.*"))
        weights.write_bytes(weights.read_bytes() + name.encode())  # of no other run
        run.close()
        return run

    def registered(self, run: FakeRun) -> str:
        assert deliver(run, self.uri)
        assert verify_delivery(run.path, self.uri) == []
        return delivery_status(run.path, self.uri).registered or ""

    def aliases(self) -> dict[str, int]:
        found = query(self.uri, "select alias, version from registered_model_aliases")
        return {str(alias): int(version) for alias, version in found}


@pytest.fixture
def searches(tmp_path: Path) -> Searches:
    return Searches(tmp_path)


def test_the_alias_follows_the_paired_test_of_two_searches(searches: Searches) -> None:
    first = searches.finished("a", of(BASE))
    assert searches.registered(first).endswith("version 1: it became the champion")
    shutil.rmtree(first.path)  # what it reached is in MLflow, too
    worse = searches.finished("worse", of(BASE - 0.01 + CENTRED / 10))
    said = searches.registered(worse)
    assert searches.aliases() == {"champion": 1}
    assert "version 1, of run a, stayed champion: it reaches map@50 0.1973" in said
    assert ", this one 0.1873" in said
    assert "p < 0.001" in said
    assert f"sync worse --runs-dir {searches.runs} --champion" in said
    better = searches.registered(searches.finished("better", of(BASE + 0.02 + CENTRED / 10)))
    assert searches.aliases() == {"champion": 3, "previous": 1}
    assert "it became the champion, after version 1, of run a (map@50 0.2173" in better
    assert "--champion" not in better
    described = query(searches.uri, "select description from model_versions where version = 3")
    assert described[0][0] in better


def test_what_cannot_be_compared_leads_as_the_newest_and_says_so(searches: Searches) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    known: dict[str, str] = {}
    steps = [
        ("split", "cd34", "tested on another split"),
        ("metric", "ndcg@20", "by another metric"),
        ("data", "d2", "tested on other data"),
    ]
    for number, (name, value, words) in enumerate(steps, 2):
        known[name] = value
        said = searches.registered(searches.finished(name, of(BASE - 0.1 * number), **known))
        assert "it became the champion, not compared with version" in said
        assert words in said
        assert searches.aliases() == {"champion": number, "previous": number - 1}


def test_values_of_other_users_or_none_compare_nothing(searches: Searches) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    for name, values in (("others", of(BASE - 0.1, first=1)), ("none", None), ("next", of(BASE))):
        said = searches.registered(searches.finished(name, values))
        assert "there are no values for the same users" in said
    assert searches.aliases() == {"champion": 4, "previous": 3}


def test_values_of_a_run_that_was_sent_before_they_were_are_in_its_folder(
    searches: Searches,
) -> None:
    first = searches.finished("a", None)
    assert searches.registered(first)
    save_test_values(first.path, of(BASE))
    said = searches.registered(searches.finished("worse", of(BASE - 0.1)))
    assert "version 1, of run a, stayed champion" in said


def test_a_person_may_decide_otherwise(searches: Searches) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    worse = searches.finished("worse", of(BASE - 0.1))
    assert "--champion" in searches.registered(worse)
    said = make_champion(worse.path, searches.uri)
    assert said == "registered as recsearch-ml-100k, version 2: it was made the champion"
    assert searches.aliases() == {"champion": 2, "previous": 1}
    leaky = FakeRun(searches.runs, "leaky", leaky=True)
    leaky.trial()
    leaky.finish(model=True)
    leaky.close()
    assert "not made champion" in searches.registered(leaky)
    with pytest.raises(ConfigError, match="with knowledge of held-out items"):
        make_champion(leaky.path, searches.uri)
    (worse.path / "delivery.json").unlink()
    with pytest.raises(ConfigError, match="no version"):
        make_champion(worse.path, searches.uri)
