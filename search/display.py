"""What a person sees while a search runs: one live display, or plain lines where there is none.

Everything that comes from outside (ids, names, paths, error messages) is shown as text: rich's
markup and control characters in it do nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.words import Row, config_line, duration, leaky_params, number

STAGES = ("search", "race", "test", "refit", "report")
STYLES = {"COMPLETE": "green", "PRUNED": "bright_black", "FAILED": "red"}
WORDS = {"COMPLETE": "completed", "PRUNED": "pruned", "FAILED": "failed"}
MANY = 200  # from this many trials on, plain output tells of the interesting ones only
TO_COPY = ("file", "next")  # rows of the summary that are copied, so never wrapped
EVERY_S = 5.0  # ... and of the count at most this often


@dataclass
class Shown:
    """What is shown of one trial."""

    id: str
    params: Mapping[str, Any]
    leaky: bool
    epoch: int = 0
    best: float = float("-inf")


@dataclass
class Display:
    """Events in, screen out; `with display.live():` draws while the run is on.

    space, data, run: names for the header (`run` may be set later). total: trials planned.
    time_budget: seconds of the whole run, or None. done: trials that ended before this session.
    leaky: the space itself sets `negatives_exclude: all`. clock: monotonic seconds.

    Events may come from any thread, and before or after the live part.
    """

    space: str
    data: str
    total: int
    time_budget: float | None = None
    metric: str = "value"
    run: str = ""
    done: int = 0
    leaky: bool = False
    console: Console = field(default_factory=Console)
    clock: Callable[[], float] = time.monotonic
    best: Shown | None = None
    running: dict[str, Shown] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORDS, 0))
    recent: deque[tuple[str, str, float | None, str]] = field(
        default_factory=lambda: deque(maxlen=8)
    )
    now: str = ""
    part: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self._live: Live | None = None
        self.interactive = self.console.is_terminal and not self.console.is_dumb_terminal
        self.ascii = self.console.options.ascii_only
        self.started = self.stage_started = self.last_line = self.clock()
        self._lock = threading.RLock()

    # --- life --------------------------------------------------------------------------------

    @contextmanager
    def live(self) -> Iterator[Display]:
        """Draw until the block ends, however it ends."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def start(self) -> None:
        """Show the header; on a terminal, begin to draw."""
        self.started = self.stage_started = self.last_line = self.clock()
        if not self.interactive:
            run = f", run {self.run}" if self.run else ""
            self._line(f"{self.space} on {self.data}{run}: {self.total} trials planned")
            if self.leaky:
                self._line("WARNING: negatives_exclude is all: validation numbers leak")
            return
        if self._live is None:
            self._live = Live(
                console=self.console,
                get_renderable=self._frame,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def stop(self) -> None:
        """Stop drawing and give the terminal back, the last state left on it. Safe to repeat."""
        if self._stop_live():
            self.console.print(self._closing())

    def _stop_live(self) -> bool:
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        return live is not None

    # --- events ------------------------------------------------------------------------------

    def trial_started(self, trial_id: str, params: Mapping[str, Any]) -> None:
        """A trial begins, or begins again."""
        with self._lock:
            leaky = self.leaky or leaky_params(params)
            self.running[trial_id] = Shown(trial_id, dict(params), leaky)

    def trial_progress(self, trial_id: str, epoch: int, best: float) -> None:
        """A trial reports: `best` is its best value so far."""
        with self._lock:
            trial = self.running.setdefault(trial_id, Shown(trial_id, {}, self.leaky))
            trial.epoch = epoch
            if best == best:  # a NaN is no value
                trial.best = max(trial.best, best)
            self._maybe_best(trial)

    def trial_ended(
        self, trial_id: str, state: str, value: float | None, reason: str | None
    ) -> None:
        """A trial is over: COMPLETE, PRUNED or FAILED, the last with its cause as `reason`."""
        with self._lock:
            trial = self.running.pop(trial_id, None) or Shown(trial_id, {}, self.leaky)
            if value is not None and value == value and state != "FAILED":
                trial.best = value
            if state != "FAILED":
                self._maybe_best(trial)
            self.ended[state] = self.ended.get(state, 0) + 1
            self.done += 1
            self.recent.append((trial_id, state, value, " ".join(str(reason or "").split())))
            if not self.interactive:
                self._trial_line(trial, state, value, reason, self.best is trial)

    def _maybe_best(self, trial: Shown) -> None:
        """Leaky numbers are never the best; in a run of nothing else they are, in red."""
        if trial.best == float("-inf") or (trial.leaky and not self.leaky):
            return
        if self.best is None or trial.best > self.best.best or trial is self.best:
            self.best = trial

    def stage(self, name: str) -> None:
        """The run enters a stage: search, race, test, refit, report."""
        with self._lock:
            self.now, self.part, self.stage_started = name, None, self.clock()
        if not self.interactive:
            self._line(f"stage: {name}")

    def progress(self, done: int, total: int) -> None:
        """How far the present stage is, for stages that are not made of trials."""
        with self._lock:
            self.part = (done, total)
        if not self.interactive and (done == total or self._due()):
            self._line(f"{self.now}: {done} of {total}")

    def note(self, text: str) -> None:
        """One line for the person, above the live part."""
        if self.interactive:
            self.console.print(Text(self._clean(text)), highlight=False)
        else:
            self._line(text)

    def summary(self, rows: Sequence[Row], title: str = "result") -> None:
        """The end of a run, see `search.words.result_rows`; ends the live part.

        Files and commands come last, unwrapped and without a frame, to be copied.
        """
        self._stop_live()
        if not self.interactive:
            width = max((len(label) for label, _ in rows), default=0)
            self._line("")
            for label, text in rows:
                self._line(f"{label:<{width}}  {text}")
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        last = ""
        for label, text in rows:
            if label in TO_COPY:
                continue
            shown = "" if label == last else label
            style = "bold red" if label.isupper() else ""
            table.add_row(self._text(shown), self._text((text, style)))
            last = label
        self.console.print(Panel(table, title=self._text(title), border_style="green"))
        for label, text in rows:
            if label in TO_COPY:
                line = self._text((f"{label}  ", "bold"), (text, "cyan"))
                self.console.print(line, soft_wrap=True, highlight=False)

    # --- plain lines -------------------------------------------------------------------------

    def _trial_line(
        self, trial: Shown, state: str, value: float | None, reason: str | None, is_best: bool
    ) -> None:
        told = is_best or (state == "FAILED" and self.ended["FAILED"] <= 5)
        if self.total > MANY and not told and not self._due():
            return
        words = f"[{self.done}/{self.total}] {trial.id} {WORDS.get(state, state.lower())}"
        if state == "FAILED":
            words += f": {' '.join(str(reason or 'no cause given').split())}"
        elif value is not None:
            words += f" {self.metric} {number(value)}"
            words += " (leaky)" if trial.leaky else ""
            words += " the best so far" if is_best else ""
            words += f": {config_line(trial.params)}" if is_best and trial.params else ""
        if (left := self._left()) is not None and self.done < self.total:
            words += f", about {duration(left)} left"
        self._line(words)

    def _due(self) -> bool:
        return self.clock() - self.last_line >= EVERY_S

    def _line(self, text: str) -> None:
        self.last_line = self.clock()
        # soft_wrap: a log file gets one line, however long
        self.console.print(Text(self._clean(text)), soft_wrap=True, highlight=False)

    # --- the live part -----------------------------------------------------------------------

    def _frame(self) -> RenderableType:
        with self._lock:
            narrow = self.console.width < 60
            parts: list[RenderableType] = [self._head()]
            parts += [self._bar(), self._counts(), *self._best_lines()]
            room = max(0, min(5, self.console.height - 14))
            if self.running and self.now in ("", "search"):
                parts.append(self._running(3 if narrow else 6))
            parts += [self._ended_line(*one) for one in list(self.recent)[-room:]] if room else []
            parts.append(self._steps())
            return Group(*parts)

    def _closing(self) -> RenderableType:
        with self._lock:
            return Group(self._head(), self._counts(), *self._best_lines())

    def _head(self) -> Text:
        head = self._text((self.space, "bold"), " on ", (self.data, "bold"))
        head.append(self._clean(f"  run {self.run}") if self.run else "")
        if self.leaky:
            head.append("  leaky: negatives_exclude is all", "bold red")
        return self._one_line(head)

    def _bar(self) -> RenderableType:
        found = self._work()
        left = self._left()
        if found is None:
            what = duration(self.clock() - self.stage_started)
            bar = ProgressBar(pulse=True, animation_time=self.clock())
        else:
            done, total = found
            what = f"{done}/{total}" + (f"  {duration(left)} left" if left is not None else "")
            bar = ProgressBar(total=max(total, 1), completed=done)
        if self.console.width < 60:
            return self._text((f"{self.now or 'start'} {what}", "bold"))
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(width=7)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_row(self._text((self.now or "start", "bold")), bar, self._text(what))
        return grid

    def _counts(self) -> Text:
        line = self._text(f"{len(self.running)} running")
        for state, word in WORDS.items():
            style = STYLES[state] if self.ended[state] else "bright_black"
            line.append(f"  {self.ended[state]} {word}", style)
        line.append(f"  {duration(self.clock() - self.started)}", "bright_black")
        return self._one_line(line)

    def _best_lines(self) -> list[RenderableType]:
        if self.best is None:
            return [self._text(("no value yet", "bright_black"))]
        style = "bold red" if self.best.leaky else "bold green"
        epoch = f", by epoch {self.best.epoch}" if self.best.epoch else ""
        leak = " (leaky)" if self.best.leaky else ""
        head = self._text(
            "best ",
            (f"{self.metric} {number(self.best.best)}{leak}", style),
            f"  {self.best.id}",
            epoch,
        )
        config = self._text((config_line(self.best.params), "italic"))
        return [self._one_line(head), Padding(config, (0, 0, 0, 2))]

    def _running(self, most: int) -> Text:
        line = self._text()
        for trial in list(self.running.values())[:most]:
            value = f" {number(trial.best)}" if trial.best > float("-inf") else ""
            line.append(f"{self._clean(trial.id)} epoch {trial.epoch}{value}   ", "cyan")
        if len(self.running) > most:
            line.append(f"and {len(self.running) - most} more", "bright_black")
        return self._one_line(line)

    def _ended_line(self, trial_id: str, state: str, value: float | None, reason: str) -> Text:
        style = STYLES.get(state, "")
        line = self._text(
            (f"{trial_id} {WORDS.get(state, state):<9} ", style), number(value), f"  {reason}"
        )
        return self._one_line(line)

    def _steps(self) -> Text:
        line = self._text()
        at = STAGES.index(self.now) if self.now in STAGES else -1
        arrow = " > " if self.ascii else " › "
        for place, name in enumerate(STAGES):
            style = "bold" if place == at else "green" if place < at else "bright_black"
            line.append(f"{arrow if place else ''}", "bright_black")
            line.append(name, style)
        return self._one_line(line)

    def _work(self) -> tuple[int, int] | None:
        """Done and planned of the present stage; None where a stage is one piece."""
        if self.part is None and self.now in ("", "search"):
            return self.done, max(self.total, self.done)
        return self.part

    def _left(self) -> float | None:
        """Seconds until the end of the present stage, or of the budget if that is sooner."""
        found = self._work()
        if found is None:
            return None
        elapsed = self.clock() - self.stage_started
        before = self.done - sum(self.ended.values()) if self.part is None else 0
        done, total = found[0] - before, found[1] - before
        by_work = elapsed * (total - done) / done if done >= 3 and total >= done else None
        if self.time_budget is None:
            return by_work
        by_time = max(0.0, self.time_budget - (self.clock() - self.started))
        return by_time if by_work is None else min(by_work, by_time)

    # --- text --------------------------------------------------------------------------------

    def _text(self, *parts: str | tuple[str, str]) -> Text:
        text = Text()
        for part in parts:
            words, style = (part, "") if isinstance(part, str) else part
            text.append(self._clean(words), style)
        return text

    def _one_line(self, text: Text) -> Text:
        text.no_wrap = True
        text.overflow = "crop" if self.ascii else "ellipsis"
        return text

    def _clean(self, text: str) -> str:
        """`text` without control characters, in characters that the terminal can be sent."""
        kept = "".join(c if c.isprintable() else " " for c in text)
        encoding = self.console.encoding
        try:
            return kept.encode(encoding, "replace").decode(encoding, "replace")
        except LookupError:
            return kept.encode("ascii", "replace").decode("ascii")
