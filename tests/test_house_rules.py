"""Rules of the house that a tool or a look at the tree can check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from search.space.schema import HEADER

ROOT = Path(__file__).resolve().parents[1]


def python_files() -> list[Path]:
    parts = ("recsys", "search", "tests", "benchmarks", "docs")
    return [path for part in parts for path in (ROOT / part).rglob("*.py")]


def test_import_rules_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_the_folder_mlflow_holds_no_python():
    # it would stand in for the package of that name
    assert not [p for p in (ROOT / "mlflow").rglob("*.py") if "store" not in p.parts]


def test_no_global_seeding():
    seeding = re.compile(r"(np\.random\.seed|random\.seed|torch\.manual_seed)\(")
    own = Path(__file__).name
    found = [p for p in python_files() if p.name != own and seeding.search(p.read_text())]
    assert found == []


def test_every_space_says_its_command_and_what_to_expect():
    for path in (ROOT / "spaces").glob("*.yaml"):
        schema, command, expected, *_ = path.read_text().splitlines()
        assert schema == HEADER  # editors complete and check it
        assert command == f"# Command:  python run_search.py --space {path.stem}" or (
            path.stem == "smoke" and "--space smoke" in command
        )
        assert re.match(r"# Expected: .*\d", expected), f"{path.name}: no expected score"
