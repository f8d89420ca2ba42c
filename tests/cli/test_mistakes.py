"""A user's mistake: exit 2, one line on stderr that says what, where and what was expected."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys

import pytest

from search.cli.main import main
from search.record import folder as folder_module
from tests.cli.conftest import ROOT
from tests.factories import FakeRun

SMOKE = ("--space", "smoke", "--data", "demo")


@pytest.fixture
def mistake(cli, capsys, monkeypatch):
    """Call the command line in this process; returns the one line it leaves on stderr."""
    monkeypatch.chdir(cli.home)

    def call(*args, search=True):
        where = ("--runs-dir", str(cli.runs), "--tracking-uri", cli.uri) if search else ()
        try:
            code = main([*args, *where])
        except SystemExit as exit:
            code = exit.code
        assert code == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert lines[0].startswith("run_search.py")
        return lines[0]

    return call


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), ["--space"]),
        (("--space", "bpr_hrad"), ["bpr_hrad", "bpr_hard"]),
        (("--space", "missing.yaml"), ["missing.yaml"]),
        ((*SMOKE, "--set", "lr=0"), ["lr"]),
        ((*SMOKE, "--set", "lr=high"), ["lr", "high"]),
        ((*SMOKE, "--set", "latent_factor=8"), ["latent_factor", "latent_factors"]),
        ((*SMOKE, "--set", "metric=mapp@10"), ["mapp@10", "map"]),
        ((*SMOKE, "--set", "metric=map@500"), ["500", "200"]),
        ((*SMOKE, "--set", "k=500"), ["k", "500", "200"]),
        ((*SMOKE, "--trials", "0"), ["--trials", "0", "at least 1"]),
        ((*SMOKE, "--trials", "10000000000"), ["--trials", "from 1 to 999999999"]),
        ((*SMOKE, "--cpus-per-trial", "10000000000"), ["--cpus-per-trial", "1 to 999999999"]),
        ((*SMOKE, "--time-budget", "soon"), ["--time-budget", "soon"]),
        ((*SMOKE, "--seed", "-1"), ["--seed", "-1"]),
        ((*SMOKE, "--run", "../out"), ["../out"]),
        ((*SMOKE, "--cpus-per-trial", "4096"), ["4096"]),
        ((*SMOKE, "--gpus-per-trial", "1"), ["--gpus-per-trial"]),
        ((*SMOKE, "--device", "cuda"), ["cuda"]),
        (("--space", "smoke", "--data", "nothing.csv"), ["nothing.csv"]),
        (("--resume",), ["--run"]),
        (("--resume", "--run", "never"), ["never"]),
    ],
)
def test_on_the_command_line(cli, mistake, args, words):
    line = mistake(*args)
    for word in words:
        assert word in line
    assert not any((cli.runs / name).exists() for name in ("never", "out"))


def test_m_above_n(mistake):
    line = mistake(
        *("--space", "report_table", "--data", "demo"),
        *("--set", "num_hard_neg_samples=11"),
    )
    assert "11" in line
    assert "10" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["bad.csv", "empty"]),
        ("UserId,ItemId\n", ["bad.csv"]),
        ("a,b,c\n1,2,3\n", ["bad.csv", "user"]),
        ("user,item,rating\n1,,5\n", ["item", "empty", "line 2"]),
        ("UserId,ItemId\n1,5\n2,6\n", ["2 items"]),
    ],
)
def test_in_a_file(cli, mistake, content, words):
    (cli.home / "bad.csv").write_text(content)
    line = mistake("--space", "smoke", "--data", "bad.csv", "--run", "bad")
    for word in words:
        assert word in line
    assert not (cli.runs / "bad").exists()


def test_a_run_folder_that_cannot_be_made(cli, mistake):
    (cli.home / "file").write_text("in the way")
    args = ("--runs-dir", "file", "--run", "x", "--tracking-uri", cli.uri)
    assert "file" in mistake(*SMOKE, *args, search=False)


def test_a_port_in_use(mistake):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        assert port in mistake("ui", "--port", port, search=False)


def test_help_fits_a_screen(cli):
    shown = cli("--help").stdout
    assert len(shown.splitlines()) <= 60
    for option in ("--space", "--data", "--resume", "--extend", "--dry-run", "export", "sync"):
        assert option in shown


def test_spaces_and_data_are_listed(cli):
    spaces = cli("spaces")
    assert spaces.returncode == 0
    assert "bpr_hard" in spaces.stdout
    named = cli("data")
    assert "ml-100k" in named.stdout
    described = cli("data", "demo")
    assert "300 users x 200 items" in described.stdout


def test_a_dry_run_starts_nothing(cli):
    done = cli.search(*SMOKE, "--run", "dry", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "nothing was started" in done.stdout
    assert not (cli.runs / "dry").exists()


def test_a_dry_run_finds_what_workers_cannot_import(cli, tmp_path, monkeypatch):
    """numba, which the driver has, and its workers alone lack."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any(word.endswith('default_worker.py') for word in sys.orig_argv):\n"
        "    sys.modules['numba'] = None\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = cli.search(*SMOKE, "--run", "dry", "--dry-run")
    assert done.returncode == 2, done.stdout
    (line,) = done.stderr.splitlines()
    assert "cannot run a task (ModuleNotFoundError: import of numba" in line
    assert line.endswith("): `pip install -r requirements.txt -c constraints.txt` there")
    assert "nothing was started" not in done.stdout


def test_a_place_that_cannot_be_written(mistake, tmp_path, monkeypatch):
    """Only a search is resumed."""
    run = FakeRun(tmp_path, "r")
    run.trial()
    run.finish()
    run.close()

    def frozen(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(folder_module, "replace_content", frozen)
    monkeypatch.setattr(folder_module, "try_lock", frozen)
    for name in ("report", "clean"):
        line = mistake(name, str(run.path), search=False)
        assert "cannot be written (Read-only file system)" in line
        assert line.endswith("free space or fix permissions, then try again")


def test_a_name_is_blamed_on_the_option_that_gave_it(mistake, tmp_path):
    assert "RUN: 'a b' can't name a run" in mistake("report", "a b", search=False)
    assert "--warm-start: 'a b' can't" in mistake(*SMOKE, "--warm-start", "a b")
    assert "DIR: 'a b' can't name a run" in mistake("fetch", "/x/a b", search=False)


@pytest.mark.parametrize(
    "args",
    [
        *(("spaces", "pipe.yaml"), ("--space", "pipe.yaml", "--data", "demo")),
        *(("data", "pipe.yaml"), ("--space", "smoke", "--data", "pipe.yaml")),
    ],
)
def test_a_pipe_is_no_file(cli, args):
    """It would be waited for without an end."""
    pipe = cli.home / "pipe.yaml"
    if not pipe.exists():
        os.mkfifo(pipe)
    done = cli(*args, timeout=60)
    assert done.returncode == 2
    assert "not a regular file" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("args", [("runs",), SMOKE, ("report", "r")])
def test_a_folder_that_is_gone(tmp_path, args):
    """Libraries end the process there, without a word of ours."""
    (tmp_path / "gone").mkdir()
    script = 'cd "$1"; rmdir "$1"; shift; exec "$@"'
    program = [sys.executable, str(ROOT / "run_search.py"), *args]
    done = subprocess.run(
        ["bash", "-c", script, "-", str(tmp_path / "gone"), *program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "the current folder was deleted" in done.stderr
    assert done.stderr.count("\n") == 1
