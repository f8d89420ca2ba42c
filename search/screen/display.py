"""What the user sees while a search runs: a live display, or plain lines without a terminal.

Everything that comes from outside (ids, names, paths, error messages) is shown as plain text:
rich's markup and control characters in it have no effect.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from search.machine.beat import beat
from search.record.events import State, TrialEnded
from search.screen.draw import Screen, clean
from search.screen.progress import Progress, Shown, why_ended
from search.words import Row, config_line, counted, duration, number

MANY = 200  # from this many trials on, plain output reports only the interesting ones
EVERY_S = 5.0  # ... and the count at most this often
STAGE_EVERY_S = 30.0  # after so long without a line, plain output reports how far the stage is
BEAT_S = 1.0  # how often that is checked


@dataclass(eq=False)
class Display(Progress):
    """Takes events and shows them; `with display.live():` draws while the run lasts.

    Parameters are those of `Progress`, and the console. Events may come from any thread, also
    before or after the live part.
    """

    console: Console = field(default_factory=Console)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.interactive = self.console.is_terminal and not self.console.is_dumb_terminal
        self.screen = Screen(self.console)
        self.last_line = self.clock()
        self._live: Live | None = None
        self._beats = ExitStack()  # the thread that checks, while there is one
        self._lock = threading.RLock()

    # --- life --------------------------------------------------------------------------------

    @contextmanager
    def live(self) -> Iterator[Display]:
        """Draw until the block ends; if it ends by an exception, the last state stays visible."""
        self.start()
        try:
            yield self
        except BaseException:
            self.stop(keep=True)
            raise
        finally:
            self.stop()

    def start(self) -> None:
        """Show the header; on a terminal, begin to draw."""
        self.restart()
        if not self.interactive:
            run = f", run {self.run}" if self.run else ""
            plan = self.plan or f"{counted(self.total, 'trial')} planned"
            self._line(f"{self.space} on {self.data}{run}: {plan}")
            if self.leaky:
                self._line("WARNING: negatives_exclude is all: validation numbers leak")
            self._beats.close()
            self._beats.enter_context(beat(self._beat, BEAT_S, BEAT_S))
        elif self._live is None:
            self._live = Live(
                console=self.console,
                get_renderable=self._frame,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()

    def stop(self, keep: bool = False) -> None:
        """Stop drawing and release the terminal. keep: leave the last state on it."""
        self._beats.close()
        live, self._live = self._live, None
        if live is not None:
            live.stop()
            if keep:
                self.console.print(self.screen.closing(self))

    def _frame(self) -> RenderableType:
        with self._lock:
            return self.screen.frame(self)

    # --- events ------------------------------------------------------------------------------

    def trial_started(self, trial_id: str, params: Mapping[str, Any], leaky: bool = False) -> None:
        """A trial begins, or begins again. leaky: whether its config knows held-out items."""
        with self._lock:
            self.start_trial(trial_id, params, leaky)

    def trial_progress(self, trial_id: str, epoch: int, best: float) -> None:
        """A trial reports. best: its best value so far."""
        with self._lock:
            self.advance(trial_id, epoch, best)

    def trial_ended(self, end: TrialEnded) -> None:
        """A trial is over."""
        with self._lock:
            trial = self.end_trial(end)
            if not self.interactive:
                self._trial_line(trial, end)

    def stage(self, name: str) -> None:
        """The run enters a stage, one of `STAGES`."""
        with self._lock:
            self.enter(name)
        if not self.interactive:
            self._line(f"stage: {name}")

    def parts(self, done: int, total: int, what: str) -> None:
        """The current stage has `total` pieces, of which earlier sessions did `done`. what: these
        are, in the plural.
        """
        with self._lock:
            self.plan_parts(done, total, what)

    def progress(self, done: int, total: int, what: str) -> None:
        """How far the current stage is, for stages that do not consist of trials. what: its pieces
        are, in the plural. A stage of a single piece has no such line.
        """
        with self._lock:
            first = self.part is None or self.part[0] == 0
            self.take(done, total, what)
            if self.work() is None or self.interactive:
                return
            if done == total or self._due(EVERY_S if first else STAGE_EVERY_S):
                self._line(self._how_far())

    def tick(self) -> None:
        """Show in plain output how far the current stage is, if there was no line for long."""
        with self._lock:
            if not self.interactive and self.now and self._due(STAGE_EVERY_S):
                self._line(self._how_far())

    def note(self, text: str) -> None:
        """One line for the user, above the live part."""
        if self.interactive:
            self.console.print(Text(clean(text, self.console.encoding)), highlight=False)
        else:
            self._line(text)

    def summary(self, rows: Sequence[Row]) -> None:
        """Show the summary of a run (`search.summary.result_rows`); ends the live part."""
        self.stop()
        if self.interactive:
            self.screen.print_summary(rows)
            return
        width = max((len(label) for label, _ in rows), default=0)
        self._line("")
        for label, text in rows:
            self._line(f"{label:<{width}}  {text}")

    # --- plain lines -------------------------------------------------------------------------

    def _trial_line(self, trial: Shown, how: TrialEnded) -> None:
        is_best = self.best_ended is trial and self.best is trial  # `best` asks all that run
        told = is_best or (how.state == State.FAILED and self.ended[State.FAILED] <= 5)
        if self.total > MANY and not told and not self._due():
            return
        words = f"[{self.done}/{self.total}] {trial.id} {how.state.word}"
        if how.state == State.FAILED:
            words += f": {why_ended(how) or 'no cause given'}"
        elif how.value is not None:
            words += f" {self.metric} {number(how.value)}"
            words += " (leaky)" if trial.leaky else ""
            words += " the best so far" if is_best else ""
            words += f": {config_line(trial.params)}" if is_best and trial.params else ""
        if self.done < self.total and (left := self.left()):
            words += f", {left}"
        self._line(words)

    def _how_far(self) -> str:
        """`race: 3 of 12 trainings, about 2m 10s left`."""
        found = self.work()
        if found is None:
            words = f"{self.now}: {duration(self.clock() - self.stage_started)} so far"
        else:
            words = f"{self.now}: {found[0]} of {found[1]} {self.part_of or 'trials'}"
        if self.part is None and self.now == "search":
            words += f", {len(self.running)} running"
        if found is not None and found[0] >= found[1]:
            return words
        left = self.left()
        return f"{words}, {left}" if left else words

    def _beat(self, _: float) -> None:
        with suppress(ValueError):  # the output was closed
            self.tick()

    def _due(self, seconds: float = EVERY_S) -> bool:
        return self.clock() - self.last_line >= seconds

    def _line(self, text: str) -> None:
        self.last_line = self.clock()
        # soft_wrap: in a log file it is one line, however long
        words = Text(clean(text, self.console.encoding))
        self.console.print(words, soft_wrap=True, highlight=False)
