"""Drawing with numbers: scales, ticks and a plot area, as inline SVG without any script.

All text goes through `escape`; coordinates are numbers that are formatted here. Colours are CSS
classes of `templates/report.css`, so that one file serves the light and the dark mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most `most` + 1 round numbers inside [low, high].

    >>> ticks(0.0, 0.17)
    [0.0, 0.05, 0.1, 0.15]
    """
    span = high - low
    if not span > 0:
        return [low]
    step = 10 ** math.floor(math.log10(span / most))
    step = next((step * m for m in (1, 2, 5, 10) if span / (step * m) <= most), step * 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)) + 1)
    return [round(i * step, digits) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside [low, high], with 2 and 5 between them if there is room."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    tens = [10.0**p for p in powers if low * 0.999 <= 10.0**p <= high * 1.001]
    if len(tens) >= 3:
        return tens[:: math.ceil(len(tens) / 5)]
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    fine = [v for v in fine if low * 0.999 <= v <= high * 1.001]
    return fine[:: math.ceil(len(fine) / 5)] if len(fine) >= 2 else [low, high]


def label(value: float) -> str:
    """A tick's number, short: `0.05`, `1e-05`, `2000`."""
    return f"{value:.4g}"


@dataclass(frozen=True)
class Scale:
    """Maps numbers from low to high onto pixels from start to end, clamped to these. log: needs
    low > 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a number; the middle if low and high are equal."""
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        share = (value - low) / (high - low) if high != low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round numbers within the scale. most: limits them, but only on a linear scale."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, most)


def padded(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """The smallest and the largest value, with a `share` of their distance as room around them."""
    known = list(values)
    low, high = min(known), max(known)
    room = (high - low) * share or max(abs(high) * 0.1, 1e-3)
    return low - room, high + room


@dataclass
class Plot:
    """A plot area with axes, filled by drawing calls; `markup()` returns the <svg>."""

    title: str
    x: Scale
    y: Scale
    width: int
    height: int
    parts: list[str] = field(default_factory=list)

    @staticmethod
    def area(
        title: str,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        width: int = 640,
        height: int = 320,
        left: int = 84,
        bottom: int = 58,
        log_x: bool = False,
        log_y: bool = False,
    ) -> Plot:
        """A plot whose axes span the data ranges `x` and `y`. Sizes are in pixels; left, bottom:
        the room for labels.
        """
        return Plot(
            title,
            Scale(*x, left, width - 16, log=log_x),
            Scale(*y, height - bottom, 14, log=log_y),
            width,
            height,
        )

    def axes(
        self,
        x_name: str,
        y_name: str,
        *,
        whole: bool = False,
        most_x: int = 5,
        words: Sequence[str] = (),
    ) -> None:
        """Draw grid lines, tick labels and names. whole: x has only whole numbers. most_x: ticks of
        x. words: labels of x = 0, 1, ...
        """
        bottom, left, right = self.y.start, self.x.start, self.x.end
        for value in self.y.ticks() if y_name else []:
            self._line(left, self.y(value), right, self.y(value), "grid")
            self.text(left - 8, self.y(value) + 5, label(value), "tick end")
        marks = [(v, label(v)) for v in self.x.ticks(most_x) if v == int(v) or not whole]
        for value, mark in enumerate(words) if words else marks:
            self._line(self.x(value), bottom, self.x(value), bottom + 5, "axis")
            self.text(self.x(value), bottom + 22, mark[:12], "tick mid")
        self._line(left, bottom, right, bottom, "axis")
        self.text((left + right) / 2, self.height - 8, x_name, "name mid")
        if y_name:
            middle = (self.y.start + self.y.end) / 2
            self.parts.append(
                f'<text class="name mid y" transform="translate(20 {middle:.0f}) rotate(-90)">'
                f"{escape(y_name)}</text>"
            )

    def text(self, x: float, y: float, words: str, kind: str = "tick") -> None:
        """Words at a place in pixels, with their baseline at `y`. kind: CSS classes."""
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>')

    def _line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(
            f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
        )

    def segment(
        self, a: tuple[float, float], b: tuple[float, float], kind: str, hint: str = ""
    ) -> None:
        """A straight line between two data points, with a hint on hover. kind: CSS classes."""
        self._open("line", kind, hint, "", x1=self.x(a[0]), y1=self.y(a[1]), x2=self.x(b[0]),
                   y2=self.y(b[1]))  # fmt: skip

    def dot(
        self, x: float, y: float, kind: str, hint: str = "", trial: str = "", r: float = 4
    ) -> None:
        """A point of radius `r` with a hint on hover. trial: links it with that trial elsewhere."""
        self._open("circle", f"dot {kind}", hint, trial, cx=self.x(x), cy=self.y(y), r=r)

    def curve(
        self, points: Sequence[tuple[float, float]], kind: str, hint: str = "", trial: str = ""
    ) -> None:
        """A line through data points; other parameters are those of `dot`."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        self.parts.append(
            f'<polyline class="curve {kind}"{_trial(trial)} points="{path}">'
            f"{_hint(hint)}</polyline>"
        )

    def bar(self, y: float, x: float, hint: str = "", thick: float = 18) -> None:
        """A horizontal bar from the left edge to data value `x` at data height `y`."""
        left = self.x.start
        self._open("rect", "bar", hint, "", x=left, y=self.y(y) - thick / 2,
                   width=max(1.0, self.x(x) - left), height=thick)  # fmt: skip

    def stretch(
        self,
        ends: tuple[float, float],
        y: float,
        kind: str,
        hint: str = "",
        trial: str = "",
        thick: float = 18,
    ) -> None:
        """A horizontal bar between two data values of x at data height `y`, `thick` pixels high;
        other parameters are those of `dot`.
        """
        left, right = self.x(ends[0]), self.x(ends[1])
        self._open("rect", kind, hint, trial, x=left, y=self.y(y) - thick / 2,
                   width=max(0.5, right - left), height=thick)  # fmt: skip

    def _open(self, tag: str, kind: str, hint: str, trial: str, **numbers: float) -> None:
        inside = " ".join(f'{name}="{value:.1f}"' for name, value in numbers.items())
        self.parts.append(f'<{tag} class="{kind}"{_trial(trial)} {inside}>{_hint(hint)}</{tag}>')

    def markup(self) -> Markup:
        """The drawing so far as one <svg> with its title for screen readers."""
        head = (
            f'<svg viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.title)}">'
        )
        return Markup(head + "".join(self.parts) + "</svg>")


def _trial(trial: str) -> str:
    return f' data-trial="{escape(trial)}"' if trial else ""


def _hint(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""
