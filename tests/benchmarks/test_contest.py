"""The benchmark's own arithmetic: who is compared with whom, and what interleaving does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import contest as contests
from benchmarks.contest import Contender, ContenderError, Turns, contest
from benchmarks.rows import Compare, Line, Memory, Roster, Seconds
from benchmarks.run import table

FAKE = """
import json, sys
from pathlib import Path
asked = json.loads(sys.argv[1])
print(json.dumps({"version": "fake"}), flush=True)
for line in sys.stdin:
    epochs = int(line)
    with Path(asked["log"]).open("a") as log:
        log.write(asked["name"])
    rows = 100 * epochs
    print(json.dumps({"seconds": asked["per_row"] * rows, "cpu": asked["per_row"] * rows,
                      "rows": rows, "trained": 0.5 * rows}), flush=True)
"""


def turns(name: str, wall: list[float], **facts: float) -> Turns:
    return Turns(name, dict(facts), wall, wall, rows=1000)


def test_a_comparison_is_with_the_fastest_by_the_median() -> None:
    held = {
        "ours": turns("ours", [2.0, 1.0, 1.0]),
        "slow": turns("slow", [9.0, 9.0, 9.0]),
        "fast": turns("fast", [3.0, 1.0, 3.0]),
    }
    line = Compare("what", "ours", ("slow", "fast"), 2.5).line(held)
    assert line.other.startswith("fast")
    assert line.ratio == 3.0
    assert line.spread == (1.0, 3.0)
    assert line.met is True


@pytest.mark.parametrize(
    ("ratio", "at_least", "met"),
    [(2.5, True, True), (2.4, True, False), (2.5, False, True), (2.6, False, False)],
)
def test_a_target_is_met_at_its_bound(ratio: float, at_least: bool, met: bool) -> None:
    assert Line("", "", "", ratio, 2.5, at_least).met is met


def test_no_target_no_verdict() -> None:
    assert Line("", "", "", 3.0).met is None
    assert Line("skipped", "", "", None, 2.0).met is None


def test_memory_and_seconds_are_of_the_contender_named() -> None:
    facts = {"model_and_data_bytes": 100, "engine_bytes": 50, "growth_bytes": 250}
    held = {"ours": turns("ours", [0.002], **facts)}
    assert [line.ratio for line in Memory("m", "ours", 2.0).lines(held)] == [1.5, 2.5]
    assert [line.met for line in Memory("m", "ours", 2.0).lines(held)] == [True, False]
    assert Seconds("s", "ours", 8.0).line(held).ratio == pytest.approx(2.0)


def test_turns_interleave_and_the_first_epoch_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.setattr(contests, "PEERS", tmp_path)
    monkeypatch.setattr(contests, "TURN_SECONDS", 1.0)
    log = tmp_path / "log"

    def fake(name: str, per_row: float, warm_up: bool = True) -> Contender:
        options = {"name": name, "per_row": per_row, "log": str(log)}
        return Contender(name, "fake.py", sys.executable, options, warm_up)

    held, others = contest([fake("A", 0.002), fake("B", 0.02, warm_up=False)], 3, tmp_path)
    assert log.read_text() == "AA" + "AB" + "BA" + "AB"
    assert [turn.per_row for turn in held] == pytest.approx([0.002, 0.02])
    assert [turn.rows for turn in held] == [100, 100]  # of one epoch, also where a turn is five
    assert [len(turn.wall) for turn in held] == [3, 3]
    assert held[0].trained == 0.5
    assert held[0].facts == {"version": "fake"}
    assert 0 <= others <= 1


def test_a_contender_that_breaks_off_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken.py").write_text("raise SystemExit('no such library')")
    monkeypatch.setattr(contests, "PEERS", tmp_path)
    with pytest.raises(ContenderError, match="broken stopped: no such library"):
        contest([Contender("broken", "broken.py", sys.executable, {})], 1, tmp_path)


def test_every_contest_compares_contenders_that_it_has() -> None:
    roster, path = Roster("own", "peers", Path("script.py")), Path("data.npz")
    made = [
        roster.uniform(path, 64),
        roster.hard(path),
        roster.report(path),
        roster.frameworks(path),
        roster.gowalla(path),
        roster.scale(path, path),
    ]
    for one in made:
        names = [contender.name for contender in one.contenders]
        assert len(set(names)) == len(names)
        for check in one.checks:
            assert check.ours in names
            if isinstance(check, Compare):
                assert set(check.others) <= set(names)
        for contender in one.contenders:
            assert (contests.PEERS / contender.script).exists()


def test_the_table_says_which_targets_were_missed() -> None:
    text = table([Line("fast", "a", "b", 3.0, 2.0), Line("slow", "a", "b", 1.0, 2.0)])
    assert [row.split("|")[-2].strip() for row in text.splitlines()[2:]] == ["met", "MISSED"]
