"""`runs`: every run of a folder in a line, whatever state it is in."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from search.cli.main import main
from search.cli.runs import COLUMNS, lines
from search.cli.tables import print_table
from tests.factories import BLENDED, FakeRun, fake_run, fake_table


def cells(runs: Path) -> dict[str, tuple[str, ...]]:
    return {line.cells[0]: line.cells for line in lines(runs)}


def test_a_line_for_every_run_the_newest_first(tmp_path: Path) -> None:
    fake = fake_run(tmp_path)  # of an earlier date
    done = FakeRun(tmp_path, "done")
    done.trial()
    done.finish()
    done.close()
    time.sleep(0.01)
    alive = FakeRun(tmp_path, "alive")
    alive.trial()
    cut = FakeRun(tmp_path, "cut")
    cut.close()
    (tmp_path / "notes").mkdir()
    found = lines(tmp_path)
    assert [line.cells[0] for line in found] == ["cut", "alive", "done", fake.name]
    by_name = {line.cells[0]: line.cells for line in found}
    assert [by_name[name][2] for name in ("cut", "alive", "done")] == ["cut off", "running", "done"]
    assert by_name["done"][4:6] == ("map@50", "0.1700")
    assert by_name["alive"][6] == "(t0000 bpr-even d=64)"
    assert by_name["cut"][6] == ""
    assert by_name[fake.name][7].endswith(("kB", "MB"))
    alive.close()


def test_a_damaged_run_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("good", "bad"):
        run = FakeRun(tmp_path, name)
        run.trial()
        run.finish()
        run.close()
    (tmp_path / "bad" / "result.json").write_text("{")
    found = cells(tmp_path)
    assert found["good"][2] == "done"
    assert found["bad"][2].startswith("can't be read: ")


def test_a_finished_run_without_its_result_is_no_run_without_a_test(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, "lost")
    run.trial()
    run.finish()
    run.close()
    (run.path / "result.json").unlink()
    assert "result.json: is missing" in cells(tmp_path)["lost"][2]


def test_a_run_that_never_began_has_no_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeRun(tmp_path, "good").close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "journal.jsonl").touch()
    assert cells(tmp_path)["empty"][1:3] == ("", "never began")
    for name, words in (("empty", "its journal.jsonl has no whole line"), ("x", "one of good\n")):
        assert main(["report", name, "--runs-dir", str(tmp_path)]) == 2
        assert words in capsys.readouterr().err


def test_the_test_is_that_of_the_blend_where_it_is_handed_over(tmp_path: Path) -> None:
    fake_run(tmp_path, "blended", trials=8, result_changes=BLENDED)
    alone = {"blend": BLENDED["blend"] | {"handed_over": False}}
    fake_run(tmp_path, "alone", trials=8, result_changes=alone)
    found = cells(tmp_path)
    assert found["blended"][5:7] == ("0.1763", "blend of 3")
    assert found["alone"][5] == "0.1702"
    assert "bpr-hard d=" in found["alone"][6]


def test_a_table_has_no_winner(tmp_path: Path) -> None:
    assert cells(fake_table(tmp_path).parent).popitem()[1][6] == ""


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    run = FakeRun(tmp_path / "runs", "a-run")
    run.trial()
    run.close()
    assert main(["runs", "--runs-dir", str(tmp_path / "runs")]) == 0
    assert "a-run" in capsys.readouterr().out
    assert main(["runs", "--runs-dir", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


LONG = "bpr_hard-my_interactions-20260131-235959"


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_pipe_gets_every_name_in_full(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: str,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    run = FakeRun(tmp_path, LONG)
    run.trial()
    run.finish()
    run.close()
    assert main(["runs", "--runs-dir", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if LONG in line]
    assert all(cell in line for cell in lines(tmp_path)[0].cells)
    assert "…" not in printed


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 160])
def test_a_narrow_terminal_leaves_out_columns_and_shortens_nothing(width: int) -> None:
    cells = (LONG, "2026-01-31 23:59", "done", "77", "map@50", "0.1700", "(t0000 bpr d=64)", "2 MB")
    console = Console(file=Screen(), width=width, color_system=None)
    print_table(console, COLUMNS, [cells])
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert LONG in printed
    assert "…" not in printed
    left = printed.partition("also shows: ")[2].strip().split(", ")
    for column, cell in zip(COLUMNS, cells, strict=True):
        shown = all(word in printed for word in cell.split())
        assert shown != (column.title in left), column.title
    table = printed.partition("note:")[0]
    assert max(map(len, table.splitlines())) <= max(width, len(LONG) + 10)
    assert console.width == width
