"""How busy the machine is: by numbers that stand there, and into journal and MLflow."""

from __future__ import annotations

import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from search.machine.usage import Meter, Usage, UsageWatch
from search.record.events import MachineSeen
from search.record.journal import read_state
from search.tracking import wanted
from search.tracking.verify import verify_delivery
from tests.factories import FakeRun
from tests.search.tracking.tracking_help import deliver, query, sqlite_store


def put(root: Path, stat: str, available: int = 6000) -> Path:
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text(f"{stat}\ncpu0 1 2 3 4\nintr 5\n")
    memory = f"MemTotal: 8000 kB\nMemFree: 10 kB\nMemAvailable: {available} kB\n"
    (root / "proc/meminfo").write_text(memory)
    return root


def test_shares_of_the_time_between_two_looks(tmp_path: Path) -> None:
    meter = Meter(put(tmp_path, "cpu  100 0 50 800 50 0 0 0 30 0"))
    put(tmp_path, "cpu  160 5 60 900 60 2 2 1 90 5", available=2000)
    assert meter.read() == Usage(42.1, 6.1, 75.0)  # 80 of 190 ticks; 6000 of 8000 KiB
    assert meter.read().cpu_percent == 0.0  # no tick has passed


def test_a_counter_that_goes_backwards_is_no_share_below_zero(tmp_path: Path) -> None:
    meter = Meter(put(tmp_path, "cpu 100 0 0 100 100 0 0 0"))
    put(tmp_path, "cpu 100 0 0 250 50 0 0 0")
    assert meter.read().cpu_percent == 0.0


@pytest.mark.parametrize("missing", ["stat", "meminfo"])
def test_a_system_that_does_not_say(tmp_path: Path, missing: str) -> None:
    (put(tmp_path, "cpu 1 0 0 1 0 0 0 0") / "proc" / missing).unlink()
    with pytest.raises(OSError, match=missing):
        Meter(tmp_path)


def test_this_machine() -> None:
    if not Path("/proc/meminfo").exists():
        pytest.skip("no /proc")
    found = Meter().read()
    assert 0 <= found.cpu_percent <= 100
    assert 0 < found.memory_percent <= 100
    assert found.memory_mb > 10


def test_a_watch_looks_until_it_is_left_and_dies_quietly(tmp_path: Path) -> None:
    meter = Meter(put(tmp_path, "cpu 1 0 0 1 0 0 0 0"))
    seen: list[Usage] = []
    twice = threading.Event()

    def remember(usage: Usage) -> None:
        seen.append(usage)
        if len(seen) == 2:
            twice.set()

    with UsageWatch(meter, remember, first_s=0.001):
        assert twice.wait(60)
    count = len(seen)
    assert threading.Event().wait(0.05) is False
    assert len(seen) == count

    def refuse(usage: Usage) -> None:
        twice.set()
        raise OSError("no space left")

    twice.clear()
    with UsageWatch(meter, refuse, first_s=0.001) as watch:
        assert twice.wait(60)
        watch._thread.join(60)
        assert not watch._thread.is_alive()


def test_what_was_seen_arrives_under_the_names_of_mlflow(tmp_path: Path) -> None:
    run, uri = FakeRun(tmp_path / "runs", "a"), sqlite_store(tmp_path / "store")
    run.trial()
    for number in range(3):
        usage = Usage(10.0 * number, 512.5, 40.0)
        run.journal.append(MachineSeen(**asdict(usage), time=1000.0 + number))
    run.finish()
    run.close()
    state = read_state(run.path / "journal.jsonl")
    assert [one.cpu_percent for one in state.machine] == [0.0, 10.0, 20.0]
    assert not {p.key for p in wanted.run_points(state)}.isdisjoint(wanted._SYSTEM)
    assert deliver(run, uri)
    assert verify_delivery(run.path, uri) == []
    found = query(
        uri,
        "select m.key, m.step, m.timestamp, m.value from metrics m join runs r "
        "on r.run_uuid = m.run_uuid where m.key like 'system/cpu%' order by m.step",
    )
    name = "system/cpu_utilization_percentage"
    assert found == [(name, n, 1_000_000 + 1000 * n, 10.0 * n) for n in range(3)]
