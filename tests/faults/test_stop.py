"""Finished, extended and resumed runs; data that changed meanwhile; hostile names and files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.faults.live import Home, Live, check_whole, lines, outcome, seen

TRIALS = 14


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With one finished run, `done`."""
    home = Home(tmp_path_factory.mktemp("stop"))
    search = home.search("done")
    assert search.wait() == 0, search.said()
    search.gone(15, but="nothing")
    return home


def refused(search: Live, *words: str) -> None:
    assert search.wait(60) == 2, search.said()
    (line,) = search.errors().splitlines()
    for word in words:
        assert word in line


@pytest.mark.slow
def test_resuming_a_finished_run_does_nothing_and_says_so(home: Home) -> None:
    before = {p: p.read_bytes() for p in (home.runs / "done").glob("*.*") if p.suffix != ".lock"}
    again = home.resume("done")
    assert again.wait(60) == 0, again.said()
    assert "finished" in again.said()
    assert "--extend" in again.said()
    assert before == {
        p: p.read_bytes() for p in (home.runs / "done").glob("*.*") if p.suffix != ".lock"
    }
    check_whole(home, "done", TRIALS)


@pytest.mark.faults
def test_extending_is_what_more_trials_from_the_start_would_have_been(home: Home) -> None:
    shutil.copytree(home.runs / "done", home.runs / "keep")
    more = home.start("--run", "done", "--extend", "4")
    assert more.wait() == 0, more.said()
    longer = home.search("longer", "--trials", str(TRIALS + 4))
    assert longer.wait() == 0, longer.said()
    extended, whole = outcome(home, "done"), outcome(home, "longer")
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
    more = home.start("--run", "cut", "--extend", "3")
    assert more.until(seen(home.runs / "cut", "end", 6))
    more.kill()
    more.process.wait()
    last = home.resume("cut")
    assert last.wait() == 0, last.said()
    check_whole(home, "cut", TRIALS + 3)


@pytest.mark.faults
def test_data_that_changed_meanwhile_is_refused(home: Home) -> None:
    data = home.path / "mine.csv"
    head = "UserId,ItemId\n"
    rows = [f"{u},{(u * k) % 41}\n" for u in range(1, 80) for k in range(1, 9)]
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


@pytest.mark.slow
def test_names_and_links_can_not_lead_outside(home: Home) -> None:
    outside = home.path / "outside"
    outside.mkdir(exist_ok=True)
    for name in ("../outside", "/tmp/x", "a/b", "..", ".hidden", "-x", "a\nb", "x" * 101):
        assert home.call("--space", "smoke", "--data", "demo", f"--run={name}").returncode == 2
    (home.runs / "link").symlink_to(outside, target_is_directory=True)
    for args in (("--resume",), ("--space", "smoke", "--data", "demo")):
        done = home.call(*args, "--run", "link")
        assert done.returncode == 2, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(outside.iterdir()) == []


@pytest.mark.slow
def test_nothing_in_a_space_file_is_executed(home: Home) -> None:
    trace = home.path / "executed"
    for number, evil in enumerate(
        (
            f"!!python/object/apply:os.system ['touch {trace}']",
            f"!!python/object/new:os.system ['touch {trace}']",
            "!!python/name:os.system",
            "&a [*a]",
        )
    ):
        space = home.path / f"evil{number}.yaml"
        space.write_text(f"searcher: {evil}\nmetric: map@10\nparams:\n  lr: 0.1\n")
        done = home.call("--space", str(space), "--data", "demo", "--run", "evil")
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert not trace.exists()
    assert not (home.runs / "evil").exists()


def test_a_model_with_a_pickle_in_it_is_not_unpickled(tmp_path: Path) -> None:
    import pickle

    import torch

    from search.final import load_model

    trace = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {trace}",)

    torch.save({"user_factors": Evil()}, tmp_path / "weights.pt")
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
