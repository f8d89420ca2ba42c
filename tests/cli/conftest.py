"""One real run of the command line, shared by the tests that look at what it left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from search.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cli:
    """The command line in a folder of its own, with a tracking store of its own."""

    home: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.home / 'store' / 'mlflow.db'}"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    def __call__(self, *args: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run `run_search.py ARGS` from the home folder, not from the checkout."""
        env = os.environ | {"COLUMNS": "200"}
        return subprocess.run(
            [sys.executable, str(ROOT / "run_search.py"), *args],
            cwd=self.home,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def search(self, *args: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """A search with this home's store and runs."""
        where = ("--runs-dir", str(self.runs), "--tracking-uri", self.uri)
        return self(*args, *where, timeout=timeout)


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    return Cli(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def smoke(cli: Cli) -> subprocess.CompletedProcess[str]:
    """`--space smoke --data demo`, run to its end as run `one`."""
    return cli.search("--space", "smoke", "--data", "demo", "--run", "one")


@pytest.fixture
def command(
    cli: Cli, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Call a command on this home's runs in this process; returns what it printed."""
    monkeypatch.chdir(cli.home)

    def call(*args: str) -> str:
        capsys.readouterr()
        code = main([*args, "--runs-dir", str(cli.runs)])
        said = capsys.readouterr()
        assert code == 0, said.out + said.err
        return said.out

    return call
