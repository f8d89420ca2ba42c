"""Bits of Markdown that the generated pages share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: str) -> str:
    """Text for the cell of a table: one line, nothing of it read as Markdown or HTML."""
    flat = " ".join(text.split())
    return re.sub(r"([|*_<>\[\]])", r"\\\1", flat)


def code(text: str) -> str:
    """Text as code, in a cell or elsewhere."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fenced(text: str, language: str = "text") -> str:
    """Text in a block of its own."""
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def prose(docstring: str) -> str:
    """A docstring as Markdown: paragraphs and code stay, examples get blocks, HTML is text."""
    parts = re.split(r"\n\s*\n", docstring.strip())
    return "\n".join(
        fenced(part, "pycon") if part.lstrip().startswith(">>>") else _paragraph(part)
        for part in parts
    )


def _paragraph(text: str) -> str:
    """Text outside of `code` is taken as it is written: no emphasis, no tags."""
    pieces = re.split(r"(`[^`]*`)", text)
    plain = (re.sub(r"([*_<>\[\]])", r"\\\1", p) if n % 2 == 0 else p for n, p in enumerate(pieces))
    return "".join(plain) + "\n"
