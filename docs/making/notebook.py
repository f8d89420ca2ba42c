"""A notebook without Jupyter: its cells run here, and what they show becomes a page.

A cell shows what it prints, the value of its last line, and the figures of matplotlib that it
leaves open. That is all that the notebooks of this project need; a cell that fails ends the run.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

from docs.making.markdown import fenced


@dataclass(frozen=True)
class Cell:
    """kind: `code` or `markdown`."""

    kind: str
    text: str


@dataclass(frozen=True)
class Shown:
    """What a cell showed. value: of its last line, None where that has none. figures: PNG."""

    printed: str
    value: Any
    figures: tuple[bytes, ...]


def read_notebook(path: Path) -> list[Cell]:
    """The cells of a notebook."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return [Cell(cell["cell_type"], "".join(cell["source"])) for cell in found["cells"]]


def run_cells(cells: Sequence[Cell]) -> Iterator[Shown]:
    """Run the code of a notebook, one cell after the other, each with what those before left."""
    import matplotlib

    matplotlib.use("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells, 1):
        if cell.kind == "code":
            yield _run(cell.text, f"cell {number}", names)


def _run(code: str, where: str, names: dict[str, Any]) -> Shown:
    body = ast.parse(code, where).body
    printed, value = StringIO(), None
    with redirect_stdout(printed):
        last = body[-1] if body else None
        rest = body[:-1] if isinstance(last, ast.Expr) else body
        exec(compile(ast.Module(rest, []), where, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    return Shown(printed.getvalue(), value, tuple(_figures()))


def _figures() -> Iterator[bytes]:
    """The open figures, which are closed."""
    import matplotlib.pyplot as plt

    for number in plt.get_fignums():
        picture = BytesIO()
        plt.figure(number).savefig(picture, format="png", dpi=120, bbox_inches="tight")
        plt.close(number)
        yield picture.getvalue()


def notebook_page(cells: Sequence[Cell], pictures: Path) -> str:
    """The notebook as a page, with what its cells show."""
    shown = run_cells(cells)
    parts: list[str] = []
    count = 0
    for cell in cells:
        if cell.kind == "markdown":
            parts.append(cell.text + "\n")
            continue
        parts.append(fenced(cell.text, "python"))
        output = next(shown)
        if output.printed:
            parts.append(fenced(output.printed))
        if output.value is not None and not output.figures:
            parts.append(_value(output.value))
        for figure in output.figures:
            count += 1
            (pictures / f"notebook-{count}.png").write_bytes(figure)
            parts.append(f"![What the cell above draws]({pictures.name}/notebook-{count}.png)\n")
    return "\n".join(parts)


def _value(value: Any) -> str:
    """A table as a table, anything else as Python writes it."""
    if hasattr(value, "to_html"):
        html = str(value.to_html(border=0, index=False))
        return re.sub(r"<(table|tr) [^>]*>", r"<\1>", html) + "\n"
    return fenced(repr(value), "python")
