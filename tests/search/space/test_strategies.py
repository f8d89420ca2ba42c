"""Every word that a space may say for searcher and scheduler reaches an entry of its own."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import optuna
import pytest
from ray.tune.schedulers import FIFOScheduler

from recsys.errors import ConfigError
from search.propose import proposers
from search.propose.lengths import Lengths
from search.propose.memory import Memory
from search.propose.samplers import SAMPLERS, sampler
from search.propose.surrogate.proposer import Surrogate
from search.record.events import Reason
from search.space.load import load_spec
from search.space.spec import SearchSpec
from search.space.strategies import SCHEDULERS, SEARCHERS
from search.tune import scheduler as schedulers
from search.tune.searcher import StudySearch
from tests.search.fake_search import run
from tests.search.spaces import override

DOCS = Path(__file__).resolve().parents[3] / "docs" / "spaces.md"
SAMPLED = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
LEARNS = {"gp": Surrogate, "tpe": Memory}
PROPOSES = ("gp", "tpe", "random")
STOPPERS = {"asha": schedulers.EpochASHA, "none": schedulers.ToTheEnd}
ENDS_FOR = {"asha": Reason.ASHA, "none": Reason.STOPPED}  # what is noted of a trial that it ends


def countable(*settings: str) -> SearchSpec:
    spec = override(load_spec("smoke"), ["lr=[0.1, 0.2, 0.3]", *settings])
    assert all(p.domain.values() is not None for p in spec.searched())  # type: ignore[union-attr]
    return spec


def test_the_words_have_an_entry_in_both_rooms_and_no_other_word_has() -> None:
    assert SEARCHERS.keys() == SAMPLERS.keys()
    assert {word for word, way in SEARCHERS.items() if way.learns} == proposers.PROPOSERS.keys()
    assert proposers.PROPOSERS.keys() == LEARNS.keys()
    assert SCHEDULERS.keys() == schedulers.SCHEDULERS.keys() == STOPPERS.keys() == ENDS_FOR.keys()


@pytest.mark.parametrize("word", SAMPLED)
def test_a_searcher_that_samples_gets_its_own_sampler(word: str) -> None:
    assert type(sampler(countable(f"searcher={word}"), 1, 2)) is SAMPLED[word]


@pytest.mark.parametrize("word", LEARNS)
def test_a_searcher_that_learns_gets_its_own_proposer(word: str) -> None:
    made = proposers.proposer(countable(f"searcher={word}"), Lengths(lambda _: []))
    assert type(made) is LEARNS[word]


@pytest.mark.parametrize("word", SEARCHERS.keys() - set(PROPOSES))
def test_a_searcher_that_proposes_nothing_makes_what_is_listed_and_ends(word: str) -> None:
    spec = countable(f"searcher={word}")
    search = StudySearch(spec, seed=1, budget=10**6)
    made = [trial.params for trial in run(search, lambda params: 0.5)]
    first, *rest = made
    assert first == dict(spec.enqueue[0])
    assert rest == [config for config in spec.grid() if config != first]
    assert search.exhausted


def test_what_is_listed_of_a_searcher_that_proposes_is_enqueue_alone() -> None:
    for word in PROPOSES:
        spec = countable(f"searcher={word}")
        listed = list(islice(SEARCHERS[word].listed(spec), 99))
        assert listed == [dict(entry) for entry in spec.enqueue]


@pytest.mark.parametrize("word", SCHEDULERS)
def test_a_scheduler_is_the_one_of_its_word(word: str) -> None:
    spec = override(load_spec("smoke"), [f"scheduler={word}", "max_epochs=30"])
    made = schedulers.make_scheduler(spec)
    assert type(made) is STOPPERS[word]
    assert isinstance(made, FIFOScheduler)
    assert made.ends_for == ENDS_FOR[word]
    assert bool(schedulers.rungs(spec)) == SCHEDULERS[word].early


@pytest.mark.parametrize("word", [w for w, entry in SCHEDULERS.items() if entry.early])
def test_a_table_compares_complete_trainings(word: str) -> None:
    with pytest.raises(ConfigError, match="compares complete trainings"):
        override(load_spec("report_table"), [f"scheduler={word}"])


def test_other_words_are_refused_with_those_there_are() -> None:
    for key, entries in (("searcher", SEARCHERS), ("scheduler", SCHEDULERS)):
        with pytest.raises(ConfigError) as caught:
            override(load_spec("smoke"), [f"{key}=hyperband"])
        assert all(word in str(caught.value) for word in entries)


def test_the_docs_say_what_each_word_does() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for entries in (SEARCHERS, SCHEDULERS):
        for word, entry in entries.items():
            assert f"| `{word}` | {entry.about} |" in text
