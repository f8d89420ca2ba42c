"""Rules of the house that a tool or a look at the tree can check."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from search.record.folder import JOURNAL, PROVENANCE, REPORT
from search.record.handed import SUBMISSION
from search.record.result import RESULT
from search.space.kept import SPEC
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


# What an assertion may call: `python -O` leaves assertions out, and the work of a call with them.
HARMLESS = {"all", "any", "isinstance", "issubclass", "len", "set", "sorted", "array_equal"}


def calls_in_assertions(tree: ast.AST) -> set[str]:
    inside = [n for kept in ast.walk(tree) if isinstance(kept, ast.Assert) for n in ast.walk(kept)]
    called = [n.func for n in inside if isinstance(n, ast.Call)]
    names = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in called}
    return names | {":=" for n in inside if isinstance(n, ast.NamedExpr)}


def test_an_assertion_does_no_work():
    assert calls_in_assertions(ast.parse("assert seen.setdefault(1, 2) == (x := 2)")) == {
        "setdefault",
        ":=",
    }
    shipped = [p for part in ("recsys", "search") for p in (ROOT / part).rglob("*.py")]
    found = {path: calls_in_assertions(ast.parse(path.read_text())) - HARMLESS for path in shipped}
    assert {path: calls for path, calls in found.items() if calls} == {}


@pytest.mark.parametrize("name", ["PYTHONOPTIMIZE", "PYTHONSAFEPATH"])
def test_a_variable_of_python_changes_nothing(name: str):
    done = subprocess.run(
        [sys.executable, "run_search.py", "spaces", "smoke"],
        cwd=ROOT,
        env=os.environ | {name: "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_space_says_its_command_and_what_to_expect():
    for path in (ROOT / "spaces").glob("*.yaml"):
        schema, command, expected, *_ = path.read_text().splitlines()
        assert schema == HEADER  # editors complete and check it
        assert command == f"# Command:  python run_search.py --space {path.stem}" or (
            path.stem == "smoke" and "--space smoke" in command
        )
        assert re.match(r"# Expected: .*\d", expected), f"{path.name}: no expected score"


def test_what_leaks_is_decided_in_one_place():
    deciding = re.compile(r"""negatives_exclude\W+([=!]= *["']|(?<=:) "all")""")
    own = [p for part in ("recsys", "search") for p in (ROOT / part).rglob("*.py")]
    found = [str(p.relative_to(ROOT)) for p in own if deciding.search(p.read_text())]
    assert found == ["recsys/models/mf/config.py"]


# What others call by its name: Ray, Optuna, MLflow, torch, yaml and pydantic; `command_...` is
# looked up by the command. Two are windows for tests: what a kernel draws, and the docs' table.
CALLED_BY_NAME = {
    *("choose_trial_to_run", "save_to_dir", "on_trial_recover", "on_trial_error", "debug_string"),
    *("read_logs", "append_logs", "load_context", "forward", "ignore_aliases"),
    *("construct_mapping", "_m_at_most_n", "_legal", "sample_hard", "fields_table"),
}


def test_nothing_is_there_for_its_tests_alone():
    """A function that only tests call does nothing for anybody, however well it is tested."""
    words: Counter[str] = Counter()
    places = [
        path
        for part in ("search", "recsys", "benchmarks", "docs")
        for path in ROOT.glob(f"{part}/**/*")
    ]
    for path in places:
        if path.suffix in (".py", ".j2", ".js"):
            words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    unused = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for part in ("search", "recsys")
        for path in (ROOT / part).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and words[node.name] == 1
        and node.name not in CALLED_BY_NAME
        and not re.match("__|command_", node.name)
        and not any("_validator" in ast.unparse(one) for one in node.decorator_list)  # pydantic's
    ]
    assert unused == []


ROOMS = sorted(
    path.parent for part in ("recsys", "search") for path in (ROOT / part).rglob("__init__.py")
)
LEAVES = {path.stem for path in (ROOT / "search").glob("*.py")} - {"__init__", "summary"}


def said_of(room: Path) -> str:
    return ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""


def imported(path: Path) -> set[str]:
    """The parts of the project that a file imports: `recsys.data`, `search.tune`, `recsys`."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(n.split(".")[:2]) for n in names if n.split(".")[0] in ("recsys", "search")}


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_says_what_lives_there_and_what_it_may_import(room: Path):
    said = said_of(room)
    named = set(re.findall(r"`(\w+)(?:\.py)?`", said))
    assert {path.stem for path in room.glob("*.py")} - named == {"__init__"}
    top, *inner = room.relative_to(ROOT).parts
    if not inner:
        return  # its rooms say it, each for itself
    _, _, may = said.partition("May import: ")
    allowed = set(re.findall(r"\w+", may))
    allowed |= LEAVES if "the leaves" in may else set()
    if re.search(r"every room|all of recsys", may):
        allowed |= {path.name for path in ROOMS} | {path.stem for path in ROOT.glob("*/*.py")}
        allowed.add("recsys")
    taken = set().union(*map(imported, room.glob("*.py")))
    needed = {name.split(".")[1] if name.split(".")[0] == top else "recsys" for name in taken}
    assert needed - allowed <= {inner[0]}


def taken_from(room: Path) -> set[str]:
    """The modules of a room that files outside it import."""
    package = ".".join(room.relative_to(ROOT).parts)
    own = {path.stem for path in room.glob("*.py")} - {"__init__"}
    found = set[str]()
    for path in [
        ROOT / "run_search.py",
        *ROOT.glob("recsys/**/*.py"),
        *ROOT.glob("search/**/*.py"),
    ]:
        if path.is_relative_to(room):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for name in [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]:
                before, _, last = name.rpartition(".")
                if before == package and last in own:
                    found.add(last)
    return found


@pytest.mark.parametrize(
    "room", [r for r in ROOMS if r.parent != ROOT], ids=lambda room: str(room.relative_to(ROOT))
)
def test_a_room_says_what_others_take_from_it(room: Path):
    """Its doors: a module that is not among them can be changed without a look outside."""
    _, there, after = said_of(room).partition("Others import: ")
    named = set(re.findall(r"\w+", after.partition("\n\n")[0])) if there else set()
    assert named == taken_from(room)


def made_by(tree: ast.AST) -> set[str]:
    """The names that a file gives to what it makes."""
    nodes = list(ast.walk(tree))
    kinds = ast.FunctionDef | ast.ClassDef
    named = {node.name for node in nodes if isinstance(node, kinds)}
    return named | {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def by_the_way(tree: ast.AST, made: dict[str, set[str]]) -> list[str]:
    """What is imported from a module of the search that has it from another one itself."""
    ours = set().union(*made.values())
    return [
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in made
        for alias in node.names
        if alias.name in ours - made[node.module]
    ]


def test_a_name_of_the_search_is_imported_from_the_file_that_makes_it():
    """Else the file between has to keep an import that it may not need itself."""
    made = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): made_by(ast.parse(path.read_text()))
        for path in (ROOT / "search").rglob("*.py")
        if path.name != "__init__.py"
    }
    two = {"search.a": {"f"}, "search.b": {"g"}}
    assert by_the_way(ast.parse("from search.b import f, g"), two) == ["search.b.f"]
    found = {path: by_the_way(ast.parse(path.read_text()), made) for path in python_files()}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_file_of_a_run_has_its_name_in_one_place():
    """But for a program of its own, which imports nothing of ours."""
    places = {
        name: {
            str(path.relative_to(ROOT))
            for path in (ROOT / "search").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and node.value == name
        }
        for name in (JOURNAL, PROVENANCE, REPORT, SUBMISSION, RESULT, SPEC)
    }
    folder = {"search/record/folder.py"}
    assert places == {
        JOURNAL: folder | {"search/machine/pack_run.py"},
        PROVENANCE: folder,
        REPORT: folder,
        SUBMISSION: {"search/record/handed.py"},
        RESULT: {"search/record/result.py"},
        SPEC: {"search/space/kept.py"},
    }
