"""The live display and the final summary, drawn with rich from the state of a search."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from recsys.output import one_line
from search.record.events import State, TrialEnded
from search.screen.progress import Progress, why_ended
from search.words import Row, config_line, duration, number

STYLES = {State.COMPLETE: "green", State.PRUNED: "bright_black", State.FAILED: "red"}
TO_COPY = ("file", "next")  # rows of the summary that people copy, so they are never wrapped


def clean(text: str, encoding: str) -> str:
    """`text` without control characters, and only with characters that `encoding` has."""
    kept = one_line(text)
    try:
        return kept.encode(encoding, "replace").decode(encoding, "replace")
    except LookupError:
        return kept.encode("ascii", "replace").decode("ascii")


class Screen:
    """Draws for a console. Words from outside are plain text: markup in them has no effect."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.ascii = console.options.ascii_only

    def frame(self, run: Progress) -> RenderableType:
        """The whole live display."""
        narrow = self.console.width < 60
        parts: list[RenderableType] = [self._head(run), self._bar(run), *self._found(run)]
        if run.running and run.now in ("", "search"):
            parts.append(self._running(run, 3 if narrow else 6))
        if room := max(0, min(5, self.console.height - 14)):
            parts += [self._ended(one) for one in list(run.recent)[-room:]]
        parts.append(self._steps(run))
        return Group(*parts)

    def closing(self, run: Progress) -> RenderableType:
        """What stays on the screen if a run did not finish."""
        return Group(self._head(run), *self._found(run))

    def print_summary(self, rows: Sequence[Row]) -> None:
        """Print a panel, and below it files and commands, without wrapping, to be copied."""
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
        self.console.print(Panel(table, title=self._text("result"), border_style="green"))
        for label, text in rows:
            if label in TO_COPY:
                line = self._text((f"{label}  ", "bold"), (text, "cyan"))
                self.console.print(line, soft_wrap=True, highlight=False)

    def _head(self, run: Progress) -> Text:
        head = self._text((run.space, "bold"), " on ", (run.data, "bold"))
        head.append(self._clean(f"  run {run.run}") if run.run else "")
        head.append(self._clean(f"  {run.plan}") if run.plan else "")
        if run.leaky:
            head.append("  leaky: negatives_exclude is all", "bold red")
        return self._one_line(head)

    def _bar(self, run: Progress) -> RenderableType:
        found, left = run.work(), run.left()
        if found is None:
            what = duration(run.clock() - run.stage_started)
            bar = ProgressBar(pulse=True, animation_time=run.clock())
        else:
            done, total = found
            unit = f" {run.part_of}" if run.part_of and self.console.width >= 80 else ""
            what = f"{done}/{total}{unit}" + (f"  {left}" if left else "")
            bar = ProgressBar(total=max(total, 1), completed=done)
        if self.console.width < 60:
            return self._text((f"{run.now or 'start'} {what}", "bold"))
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(width=7)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_row(self._text((run.now or "start", "bold")), bar, self._text(what))
        return grid

    def _found(self, run: Progress) -> list[RenderableType]:
        """How many trials there are, and the best; without a search, how long it has taken."""
        if run.plan:
            return [self._text((duration(run.clock() - run.started), "bright_black"))]
        return [self._counts(run), *self._best(run)]

    def _counts(self, run: Progress) -> Text:
        line = self._text(f"{len(run.running)} running")
        for state, count in run.ended.items():
            line.append(f"  {count} {state.word}", STYLES[state] if count else "bright_black")
        line.append(f"  {duration(run.clock() - run.started)}", "bright_black")
        return self._one_line(line)

    def _best(self, run: Progress) -> list[RenderableType]:
        best = run.best
        if best is None:
            return [self._text(("no value yet", "bright_black"))]
        value = f"{run.metric} {number(best.best)}" + (" (leaky)" if best.leaky else "")
        style = "bold red" if best.leaky else "bold green"
        epoch = f", by epoch {best.epoch}" if best.epoch else ""
        head = self._text("best ", (value, style), f"  {best.id}", epoch)
        config = self._text((config_line(best.params), "italic"))
        return [self._one_line(head), Padding(config, (0, 0, 0, 2))]

    def _running(self, run: Progress, most: int) -> Text:
        line = self._text()
        for trial in list(run.running.values())[:most]:
            value = f" {number(trial.best)}" if trial.has_value else ""
            line.append(f"{self._clean(trial.id)} epoch {trial.epoch}{value}   ", "cyan")
        if len(run.running) > most:
            line.append(f"and {len(run.running) - most} more", "bright_black")
        return self._one_line(line)

    def _ended(self, one: TrialEnded) -> Text:
        words = f"{one.id} {one.state.word:<9} "
        style = STYLES[one.state]
        return self._one_line(self._text((words, style), number(one.value), f"  {why_ended(one)}"))

    def _steps(self, run: Progress) -> Text:
        line = self._text()
        at = run.stages.index(run.now) if run.now in run.stages else -1
        arrow = " > " if self.ascii else " › "
        for place, name in enumerate(run.stages):
            style = "bold" if place == at else "green" if place < at else "bright_black"
            line.append(f"{arrow if place else ''}", "bright_black")
            line.append(name, style)
        return self._one_line(line)

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
        return clean(text, self.console.encoding)
