"""The pages of a search in MLflow: its numbers, wide and narrow, without a word on the console."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.record.events import MachineSeen
from search.record.journal import read_state
from search.record.result import RunResult
from search.report.page import render_report
from search.summary import gain_words, headline
from search.tracking import wanted
from search.tracking.driver import sync
from search.tracking.memory import Delivered
from search.tracking.ui import run_page
from search.tracking.views import SEARCHES, Page, view_address
from search.words import baseline_name, interval, number
from tests.browser.chromium import Visit, Window, visit, window
from tests.factories import FakeRun, fake_run
from tests.search.tracking.tracking_help import Server

pytestmark = pytest.mark.browser

WIDTHS = (1280, 390)
# of the table that MLflow 3.17 uses: at every visit, and where it is folded beside charts
CHATTER = re.compile(
    r"AG Grid: since v27\.1, `(getRowNodeId|immutableData)` is deprecated"
    r"|AG Grid: tried to call sizeColumnsToFit\(\) but the grid is coming back with zero width"
    r"|ResizeObserver loop completed with undelivered notifications"  # a slow frame
)
SETTLED = "--virtual-time-budget=20000"
MORE = {
    "importance": {"lr": 0.7, "l2": 0.3},
    "importance_ci": {"lr": [0.61, 0.79], "l2": [0.21, 0.39]},
    "split_orders": {"random": [0.1702, 0.0691], "latest": [0.0511, 0.0263]},
}
# What of an element can be seen: [width, height] of the part inside all that cuts it off.
SEEN = """
  const seen = (node) => {
    let {left, top, right, bottom} = node.getBoundingClientRect();
    left = Math.max(left, 0); top = Math.max(top, 0);
    right = Math.min(right, innerWidth); bottom = Math.min(bottom, innerHeight);
    for (let n = node.parentElement; n && n !== document.body; n = n.parentElement) {
      if (getComputedStyle(n).overflowX === "visible") continue;
      const box = n.getBoundingClientRect();
      left = Math.max(left, box.left); right = Math.min(right, box.right);
      top = Math.max(top, box.top); bottom = Math.min(bottom, box.bottom);
    }
    const style = getComputedStyle(node);
    if (style.visibility === "hidden" || style.opacity === "0") return [0, 0];
    return [Math.max(0, right - left), Math.max(0, bottom - top)];
  };
"""


class Shown:
    """A finished search behind a server as `ui` starts it."""

    def __init__(self, server: Server, path: Path, uri: str) -> None:
        self.server, self.path, self.uri = server, path, uri
        self.state = read_state(path / "journal.jsonl")
        memory = Delivered.read(path)
        assert memory is not None
        self.page = Page(memory.experiment_id, memory.run_id)
        self.home = f"#/experiments/{memory.experiment_id}/runs/{memory.run_id}"

    def visit(self, path: str, scratch: Path, width: int) -> Visit:
        return visit(self.address(path), scratch, width, SETTLED)

    def address(self, path: str) -> str:
        return f"{self.server.uri}/{path}"

    @property
    def result(self) -> RunResult:
        result = wanted.known_result(self.path)
        assert result is not None
        return result


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shown, Shown]]:
    """A search of 12 trials, and one of 64 with race, rivals and what else result.json may have."""
    folder = tmp_path_factory.mktemp("mlflow")
    run = FakeRun(folder / "runs", "a")
    run.several(12)
    for step in range(4):
        busy = {"cpu_percent": 90.0 - step, "memory_mb": 2048.0 + step, "memory_percent": 25.0}
        run.journal.append(MachineSeen(**busy, time=time.time() + step))
    run.finish(model=True)
    run.close()
    whole = fake_run(folder / "runs", result_changes=MORE)
    server = Server(folder / "store")
    uri = f"sqlite:///{server.file}"
    for path in (run.path, whole):
        (path / "report.html").write_text(render_report(path), encoding="utf-8")
        assert sync(path, uri).delivered
    server.start()
    yield Shown(server, run.path, uri), Shown(server, whole, uri)
    server.kill()


@pytest.fixture(scope="module")
def shown(both: tuple[Shown, Shown]) -> Shown:
    return both[0]


@pytest.fixture(scope="module")
def whole(both: tuple[Shown, Shown]) -> Shown:
    return both[1]


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Window]:
    """A window, and a picture of its end among the test's files."""
    with window(tmp_path) as opened:
        yield opened
        opened.picture(tmp_path / "last.png")


def words(seen: Visit) -> str:
    """What the page says, and nothing of how."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", seen.dom, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def quiet(seen: Visit) -> bool:
    return all(CHATTER.search(line) for line in seen.console)


def silent(chromium: Window) -> bool:
    said = [line for line in chromium.console if not CHATTER.search(line)]
    assert said == []
    return True


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_that_ui_prints_has_the_trials_in_order(
    shown: Shown, tmp_path: Path, width: int
) -> None:
    seen = shown.visit(run_page(shown.path, shown.uri), tmp_path, width)
    assert quiet(seen), seen.console
    text = words(seen)
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
    page, result = shown.page, shown.result
    seen = shown.visit(shown.home, tmp_path, width)
    assert quiet(seen), seen.console
    text = words(seen)
    assert wanted.run_name(shown.state) in text
    for name, value in (("test", result.test), ("valid", result.valid)):
        assert re.search(rf"\b{name}\s+{value}\b", text), name
    assert f"({wanted.data_parts(shown.state)[0].digest})" in text
    assert f'href="{html.escape(page.trials(shown.state))}"' in seen.dom


@pytest.mark.parametrize("width", WIDTHS)
def test_race_rivals_and_verdicts_are_on_the_page_of_a_search(
    whole: Shown, chromium: Window, width: int
) -> None:
    chromium.open(whole.address(whole.home), width, 6000)
    result = whole.result
    chromium.wait("document.body?.innerText.includes('test_metrics.')")
    text = " ".join(chromium.ask("document.body.innerText").split())
    for name, one in result.baselines.items():
        assert f"{baseline_name(name)} {number(one.test)}" in text, name
    assert f"{number(result.test)} {interval(result.test_ci)}" in text
    assert all(line in text for line in gain_words(result))
    assert len(gain_words(result)) == 2  # against the runner-up and the default
    points = wanted.run_results(whole.state, result)
    kinds = {point.key.split(".")[0] for point in points}
    assert kinds == {
        *("test", "valid", "test_ci", "test_metrics", "baselines", "best_epoch", "wall_s"),
        "handed",
    }
    rows = chromium.ask(ROWS)
    others = {wanted.clean(name) for name, _ in wanted.numbers(result)}
    others -= {point.key for point in points} | wanted.run_params(whole.state).keys()
    assert len(others) > 40 and not rows.keys() & others  # those are in a table
    for point in points:
        assert rows[point.key] == pytest.approx(point.value, rel=1e-6), point.key
    assert silent(chromium)


# The rows of MLflow's table of metrics: name -> value. It draws what is in view, scrolling.
ROWS = """(async () => {
  const found = {};
  const take = () => document.querySelectorAll("[role=row]").forEach((row) => {
    const cells = [...row.querySelectorAll("[role=cell]")].map((c) => c.innerText.trim());
    if (cells.length >= 2 && cells[1] !== "") found[cells[0]] = Number(cells[1].replace(/,/g, ""));
  });
  take();
  for (const box of document.querySelectorAll("*")) {
    if (box.scrollHeight <= box.clientHeight + 4 || !box.querySelector("[role=row]")) continue;
    for (let top = 0; top <= box.scrollHeight; top += 100) {
      box.scrollTop = top;
      await new Promise((done) => setTimeout(done, 20));
      take();
    }
  }
  return found;
})()"""


BARE = ("", "#/", "#/experiments/ID", "#/experiments/ID/runs")


@pytest.mark.parametrize("path", BARE)
def test_addresses_without_a_view_lead_to_all_searches(
    shown: Shown, chromium: Window, path: str
) -> None:
    chromium.open("about:blank", 1280)
    chromium.open(shown.address(path.replace("ID", shown.page.experiment_id)), 1280)
    chromium.wait(f"location.hash.includes('viewStateShareKey={SEARCHES}')")
    assert silent(chromium)


def test_one_click_leads_from_a_search_to_all_searches_and_back(
    shown: Shown, chromium: Window
) -> None:
    def click(kind: str, text: str) -> None:
        chromium.wait(
            f"(() => {{ const found = [...document.querySelectorAll('{kind}')]"
            f".filter((one) => one.innerText.trim() === '{text}'); found[0]?.click();"
            "return found.length > 0; })()"
        )

    chromium.open(shown.address(shown.home), 1280)
    click("a", "Runs")
    chromium.wait(f"location.hash.includes('viewStateShareKey={SEARCHES}')")
    chromium.ask("history.back()")
    chromium.wait(f"location.hash.startsWith('{shown.home}')")
    chromium.ask("history.forward()")
    chromium.wait(f"location.hash.includes('viewStateShareKey={SEARCHES}')")
    # MLflow writes the filter into the address, and from then on shows no way out beside it
    chromium.ask("history.back()")
    chromium.wait(f"location.hash.startsWith('{shown.home}')")
    click("a", "Runs")
    click("button", "Exit shared view")  # who wants to leave it may
    chromium.wait("location.hash.includes('searchFilter=&')")
    chromium.wait("document.body.innerText.includes('Duration')")  # a column of MLflow's own
    assert "viewStateShareKey" not in chromium.ask("location.hash")
    assert silent(chromium)


@pytest.mark.parametrize("width", WIDTHS)
def test_all_searches_are_listed(both: tuple[Shown, Shown], chromium: Window, width: int) -> None:
    path = view_address(both[0].page.experiment_id, SEARCHES)
    chromium.open(both[0].address(path), width)
    names = chromium.wait(
        f"(() => {{ {SEEN}; const links = [...document.querySelectorAll('.ag-row a')]"
        ".filter((a) => a.href.includes('/runs/'));"
        "return links.length >= 2 && links.map((a) => [a.innerText, ...seen(a)]); })()"
    )
    assert {name for name, *_ in names} == {wanted.run_name(one.state) for one in both}
    assert all(wide > 100 and high > 8 for _, wide, high in names)
    assert silent(chromium)


def test_a_window_of_1280_shows_what_a_search_found(
    both: tuple[Shown, Shown], chromium: Window
) -> None:
    path = view_address(both[0].page.experiment_id, SEARCHES)
    chromium.open(both[0].address(path), 1280)
    cells = chromium.wait(
        f"(() => {{ {SEEN}; const cells = [...document.querySelectorAll('.ag-row [col-id]')];"
        "return cells.length > 10 && cells.map((c) => [c.getAttribute('col-id'), c.innerText, "
        "seen(c)[0] / c.getBoundingClientRect().width, c.scrollWidth - c.clientWidth]); })()"
    )
    whole = both[1].result
    known = {
        "metrics.`handed.test`": (0.17, whole.test),
        "metrics.`valid`": (0.13, whole.valid),
        "tags.`winner`": (None, whole.best_trial),
        "tags.`metric`": (None, None),
        "metrics.`wall_s`": (None, whole.wall_s),
    }
    for column, values in known.items():
        mine = [one for one in cells if one[0] == column]
        assert [share for _, _, share, _ in mine] == [1.0, 1.0], column
        for value, (_, text, _, cut) in zip(values, sorted(mine, key=lambda c: c[1]), strict=True):
            if isinstance(value, str):
                assert (text.split()[0], cut) == (value, 0)
            elif value is not None:
                assert float(text) == pytest.approx(value), column
    links = chromium.ask(
        "[...document.querySelectorAll('.ag-row a')].filter((a) => a.href.includes('/runs/'))"
        ".map((a) => [a.innerText, a.scrollWidth - a.clientWidth])"
    )
    assert max(cut for name, cut in links if len(name) <= 40) == 0  # a name that nobody made longer
    assert silent(chromium)


@pytest.mark.parametrize("width", WIDTHS)
def test_curves_and_lines_of_all_trials_are_drawn_in_sight(
    both: tuple[Shown, Shown], chromium: Window, width: int
) -> None:
    for one, metric in ((both[0], "map@50"), (both[1], "map@50")):
        path = run_page(one.path, one.uri) + "&compareRunsMode=CHART"
        chromium.open("about:blank", width)
        chromium.open(one.address(path), width)
        trials = [trial for trial in one.state.in_order() if len(trial.rows) > 1]
        # The first chart is ours, those below are MLflow's. A curve is drawn twice, once for the
        # pointer to find it, and grows into its place.
        chromium.wait(
            f"(() => {{ {SEEN}; const lines = [...document.querySelector('.js-plotly-plot')"
            ".querySelectorAll('.scatterlayer path.js-line')]"
            ".filter((p) => p.getAttribute('d').length > 10 && seen(p)[0] > 1);"
            f"return new Set(lines.map((p) => p.getAttribute('d'))).size === {len(trials)}; }})()"
        )
        heads = chromium.ask("document.body.innerText")
        assert f"{metric} by epoch" in heads
        assert "parameters and best" in heads
        inked = chromium.wait(
            f"(() => {{ {SEEN}; const all = [...document.querySelectorAll('canvas')];"
            "const drawn = all.filter((c) => c.width > 0 && c.getContext('2d')?.getImageData(0, 0, "
            "c.width, c.height).data.some((v) => v > 0));"
            "drawn[0]?.scrollIntoView({block: 'center'});"
            "return drawn.length > 0 && drawn.map(seen); })()"
        )
        assert max(wide for wide, _ in inked) > 200
    assert silent(chromium)


def test_how_busy_the_machine_was_has_a_tab(shown: Shown, chromium: Window) -> None:
    chromium.open(shown.address(f"{shown.home}/system-metrics"), 1280)
    drawn = "[...document.querySelectorAll('.js-plotly-plot')].filter((p) => "
    chromium.wait(f"{drawn} p.querySelector('.scatterlayer path.js-line')).length === 3")
    text = chromium.ask("document.body.innerText")
    for name in wanted._SYSTEM:
        assert name.removeprefix("system/") in text
    assert silent(chromium)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_is_shown_among_the_files(whole: Shown, chromium: Window, width: int) -> None:
    """In MLflow's frame, which has no origin, no storage and no clipboard."""
    chromium.open(whole.address(whole.page.artifact("report.html")), width)
    chromium.wait(f"(() => {{ {SEEN}; const frame = document.querySelector('iframe');"
                  f"return frame && seen(frame)[0] > {0.7 * width - 200 * (width > 1000)} "
                  "&& seen(frame)[1] > 500; })()")  # fmt: skip
    frame = chromium.frame()
    chromium.wait("document.querySelectorAll('svg').length >= 10", world=frame)
    text = " ".join(chromium.ask("document.body.innerText", frame).split())
    result = whole.result
    assert headline(result) in text
    for value in (result.test, result.valid, *(one.test for one in result.baselines.values())):
        assert number(value) in text
    for finalist in result.race.finalists:
        assert re.search(rf"{finalist.id}\b.*{number(finalist.mean)}", text), finalist.id
    heads = "[...document.querySelectorAll('h1, h2')].filter((h) => h.getClientRects().length)"
    assert chromium.ask(f"{heads}.length", frame) > 4
    # its script ran there: headings of tables sort
    assert chromium.ask("document.querySelectorAll('th button').length", frame) > 10
    assert silent(chromium)
