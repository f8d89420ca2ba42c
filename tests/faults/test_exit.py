"""A process that has read a file ends as it should: no abort while the interpreter goes away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNS = int(os.environ.get("RECSEARCH_EXITS", "25"))  # of each kind; 4 at a time on one core
READ = "import sys; from recsys.data import load; load(sys.argv[1])"


def rows(n: int) -> str:
    return "user_id,item_id\n" + "".join(f"{k % 40},{k % 59}\n" for k in range(n))


@pytest.fixture
def one_core():
    """This process and its children on one core, where four of them are a busy machine."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.faults
@pytest.mark.usefixtures("one_core")
def test_nothing_aborts_at_exit(tmp_path):
    good = tmp_path / "good.csv"
    good.write_text(rows(600))
    footer = tmp_path / "footer.csv"
    footer.write_text(rows(600) + "(600 rows affected)\n")
    folder = tmp_path / "ready"
    folder.mkdir()
    (folder / "train.csv").write_text(rows(600))
    (folder / "test.csv").write_text("user_id\n1\n")
    program = [sys.executable, str(ROOT / "run_search.py"), "data"]
    kinds = {
        "footer": ([*program, str(footer)], 2),
        "good": ([sys.executable, "-c", READ, str(good)], 0),
        "folder": ([*program, str(folder)], None),
    }
    waiting = [kind for _ in range(RUNS) for kind in kinds]
    total = len(waiting)
    while waiting:
        four, waiting = waiting[:4], waiting[4:]
        started = [
            (kind, subprocess.Popen(kinds[kind][0], cwd=ROOT, stdout=-3, stderr=-1, text=True))
            for kind in four
        ]
        for kind, process in started:
            _, errors = process.communicate()
            wanted = kinds[kind][1]
            right = process.returncode in (0, 2) if wanted is None else process.returncode == wanted
            aborted = not right or "terminate called" in errors
            assert not aborted, (kind, process.returncode, errors[-300:])
        if len(waiting) % 100 < 4:
            print(f"{total - len(waiting)} of {total} ended as they should", flush=True)
