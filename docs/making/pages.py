"""The pages of the site as mkdocs reads them: documents copied, references made, pages run."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docs.making.command_line import command_line_page
from docs.making.notebook import notebook_page, read_notebook
from docs.making.program import ROOT, install
from docs.making.python_names import python_page
from docs.making.shop import write_shop
from docs.making.space_words import spaces_page
from docs.making.tutorial import Place

DOCS = ROOT / "docs"
MAKING = Path(__file__).parent
PICTURES = "pictures"
TUTORIAL, NOTEBOOK = "tutorial.md", "first_search.ipynb"
REFERENCE = {
    "reference/command-line.md": command_line_page,
    "reference/spaces.md": spaces_page,
    "reference/python.md": python_page,
}


def write_pages(target: Path) -> None:
    """All pages, into a folder that is made anew."""
    shutil.rmtree(target, ignore_errors=True)
    copy_documents(target)
    for name, page in REFERENCE.items():
        path = target / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(page(), encoding="utf-8")


def run_pages(target: Path, work: Path) -> None:
    """The tutorial and the notebook, run in a folder that is made anew."""
    environment = install(work / "program")
    shop = work / "shop"
    shutil.rmtree(shop, ignore_errors=True)
    shop.mkdir()
    write_shop(shop)
    pictures = target / PICTURES
    pictures.mkdir(exist_ok=True)
    tutorial = (DOCS / TUTORIAL).read_text(encoding="utf-8")
    page = Place(shop, environment, pictures).page(tutorial)
    (target / TUTORIAL).write_text(page, encoding="utf-8")
    page = notebook_page(read_notebook(DOCS / NOTEBOOK), pictures)
    (target / NOTEBOOK).with_suffix(".md").write_text(page, encoding="utf-8")


def copy_documents(target: Path) -> None:
    """What is written by hand; README and CHANGELOG with links as they are from here."""
    shutil.copytree(DOCS, target, ignore=shutil.ignore_patterns(MAKING.name))
    for name in ("extra.css", "iframe-worker.js"):
        shutil.copy(MAKING / name, target)
    shutil.copy(ROOT / "LICENSE", target)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (target / "readme.md").write_text(from_docs(readme), encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (target / "changelog.md").write_text(from_docs(changes), encoding="utf-8")
    (target / "adr" / "index.md").write_text(decisions(), encoding="utf-8")


def from_docs(markdown: str) -> str:
    """Links of a document of the top level, as they are from the folder `docs/`."""
    to_page = re.sub(r"\]\(docs/((?:adr/)?)\)", r"](\1index.md)", markdown)
    return re.sub(r"\]\(docs/", "](", to_page)


def decisions() -> str:
    """A list of the decisions, by number."""
    lines = ["# Decisions", "", "Why things are as they are, one decision a page.", ""]
    for path in sorted((DOCS / "adr").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        number, _, words = title.partition(" ")
        lines.append(f"- [{number.strip('.:').lstrip('0')}: {words}]({path.name})")
    return "\n".join(lines) + "\n"
