"""The pages of a search in MLflow: its numbers, wide and narrow, without a word on the console."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.record.journal import read_state
from search.report.page import render_report
from search.tracking import wanted
from search.tracking.memory import Delivered
from search.tracking.ui import run_page
from search.tracking.views import SEARCHES, Page, view_address
from tests.browser.chromium import Visit, visit
from tests.factories import FakeRun
from tests.search.tracking.tracking_help import Server, deliver

pytestmark = pytest.mark.browser

WIDTHS = (1280, 390)
# of the table that MLflow 3.17 uses, at every visit
CHATTER = re.compile(r"AG Grid: since v27\.1, `(getRowNodeId|immutableData)` is deprecated")
SETTLED = "--virtual-time-budget=20000"


class Shown:
    """A finished search of 12 trials behind a server as `ui` starts it."""

    def __init__(self, server: Server, run: FakeRun, uri: str) -> None:
        self.server, self.run, self.uri = server, run, uri
        self.state = read_state(run.path / "journal.jsonl")
        memory = Delivered.read(run.path)
        assert memory is not None
        self.page = Page(memory.experiment_id, memory.run_id)

    def visit(self, path: str, scratch: Path, width: int) -> Visit:
        return visit(f"{self.server.uri}/{path}", scratch, width, SETTLED)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("mlflow")
    run = FakeRun(folder / "runs", "a")
    run.several(12)
    run.finish(model=True)
    run.close()
    server = Server(folder / "store")
    uri = f"sqlite:///{server.file}"
    run.folder.write("report.html", render_report(run.path))
    assert deliver(run, uri)
    server.start()
    yield Shown(server, run, uri)
    server.kill()


def words(seen: Visit) -> str:
    """What the page says, and nothing of how."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", seen.dom, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def quiet(seen: Visit) -> bool:
    return all(CHATTER.search(line) for line in seen.console)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_that_ui_prints_has_the_trials_in_order(
    shown: Shown, tmp_path: Path, width: int
) -> None:
    seen = shown.visit(run_page(shown.run.path, shown.uri), tmp_path, width)
    assert quiet(seen), seen.console
    text = words(seen)
    assert "12 matching runs" in text
    trials = [t for t in shown.state.in_order() if t.value is not None]
    best = sorted(trials, key=lambda trial: -trial.value)  # type: ignore[operator]
    names = [trial.title for trial in best]
    places = [text.index(name) for name in names if name in text]
    assert len(places) == len(names)
    assert places == sorted(places)
    assert "Sort: best_value" in text
    if width > 1000:  # narrow, the table is scrolled to its numbers
        assert all(f" {trial.value} {trial.best_epoch} " in text for trial in best)
    assert "GenAI" not in text or "Model training" in text
    assert "Ask a question" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_of_a_search_says_what_result_json_says(
    shown: Shown, tmp_path: Path, width: int
) -> None:
    page = shown.page
    path = f"#/experiments/{page.experiment_id}/runs/{page.run_id}"
    seen = shown.visit(path, tmp_path, width)
    assert quiet(seen), seen.console
    text = words(seen)
    result = wanted.known_result(shown.run.path)
    assert result is not None
    assert wanted.run_name(shown.state) in text
    for name, value in (("test", result.test), ("valid", result.valid)):
        assert re.search(rf"\b{name}\s+{value}\b", text), name
    assert f"({wanted.data_parts(shown.state)[0].digest})" in text
    assert f'href="{html.escape(page.trials(shown.state))}"' in seen.dom


def test_all_searches_have_test_and_validation_as_columns(shown: Shown, tmp_path: Path) -> None:
    path = view_address(shown.page.experiment_id, SEARCHES)
    seen = shown.visit(path, tmp_path, 1280)
    assert quiet(seen), seen.console
    text = words(seen)
    assert "1 matching run" in text
    assert wanted.run_name(shown.state) in text
    assert " 0.17 0.13 " in text


@pytest.mark.parametrize("width", WIDTHS)
def test_charts_of_all_trials(shown: Shown, tmp_path: Path, width: int) -> None:
    path = run_page(shown.run.path, shown.uri) + "&compareRunsMode=CHART"
    seen = shown.visit(path, tmp_path, width)
    assert quiet(seen), seen.console
    assert re.search(r"Search \( ?2 ?\)", words(seen))


def test_the_report_is_shown_among_the_files(shown: Shown, tmp_path: Path) -> None:
    seen = shown.visit(shown.page.artifact("report.html"), tmp_path, 1280)
    assert quiet(seen), seen.console
    assert re.search(r'<iframe src="blob:[^"]*" sandbox="allow-scripts"', seen.dom)
