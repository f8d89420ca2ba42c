"""What is on the screen: plain lines, the live display at several widths, hostile names."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search.record.events import Reason, State, TrialEnded
from search.record.result import RunResult
from search.record.state import TrialRecord
from search.screen import display as display_module
from search.screen.display import Display
from search.screen.progress import ENDS
from search.summary import result_rows
from search.words import LEAK, config_line, duration, number

RESULT: dict[str, Any] = {
    "status": "done",
    "purpose": "search",
    "metric": "map@50",
    "valid": 0.1371,
    "test": 0.1702,
    "test_ci": [0.1611, 0.1795],
    "test_users": 940,
    "split": "random ratio 0.1, test ratio 0.1",
    "negatives_exclude": "train",
    "baselines": {"ease": {"valid": 0.143, "test": 0.172}, "popularity": {"test": 0.069}},
    "best_trial": "t0017",
    "best_params": {"lr": 0.02134567, "loss": "bpr"},
    "best_epoch": 38,
    "trials": {"completed": 20, "pruned": 43, "failed": 1},
    "wall_s": 455.2,
    "busy_fraction": 0.931,
    "race": {"comparisons": [{"words": "the winner is better than t0003: a real gain"}]},
}


def result(**changes: Any) -> RunResult:
    """The result above with these changes; without a field whose change is `...`."""
    known = {name: value for name, value in (RESULT | changes).items() if value is not ...}
    return RunResult.model_validate(known)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def plain(**changes: Any) -> tuple[Display, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=False, width=80)
    values = {"run": "r1", "space": "smoke", "data": "demo", "metric": "map@10", "total": 4}
    return Display(**(values | changes), console=console, clock=clock), out, clock


def terminal(width: int = 80, height: int = 30, **changes: Any) -> tuple[Display, Console]:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, record=True,
        color_system="standard", legacy_windows=False, _environ={"TERM": "xterm"},
    )  # fmt: skip
    values = {"run": "r1", "space": "smoke", "data": "demo", "metric": "map@10", "total": 4}
    return Display(**(values | changes), console=console, clock=Clock()), console


def end(
    trial_id: str,
    state: State,
    value: float | None,
    reason: Reason | None = Reason.EPOCHS,
    cause: str | None = None,
) -> TrialEnded:
    return TrialEnded(id=trial_id, state=state, value=value, reason=reason, cause=cause)


def frame(display: Display, console: Console) -> str:
    with console.capture() as captured:
        console.print(display._frame())
    return captured.get()


@pytest.mark.parametrize("width", [40, 80])
def test_what_is_no_search_has_no_trials(width: int) -> None:
    display, console = terminal(width, stages=("valid", "refit"), plan="trained again")
    display.stage("valid")
    for done in (1, 2, 3):
        display.clock.now += 4.0  # type: ignore[attr-defined]
        display.progress(done, 10, "epochs")
    shown = frame(display, console)
    for words in ("trained again", "3/10", "28s left", "12s", "valid"):
        assert words in shown, shown
    for words in ("running", "best", "no value", "trial"):
        assert words not in shown
    display, out, clock = plain(stages=("valid", "refit"), plan="trained again")
    with display.live():
        display.stage("valid")
        clock.now += 40.0
        display.progress(1, 10, "epochs")
        clock.now += 40.0
        display.progress(2, 10, "epochs")
    assert out.getvalue().splitlines() == [
        "smoke on demo, run r1: trained again",
        "stage: valid",
        "valid: 1 of 10 epochs",
        "valid: 2 of 10 epochs, about 5m 20s left",
    ]


def test_plain_output_word_for_word():
    display, out, clock = plain()
    with display.live():
        display.stage("search")
        ends = [
            end("t0", State.COMPLETE, 0.1234),
            end("t1", State.PRUNED, 0.05, Reason.ASHA),
            end("t2", State.FAILED, None, Reason.ERROR, "bad\nluck"),
            end("t3", State.COMPLETE, 0.2, Reason.PATIENCE),
        ]
        for n, one in enumerate(ends):
            display.trial_started(f"t{n}", {"lr": 0.0123456, "loss": "bpr"})
            display.trial_progress(f"t{n}", 3, 0.04)
            clock.now += 2
            display.trial_ended(one)
        display.stage("race")
        display.progress(1, 2, "trainings")
        display.progress(2, 2, "trainings")
        display.note("done [bold]soon[/bold]")
    assert out.getvalue().splitlines() == [
        "smoke on demo, run r1: 4 trials planned",
        "stage: search",
        "[1/4] t0 completed map@10 0.1234 the best so far: lr=0.01235 loss=bpr",
        "[2/4] t1 pruned map@10 0.0500",
        "[3/4] t2 failed: bad luck, about 2s left",
        "[4/4] t3 completed map@10 0.2000 the best so far: lr=0.01235 loss=bpr",
        "stage: race",
        "race: 2 of 2 trainings",
        "done [bold]soon[/bold]",
    ]


def test_plain_output_of_thousands_of_trials_is_short_and_keeps_what_matters():
    display, out, clock = plain(total=5000)
    with display.live():
        for n in range(5000):
            display.trial_started(f"t{n}", {})
            clock.now += 0.05
            state = State.FAILED if n % 500 == 499 else State.COMPLETE
            value = None if state == State.FAILED else (0.9 if n == 3333 else 0.5 - n * 1e-5)
            display.trial_ended(end(f"t{n}", state, value, cause="out of memory"))
    lines = out.getvalue().splitlines()
    assert any("t3333 completed map@10 0.9000 the best so far" in line for line in lines)
    assert sum("failed: out of memory" in line for line in lines) >= 5
    assert 50 <= len(lines) <= 75  # 250 s, one line every 5


def test_time_left_is_at_most_that_of_the_budget_when_it_ends_first():
    display, out, clock = plain(total=100)
    display.ends_in(60.0)
    with display.live():
        display.stage("search")
        for n in range(4):
            display.trial_started(f"t{n}", {})
            clock.now += 10
            display.trial_ended(end(f"t{n}", State.COMPLETE, 0.1))
    assert [line.rsplit(", ")[1] for line in out.getvalue().splitlines()[2:]] == [
        "at most 50s left", "at most 40s left", "at most 30s left", "at most 20s left",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 80])
def test_a_budget_is_no_estimate(width: int) -> None:
    """A search of half a minute with a budget of half an hour."""
    display, out, clock = plain(total=30)
    live, console = terminal(width, total=30)
    with display.live():
        for one in (display, live):
            one.ends_in(1_800.0)
            one.stage("search")
        assert "0/30  at most 30m 00s left" in frame(live, console)
        for n in range(4):
            clock.now += 1
            live.clock.now += 1  # type: ignore[attr-defined]
            for one in (display, live):
                one.trial_started(f"t{n}", {})
                one.trial_ended(end(f"t{n}", State.COMPLETE, 0.1))
    assert [line.rsplit(", ")[1] for line in out.getvalue().splitlines()[2:]] == [
        "at most 29m 59s left", "at most 29m 58s left", "about 27s left", "about 26s left",
    ]  # fmt: skip
    assert "4/30  about 26s left" in frame(live, console)


def test_a_stage_whose_pieces_are_known_has_their_number_from_its_start() -> None:
    live, console = terminal(total=30)
    live.stage("race")
    live.parts(0, 14, "trainings")
    assert "0/14 trainings" in frame(live, console)
    narrow, console = terminal(60, total=30)
    narrow.stage("race")
    narrow.parts(0, 14, "trainings")
    assert "0/14" in frame(narrow, console) and "trainings" not in frame(narrow, console)
    display, out, clock = plain(total=30)
    with display.live():
        display.stage("race")
        display.parts(3, 8, "trainings")
        clock.now += 31
        display.tick()
        clock.now += 9
        display.progress(4, 8, "trainings")
        clock.now += 40
        display.progress(5, 8, "trainings")
    assert out.getvalue().splitlines()[2:] == [
        "race: 3 of 8 trainings",
        "race: 5 of 8 trainings, about 2m 00s left",
    ]


@pytest.mark.parametrize("total", [1, 2])
def test_the_last_piece_of_a_stage_that_earlier_sessions_did_is_not_reckoned(total: int) -> None:
    display, _, clock = plain(total=30)
    display.stage("race")
    display.parts(total - 1, total, "trainings")
    clock.now += 5
    assert display.left() == ""


def test_a_single_piece_is_not_counted() -> None:
    display, out, clock = plain(stages=("valid", "refit"), plan="trained again")
    with display.live():
        display.stage("valid")
        clock.now += 9
        display.progress(1, 1, "trainings")
        assert out.getvalue().splitlines()[1:] == ["stage: valid"]
        clock.now += 31  # its evaluation takes long
        display.tick()
    assert out.getvalue().splitlines()[2:] == ["valid: 40s so far"]


def test_pieces_are_named() -> None:
    display, out, _ = plain()
    with display.live():
        display.stage("test")
        display.progress(2, 2, "models")
        display.progress(3, 3, "members of the blend")
        display.stage("refit")
        display.progress(2, 2, "other splits")
    assert out.getvalue().splitlines()[1:] == [
        "stage: test",
        "test: 2 of 2 models",
        "test: 3 of 3 members of the blend",
        "stage: refit",
        "refit: 2 of 2 other splits",
    ]


def test_every_stage_says_how_far_it_is_and_how_long_it_still_takes():
    """At most one line every half minute where nothing happens, more only where pieces end."""
    display, out, clock = plain(total=100, stages=("search", "race", "test", "refit"))

    def wait(seconds: int) -> list[str]:
        """What is said meanwhile, by a look every second."""
        before = len(out.getvalue().splitlines())
        for _ in range(seconds):
            clock.now += 1
            display.tick()
        return out.getvalue().splitlines()[before:]

    with display.live():
        assert wait(60) == []  # before the first stage nothing is known
        display.stage("search")
        display.trial_started("t0", {})
        assert wait(70) == ["search: 0 of 100 trials, 1 running"] * 2
        for n in range(4):
            display.trial_ended(end(f"t{n}", State.COMPLETE, 0.1))
        assert wait(31) == ["search: 4 of 100 trials, 0 running, about 40m 00s left"]
        display.stage("race")
        assert wait(31) == ["race: 30s so far"]
        wait(9)
        display.progress(1, 8, "trainings")
        assert out.getvalue().splitlines()[-1] == "race: 1 of 8 trainings"
        assert wait(31) == ["race: 1 of 8 trainings"]  # the first piece may be a long one
        wait(9)
        display.progress(2, 8, "trainings")  # 10 s after the last line
        assert wait(15) == []
        assert wait(6) == ["race: 2 of 8 trainings, about 3m 40s left"]
        wait(3)
        display.progress(3, 8, "trainings")
        assert wait(31) == ["race: 3 of 8 trainings, about 2m 27s left"]
        display.progress(8, 8, "trainings")
        assert wait(31) == ["race: 8 of 8 trainings"]
        display.stage("test")
        wait(10)
        display.progress(1, 2, "trainings")
        assert out.getvalue().splitlines()[-1] == "test: 1 of 2 trainings, about 10s left"
        assert wait(31) == [
            "test: 1 of 2 trainings"
        ]  # longer than the first: nobody knows how long
        display.stage("refit")
        assert wait(31) == ["refit: 30s so far"]


def test_a_budget_says_how_long_a_stage_takes_at_most():
    display, out, clock = plain()
    display.ends_in(600.0)
    with display.live():
        display.stage("race")
        clock.now += 40
        display.tick()
        assert out.getvalue().splitlines()[-1] == "race: 40s so far, at most 9m 20s left"
        display.progress(1, 100, "trainings")
        display.progress(2, 100, "trainings")
        clock.now += 60
        display.tick()
        assert out.getvalue().splitlines()[-1] == "race: 2 of 100 trainings, at most 8m 20s left"


def test_pieces_of_an_earlier_session_and_other_pieces_say_nothing_of_the_pace():
    display, out, clock = plain()
    with display.live():
        display.stage("race")
        clock.now += 10
        display.progress(11, 14, "trainings")
        assert out.getvalue().splitlines()[-1] == "race: 11 of 14 trainings"
        clock.now += 30
        display.progress(12, 14, "trainings")
        assert out.getvalue().splitlines()[-1] == "race: 12 of 14 trainings, about 40s left"
        display.stage("test")
        for done in (1, 2):
            clock.now += 5
            display.progress(done, 2, "trainings")
        for done in (1, 2):
            clock.now += 40
            display.progress(done, 3, "trainings")  # the members of a blend
        assert out.getvalue().splitlines()[-1] == "test: 2 of 3 trainings, about 40s left"


SO_FAR = r"refit: \d+s so far"


def test_plain_output_is_looked_at_until_the_end(monkeypatch):
    """With the real clock: without any event, by a thread that ends with the display."""
    monkeypatch.setattr(display_module, "BEAT_S", 0.005)
    monkeypatch.setattr(display_module, "STAGE_EVERY_S", 0.01)
    out = io.StringIO()
    display = Display("smoke", "demo", 4, console=Console(file=out, force_terminal=False))
    with display.live():
        display.stage("refit")
        deadline = time.monotonic() + 10
        while not re.search(SO_FAR, out.getvalue()) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert re.search(SO_FAR, out.getvalue())
    time.sleep(0.05)
    said = out.getvalue()
    time.sleep(0.05)
    assert out.getvalue() == said


def earlier(number: int, state: State, value: float | None, **config: Any) -> TrialRecord:
    return TrialRecord(
        f"t{number}", number, {"lr": number}, config, 0, 0.0, state=state, value=value
    )


def test_a_resumed_run_counts_on_and_knows_the_best_of_before():
    display, out, _ = plain(total=10)
    display.take_up(
        [
            earlier(0, State.COMPLETE, 0.2),
            earlier(1, State.COMPLETE, 0.3),
            earlier(2, State.PRUNED, 0.9),
            earlier(3, State.FAILED, 0.9),
            earlier(4, State.COMPLETE, 0.9, negatives_exclude="all"),
            earlier(5, State.COMPLETE, None),
            earlier(6, State.RUNNING, None),
        ]
    )
    assert display.best is not None
    assert (display.best.id, display.best.params) == ("t1", {"lr": 1})
    with display.live():
        for name, value in (("t6", 0.25), ("t7", 0.4)):
            display.trial_started(name, {})
            display.trial_ended(end(name, State.COMPLETE, value))
    lines = out.getvalue().splitlines()
    assert lines[-2:] == [
        "[7/10] t6 completed map@10 0.2500",
        "[8/10] t7 completed map@10 0.4000 the best so far",
    ]


def test_no_escape_sequence_without_a_terminal():
    display, out, _ = plain(run="\x1b[31mred", data="a\x07\x9b2Jb", space="[link=file:///]x[/]")
    with display.live():
        display.trial_started("\x1b]0;title\x07", {"lr": 1.0})
        display.trial_ended(end("\x1b]0;title\x07", State.FAILED, None, cause="\x1b[2J gone"))
        display.note("\x1b[31m")
        display.summary([("winner", "[red]\x1b[0m"), ("file", "\x1b[5m")])
    text = out.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "[link=file:///]x[/]" in text
    assert "[red]" in text


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 300])
@pytest.mark.parametrize("height", [3, 10, 50])
def test_live_frame_fits_any_terminal(width, height):
    display, console = terminal(width, height, run="r" * 90, data="d" * 50, total=10_000)
    display.stage("search")
    for n in range(30):
        display.trial_started(f"t{n:04d}", {"num_candidate_neg_samples": 120, "lr": 0.02})
        display.trial_progress(f"t{n:04d}", 7, 0.1 + n / 1000)
        if n % 2:
            display.trial_ended(end(f"t{n:04d}", ENDS[n % 3], 0.1, cause="x" * 99))
    text = frame(display, console)
    assert max(len(line) for line in text_only(text)) <= width
    assert "search" in text
    assert any("0.128" in line for line in text_only(text))


def text_only(text: str) -> list[str]:
    from rich.text import Text

    return Text.from_ansi(text).plain.splitlines()


def test_live_frame_says_what_is_going_on():
    display, console = terminal(100)
    display.stage("search")
    display.trial_started("t0", {"lr": 0.02})
    display.trial_ended(end("t0", State.COMPLETE, 0.3))
    display.trial_started("t1", {"lr": 0.05})
    display.trial_progress("t1", 12, 0.25)
    text = "\n".join(text_only(frame(display, console)))
    assert "smoke on demo" in text
    assert "1 running  1 completed  0 pruned  0 failed" in text
    assert "best map@10 0.3000  t0" in text
    assert "lr=0.02" in text
    assert "t1 epoch 12 0.2500" in text
    assert "t0 completed 0.3000  epochs" in text
    assert "search › race › test › refit" in text


def test_a_stage_in_one_piece_shows_how_long_it_has_been_going():
    display, console = terminal(100)
    display.ends_in(60.0)
    display.stage("test")
    display.clock.now += 75  # type: ignore[attr-defined]
    text = "\n".join(text_only(frame(display, console)))
    assert "1m 15s" in text
    assert "left" not in text
    assert "0/4" not in text
    display.progress(1, 4, "trainings")
    assert "1/4" in "\n".join(text_only(frame(display, console)))


def test_markup_in_names_is_shown_not_obeyed():
    display, console = terminal(120, data="[bold]x[/bold]", run="[/]")
    display.trial_started("[red]t0[/red]", {"a": "[blink]v"})
    display.trial_ended(end("[red]t0[/red]", State.COMPLETE, 0.1, cause="[/nope]"))
    text = "\n".join(text_only(frame(display, console)))
    for piece in ("[bold]x[/bold]", "[red]t0[/red]", "[blink]v", "[/nope]"):
        assert piece in text


def test_live_display_gives_the_terminal_back():
    display, console = terminal()
    with pytest.raises(KeyboardInterrupt), display.live():
        display.trial_started("t0", {})
        display.trial_ended(end("t0", State.COMPLETE, 0.5))
        display.note("a note")
        raise KeyboardInterrupt
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1  # cursor hidden, then shown
    assert display._live is None
    display.stop()
    assert "best map@10 0.5000" in "\n".join(text_only(out))
    assert "a note" in out


def test_a_dumb_terminal_gets_plain_lines():
    console = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert not Display("s", "d", 1, console=console).interactive


def test_no_color_is_kept():
    environ = {"TERM": "xterm", "NO_COLOR": "1"}
    console = Console(file=io.StringIO(), force_terminal=True, _environ=environ, width=80)
    display = Display("smoke", "demo", 1, console=console)
    with display.live():
        display.trial_started("t", {})
        display.trial_ended(end("t", State.FAILED, None, cause="x"))
        display.summary([("winner", "t")])
    assert "\x1b[31m" not in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("live", [True, False])
def test_an_ascii_output_takes_everything(live):
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    environ = {"TERM": "xterm" if live else "dumb"}
    console = Console(file=raw, force_terminal=True, _environ=environ, width=70)
    with Display("空間", "café \udcff", 2, console=console).live() as display:
        display.stage("search")
        display.trial_started("t", {"a": "ü"})
        display.trial_ended(end("t", State.COMPLETE, 0.1, cause="ß"))
        display.note("naïve")
        display.summary(result_rows(result(), Path("runs/é")))
    raw.flush()
    assert b"caf?" in raw.buffer.getvalue()  # type: ignore[attr-defined]


class TestBest:
    def test_leaky_trials_are_never_the_best(self):
        display, out, _ = plain()
        with display.live():
            for n, (how, value) in enumerate([("train", 0.1), ("all", 0.9)]):
                display.trial_started(f"t{n}", {"negatives_exclude": how}, how == "all")
                display.trial_ended(end(f"t{n}", State.COMPLETE, value))
        assert display.best is not None
        assert display.best.id == "t0"
        assert "t1 completed map@10 0.9000 (leaky)" in out.getvalue()

    def test_a_leaky_space_says_so(self):
        display, console = terminal(100, leaky=True)
        display.trial_started("t0", {}, leaky=True)
        display.trial_ended(end("t0", State.COMPLETE, 0.9))
        text = "\n".join(text_only(frame(display, console)))
        assert "leaky: negatives_exclude is all" in text
        assert "0.9000 (leaky)" in text

    def test_a_trial_that_fails_gives_its_place_back(self):
        display, _, _ = plain()
        for name, value in (("t0", 0.1), ("t1", 0.9)):
            display.trial_started(name, {})
            display.trial_progress(name, 1, value)
        display.trial_ended(end("t0", State.PRUNED, 0.1, Reason.ASHA))
        assert display.best is not None
        assert display.best.id == "t1"
        display.trial_ended(end("t1", State.FAILED, 0.9, cause="MemoryError"))
        assert display.best.id == "t0"

    def test_what_a_cause_says_is_no_reason(self):
        """The clock cut no trial off that says so in words alone."""
        display, _, _ = plain()
        for one in (
            end("t0", State.COMPLETE, 0.1),
            end("t1", State.PRUNED, 0.9, Reason.ASHA, cause="time"),
        ):
            display.trial_started(one.id, {})
            display.trial_ended(one)
        assert display.best is not None
        assert display.best.id == "t0"
        display.trial_ended(end("t2", State.PRUNED, 0.5, Reason.TIME))
        assert display.best.id == "t2"

    def test_nan_and_failures_are_no_values(self):
        display, out, _ = plain()
        with display.live():
            display.trial_started("t0", {})
            display.trial_progress("t0", 1, float("nan"))
            display.trial_ended(end("t0", State.COMPLETE, float("nan")))
            display.trial_ended(end("never started", State.FAILED, 0.5, None))
        assert display.best is None
        assert "failed: no cause given" in out.getvalue()


class TestSummary:
    def test_rows(self, tmp_path):
        (tmp_path / "report.html").touch()
        rows = result_rows(result(), tmp_path, ["python run_search.py ui"])
        assert rows == [
            ("winner", "t0017, 38 epochs: lr=0.02135 loss=bpr"),
            ("validation", "map@50 0.1371, in the search"),
            ("test", "map@50 0.1702 (95% interval 0.1611 to 0.1795, 940 users)"),
            ("rivals", "popularity 0.0690, EASE 0.1720 on the same test items"),
            ("gain", "the winner is better than t0003: a real gain"),
            ("split", "random ratio 0.1, test ratio 0.1"),
            ("time", "7m 35s, 64 trials: 20 completed, 43 pruned, 1 failed, cores busy 93%"),
            ("file", str(tmp_path / "report.html")),
            ("next", "python run_search.py ui"),
        ]

    def test_a_leak_is_the_first_thing_said(self):
        rows = result_rows(result(negatives_exclude=["all", "train"]), Path("x"))
        assert rows[0] == ("WARNING", LEAK)
        leaky = {"best_config": {"negatives_exclude": "all"}, "negatives_exclude": "all"}
        rows = result_rows(result(**leaky), Path("x"))
        assert "winner" not in [label for label, _ in rows]
        assert ("validation", "map@50 0.1371, in the search (leaky: no winner)") in rows

    @pytest.mark.parametrize("missing", sorted(RESULT))
    def test_any_key_may_be_missing(self, missing):
        rows = result_rows(result(**{missing: ...}), Path("x"))
        assert len(rows) >= 7
        json.dumps(rows)

    def test_an_empty_result(self):
        assert ("test", "not measured") in result_rows(RunResult(), Path("x"))

    def test_commands_are_not_wrapped(self):
        display, console = terminal(50)
        long = "python run_search.py export " + "n" * 90
        display.summary([("winner", "t0"), ("next", long)])
        assert long in "\n".join(text_only(console.file.getvalue()))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (3599.7, "1h 00m"), (7620, "2h 07m"), (None, "-"),
     (float("inf"), "-"), (-3, "0s")],
)  # fmt: skip
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_numbers_and_configs():
    assert number(0.12345) == "0.1235"
    assert number(True) == number(None) == number(float("nan")) == "-"
    assert config_line({"lr": 1.23456e-5, "n": 3, "loss": "bpr"}) == "lr=1.235e-05 n=3 loss=bpr"
    assert config_line(None) == ""
