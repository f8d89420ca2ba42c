"""What the documents show is run: the examples of docstrings, and the Python of README.md (that of
MLflow: tests/search/tracking/test_champion.py). The architecture names every file.
"""

from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WITH_EXAMPLES = sorted(
    path.relative_to(ROOT)
    for part in ("recsys", "search")
    for path in (ROOT / part).rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_in_docstrings(path: Path) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_the_example_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands there, on the generated data in the place of MovieLens."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    (code,) = (block for block in blocks if "from recsys" in block)
    assert 'load("ml-100k")' in code
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("ml-100k", "demo"), "README.md", "exec"), {})
    assert re.fullmatch(r"\{'map@50': 0\.\d+\}\n", capsys.readouterr().out)
    head, *rows = Path("submission.csv").read_text().splitlines()
    assert head == "UserId,ItemId"
    assert len(rows) == 300


@pytest.mark.parametrize("part", ["recsys", "search"])
def test_the_architecture_names_every_file_in_its_room(part: str) -> None:
    """And none that is gone: in rows of room, files and what they hold; "": the room above."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition(f"\n## {part}/")[2].partition("\n## ")[0]
    row = re.compile(r"^\| (?:`([\w/]+)/` )?\| ((?:`\w+\.py`(?:, )?)+) \| .+ \|$", re.M)
    named, room = [], ""
    for of_room, files in row.findall(section):
        room = of_room or room
        folder = Path(part) if room == part else Path(part, room)
        named += [folder / name for name in re.findall(r"`(.+?)`", files)]
    there = [path.relative_to(ROOT) for path in (ROOT / part).rglob("*.py")]
    assert sorted(named) == sorted(path for path in there if path.name != "__init__.py")
