"""kill -9 of the driver at any moment, then --resume: the run ends as if nothing had happened.

One trial at a time and one thread make a search repeatable to the last bit, so that a run that
was killed can be held against one that was not. Each kill is also followed by a look for
processes that stayed behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.faults.live import Home, Live, check_whole, outcome, seen

TRIALS = 14
KILLS = 5  # a seed


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("kill"))


@pytest.fixture(scope="module")
def undisturbed(home: Home) -> dict[str, object]:
    """What an uninterrupted run of the same seed comes to."""
    search = home.search("undisturbed")
    assert search.wait() == 0, search.said()
    check_whole(home, "undisturbed", TRIALS)
    search.gone()
    return outcome(home, "undisturbed")


def killed(search: Live) -> bool:
    """kill -9 of the driver alone; False where it had ended already."""
    alive = search.process.poll() is None
    search.kill()
    search.process.wait()
    search.gone()
    return alive


def go_on(home: Home, run: str) -> Live:
    """Resume, or begin again where the run had not come into being yet."""
    if (home.runs / run / "journal.jsonl").is_file() and seen(home.runs / run, "run")():
        return home.resume(run)
    return home.search(run)


@pytest.mark.slow
def test_at_three_telling_moments(home: Home, undisturbed: dict[str, object]) -> None:
    folder = home.runs / "telling"
    in_turn(
        *(home, "telling", undisturbed),
        seen(folder, "end", 5),  # in the middle of the search
        seen(folder, "race", 2),  # in the middle of the race
        seen(folder, "stage", name="refit", state="done"),  # while the last files are written
    )


@pytest.mark.faults
def test_at_the_moments_between(home: Home, undisturbed: dict[str, object]) -> None:
    folder = home.runs / "between"
    in_turn(
        *(home, "between", undisturbed),
        seen(folder, "start"),  # before any trial reported
        seen(folder, "stage", name="race"),  # with no trial left
        seen(folder, "stage", name="test"),  # while the test items are being read
    )


def in_turn(
    home: Home, run: str, undisturbed: dict[str, object], *moments: Callable[[], bool]
) -> None:
    """One run, killed at each of the moments in turn and each time resumed."""
    search, kills = home.search(run), 0
    for moment in moments:
        assert search.until(moment), search.said()
        alive = killed(search)
        kills += alive
        assert alive or moment is moments[-1], search.said()  # which is soon over
        if alive and moment is not moments[-1]:  # by then Ray may be closed, its guard dismissed
            assert f" --resume --run {run}" in search.errors()
        search = home.resume(run)
    assert search.wait() == 0, search.said()
    check_whole(home, run, TRIALS)
    assert outcome(home, run) == undisturbed
    assert len(home.state(run).sessions) == kills + 1


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(6))
def test_at_random_moments(home: Home, undisturbed: dict[str, object], seed: int) -> None:
    """Five kills at moments drawn over the time that a session may take; thirty in all.

    Where a run ends before its five, another one takes the rest.
    """
    rng = np.random.default_rng([20260, seed])
    kills = runs = 0
    while kills < KILLS:
        run, runs = f"random{seed}.{runs}", runs + 1
        started = time.monotonic()
        search = home.search(run)
        search.until(seen(home.runs / run, "stage", name="search"))
        lead = time.monotonic() - started  # reading and starting, which every session does
        alive = True
        while alive and kills < KILLS:
            time.sleep(rng.uniform(0, 2.5 * lead))
            alive = killed(search)
            kills += alive
            if alive:
                search = go_on(home, run)
        assert search.wait() == 0, search.said()
        print(f"{run}: {kills} kills so far, {len(home.state(run).sessions)} sessions")
        check_whole(home, run, TRIALS)
        assert outcome(home, run) == undisturbed


@pytest.mark.faults
def test_with_trials_side_by_side(home: Home) -> None:
    """Several trials at once: what is proposed depends on who ends first, nothing else may."""
    rng = np.random.default_rng(7)
    search = home.search("wide", cpus=4)
    for _ in range(4):
        folder = home.runs / "wide"
        ended = (
            len([t for t in home.state("wide").trials.values() if t.finished])
            if (folder / "journal.jsonl").exists()
            else 0
        )
        search.until(seen(folder, "end", min(TRIALS, ended + 3)))
        time.sleep(rng.uniform(0, 0.3))
        if not killed(search):
            break
        search = home.resume("wide", cpus=4)
    assert search.wait() == 0, search.said()
    check_whole(home, "wide", TRIALS)
