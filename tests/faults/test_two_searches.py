"""Two searches at once on one machine and one store; one run name twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.record.folder import RunFolder
from tests.faults.live import Home, check_whole, outcome, seen
from tests.search.fake_search import open_study

TRIALS = 14


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.faults
def test_side_by_side_nothing_mixes(home: Home) -> None:
    """Each is what it would have been alone: same ids in both, other seeds, other results."""
    alone = home.search("alone", "--seed", "1")
    assert alone.wait() == 0, alone.said()
    first, second = home.search("first", "--seed", "1"), home.search("second", "--seed", "2")
    assert first.wait() == 0, first.said()
    assert second.wait() == 0, second.said()
    for run in ("first", "second"):
        check_whole(home, run, TRIALS)
        study = home.runs / run / "study.journal"
        assert open_study(study).study_name == run
    mine, other = outcome(home, "first"), outcome(home, "second")
    assert mine == outcome(home, "alone")
    assert mine["trials"] != other["trials"]
    assert RunFolder.open(home.runs, "first").state().uid != home.state("second").uid


@pytest.mark.faults
def test_the_same_name_twice_is_refused_and_harms_nobody(home: Home) -> None:
    first = home.search("one")
    assert first.until(seen(home.runs / "one", "start")), first.said()
    with first.frozen():  # it is running as long as this takes
        for second in (
            home.search("one"),
            home.resume("one"),
            home.start("--run", "one", "--extend", "5"),
        ):
            assert second.wait() == 2, second.said()
            (line,) = second.errors().splitlines()
            assert "one" in line
            assert "is running" in line
            assert "choose another" in line
    assert first.wait() == 0, first.said()
    check_whole(home, "one", TRIALS)
    assert len(home.state("one").sessions) == 1
    again = home.search("one")
    assert again.wait() == 2
    assert "--resume" in again.errors()
    assert "--extend" in again.errors()
    assert len(home.state("one").sessions) == 1
