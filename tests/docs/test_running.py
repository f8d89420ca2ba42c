"""Pages that are run: the tutorial's commands, the notebook's cells, and what is made of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from docs.making import tutorial
from docs.making.notebook import Cell, notebook_page, read_notebook, run_cells
from docs.making.pages import DOCS, NOTEBOOK
from docs.making.program import COLUMNS, install
from docs.making.shop import write_shop
from docs.making.tutorial import Place, folded, shortened
from recsys.data import load


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, os.environ, tmp_path / "pictures")


def test_what_a_command_prints_stands_below_it(place):
    page = "Before.\n\n```sh run\necho one > file\ncat file\n```\n\nAfter.\n\n```sh\nnot run\n```\n"
    made = place.page(page)
    assert "```sh\necho one > file\ncat file\n```\n\n```text\none\n```\n" in made
    assert made.startswith("Before.\n") and made.endswith("```sh\nnot run\n```\n")
    assert place.page("```sh run\ntrue\n```\n") == "```sh\ntrue\n```\n\n"
    assert "```text\nfile\n```" in place.page('```sh run\necho "$PWD/file"\n```\n')


def test_a_command_that_fails_ends_the_build(place):
    with pytest.raises(RuntimeError, match=r"false \| cat ended with 1:\nwhy"):
        place.page("```sh run\necho why\nfalse | cat\n```\n".replace("echo why\n", "echo why; "))


def test_long_outputs_are_cut_in_the_middle():
    printed = "one\ntwo\nthree\nwinner a\nwinner b"
    assert shortened(printed, 1, "winner") == "one\n...\nwinner a\nwinner b"
    assert shortened(printed, 3, "winner") == shortened(printed, 4, "winner") == printed
    with pytest.raises(RuntimeError, match="begins with loser"):
        shortened(printed, 1, "loser")


def test_the_cut_of_a_block(place):
    made = place.page("```sh run head=1 from=d\nprintf 'a\\nb\\nc\\nd\\n'\n```\n")
    assert "```text\na\n...\nd\n```" in made


def test_long_lines_are_folded_below_their_text():
    for start in ("gain   ", "       "):
        first, second, *_ = folded(start + "word " * 40)
        assert len(first) <= COLUMNS
        assert first.startswith(f"{start}word")
        assert second.startswith("       word")
    assert folded("word " * 40)[1].startswith("    word")
    assert folded("   12  xx") == ["   12  xx"]


def test_a_picture_or_a_word_of_why_there_is_none(place, monkeypatch):
    page = "<!-- picture: report.html 1280x900 The report -->\n"
    monkeypatch.setattr(tutorial, "photograph", lambda *_: False)
    assert place.page(page) == (
        "*No picture of The report: Chromium was not there when this page was made.*\n"
    )
    monkeypatch.setattr(tutorial, "photograph", lambda *_: True)
    assert place.page(page) == "![The report](pictures/report-1280x900.png)\n"
    page = page.replace("report.html", "report.html#groups")
    assert place.page(page) == "![The report](pictures/report-groups-1280x900.png)\n"


def test_the_program_is_that_of_an_installation(tmp_path):
    environment = install(tmp_path / "program")
    home = tmp_path / "home"
    home.mkdir()
    said = Place(home, environment, home).run("recsearch spaces | tail -1; recsearch --help")
    assert said.startswith("recsearch --space bpr_hard\nusage: recsearch [-h]")


def test_the_shop_is_read_as_it_is_meant(tmp_path):
    write_shop(tmp_path)
    there = load(str(tmp_path / "purchases.csv")).interactions
    assert there.ordered
    assert there.duplicates > 500
    assert (there.csr.n_users, there.csr.n_items) == (600, 240)
    asked = (tmp_path / "sample_submission.csv").read_text().split()[1:]
    assert {row.rstrip(",") for row in asked} < set(there.user_ids)


def test_a_notebook_shows_what_its_cells_print_return_and_draw(tmp_path):
    cells = [
        Cell("markdown", "# Head"),
        Cell("code", "import matplotlib.pyplot as plt\nx = 3\nprint('said')"),
        Cell("code", "x + 1"),
        Cell("code", "plt.plot([1, 2]);"),
        Cell("code", "import pandas as pd\npd.DataFrame({'a': [7]})"),
    ]
    shown = list(run_cells(cells))
    assert [one.printed for one in shown] == ["said\n", "", "", ""]
    assert shown[1].value == 4
    assert shown[2].figures[0].startswith(b"\x89PNG")
    page = notebook_page(cells, tmp_path)
    assert page.startswith("# Head\n\n```python\nimport")
    assert "```text\nsaid\n```" in page
    assert "```python\n4\n```" in page
    assert "<td>7</td>" in page
    assert "Line2D" not in page
    assert (tmp_path / "notebook-1.png").is_file()


def test_a_cell_that_fails_ends_the_run():
    with pytest.raises(ZeroDivisionError):
        list(run_cells([Cell("code", "1 / 0")]))


def test_the_notebook_is_committed_without_what_it_shows():
    for cell in json.loads((DOCS / NOTEBOOK).read_text())["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == (
            [],
            None,
        )


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    """A search, its trials, its submission, its model."""
    monkeypatch.chdir(DOCS)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    shown = list(run_cells(read_notebook(DOCS / NOTEBOOK)))
    said, trials, curves, result, submission, model = shown[1:]
    assert said.printed.startswith("winner ")
    assert str(tmp_path) not in said.printed
    assert list(trials.value["id"].sort_values()) == [f"t{n:04d}" for n in range(6)]
    assert len(curves.figures) == 1
    assert "popularity: 0." in result.printed
    assert list(submission.value) == ["UserId", "ItemId"]
    assert list(model.value["source"]) == ["model", "items"]
