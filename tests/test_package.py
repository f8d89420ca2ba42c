"""What `pip install .` gives: all that is needed, and a command that works without a checkout."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHIPPED = {"config": "recsys/config", "spaces": "search/spaces"}  # in a checkout, in a wheel
DATA = {"search.report.templates"}  # a folder without Python of its own


def pins(name: str) -> dict[str, str]:
    """The versions of a file of requirements, by package."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    asked = [Requirement(line) for line in lines if line and not line.startswith(("#", "-r "))]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in asked}


# Of a checkout, and the fuzzer, which whoever fuzzes installs.
NOT_REQUIRED = {"recsys", "search", "tests", "docs", "benchmarks", "atheris"}


def imported(*parts: str) -> dict[str, str]:
    """The modules of others that the code of some folders imports, each with a file that does."""
    found: dict[str, str] = {}
    for path in [path for part in parts for path in (ROOT / part).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            for name in names:
                found.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    left_out = NOT_REQUIRED | sys.stdlib_module_names
    return {name: file for name, file in found.items() if name not in left_out}


RUN, DEV = "requirements.txt", "requirements-dev.txt"


@pytest.mark.parametrize(
    ("parts", "files"),
    [(("recsys", "search"), (RUN,)), (("tests",), (RUN, DEV))],
    ids=["to run", "to test"],
)
def test_what_is_imported_is_required(parts: tuple[str, ...], files: tuple[str, ...]):
    """By its own name, not only by that of a package that brings it along today."""
    brought = metadata.packages_distributions()
    declared = {name for file in files for name in pins(file)}
    missing = {
        name: file
        for name, file in imported(*parts).items()
        if not {canonicalize_name(one) for one in brought[name]} & declared
    }
    assert missing == {}


def test_what_is_required_is_what_was_tested():
    declared, tested = pins("requirements.txt"), pins("constraints.txt")
    assert declared == {name: tested.get(name) for name in declared}
    installed = {name: metadata.version(name).partition("+")[0] for name in declared}
    assert declared == installed
    table = (ROOT / "README.md").read_text().partition("## What it stands on")[2]
    rows = re.findall(r"^\| ([\w\[\], ]+) \| ", table, re.MULTILINE)
    named = {canonicalize_name(Requirement(one).name) for row in rows for one in row.split(", ")}
    assert named - {"package"} == declared.keys()


def test_every_folder_of_code_is_packed():
    packed = set(PROJECT["tool"]["setuptools"]["packages"])
    folders = {p.parent for part in ("recsys", "search") for p in (ROOT / part).rglob("*.py")}
    assert packed == {".".join(f.relative_to(ROOT).parts) for f in folders} | {
        *DATA,
        *(place.replace("/", ".") for place in SHIPPED.values()),
    }


def test_one_name():
    """Distribution, command and caches are called the same."""
    assert PROJECT["project"]["name"] == "recsearch"
    assert list(PROJECT["project"]["scripts"]) == ["recsearch"]
    named = re.compile(r"user_cache_(?:dir|path)\(([^)]*)\)")
    texts = [p.read_text() for part in ("recsys", "search") for p in (ROOT / part).rglob("*.py")]
    assert {name for text in texts for name in named.findall(text)} == {'"recsearch"'}


@dataclass(frozen=True)
class Installed:
    """The project installed into a folder of its own, called from an empty one."""

    place: Path
    home: Path

    def __call__(self, *args: str) -> subprocess.CompletedProcess[str]:
        """`recsearch ARGS`; whatever it wrote to stderr fails the test."""
        path = os.pathsep.join([str(self.place / "bin"), os.environ["PATH"]])
        more = {"PYTHONPATH": str(self.place)}
        done = subprocess.run(
            ["recsearch", *args],
            cwd=self.home,
            env=os.environ | more | {"PATH": path, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=600,
            stdin=subprocess.DEVNULL,
        )
        assert done.stderr == "", done.stderr
        assert done.returncode == 0, done.stdout
        return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build a wheel from a copy of the sources and install it, without a network."""
    source, place = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("recsys", "search", "spaces", "config"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE", "run_search.py"):
        shutil.copy(ROOT / name, source)
    (source / "mlflow").mkdir()
    (source / "mlflow" / "README.md").touch()
    (place / "home").mkdir()
    (place / "home" / "search.py").write_text("raise SystemExit('a file of the user')\n")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--no-deps", "--no-index", "--no-build-isolation", "--target", place / "p", source],
        check=True,
        capture_output=True,
    )
    return Installed(place / "p", place / "home")


@pytest.mark.slow
@pytest.mark.xdist_group("package")
class TestInstalled:
    def test_it_has_all_files_of_the_project_and_no_others(self, installed):
        wanted = {
            f"{place}/{path.relative_to(ROOT / folder)}"
            for folder, place in (("recsys", "recsys"), ("search", "search"), *SHIPPED.items())
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        found = {
            str(path.relative_to(installed.place))
            for path in installed.place.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        own = {name for name in found if not name.startswith("recsearch-")}
        assert own == wanted | {"bin/recsearch"}
        (text,) = [path.read_text() for path in installed.place.glob("recsearch-*/METADATA")]
        requirements = re.findall(r"^Requires-Dist: (.+)$", text, re.MULTILINE)
        lines = (ROOT / "requirements.txt").read_text().splitlines()
        assert requirements == [line for line in lines if not line.startswith("#")]
        assert "torch==2.13.0" in requirements
        assert list(installed.place.glob("recsearch-*/licenses/LICENSE"))

    def test_it_imports_itself_and_finds_what_it_ships(self, installed):
        code = (
            "import search.paths as p, recsys.quickstart.main as q; "
            "print(p.INSTALLED, p.SPACES, q.CONFIG, (q.CONFIG / 'data.yaml').is_file())"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", code],
            cwd=installed.home,
            env=os.environ | {"PYTHONPATH": str(installed.place)},
            capture_output=True,
            text=True,
            check=True,
        )
        at = installed.place
        assert done.stdout.split() == ["True", f"{at}/search/spaces", f"{at}/recsys/config", "True"]

    def test_a_search_in_an_empty_folder(self, installed):
        assert "recsearch --space bpr_hard" in installed("spaces").stdout
        assert "300 users" in installed("data", "demo").stdout
        said = installed("--space", "smoke", "--data", "demo", "--run", "one").stdout
        assert re.search(r"^next +recsearch export one -o submission.csv$", said, re.MULTILINE)
        assert {path.name for path in installed.home.iterdir()} == {"runs", "mlflow", "search.py"}
        assert (installed.home / "mlflow/store/mlflow.db").is_file()
        run = installed.home / "runs" / "one"

        report = run / "report.html"
        report.unlink()
        assert installed("report", "one").stdout.strip() == str(report)
        assert "recsearch ui" in re.sub("<[^>]*>", "", report.read_text())
        assert "run_search.py" not in report.read_text()
        installed("export", "one", "-o", "mine.csv")
        assert (installed.home / "mine.csv").read_bytes() == (run / "submission.csv").read_bytes()
        installed("sync", "one", "--verify")  # MLflow has all of it, in the working directory

        provenance = json.loads((run / "provenance.json").read_text())
        assert provenance["command"].startswith(str(installed.place / "bin" / "recsearch"))
        assert provenance["code"] == {"commit": None, "modified": None, "version": "0.1.0"}
