"""Output that never stops the work: every encoding, closed files, readers that leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys.output import one_line

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import sys
from recsys.output import guard_output, output_error
guard_output()
for n in range(int(sys.argv[1])):
    print("строка caf\\udcff", n)
sys.stderr.write("ошибка \\udcff\\n")
file = open(sys.argv[2], "w")
file.write("data")
file.close()
error = output_error()
sys.exit(0 if error is None else 7)
"""


def run(tmp_path: Path, redirect: str = "", lines: int = 2, **env: str):
    """The child under a shell with `redirect` behind it; `data` is what it wrote into a file."""
    file = tmp_path / "file"
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    shell = f'"$0" "$1" {lines} "$2" {redirect}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, str(script), str(file)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
    )
    assert file.read_text() == "data"  # and not a line of output in it
    return done


@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "cp1252:strict"},
        {"PYTHONIOENCODING": "utf-8"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_any_encoding(tmp_path, env):
    done = run(tmp_path, **env)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2
    assert len(done.stderr.splitlines()) == 1
    assert b"caf?" in done.stdout


@pytest.mark.parametrize(
    ("redirect", "code"),
    [
        ("| head -1", 0),
        ("| true", 0),
        (">&-", 0),
        ("2>&-", 0),
        (">&- 2>&- <&-", 0),
        ("> /dev/full", 7),  # somebody wanted to read it
        ("2> /dev/full", 0),
    ],
)
def test_any_reader(tmp_path, redirect, code):
    done = run(tmp_path, redirect, lines=20_000)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


def test_to_leave_is_an_end_in_order_without_the_dismantling():
    script = """
import atexit, sys
from recsys.output import guard_output, leave
class Slow:
    def __del__(self): print("dismantled")
kept = Slow()
atexit.register(lambda: print("exit handler"))
guard_output()
sys.stdout.write("no line end")
leave(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "no line endexit handler\n", "")


def test_one_line():
    assert one_line("a\nb\x1b[31m\tc\u2028d") == "a b [31m c d"
    assert one_line("покупки \udcff") == "покупки ?"
