"""The report in a real browser: it works, runs nothing foreign, and asks no network."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from search.report.page import render_report
from tests.browser.chromium import Visit, visit
from tests.factories import fake_run, fake_table

pytestmark = pytest.mark.browser

MARK = "document.documentElement.dataset.pwned=1"
EVIL = (
    f"<script>{MARK}</script>\"'><img src=http://127.0.0.1:9/x onerror={MARK}>"
    f"<svg onload={MARK}></title></style></script>"
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def show(html: str, tmp_path: Path, *more: str) -> Visit:
    page = tmp_path / "page.html"
    page.write_text(html, encoding="utf-8")
    return visit(page, tmp_path, 1280, *more)


def with_probe(html: str, script: str) -> str:
    """The page with one more script, which needs the policy out of the way."""
    bare = POLICY.sub("", html)
    assert bare != html
    return bare.replace("</body>", f"<script>{script}</script></body>")


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    return fake_run(tmp_path_factory.mktemp("runs"))


def test_page_works_offline_and_in_silence(done, tmp_path):
    seen = show(render_report(done), tmp_path)
    assert seen.console == []
    assert seen.requests == []
    assert seen.dom.count("<svg") >= 10
    assert seen.dom.count("<tr") > 64
    # The script ran: headings became buttons and what needs it was uncovered.
    assert '<th scope="col"><button type="button">trial</button></th>' in seen.dom
    assert '<button type="button" class="copy" hidden' not in seen.dom


def test_page_works_in_the_frame_of_an_artifact_viewer(done, tmp_path):
    """MLflow shows HTML artifacts in a sandbox without clipboard, storage or origin."""
    script = """
      document.querySelector("button.copy").click();
      parent.postMessage(document.querySelectorAll("th button").length, "*");
    """
    (tmp_path / "inner.html").write_text(with_probe(render_report(done), script))
    outer = """<!doctype html><html><body><script>
      onmessage = (e) => { document.documentElement.dataset.got = e.data; };
    </script><iframe sandbox="allow-scripts" src="inner.html" width="900" height="900"></iframe>"""
    seen = show(outer, tmp_path)
    assert seen.console == []
    assert int(seen.data("got") or 0) > 10


@pytest.mark.parametrize("works", [True, False])
def test_copying(done, tmp_path, works):
    script = """
      const root = document.documentElement.dataset;
      const writeText = async (text) => { if (!WORKS) throw new Error("no"); root.copied = text; };
      Object.defineProperty(navigator, "clipboard", { value: { writeText } });
      document.querySelector("button.copy").click();
      queueMicrotask(() => queueMicrotask(() => queueMicrotask(() => {
        root.selected = getSelection().toString();
      })));
    """.replace("WORKS", "true" if works else "false")
    seen = show(with_probe(render_report(done), script), tmp_path)
    command = "python run_search.py --space bpr_hard"
    assert seen.data("copied") == (command if works else None)
    assert seen.data("selected") == ("" if works else command)
    assert f">{'copied' if works else 'selected'}</button>" in seen.dom
    assert seen.console == []


def hostile(tmp_path: Path) -> str:
    path = fake_run(tmp_path, trials=20, data=EVIL)
    for name in ("trials.csv", "epochs.csv"):
        rows = list(csv.reader((path / name).read_text().splitlines()))
        for row in rows[1:]:
            row[0] = EVIL + row[0]
        with (path / name).open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    result = json.loads((path / "result.json").read_text())
    result |= {
        "split": EVIL,
        "best_trial": EVIL + result["best_trial"],
        "best_config": {EVIL: EVIL},
    }
    result["baselines"] = {EVIL: {"valid": 0.1, "test": 0.1}}
    result["race"]["comparisons"][0] |= {"words": EVIL, "against": EVIL}
    (path / "result.json").write_text(json.dumps(result))
    return render_report(path)


def test_nothing_foreign_runs(tmp_path):
    html = hostile(tmp_path)
    for number, page in enumerate((html, POLICY.sub("", html))):  # escaping alone is enough, too
        scratch = tmp_path / str(number)
        scratch.mkdir()
        seen = show(page, scratch)
        assert seen.data("pwned") is None
        assert seen.requests == []
        assert seen.console == []
        assert seen.dom.count("<script") == 1
        assert "&lt;script&gt;document" in seen.dom


def test_the_policy_stops_what_escaping_would_let_through(tmp_path):
    html = hostile(tmp_path).replace("</body>", f"{EVIL}</body>")
    assert EVIL in html
    (tmp_path / "open").mkdir()
    unguarded = show(POLICY.sub("", html), tmp_path / "open")
    assert unguarded.data("pwned") == "1"  # else these tests would see nothing
    assert any("127.0.0.1:9" in url for url in unguarded.requests)
    (tmp_path / "guarded").mkdir()
    guarded = show(html, tmp_path / "guarded")
    assert guarded.data("pwned") is None
    assert guarded.requests == []


def test_sorting_and_pointing(done, tmp_path):
    script = """
      const table = document.querySelector("table.sortable");
      const column = (name) => [...table.tHead.rows[0].cells].findIndex(
        (c) => c.textContent === name);
      const values = (at) => [...table.tBodies[0].rows].map((r) => r.cells[at].textContent.trim());
      const press = (name) => { table.tHead.rows[0].cells[column(name)].firstChild.click();
                                return values(column(name)); };
      const root = document.documentElement.dataset;
      root.down = press("lr").join(" ");
      root.up = press("lr").join(" ");
      root.value = press("validation").join(" ");
      root.names = press("trial").join(" ");
      const row = table.querySelector("tr.winner");
      row.cells[2].click();
      root.lit = [...document.querySelectorAll(".lit")].map((n) => n.tagName).sort().join(" ");
      document.querySelector("h1").click();
      root.dark = document.querySelectorAll(".lit").length;
    """
    seen = show(with_probe(render_report(done), script), tmp_path)
    assert seen.console == []
    rates = [float(x) for x in (seen.data("down") or "").split()]
    assert len(rates) == 64
    assert rates == sorted(rates, reverse=True)
    assert [float(x) for x in (seen.data("up") or "").split()] == rates[::-1]
    values = (seen.data("value") or "").split()
    known = [float(v) for v in values if v != "-"]
    assert known == sorted(known, reverse=True)
    assert set(values[len(known) :]) == {"-"}  # what has no value comes last
    assert (seen.data("names") or "").split()[0] == "t0063"
    lit = (seen.data("lit") or "").split()
    assert lit.count("tr") + lit.count("TR") == 2  # in the race table and in the trial table
    assert lit.count("circle") >= 9
    assert lit.count("polyline") == 2  # its learning curve, and its line through all parameters
    assert seen.data("dark") == "0"


@pytest.mark.parametrize("make", [fake_run, fake_table])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_is_wider_than_its_window(make, width, tmp_path):
    script = """
      const root = document.documentElement;
      parent.postMessage([root.scrollWidth, root.clientWidth], "*");
    """
    (tmp_path / "inner.html").write_text(with_probe(render_report(make(tmp_path)), script))
    outer = f"""<!doctype html><html><body><script>
      onmessage = (e) => {{ document.documentElement.dataset.widths = e.data.join(" "); }};
    </script><iframe src="inner.html" width="{width}" height="900" style="border:0"></iframe>"""
    seen = show(outer, tmp_path)
    content, window = map(int, (seen.data("widths") or "").split())
    assert window in (width, width - 15)
    assert content <= window


@pytest.mark.parametrize("make", [fake_run, fake_table])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_words_of_a_chart_are_cut_or_over_others(make, width, tmp_path):
    """As the browser lays them out. Words with a halo are made to stand over lines and dots."""
    script = """
      const bad = [];
      for (const svg of document.querySelectorAll("svg")) {
        const name = svg.getAttribute("aria-label");
        const paper = svg.closest("figure").getBoundingClientRect();
        const across = svg.closest(".across");
        const words = [...svg.querySelectorAll("text")].map((t) => [t, t.getBoundingClientRect()]);
        const left = across ? svg.getBoundingClientRect().left : paper.left;
        for (const [t, a] of words) {
          if (a.left < left - 1 || (!across && a.right > paper.right + 1))
            bad.push(`${name}: ${t.textContent} is cut`);
          for (const [u, b] of words)
            if (t !== u && !t.matches(".halo") && !u.matches(".halo") && a.left < b.right - 2
                && b.left < a.right - 2 && a.top < b.bottom - 3 && b.top < a.bottom - 3)
              bad.push(`${name}: ${t.textContent} over ${u.textContent}`);
        }
      }
      parent.postMessage([document.querySelectorAll("svg").length, ...bad].join("|"), "*");
    """
    (tmp_path / "inner.html").write_text(with_probe(render_report(make(tmp_path)), script))
    outer = f"""<!doctype html><html><body><script>
      onmessage = (e) => {{ document.documentElement.dataset.bad = e.data; }};
    </script><iframe src="inner.html" width="{width}" height="900" style="border:0"></iframe>"""
    seen = show(outer, tmp_path)
    count, *bad = (seen.data("bad") or "0").split("|")
    assert int(count) >= 1
    assert bad == []


@pytest.mark.parametrize("scheme", [0, 1])
def test_text_stands_out_in_dark_and_light(done, tmp_path, scheme):
    """WCAG contrast of 4.5 for every text on the page, as the browser computes the colours."""
    script = """
      const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) =>
        v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const solid = (node) => { for (let n = node; n; n = n.parentElement) {
        const c = getComputedStyle(n).backgroundColor;
        if (c.startsWith("rgb") && (rgb(c)[3] ?? 1) === 1) return rgb(c); }
        return [255, 255, 255]; };
      const bad = new Set();
      for (const node of document.querySelectorAll("body *")) {
        if (![...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
        if (["SCRIPT", "title"].includes(node.tagName)) continue;
        const style = getComputedStyle(node);
        const ink = rgb(node instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [light(ink), light(solid(node))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5) bad.add(node.tagName + "." + node.className.toString());
      }
      document.documentElement.dataset.bad = [...bad].join(" ");
      document.documentElement.dataset.paper = getComputedStyle(document.body).backgroundColor;
    """
    html = with_probe(render_report(done), script)
    seen = show(html, tmp_path, f"--blink-settings=preferredColorScheme={scheme}")
    assert seen.data("bad") == ""
    paper = [int(v) for v in re.findall(r"\d+", seen.data("paper") or "")[:3]]
    assert (sum(paper) < 150) == (scheme == 0)
