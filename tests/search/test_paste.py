"""Every command that is printed can be pasted: quoted, found, and understood by the parser."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from search import paste
from search.cli.arguments import COMMANDS, command_parser, search_parser
from search.paste import command, quoted
from search.record.folder import RunFolder
from search.summary import next_commands
from search.tracking.memory import DeliveryStatus

ROOT = Path(__file__).resolve().parents[2]


def parsed(line: str, cwd: Path):
    """The options that a pasted line gives; its script has to be there."""
    program, script, *words = shlex.split(line)
    assert (cwd / script).resolve() == ROOT / "run_search.py"
    assert Path(program).name.startswith("python")
    parser = command_parser(words[0]) if words[0] in COMMANDS else search_parser()
    return parser.parse_args(words[1:] if words[0] in COMMANDS else words)


def forms(run: Path):
    yield command("--resume", "--run", run)
    yield command("--run", run, "--extend", "20")
    yield command("export", run, "-o", "submission.csv")
    yield command("sync", run)
    yield from next_commands(run)[1:]


@pytest.mark.parametrize(
    "folder",
    [
        *("runs/r1", "other/r1", "my runs/r1", "it's/r1", "$HOME & co/r1", 'a"b`c;d|e/r1'),
        *("покупки/r1", "runs/a name of its own", "-x/-y", "~/r1", "*[a]/r1", "new!/r1"),
    ],
)
@pytest.mark.parametrize("at_home", [True, False])
def test_a_printed_command_finds_its_run(tmp_path, monkeypatch, folder, at_home):
    cwd = ROOT if at_home else tmp_path
    monkeypatch.chdir(cwd)
    run = tmp_path / folder
    run.mkdir(parents=True)
    (run / "journal.jsonl").write_text("{}\n")
    for line in forms(run):
        options = parsed(line, cwd)
        assert RunFolder.open(options.runs_dir or "runs", options.run).path == run
        again = subprocess.run(
            ["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, cwd=cwd
        )
        assert again.stdout.splitlines() == shlex.split(line)  # the shell reads it as we do


def test_in_the_usual_place_it_is_short(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert command("--resume", "--run", ROOT / "runs" / "r") == (
        "python run_search.py --resume --run r"
    )
    monkeypatch.setenv("PATH", "/nowhere")  # the environment is not activated
    program = shlex.split(command("ui"))[0]
    assert (ROOT / program).resolve() == Path(sys.executable).resolve()
    monkeypatch.chdir(tmp_path)
    assert shlex.split(command("ui"))[1] == str(ROOT / "run_search.py")


def test_an_installed_command_is_called_by_its_name_or_its_path(monkeypatch, tmp_path):
    monkeypatch.setattr(paste, "PROG", "recsearch")
    place = tmp_path / "my venv" / "bin"
    place.mkdir(parents=True)
    (place / "recsearch").touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "r"
    monkeypatch.setattr(sys, "argv", [str(place / "recsearch")])
    monkeypatch.setenv("PATH", str(place))
    assert command("--resume", "--run", run) == "recsearch --resume --run r"
    monkeypatch.setenv("PATH", "/nowhere")  # the environment is not activated
    assert command("ui") == "'my venv/bin/recsearch' ui"
    monkeypatch.chdir(place)
    assert command("ui") == "./recsearch ui"  # no shell looks in the present folder
    # called from Python, the command is the one beside this interpreter
    monkeypatch.setattr(sys, "argv", ["my_program.py"])
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    monkeypatch.setenv("PATH", str(place))
    assert command("ui") == "recsearch ui"
    (place / "recsearch").unlink()
    assert command("ui") == "recsearch ui"


def test_in_a_file_it_says_where_unless_the_project_is_the_place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "r"
    assert "--runs-dir" not in command("sync", run)
    assert f"--runs-dir {tmp_path}/runs" in command("sync", run, lasting=True)
    monkeypatch.chdir(ROOT)
    assert "--runs-dir" not in command("sync", ROOT / "runs" / "r", lasting=True)


def test_what_cannot_be_shown_is_escaped_for_the_shell():
    for word in ("a\nb", "tab\t", "caf\udcff", "it's\x1b[31m"):
        line = quoted(word)
        assert line.isprintable()
        assert line.isascii()
        done = subprocess.run(["bash", "-c", f"printf %s {line}"], capture_output=True)
        assert done.stdout == word.encode(errors="surrogateescape")
    assert quoted("покупки") == "'покупки'"
    assert quoted("покупки", "ascii").isascii()


def test_what_mlflow_lacks_says_how_to_deliver_it(tmp_path):
    status = DeliveryStatus(False, 1, None, "http://h", tmp_path / "my runs" / "r")
    line = status.sentence().partition(", or: ")[2]
    assert parsed(line, Path.cwd()).runs_dir == str(tmp_path / "my runs")


def test_no_command_is_made_by_hand():
    """Whatever looks like a command in a string of the sources comes from `search.paste`."""
    by_hand = re.compile(
        r"run_search\.py +\S|--(resume|extend) --run|--run \{|(?<!\w)(sync|export) \{"
    )
    found = []
    for path in (ROOT / "search").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docs = {
            node.body[0].value
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docs:
                text = node.value
            elif isinstance(node, ast.JoinedStr):
                text = "".join(
                    part.value if isinstance(part, ast.Constant) else "{" for part in node.values
                )
            else:
                continue
            if by_hand.search(text):
                found.append((path.name, node.lineno, text))
    # what a message calls an option by is no command: these name the mistake, not the way out
    allowed = (
        "--run {: a search",
        "--run {: this run",
        "--run {: {",
        "--run {: the data",
        "--run {: its",
        "--run { is",
    )
    assert [f for f in found if not f[2].startswith(allowed) and "--run NAME" not in f[2]] == []
