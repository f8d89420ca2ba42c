"""What the documents show is run: the examples of docstrings, and the Python of README.md (that of
MLflow: tests/search/tracking/test_champion.py). The architecture names every file, and its
contracts and lines are those of the code.
"""

from __future__ import annotations

import ast
import dataclasses
import doctest
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from recsys.data import Dataset, load
from recsys.evaluation import Evaluation, evaluate
from recsys.models import EpochReport, Model, ModelConfig, config_from_flat, model_of
from recsys.models.mf.engine import Engine, make_engine
from recsys.models.mf.model import LFM
from recsys.models.mf.training import train
from recsys.split import Split, make_split, resplit
from search.record import events

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


CONTRACTS: dict[str, Any] = {
    shown.__name__: shown
    for shown in (
        *(Dataset, load, Split, make_split, resplit, Model, ModelConfig, config_from_flat),
        *(model_of, LFM, Engine, make_engine, EpochReport, train, Evaluation, evaluate),
    )
}


def contracts() -> dict[str, list[str]]:
    """What the architecture shows of each: parameters of functions, and methods, fields."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    (block,) = re.findall(r"^### Contracts\n\n```python\n(.*?)^```", text, re.M | re.S)
    plain = re.sub(r"#.*", "", block)
    found: dict[str, list[str]] = {}
    inside = ""
    for line in plain.splitlines():
        if (began := re.match(r"(?:@.* )?class (\w+)", line)) is not None:
            inside = began[1]
        elif line.startswith("def "):
            inside = ""
        elif inside:
            fields = re.findall(r"(?:^ +|; )(\w+): ", line)
            found.setdefault(inside, []).extend(fields if "def " not in line else [])
    for shown in re.finditer(r"( *)(?:; )?def (\w+)(\((?:[^()]|\([^()]*\))*\))", plain):
        before = plain[: shown.start()]
        owner = re.findall(r"^(?:@.* )?(?:class|def) (\w+)", before, re.M) if shown[1] else []
        made = ast.parse(f"def f{shown[3]}: ...").body[0]
        assert isinstance(made, ast.FunctionDef)
        names = [one.arg for one in (*made.args.args, *made.args.kwonlyargs)]
        name = ".".join([*owner[-1:], shown[2]])
        found[name] = [one for one in names if one not in ("self", "cls")]
    return found


def test_the_contracts_of_the_architecture_are_those_of_the_code() -> None:
    shown = contracts()
    assert shown.keys() >= CONTRACTS.keys()
    for name, said in shown.items():
        owner, _, method = name.partition(".")
        there = CONTRACTS[owner]
        if method or inspect.isfunction(there):
            known = list(inspect.signature(getattr(there, method) if method else there).parameters)
            assert sorted(said) == sorted(one for one in known if one != "self"), name
        elif dataclasses.is_dataclass(there):
            assert said == [field.name for field in dataclasses.fields(there)], name
        else:
            assert all(hasattr(there, field) for field in said), name


def test_the_architecture_lists_every_kind_of_line() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text().partition("\n### The journal\n")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == events._KINDS.keys()
