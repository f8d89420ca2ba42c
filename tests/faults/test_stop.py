"""Finished, extended and resumed runs; data that changed meanwhile; hostile names and files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from search.cli.main import main
from tests.faults.live import Home, Live, check_whole, lines, outcome, seen

TRIALS = 14


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With one finished run, `done`."""
    home = Home(tmp_path_factory.mktemp("stop"))
    search = home.search("done")
    assert search.wait() == 0, search.said()
    search.gone(but="nothing")
    return home


def refused(search: Live, *words: str) -> None:
    assert search.wait() == 2, search.said()
    (line,) = search.errors().splitlines()
    for word in words:
        assert word in line


@pytest.mark.faults
def test_extending_is_what_more_trials_from_the_start_would_have_been(home: Home) -> None:
    """With proposals that no result decides: a trial is proposed while the one before it runs, the
    first of an extension when all have ended, and who learns makes something else of it.
    """
    shutil.copytree(home.runs / "done", home.runs / "keep")
    by_chance = ("--set", "searcher=random")
    first = home.search("short", *by_chance)
    assert first.wait() == 0, first.said()
    for run in ("short", "done"):
        more = home.start("--run", run, "--extend", "4")
        assert more.wait() == 0, more.said()
    longer = home.search("longer", "--trials", str(TRIALS + 4), *by_chance)
    assert longer.wait() == 0, longer.said()
    extended, whole = outcome(home, "short"), outcome(home, "longer")
    assert extended["trials"] == whole["trials"]
    assert extended["epochs"] == whole["epochs"]
    assert extended["submission"] == whole["submission"]
    result = json.loads((home.runs / "done" / "result.json").read_text())
    assert result["test_reads"] == 2  # the test was looked at once more, and that is told


@pytest.mark.faults
def test_extending_an_interrupted_run(home: Home) -> None:
    search = home.search("cut")
    assert search.until(seen(home.runs / "cut", "end", 4))
    search.kill()
    search.process.wait()
    # three more than have ended, whatever was planned before
    cut = home.state("cut").trials
    trials = max(len(cut), 3 + sum(t.finished for t in cut.values()))
    more = home.start("--run", "cut", "--extend", "3")
    assert more.until(seen(home.runs / "cut", "end", 6))
    more.kill()
    more.process.wait()
    last = home.resume("cut")
    assert last.wait() == 0, last.said()
    check_whole(home, "cut", trials)


@pytest.mark.faults
def test_data_that_changed_meanwhile_is_refused(home: Home) -> None:
    data = home.path / "mine.csv"
    head = "UserId,ItemId\n"
    rows = [f"{u},{(u * k) % 41}\n" for u in range(1, 80) for k in range(1, 13)]
    data.write_text(head + "".join(rows))
    where = ("--space", str(home.space), "--data", str(data), "--run", "mine")
    search = home.start(*where)
    assert search.until(seen(home.runs / "mine", "end", 2)), search.said()
    search.kill()
    search.process.wait()
    known = lines(home.runs / "mine")
    data.write_text(head + "".join(rows[:-5]))
    refused(home.resume("mine"), "mine", "data has changed")
    refused(home.start("--run", "mine", "--extend", "2"), "mine", "data has changed")
    data.unlink()
    refused(home.resume("mine"), str(data))
    assert lines(home.runs / "mine") == known
    data.write_text(head + "".join(rows))
    again = home.resume("mine")
    assert again.wait() == 0, again.said()


@pytest.fixture
def mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call the command line in this process: exit 2, and one line, which it returns."""

    def call(*args: str) -> str:
        where = ("--runs-dir", str(tmp_path / "runs"))
        store = ("--tracking-uri", f"sqlite:///{tmp_path}/store/mlflow.db")
        try:
            code = main([*args, "--data", "demo", *where, *store])
        except SystemExit as stop:
            code = int(stop.code or 0)
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 2
        return line

    return call


@pytest.mark.parametrize("name", ["../out", "/tmp/x", "a/b", "..", ".a", "-x", "a\nb", "x" * 101])
def test_a_name_can_not_lead_outside(
    mistake: Callable[..., str], tmp_path: Path, name: str
) -> None:
    assert "--run" in mistake("--space", "smoke", f"--run={name}")
    assert {path.name for path in tmp_path.rglob("*")} <= {"store", "runs"}


def test_a_link_in_place_of_a_run_is_refused(mistake: Callable[..., str], tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(outside, target_is_directory=True)
    assert "link" in mistake("--space", "smoke", "--run", "link")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "evil",
    [
        "!!python/object/apply:os.system ['touch TRACE']",
        "!!python/object/new:os.system ['touch TRACE']",
        "!!python/name:os.system",
        "&a [*a]",
    ],
)
def test_nothing_in_a_space_file_is_executed(
    mistake: Callable[..., str], tmp_path: Path, evil: str
) -> None:
    trace = tmp_path / "executed"
    space = tmp_path / "evil.yaml"
    text = evil.replace("TRACE", str(trace))
    space.write_text(f"searcher: {text}\nmetric: map@10\nparams:\n  lr: 0.1\n")
    assert "evil.yaml" in mistake("--space", str(space), "--run", "evil")
    assert not trace.exists()
    assert not (tmp_path / "runs" / "evil").exists()


def test_a_model_with_a_pickle_in_it_is_not_unpickled(tmp_path: Path) -> None:
    import pickle

    import torch

    from recsys.models.saved import CONFIG, load_model

    trace = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {trace}",)

    torch.save({"user_factors": Evil()}, tmp_path / "weights.pt")
    (tmp_path / CONFIG).write_text("{}")
    with pytest.raises(pickle.UnpicklingError):
        load_model(tmp_path)
    assert not trace.exists()


@pytest.mark.faults
def test_a_live_search_listens_on_this_machine_alone(home: Home) -> None:
    search = home.search("sockets")
    assert search.until(seen(home.runs / "sockets", "end", 2))
    pids = [search.process.pid, *search.others()]
    found = listening(pids)
    search.end()
    assert len(found) > 2  # Ray is there, so something listens
    assert {address for address in found if not loopback(address)} == set()


def listening(pids: list[int]) -> set[str]:
    """Addresses, in the kernel's hexadecimal, on which these processes listen."""
    inodes = {}
    for family in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            columns = row.split()
            if columns[3] == "0A":
                inodes[f"socket:[{columns[9]}]"] = columns[1]
    found = set()
    for pid in pids:
        try:
            links = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        found |= {inodes[link] for link in links if link in inodes}
    return found


def loopback(address: str) -> bool:
    host = address.split(":")[0]
    last = host[-8:]  # IPv4, or its place in an IPv4-mapped IPv6 address; little endian
    mapped = host[:-8] in ("", "0000000000000000FFFF0000")
    return (mapped and last.endswith("7F")) or host == "00000000000000000000000001000000"
