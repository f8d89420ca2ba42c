"""The site of the documentation in headless Chromium, opened as a file, with no network."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from docs.making.pages import MAKING, NOTEBOOK, TUTORIAL, write_pages
from tests.browser.chromium import visit

pytestmark = pytest.mark.browser

MKDOCS = MAKING.parents[1] / ".docs-venv" / "bin" / "mkdocs"


def build(place: Path) -> subprocess.CompletedProcess[str]:
    """Make `place/site` of `place/pages`, as `make docs` does; with --quiet, nothing is strict."""
    config = place / "mkdocs.yml"
    config.write_text(f"INHERIT: {MAKING / 'mkdocs.yml'}\ndocs_dir: pages\nsite_dir: site\n")
    return subprocess.run(
        [MKDOCS, "build", "--strict", "--config-file", config],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, those that are run as they are written."""
    if not MKDOCS.exists():
        pytest.skip("mkdocs is not there (make test-browser installs it)")
    place = tmp_path_factory.mktemp("docs")
    write_pages(place / "pages")
    (place / "pages" / NOTEBOOK).with_suffix(".md").write_text("# Notebook\n")
    done = build(place)
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("page", ["index", "tutorial", "questions/gpu", "reference/spaces"])
def test_a_page_needs_nothing_from_elsewhere(place, tmp_path, page, width):
    seen = visit(place / "site" / f"{page}.html", tmp_path, width)
    assert seen.requests == []
    assert seen.console == []


def test_search_works_in_a_page_that_was_opened_as_a_file(place, tmp_path):
    address = (place / "site" / "index.html").as_uri()
    seen = visit(f"{address}?q=temperature", tmp_path)
    found = re.findall(r'<a href="([^"]*)" class="md-search-result__link"', seen.dom)
    assert any("/reference/spaces.html" in link for link in found), found
    assert seen.console == []


@pytest.mark.parametrize("link", ["gone.md", f"{TUTORIAL}#nowhere"])
def test_a_broken_link_is_an_error(place, link):
    page = place / "pages" / "index.md"
    whole = page.read_text()
    page.write_text(f"{whole}\n[broken]({link})\n")
    try:
        done = build(place)
    finally:
        page.write_text(whole)
    assert done.returncode != 0
    assert link.rpartition("#")[2] in done.stderr
