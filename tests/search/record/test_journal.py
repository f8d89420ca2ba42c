"""The journal: what is written is read back, and nothing that can happen to the file is silent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsys.errors import InputError
from search.record.events import (
    EpochsReported,
    Other,
    Reason,
    SessionBegan,
    StageMarked,
    StageState,
    State,
    TrialBegan,
    TrialEnded,
    TrialMade,
)
from search.record.journal import Follower, Journal, StorageError, read_events, read_state
from search.record.standing import leader

COLUMNS = ["epoch", "loss", "map@50", "train_seconds", "eval_seconds"]


def write_trial(journal: Journal, number: int, epochs: int, attempt: int = 1) -> str:
    name = f"t{number:04d}"
    journal.append(
        TrialMade(id=name, number=number, params={"lr": 0.1}, config={"lr": 0.1}, seed=7, time=10.0)
    )
    journal.append(TrialBegan(id=name, attempt=attempt, time=11.0))
    for epoch in range(1, epochs + 1):
        row = [epoch, 1 / epoch, epoch / 100, 0.5, 0.25]
        journal.append(
            EpochsReported(id=name, attempt=attempt, columns=COLUMNS, rows=[row], time=11.0 + epoch)
        )
    return name


def begun(path: Path, line: bytes) -> Path:
    """A journal of one session and then `line`, whatever that is."""
    with Journal(path) as journal:
        journal.append(SessionBegan())
    with path.open("ab") as file:
        file.write(line)
    return path


def test_a_trial_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append(SessionBegan(settings={"seed": 3}, time=5.0))
        name = write_trial(journal, 0, 3)
        journal.append(
            TrialEnded(
                id=name,
                state=State.COMPLETE,
                reason=Reason.PATIENCE,
                value=0.03,
                best_epoch=3,
                epochs=3,
                busy_s=2.25,
                error=None,
                time=20.0,
            ),
            sync=True,
        )
    state = read_state(path)
    trial = state.trials["t0000"]
    assert (trial.state, trial.value, trial.best_epoch, trial.attempt) == ("COMPLETE", 0.03, 3, 1)
    assert trial.column("map@50") == [0.01, 0.02, 0.03]
    assert trial.metrics == ("map@50",)
    assert (trial.started, trial.ended) == (11.0, 20.0)
    assert state.run.settings == {"seed": 3}
    assert leader(state.in_order()) is trial
    assert state.offset == path.stat().st_size
    # 3 x 0.75 s busy between 11.0 and 20.0
    assert state.busy_fraction(cores=2) == pytest.approx(2.25 / (2 * 9.0))
    assert state.wall_s() == 15.0


def test_a_new_attempt_replaces_the_rows_of_the_old(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(SessionBegan())
        name = write_trial(journal, 0, 4)
        journal.append(SessionBegan())  # the driver died; its counter starts at 1 again
        journal.append(TrialBegan(id=name, attempt=1, time=50.0))
        row = [1, 0.9, 0.5, 0.1, 0.1]
        journal.append(EpochsReported(id=name, attempt=1, columns=COLUMNS, rows=[row], time=51.0))
    trial = read_state(tmp_path / "j").trials[name]
    assert trial.rows == [row]
    assert trial.attempt == 2
    assert trial.started == 50.0
    assert trial.busy_s == pytest.approx(0.2)


def test_what_a_trial_repeats_from_its_checkpoint_was_trained_before(tmp_path: Path) -> None:
    path = tmp_path / "j"
    rows = [[1, 0.9, 0.1, 100.0, 7.5], [2, 0.8, 0.2, 100.25, 7.25], [3, 0.7, 0.3, 101.0, 7.0]]
    with Journal(path) as journal:
        for at, attempt, seen in ((10.0, 1, rows[:2]), (450.0, 2, []), (500.0, 3, rows)):
            journal.append(SessionBegan(time=at))
            journal.append(TrialMade(id="t0000", number=0, params={}, config={}, seed=7, time=at))
            journal.append(TrialBegan(id="t0000", attempt=attempt, time=at))
            report = EpochsReported(
                id="t0000", attempt=attempt, columns=COLUMNS, rows=seen, time=at + 300
            )
            journal.append(report)
    state = read_state(path)
    assert state.trials["t0000"].busy_s == 323.0
    assert [session.busy_s for session in state.sessions] == [215.0, 0.0, 108.0]


def test_where_trials_are_added_no_stage_is_done_any_more(tmp_path: Path) -> None:
    """Whatever kills the driver after the first line of the session."""
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append(SessionBegan())
        for name in ("search", "race"):
            journal.append(StageMarked(name=name, state=StageState.DONE, data={"planned": 3}))
        journal.append(SessionBegan())
        assert read_state(path).stage_done("race")
        journal.append(SessionBegan(extends=True))
    state = read_state(path)
    assert not any(map(state.stage_done, state.stages))
    assert state.stages["search"].data == {}


def test_a_pause_between_sessions_is_not_wall_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(SessionBegan(time=0.0))
        journal.append(StageMarked(name="search", state=StageState.START, time=10.0))
        journal.append(SessionBegan(time=1000.0))
        journal.append(
            StageMarked(name="search", state=StageState.DONE, data={"n": 1}, time=1005.0)
        )
    state = read_state(tmp_path / "j")
    assert state.wall_s() == 15.0
    assert state.stage_done("search")
    assert state.stages["search"].data == {"n": 1}
    assert len(state.sessions) == 2


def test_each_run_has_its_own_uid(tmp_path: Path) -> None:
    uids = set()
    for n in range(3):
        with Journal(tmp_path / str(n)) as journal:
            journal.append(SessionBegan(name="a", time=float(n)))
            journal.append(SessionBegan(name="a", time=9.0))
        uids.add(read_state(tmp_path / str(n)).uid)
    assert len(uids) == 3


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_line_is_dropped_and_cut_before_appending(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append(SessionBegan())
        journal.append(StageMarked(name="search", state=StageState.START, time=1.0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read_state(path).stages == {}
    with Journal(path) as journal:
        journal.append(StageMarked(name="race", state=StageState.START))
    assert list(read_state(path).stages) == ["race"]


def test_a_tail_longer_than_a_block_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.append(SessionBegan())
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"\0" * 300_000)
    with Journal(path) as journal:
        assert journal.size == size
    assert path.stat().st_size == size


@pytest.mark.parametrize("damage", [b"{nonsense}\n", b"\n", b"[1]\n", b'{"x": 1}\n', b"\xff\0\n"])
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    path = begun(tmp_path / "j", damage)
    with Journal(path) as journal:
        journal.append(SessionBegan())
    with pytest.raises(InputError, match=r"j, line 2: damaged") as caught:
        read_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        b'{"t":"end","id":"t9","state":"COMPLETE"}\n',
        b'{"t":"trial","id":"t1"}\n',
        b'{"t":"race"}\n',
        b'{"t":"run","time":"noon"}\n',
    ],
)
def test_a_line_with_missing_fields_is_named(tmp_path: Path, line: bytes) -> None:
    path = begun(tmp_path / "j", line)
    with pytest.raises(InputError, match=r"line 2: damaged: a field is missing"):
        read_state(path)


def test_no_journal(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no journal"):
        read_state(tmp_path / "j")


def test_numbers_json_has_no_word_for_become_null(tmp_path: Path) -> None:
    values = {"a": float("nan"), "b": [float("inf"), 1.0], "c": np.float32(0.5), "d": np.arange(2)}
    with Journal(tmp_path / "j") as journal:
        journal.append(Other(t="x", more=values | {"e": np.array([1.0, np.nan])}))
    (event, _), = read_events(tmp_path / "j")  # fmt: skip
    assert event.more == {"a": None, "b": [None, 1.0], "c": 0.5, "d": [0, 1], "e": [1.0, None]}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(fields=st.lists(st.dictionaries(st.sampled_from("abcdef"), json_values), max_size=4))
@example(fields=[{"a": "Infinity", "b": ["-Infinity", float("-inf")]}])
def test_any_values_come_back(tmp_path_factory: pytest.TempPathFactory, fields: list) -> None:
    path = tmp_path_factory.mktemp("j") / "j"
    with Journal(path) as journal:
        for values in fields:
            journal.append(Other(t="x", more=values))
    found = [event for event, _ in read_events(path)] if fields else []
    for values, event in zip(fields, found, strict=True):
        # only a number: a text may well be "Infinity"
        finite = json.loads(json.dumps(values), parse_constant=lambda _: None)
        assert event.more == finite


def test_threads_do_not_mix_lines(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:

        def write(name: int) -> None:
            for n in range(200):
                journal.append(Other(t="x", more={"name": name, "n": n, "pad": "p" * 500}))

        threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = [event.more for event, _ in read_events(path)]
    for name in range(4):
        assert [e["n"] for e in events if e["name"] == name] == list(range(200))


def test_a_follower_comes_to_the_same_state(tmp_path: Path) -> None:
    path = tmp_path / "j"
    follower = Follower(path)
    with Journal(path) as journal:
        journal.append(SessionBegan())
        for number in range(5):
            write_trial(journal, number, number)
            follower.update()
            assert follower.state == read_state(path)


FULL_DISK = """
import resource, signal, sys
from search.record.events import Other
from search.record.journal import Journal, StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))  # writes beyond fail half-way
journal = Journal(sys.argv[1])
written = 0
try:
    while True:
        journal.append(Other(t="x", more={"n": written, "pad": "p" * 90}))
        written += 1
except StorageError as error:
    print(written, str(error).count("\\n"))
"""


def test_a_full_disk_stops_clearly_and_keeps_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "j"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    written, newlines = map(int, done.stdout.split())
    assert written > 10
    assert newlines == 0
    assert [event.more["n"] for event, _ in read_events(path)] == list(range(written))
    assert path.read_bytes().endswith(b"\n")


def test_a_device_without_space_is_one_line() -> None:
    journal = Journal("/dev/full")
    with pytest.raises(StorageError, match=r"/dev/full: cannot be written \(No space left"):
        journal.append(Other(t="x"))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    (tmp_path / "j").symlink_to(tmp_path / "other")
    with pytest.raises(StorageError):
        Journal(tmp_path / "j")
    assert (tmp_path / "other").read_text() == "mine"


WRITER = """
import sys
from search.record.events import Other
from search.record.journal import Journal
journal = Journal(sys.argv[1])
n = 0
while True:
    journal.append(Other(t="x", more={"n": n, "pad": "p" * 3000}), sync=n % 7 == 0)
    n += 1
    print(n, flush=True)
"""


def test_kill_9_loses_no_written_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    for pause in (0.05, 0.11, 0.17):
        before = sum(1 for _ in read_events(path)) if path.exists() else 0
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(pause)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        said = [1, *map(int, child.stdout.read().split("\n")[:-1])]
        child.stdout.close()
        after = [event.more["n"] for event, _ in read_events(path)]
        # the writer may have died between its last line and saying so
        assert len(after) - before - said[-1] in (0, 1)
        assert after[before:] == list(range(len(after) - before))
