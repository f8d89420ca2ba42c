"""Workers and Ray itself killed; trials that fail: the search goes on, or says why it can't."""

from __future__ import annotations

import csv
import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from search.tracking.verify import verify_delivery
from search.tune.tuner import WORKER_RETRIES
from tests.faults.live import Home, Live, check_whole, lines, outcome, seen

TRIALS = 14


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def kill_trials(search: Live) -> None:
    """kill -9 of every process that runs trials."""
    for pid in search.others("ray::ImplicitFunc"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def trial_table(home: Home, run: str) -> dict[str, dict[str, str]]:
    with (home.runs / run / "trials.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.mark.faults
@pytest.mark.parametrize("what", ["/raylet/raylet", "gcs_server"])
def test_ray_itself_dies(home: Home, what: str) -> None:
    """The driver begins again from the journal by itself, and nothing is the worse for it."""
    calm = home.search("calm")
    assert calm.wait() == 0, calm.said()
    search = home.search("one")
    assert search.until(seen(home.runs / "one", "end", 3))
    (pid,) = search.others(what)
    os.kill(pid, signal.SIGKILL)
    assert search.wait() == 0, search.said()
    assert "starting again from the journal (1 of 2)" in search.said()
    check_whole(home, "one", TRIALS)
    assert outcome(home, "one") == outcome(home, "calm")


@pytest.mark.faults
def test_ray_dies_again_and_again(home: Home) -> None:
    search = home.search("one")
    killed: set[int] = set()
    end = time.monotonic() + 240
    while search.process.poll() is None:
        assert time.monotonic() < end, search.said()
        # while the data are handed over, Ray's own code ends the driver: see the next test
        if seen(home.runs / "one", "start", len(killed) + 1)():
            for pid in search.others("/raylet/raylet").keys() - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.05)
    assert search.process.returncode == 1
    assert len(killed) == 3
    assert search.errors().splitlines()[-1].startswith("run_search.py: Ray's raylet died 3 times")
    assert "--resume --run one" in search.said()
    search.gone()
    again = home.resume("one")
    assert again.wait() == 0, again.said()
    check_whole(home, "one", TRIALS)


@pytest.mark.faults
def test_ray_dies_while_the_data_are_handed_over(home: Home) -> None:
    """Ray ends a process that finds its object store gone: then the guard says how to go on."""
    search = home.search("one")
    assert search.until(seen(home.runs / "one", "stage", name="search", state="start"))
    for pid in search.others("/raylet/raylet"):
        os.kill(pid, signal.SIGKILL)
    if search.wait():
        search.gone()
        assert "nothing finished is lost" in search.errors()
        assert "--resume --run one" in search.errors()
        search = home.resume("one")
        assert search.wait() == 0, search.said()
    check_whole(home, "one", TRIALS)


@pytest.mark.slow
def test_a_killed_worker_is_started_again(home: Home) -> None:
    search = home.search("one", "--trials", "6", "--set", "max_epochs=60", "--set", "patience=0")
    folder = home.runs / "one"
    again = seen(folder, "start", attempt=2)
    for begun in range(1, 7):  # a trial that ends before its worker is killed shows nothing
        assert search.until(seen(folder, "start", begun)), search.said()
        kill_trials(search)
        search.until(lambda n=begun: again() or seen(folder, "end", n)())
        if again():
            break
    assert search.wait() == 0, search.said()
    assert again()
    assert [t.state for t in home.state("one").in_order()].count("FAILED") == 0
    check_whole(home, "one", 6)


@pytest.mark.faults
def test_a_worker_killed_again_and_again_fails_its_trial(home: Home) -> None:
    """A few attempts, then FAILED with a reason in every record; the other trials go on."""
    search = home.search("one", "--trials", "6", "--set", "max_epochs=60", "--set", "patience=0")
    folder = home.runs / "one"
    for attempt in range(1, WORKER_RETRIES + 2):
        assert search.until(seen(folder, "start", id="t0000", attempt=attempt)), search.said()
        kill_trials(search)
    assert search.wait() == 0, search.said()
    check_whole(home, "one", 6)  # MLflow's traceback.txt too
    first = home.state("one").trials["t0000"]
    assert (first.state, first.reason) == ("FAILED", "worker")
    assert "the worker died in each of 3 attempts" in first.error
    assert trial_table(home, "one")["t0000"]["error"] == "the worker died"
    assert {t.state for t in home.state("one").in_order()[1:]} <= {"COMPLETE", "PRUNED"}


@pytest.mark.faults
def test_a_worker_killed_while_it_is_handed_over(home: Home) -> None:
    """As a trial ends, its worker gets the next one; no trial fails for a death in between."""
    search = home.search("one", "--trials", "12")
    for ended in (1, 3, 5, 7, 9):
        assert search.until(seen(home.runs / "one", "end", ended)), search.said()
        kill_trials(search)
    assert search.wait() == 0, search.said()
    check_whole(home, "one", 12)
    assert {t.state for t in home.state("one").in_order()} <= {"COMPLETE", "PRUNED"}
    assert 2 in [e["attempt"] for e in lines(home.runs / "one") if e["t"] == "start"]


@pytest.mark.faults
def test_a_worker_killed_in_the_race_is_started_again(home: Home) -> None:
    search = home.search("one")
    # the choice of the rivals, which comes first and is a task as well, is over or nearly
    assert search.until(seen(home.runs / "one", "race"))
    work = "ray::call"  # what the tasks of the stages after the search are called
    assert search.until(lambda: bool(search.others(work)))
    for pid in search.others(work):
        os.kill(pid, signal.SIGKILL)
    assert search.wait() == 0, search.said()
    check_whole(home, "one", TRIALS)
    assert not [row for row in home.state("one").race.values() if row.cause]


@pytest.mark.slow
def test_where_every_trial_fails_the_search_stops(home: Home) -> None:
    """Steps of length 10 with init_std 10 overflow; five failures in a row are enough."""
    home.space.write_text(
        home.space.read_text()
        .replace("lr: {low: 0.02, high: 0.3, log: true}", "lr: 10.0\n  init_std: 10.0")
        .replace(", lr: 0.1}", "}")
        .replace("optimizer: adagrad", "optimizer: sgd")
    )
    search = home.search("one")
    assert search.wait() == 1, search.said()
    (line,) = search.errors().splitlines()
    assert line.startswith("run_search.py: the first ")
    assert "diverged" in line
    state = home.state("one")
    assert state.status == "failed"
    assert 5 <= len(state.trials) < TRIALS
    failed = [t for t in state.in_order() if t.state == "FAILED"]
    assert len(failed) >= 5
    for trial in failed:
        assert "epoch" in trial.cause
        assert '"lr":10' in trial.cause or "'lr': 10" in trial.cause
        assert trial_table(home, "one")[trial.id]["error"]


@pytest.mark.faults
def test_a_trial_that_asks_for_too_much_memory_fails_alone(home: Home) -> None:
    """With 1 GB left to its worker only the config that needs 2 GB can't be allocated."""
    data = home.path / "wide.csv"
    rows = (f"{u},{(u * 7 + k * k) % 97}\n" for u in range(60_000) for k in range(12))
    data.write_text("UserId,ItemId\n" + "".join(rows))
    home.space.write_text(
        "searcher: random\nscheduler: none\nmetric: map@10\ntrials: 3\nmax_epochs: 3\nk: 10\n"
        "race: {finalists: 0, replicates: 0}\n"
        "params:\n  loss: bpr\n  neg_mode: even\n  lr: 0.1\n  patience: 0\n"
        "  latent_factors: {choice: [8, 9, 8192]}\n"
        "enqueue:\n  - {latent_factors: 8}\n  - {latent_factors: 8192}\n  - {latent_factors: 9}\n"
    )
    search = home.start(*("--space", str(home.space), "--data", str(data), "--run", "one"))
    assert search.until(seen(home.runs / "one", "start")), search.said()
    assert search.until(lambda: bool(search.others("ray::ImplicitFunc"))), search.said()
    for pid in search.others("ray::ImplicitFunc"):
        assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0)
        held = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.prlimit(pid, resource.RLIMIT_AS, (held + 10**9, held + 10**9))
    assert search.wait() == 0, search.said()
    trials = {t.config["latent_factors"]: t for t in home.state("one").trials.values()}
    assert {d: t.state for d, t in trials.items()} == {8: "COMPLETE", 8192: "FAILED", 9: "COMPLETE"}
    assert "memory" in trials[8192].cause.lower()
    assert "Traceback" in trials[8192].error
    assert verify_delivery(home.runs / "one", home.uri) == []
