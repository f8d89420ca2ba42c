"""The pages of the site: whole, linked, and true of the code that they describe."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recsys
from docs.making.command_line import command_line_page
from docs.making.pages import (
    DOCS,
    MAKING,
    REFERENCE,
    TUTORIAL,
    copy_documents,
    decisions,
    from_docs,
)
from docs.making.python_names import python_page
from docs.making.space_words import spaces_page
from docs.making.tutorial import commands_of
from recsys.data import load
from recsys.models import MODELS, config_from_flat, config_of, fit_model
from recsys.models.catalogue import save_catalogue
from recsys.models.mf.config import TrainConfig
from recsys.models.saved import save_model
from recsys.recommending import Recommender
from recsys.yamlio import load_yaml
from search.cli.arguments import COMMANDS, command_parser, search_parser
from search.space.domains import FIELDS
from search.space.load import load_spec, space_names
from search.space.reader import KEYS
from search.space.strategies import SCHEDULERS, SEARCHERS
from tests.docs.links import anchors, broken_links, odd_addresses

ROOT = DOCS.parent
MADE = {"first_search.md", "adr/index.md", "readme.md", "changelog.md", *REFERENCE}
PROGRAMS = ("recsearch", "python run_search.py", ".venv/bin/python run_search.py")


def in_navigation() -> list[str]:
    def pages(entry: Any) -> Iterator[str]:
        match entry:
            case str():
                yield entry
            case dict():
                for inner in entry.values():
                    yield from pages(inner)
            case list():
                for inner in entry:
                    yield from pages(inner)

    return list(pages(load_yaml(MAKING / "mkdocs.yml")["nav"]))


def test_every_page_is_in_the_navigation():
    written = {
        path.relative_to(DOCS).as_posix()
        for path in DOCS.rglob("*.md")
        if path.parent.name not in ("adr", MAKING.name)
    }
    assert sorted(in_navigation()) == sorted(written | MADE)


def test_every_question_is_in_the_list_of_questions():
    folder = DOCS / "questions"
    pages = {path.name for path in folder.glob("*.md")} - {"index.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", (folder / "index.md").read_text())) == pages


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, the tutorial as it is written and the notebook as its name."""
    place = tmp_path_factory.mktemp("site") / "pages"
    copy_documents(place)
    for name, page in REFERENCE.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(page())
    (place / "first_search.md").write_text("# Notebook\n")
    return place


def test_no_link_of_the_site_is_broken(pages):
    assert {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")} >= MADE
    assert [link for path in pages.rglob("*.md") for link in broken_links(path)] == []


def test_no_link_of_the_repository_is_broken():
    made = re.compile(rf"\((\.\./)?({'|'.join(map(re.escape, MADE))})(#[\w-]+)?\)")
    for path in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        missing = [link for link in broken_links(path) if not made.search(f"({link.split()[-1]})")]
        assert missing == [], path


def test_a_broken_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A word, two\n[a](#a-word-two) [b](#nowhere) [c](gone.md) [d](https://x.y)\n"
        "`[e](code.md)`\n```\n[f](block.md)\n# no heading\n```\n"
    )
    assert list(broken_links(page)) == ["page.md: #nowhere", "page.md: gone.md"]
    assert anchors(page) == {"a-word-two"}


def test_no_address_looks_wrong(pages):
    """No network is asked: what can be seen of an address."""
    texts = {str(path.relative_to(pages)): path.read_text() for path in pages.rglob("*.md")}
    for path in (ROOT / "mlflow" / "README.md", DOCS / "first_search.ipynb"):
        texts[path.name] = path.read_text()
    assert odd_addresses(texts) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[a](https://x.org/a_(b)) <https://x.org/c> and (https://x.org/d).", ""),
        ("`http://localhost:5000`\n```\nhttp://a:1\n```\nand http://HOST:1", ""),
        ("[a](http://x.org)", "not https"),
        ("see https://localhost:5000/a.", "no public host"),
        ("https://127.0.0.1", "no public host"),
        ("https://mlflow:5000/", "no public host"),
        ("[a](https://x.org//a)", "a doubled slash"),
        ("<https://x.org/a.>", "ends in punctuation"),
        ("[a](https://x.org/a,)", "ends in punctuation"),
        ("https://x.org/a\nhttps://x.org/a/", "elsewhere https://x.org/a"),
        ("https://x.org/a\nhttps://www.X.org/a", "elsewhere https://x.org/a"),
    ],
)
def test_an_address_that_looks_wrong_is_found(text, wrong):
    found = odd_addresses({"page.md": text})
    assert [line.split(": ")[-1] for line in found] == ([wrong] if wrong else [])


def test_links_of_the_readme_are_those_of_the_site():
    assert from_docs(
        "[a](docs/x.md#y) [b](docs/) [c](docs/adr/) [d](docs/adr/1.md) [e](LICENSE)"
    ) == ("[a](x.md#y) [b](index.md) [c](adr/index.md) [d](adr/1.md) [e](LICENSE)")


def test_decisions_are_listed_by_number():
    lines = [line for line in decisions().splitlines() if line.startswith("- ")]
    assert len(lines) == len(list((DOCS / "adr").glob("0*.md")))
    assert all(re.match(r"- \[[1-9]\d*: [\w`]", line) for line in lines), lines


def test_every_option_is_in_the_reference():
    page = command_line_page()
    sections = dict(zip(["", "search", *COMMANDS], page.split("\n## "), strict=True))
    for name in ("search", *COMMANDS):
        parser = search_parser() if name == "search" else command_parser(name)
        for action in parser._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or option in sections[name], (name, option)


def test_every_word_of_a_space_is_in_the_reference():
    page = spaces_page()
    for word in (*KEYS, *SEARCHERS, *SCHEDULERS, *MODELS, *FIELDS):
        assert f"`{word}`" in page, word
    for name in space_names():
        assert f"\n### {name}\n" in page
    for model in MODELS:
        for name, parameter in config_of(model).parameters().items():
            (row, *_) = re.findall(rf"^\| `{name}` \|.*$", page, re.M)
            assert all(f"`{word}`" in row for word in parameter.words)


def test_limits_and_defaults_are_those_of_the_configs():
    of = {model: config_of(model).parameters() for model in MODELS}
    assert of["ials"]["ials_alpha"].limits == "above 0, at most 10,000"
    assert of["lfm"]["margin"].limits == "at least -20, at most 20"
    for model, parameters in of.items():
        flat = config_of(model).from_flat({"lr": 0.1} if model == "lfm" else {}).to_flat()
        said = {name: p.default for name, p in parameters.items() if name in flat and name != "lr"}
        assert said == {name: flat[name] for name in said}, model
    assert of["lfm"]["score"].default == TrainConfig.from_flat({"lr": 0.1}).score


def test_every_name_of_the_package_is_in_the_reference():
    page = python_page()
    for name in recsys.__all__:
        assert f"\n## {name}\n\n`from recsys import {name}`\n" in page
    assert "\n    split_train: CSR,\n" in page  # annotations as they are written
    assert "'CSR'" not in page


def test_a_model_in_use_is_in_the_reference():
    """With what it is made of, which the docstring of its making says, and each of its methods."""
    _, _, section = python_page().partition("\n## Recommender\n")
    section, _, _ = section.partition("\n## ")
    assert "Recommender(model: Model, config: ModelConfig, seen: CSR)" in section
    assert inspect.cleandoc(str(Recommender.__init__.__doc__)) in section
    assert re.findall(r"^\*\*`Recommender\.(\w+)`", section, re.M) == ["recommend", "similar"]


def test_the_example_of_a_model_in_use(tmp_path, monkeypatch, capsys):
    """As it stands on the page of unseen users, with the folder that a run would leave."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / "questions/unseen-users.md").read_text(), re.M | re.S
    )
    (code,) = (block for block in blocks if "Recommender(" in block)
    everything, config = load("demo").interactions, config_from_flat({"model": "ease"})
    folder = tmp_path / "runs" / "purchases" / "model"
    folder.mkdir(parents=True)
    model = fit_model(config, everything.csr, rng=np.random.default_rng(0))
    save_model(folder, model.to_bytes(), config)
    save_catalogue(folder, everything, everything.csr)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "unseen-users.md", "exec"), {})
    assert len(capsys.readouterr().out.strip("[]\n").split()) == 5


def lines_of_blocks(text: str) -> Iterator[str]:
    inside = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside:
            yield line


def shown_commands() -> list[tuple[str, str]]:
    """Every command of ours in README and pages, in blocks and in the text, and where it stands."""
    found: list[tuple[str, str]] = []
    for path in [ROOT / "README.md", *DOCS.glob("*.md"), *(DOCS / "questions").glob("*.md")]:
        text = path.read_text()
        lines = [re.sub(r"^(next)? *(RAY_AUTH_MODE=token )?", "", x) for x in lines_of_blocks(text)]
        lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
        starts = tuple(f"{program} " for program in PROGRAMS)
        found += [(path.name, line) for line in lines if line.startswith(starts)]
    return found


def test_every_command_that_is_shown_is_one():
    """Its options exist, its space is there and takes its settings."""
    commands = shown_commands()
    assert len(commands) > 50
    searches = set()
    for page, command in commands:
        program = next(program for program in PROGRAMS if command.startswith(program))
        given = command.removeprefix(program).replace("--time-budget T", "--time-budget 9m")
        words = shlex.split(given, comments=True)
        parser = command_parser(words[0]) if words[0] in COMMANDS else search_parser()
        try:
            said = parser.parse_args(words[1:] if words[0] in COMMANDS else words)
        except SystemExit:
            pytest.fail(f"{page}: {command}")
        if getattr(said, "space", None):
            searches.add((said.space, tuple(said.overrides), said.trials, said.prefer))
    for space, settings, trials, prefer in searches:
        load_spec(space, settings, trials=trials, prefer=prefer)


def test_the_tutorial_goes_from_a_table_to_a_submission():
    blocks = commands_of((DOCS / TUTORIAL).read_text())
    assert "recsearch data purchases.csv\n" in blocks
    assert any(block.startswith("recsearch export first -o submission.csv\n") for block in blocks)
