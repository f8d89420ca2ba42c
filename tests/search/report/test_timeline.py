"""Trials as bars over time: rows, pauses and the share that is filled, by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.record.events import State
from search.record.state import TrialRecord
from search.report.timeline import PAUSE_S, timeline, timeline_chart, timeline_words


def trial(number: int, started: float | None, ended: float | None, **more: Any) -> TrialRecord:
    known = {"params": {}, "config": {}, "seed": 0, "created": 0.0, "state": State.COMPLETE}
    return TrialRecord(f"t{number:04d}", number, started=started, ended=ended, **known | more)


def test_by_hand() -> None:
    found = timeline(
        [trial(0, 100, 110), trial(1, 101, 104), trial(2, 104, 120), trial(3, 110, 115)]
    )
    assert [(bar.trial.number, bar.row, bar.start, bar.end) for bar in found.bars] == [
        (0, 0, 0, 10),
        (1, 1, 1, 4),
        (2, 1, 4, 20),
        (3, 0, 10, 15),
    ]
    assert (found.rows, found.length, found.pauses) == (2, 20, ())
    assert found.filled == pytest.approx((10 + 3 + 16 + 5) / 40)


def test_a_night_between_two_sessions_is_not_drawn() -> None:
    found = timeline([trial(0, 0, 30), trial(1, 5, 50), trial(2, 50_000, 50_020)])
    assert found.pauses == ((50.0, 49_950.0),)
    assert found.bars[-1].start == 50.0
    assert found.length == 70.0
    assert "interrupted, for 13h 52m in all" in timeline_words([b.trial for b in found.bars])
    svg = timeline_chart([b.trial for b in found.bars], "t0001")
    assert svg is not None
    assert svg.count('class="run ') == 3
    assert 'class="run winner" data-trial="t0001"' in svg
    assert svg.count('class="pause"') == 1


@given(
    st.lists(
        st.tuples(st.floats(0, 1e4), st.floats(0, 500)).map(lambda p: (p[0], p[0] + p[1])),
        min_size=1,
        max_size=40,
    )
)
def test_no_two_bars_of_a_row_overlap(times: list[tuple[float, float]]) -> None:
    found = timeline([trial(n, *ends) for n, ends in enumerate(times)])
    assert len(found.bars) == len(times)
    for row in range(found.rows):
        own = [bar for bar in found.bars if bar.row == row]
        assert all(a.end <= b.start + 1e-6 for a, b in pairwise(own))
    assert 0 <= found.filled <= 1 + 1e-9
    assert all(length > PAUSE_S for _, length in found.pauses)
    kept = sum(length for _, length in found.pauses)
    begin, end = min(t for t, _ in times), max(t for _, t in times)
    assert found.length + kept == pytest.approx(end - begin, abs=1e-6)


def test_where_there_is_nothing_to_draw() -> None:
    assert timeline_chart([], None) is None
    assert timeline_chart([trial(0, None, None), trial(1, 1, None), trial(2, 1, 2)], None) is None


def test_too_many_to_draw_are_said() -> None:
    many = [trial(n, 0, 10) for n in range(100)]
    assert timeline_chart(many, None) == ""
    assert timeline_words(many) == (
        "100 trials, up to 100 side by side, are more than can be drawn; in rows of one trial "
        "after another they would fill 100%."
    )


def test_the_rows_of_a_machine_lie_together() -> None:
    made = [
        trial(0, 0, 10, node="w1"),
        trial(1, 1, 5, node="w2"),
        trial(2, 2, 9, node="w1"),
        trial(3, 6, 8, node="w2"),
        trial(4, 12, 13, node="w1"),
    ]
    found = timeline(made)
    assert {bar.trial.number: bar.row for bar in found.bars} == {0: 0, 1: 2, 2: 1, 3: 2, 4: 0}
    assert (found.rows, found.between()) == (3, [2])
    svg = timeline_chart(made, None)
    assert svg is not None
    assert svg.count('class="machines"') == 1
    assert svg.count("on w2") == 2
    assert "machine by machine (2 machines)" in timeline_words(made)
    here = [trial(0, 0, 1), trial(1, 0, 1)]
    assert "machine" not in timeline_words(here)
