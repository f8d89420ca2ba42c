"""Who becomes the champion: decided user by user where both were tested on the same items."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from recsys.errors import ConfigError
from recsys.interactions import CSR, Interactions
from recsys.models.catalogue import save_catalogue
from search.record.handed import model_digest
from search.record.measured import UserValues, save_test_values
from search.record.result import Comparison, RefitOf, Refitted, succeeds
from search.tracking import cross_test as cross_test_module
from search.tracking import succession
from search.tracking.memory import delivery_status
from search.tracking.store import open_store
from search.tracking.succession import _ended, judged
from search.tracking.verify import make_champion, verify_delivery
from search.tracking.where import EXPERIMENT
from search.words import utc
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


def test_when_a_run_ended_is_a_date_and_was_a_number() -> None:
    at = 1795810876.02
    assert _ended(utc(at)) == _ended(str(at)) == at
    assert _ended(None) == _ended("None") == _ended("") == 0.0


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

    def finished(
        self, name: str, values: UserValues | None, of: RefitOf | None = None, **known: str
    ) -> FakeRun:
        """A run with what its model reached for every user; None: nothing was kept. of: the run
        that it is a refit of.
        """
        self.count += 1
        known = {"metric": "map@50", "split": "ab12", "data": "d1"} | known
        run = Told(self.runs, name, self.count, known)
        run.trial()
        if values is not None:
            save_test_values(run.path, values)
        if of is not None:
            run.stage("refit", Refitted(of=of))
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
    said, why = described[0][0].split("\n\nWhen it was registered, ")
    assert why in better
    assert "test map@50: 0.1700 (95% interval 0.1600 to 0.1800)" in said
    ended = query(searches.uri, "select value from model_version_tags where key = 'finished'")
    assert all(datetime.fromisoformat(value).tzinfo for (value,) in ended)  # a date


def test_what_cannot_be_compared_stays_behind_the_champion_and_says_why(
    searches: Searches,
) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    steps = [
        ("split", "cd34", "tested on another split"),
        ("metric", "ndcg@20", "by another metric"),
        ("data", "d2", "tested on other data"),
    ]
    for number, (name, value, words) in enumerate(steps, 2):
        run = searches.finished(name, of(BASE + 0.1 * number), **{name: value})
        said = searches.registered(run)
        assert "version 1, of run a, stayed champion, not compared with this one: it was" in said
        assert words in said
        assert "and this run did not keep its test items" in said
        assert said.endswith(f"sync {name} --runs-dir {searches.runs} --champion")
        assert searches.aliases() == {"champion": 1}
    make_champion(run.path, searches.uri)
    assert searches.aliases() == {"champion": 4, "previous": 1}


def test_values_of_other_users_or_none_compare_nothing(searches: Searches) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    for name, values in (("others", of(BASE + 0.1, first=1)), ("none", None)):
        said = searches.registered(searches.finished(name, values))
        assert "stayed champion" in said
        assert "there are no values for the same users" in said
    assert searches.aliases() == {"champion": 1}


def test_a_champion_whose_run_was_deleted_stays(searches: Searches) -> None:
    first = searches.finished("a", of(BASE))
    assert searches.registered(first)
    run_id = delivery_status(first.path, searches.uri).run_id
    query(searches.uri, "delete from runs where run_uuid = ?", run_id)
    said = searches.registered(searches.finished("b", of(BASE + 0.1)))
    assert "version 1, stayed champion, not compared with this one: its run was deleted" in said


# --- the champion's model on the test items of a later run ------------------------------------


def with_test_items(
    run: FakeRun, values: list[float], test: list[tuple[int, int]], users: list[int]
) -> FakeRun:
    """Give a run test items: pairs of internal ids, which its model knows too, as after a search.

    users: the original ids of its users; items are 100, 200, 300, 400 as in the tiny model.
    """
    held = CSR.from_pairs(*np.array(test).T, len(users), 4)
    everything = held.union(CSR.from_pairs(np.array([0, 1]), np.array([0, 3]), len(users), 4))
    ids = np.array(users), np.array([100, 200, 300, 400])
    whole = Interactions(everything, np.zeros(everything.nnz), *ids, ordered=False)
    save_catalogue(run.path / "model", whole, everything)
    save_test_values(run.path, of(np.array(values)), held)
    return run


def later(searches: Searches, name: str, values: list[float], **more: Any) -> FakeRun:
    """A run on newer data, in which users 10 and 20 have liked what the champion would say."""
    facts = {"split": "time", "data": "newer", "metric": "map@2"}
    run = searches.finished(name, None, more.pop("of", None), **facts)
    given = {"test": [(0, 1), (1, 2)], "users": [10, 20]} | more
    return with_test_items(run, values, given["test"], given["users"])


def test_a_champion_that_knows_none_of_the_test_items_is_evaluated_on_them(
    searches: Searches,
) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    said = searches.registered(later(searches, "worse", [1.0, 0.5]))
    assert "version 1, of run a, stayed champion: it reaches map@2 1.0000, this one 0.7500" in said
    assert "on this run's test items, which neither was trained on, for the same 2 users" in said
    said = searches.registered(later(searches, "equal", [1.0, 1.0]))
    assert "it became the champion, after version 1, of run a (map@2 1.0000" in said
    assert searches.aliases() == {"champion": 3, "previous": 1}


def test_people_whom_the_champion_does_not_know_get_what_was_popular(searches: Searches) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    run = later(searches, "b", [1.0, 0.6], test=[(0, 1), (1, 0)], users=[10, 99])
    said = searches.registered(run)  # items 100 and 400 were equally popular; 99 has 400
    assert "it reaches map@2 1.0000, this one 0.8000" in said


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (
        "known",
        {"test": [(0, 1), (0, 2), (2, 3)], "users": [10, 30, 20]},
        "it was trained on 1 of the 3 test items of this run",
    ),
    ("strangers", {"users": [77, 88]}, "its data have no users or no items in common with these"),
]


@pytest.mark.parametrize(("name", "more", "words"), REFUSED, ids=[c[0] for c in REFUSED])
def test_what_would_not_be_fair_is_not_compared(
    searches: Searches, name: str, more: dict[str, Any], words: str
) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    said = searches.registered(later(searches, name, [1.0, 1.0], **more))
    assert "not compared with this one: it was tested on another split, or by another" in said
    assert f" metric, and {words}" in said
    assert "--champion" in said
    assert searches.aliases() == {"champion": 1}


def asked(searches: Searches, run_dir: Path) -> cross_test_module.CrossTest | str:
    """What the champion's model says of a run's test items."""
    client = open_store(searches.uri, EXPERIMENT).client
    champion = client.get_model_version_by_alias("recsearch-ml-100k", "champion").run_id
    return cross_test_module.cross_test(client, champion, "model", run_dir, "map@2")


def test_a_model_that_is_too_large_is_not_fetched(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    run = later(searches, "b", [1.0, 1.0])
    monkeypatch.setattr(cross_test_module, "MAX_BYTES", 100)
    assert asked(searches, run.path) == "its model is too large to be fetched and evaluated (0 MB)"


def test_of_very_many_users_some_are_asked(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    run = later(searches, "b", [1.0, 0.5])
    monkeypatch.setattr(cross_test_module, "MAX_SCORES", 7)
    found = asked(searches, run.path)
    assert not isinstance(found, str)
    assert found.champion.values.tolist() == [1.0]
    assert found.mine.values.tolist() == [(1.0, 0.5)[int(found.mine.users[0])]]


def test_a_model_that_cannot_be_read_holds_nothing_up(searches: Searches) -> None:
    first = searches.finished("a", of(BASE))
    (first.path / "model" / "config.json").write_text('{"model": "of a later version"}')
    assert searches.registered(first)
    said = searches.registered(later(searches, "b", [1.0, 1.0]))
    assert "stayed champion, not compared" in said
    assert "its model can't be evaluated (" in said


def test_a_refit_of_an_earlier_run_is_compared_with_the_champion_too(searches: Searches) -> None:
    assert searches.registered(searches.finished("a", of(BASE)))
    other = RefitOf(run="old", uid="0" * 16, model="recsearch-ml-100k")
    known = later(searches, "known", [1.0, 1.0], test=[(0, 1), (0, 0)], of=other)
    said = searches.registered(known)
    assert "it was trained on 1 of the 2 test items of this run" in said
    assert "(a refit of run a is compared with it)" in said
    said = searches.registered(later(searches, "new", [1.0, 1.0], of=other))
    assert "it became the champion, after version 1, of run a" in said


def test_values_of_a_run_that_was_sent_before_they_were_are_in_its_folder(
    searches: Searches,
) -> None:
    first = searches.finished("a", None)
    assert searches.registered(first)
    save_test_values(first.path, of(BASE))
    said = searches.registered(searches.finished("worse", of(BASE - 0.1)))
    assert "version 1, of run a, stayed champion" in said


def test_a_search_that_went_on_is_compared_with_what_it_had_handed_over(searches: Searches) -> None:
    run = searches.finished("a", of(BASE))
    assert searches.registered(run)
    said = went_on(searches, run, BASE - 0.2)
    assert "version 1, of this search before it went on, stayed champion: it reaches" in said
    other = searches.finished("b", of(BASE - 0.1))
    assert "version 1, of run a, stayed champion" in searches.registered(other)  # not by version 2
    assert "it became the champion, after version 1" in went_on(searches, run, BASE)
    assert searches.aliases() == {"champion": 4, "previous": 1}
    (run.path / "delivery.json").unlink()  # delivered again, it does not succeed itself
    assert "it became the champion" in searches.registered(run)
    client = open_store(searches.uri, EXPERIMENT).client
    weights = set()
    for number in ("1", "2", "4"):  # each has files of its own
        version = client.get_model_version("recsearch-ml-100k", number)
        files = f"{version.source.rpartition('/')[2]}/artifacts/model"
        kept = Path(client.download_artifacts(version.run_id, files, str(searches.runs)))
        assert model_digest(kept) == version.tags["weights"]
        weights.add(version.tags["weights"])
    assert len(weights) == 3


@pytest.mark.parametrize("lost", ["values", "run"])
def test_a_search_that_went_on_without_values_of_before_leaves_the_champion(
    searches: Searches, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Those of the run itself are the new model's by now."""
    run = searches.finished("a", of(BASE))
    assert searches.registered(run)
    client = open_store(searches.uri, EXPERIMENT).client
    version = client.get_model_version("recsearch-ml-100k", "1")
    if lost == "values":
        root = client.get_run(version.run_id).info.artifact_uri
        (Path(root.removeprefix("file://")) / "model" / "test.npz").unlink()
    else:
        monkeypatch.setattr(succession, "_run", lambda *_: None)
    said = went_on(searches, run, BASE + 0.1)
    assert "stayed champion, not compared with this one: there are no values of both" in said
    assert searches.aliases() == {"champion": 1}
    if lost == "values":  # nor is another run compared with those
        said = searches.registered(searches.finished("b", of(BASE + 0.2)))
        assert "version 1, of run a, stayed champion, not compared with this one" in said


def test_a_refit_was_compared_with_one_model_of_a_search_that_went_on(searches: Searches) -> None:
    run = searches.finished("a", of(BASE))
    assert searches.registered(run)
    state = run.folder.state()
    digest = model_digest(run.path / "model")
    better = Comparison(gain=0.1, ci=(0.05, 0.15), proven=True)
    known = {"run": "a", "uid": state.uid, "model": "recsearch-ml-100k", "comparison": better}
    of_other = RefitOf(weights="of version 2", before=0.5, **known)
    refit = searches.finished("other", of(BASE - 0.1), of_other)
    assert "version 1, of run a, stayed champion: it reaches" in searches.registered(refit)
    of_it = RefitOf(weights=digest, before=0.5, **known)
    refit = searches.finished("its", of(BASE - 0.1), of_it)
    assert searches.registered(refit).startswith("registered as recsearch-ml-100k, version 3: it b")


def went_on(searches: Searches, run: FakeRun, values: NDArray[np.float64]) -> str:
    """What is said of a run that found another model."""
    weights = next((run.path / "model").glob("weights.*"))
    weights.write_bytes(weights.read_bytes() + b"more")
    save_test_values(run.path, of(values))
    return searches.registered(run)


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
