"""`export`: every option is used or refused, and what is written is what the model says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from recsys.interactions import CSR
from recsys.models.popularity import Popularity, PopularityConfig
from recsys.models.saved import save_model
from search.cli.main import main
from search.record.folder import RunFolder
from search.record.result import Refitted
from search.record.settings import settings_of
from search.space.load import load_spec
from tests.factories import FakeRun, save_tiny_model

Export = Callable[..., tuple[int, str, str]]
HEAD = "UserId,ItemId\n"


@pytest.fixture(params=[False], ids=["numbers"])
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    """A finished run `r` whose model is tiny; see `save_tiny_model`. It works in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    made = FakeRun(tmp_path / "runs", "r")
    made.folder.write("spec.yaml", load_spec("smoke").to_yaml())
    made.trial()
    save_tiny_model(made.path / "model", string_ids=request.param)
    made.finish()
    made.stage("refit", Refitted(rows=3))
    users = ("eve", "ann", "bob") if request.param else (30, 10, 20)
    made.folder.write("submission.csv", HEAD + "".join(f"{user},1\n" for user in users))
    made.close()
    return made


words = pytest.mark.parametrize("run", [True], indirect=True, ids=["words"])


@pytest.fixture
def export(run: FakeRun, capsys: pytest.CaptureFixture[str]) -> Export:
    def call(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["export", "r", *args])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def file(name: str, content: str) -> str:
    Path(name).write_text(content)
    return name


def test_the_submission_without_further_options_is_copied(export: Export, run: FakeRun) -> None:
    assert export("-o", "out.csv")[0] == 0
    assert Path("out.csv").read_bytes() == (run.path / "submission.csv").read_bytes()


def test_lists_for_the_users_of_the_submission_in_its_order(export: Export) -> None:
    code, said, _ = export("-o", "out.csv", "--k", "2")
    assert code == 0
    assert said.endswith(f"wrote {Path('out.csv').resolve()}\n")
    assert Path("out.csv").read_text() == HEAD + "30,100 400\n10,200 300\n20,300 200\n"


def test_users_of_a_file_in_its_order_with_a_note_on_strangers(export: Export) -> None:
    users = file("u.csv", "UserId,ItemId\n20,x\n20,y\n77,\n10,\n")
    code, said, _ = export("-o", "out.csv", "--users", users, "--k", "2", "--scores")
    assert code == 0
    assert "note: 1 of 3 users of u.csv are not in the data ('77' ...)" in said
    assert "note: u.csv repeats a user id in 1 row: each of the 3 users counts once" in said
    assert Path("out.csv").read_text() == (
        "UserId,ItemId,Score,Source\n20,300 200,3.0 2.0,model\n"
        "77,100 400,1.0 1.0,popular\n10,200 300,3.0 2.0,model\n"
    )


def test_ids_are_read_as_the_data_spells_them(export: Export) -> None:
    users = file("u.csv", "user_id\n0020\n0010\n0010\n0020\n")
    code, said, _ = export("-o", "out.csv", "--users", users, "--k", "1")
    assert code == 0
    assert "note: u.csv repeats a user id in 2 rows: each of the 2 users counts once" in said
    assert "user ids such as '0020' are read as 20" in said
    assert Path("out.csv").read_text() == HEAD + "20,300\n10,200\n"


def test_only_some_items_and_never_others(export: Export) -> None:
    only, never = file("only.txt", "100\n300\n400\n5\n"), file("never.csv", "item\n400\n")
    code, said, _ = export("-o", "out.csv", "--items", only, "--exclude", never)
    assert code == 0
    assert "note: 1 of 4 items of only.txt are not in the data ('5' ...): they are ignored" in said
    assert "note: 3 of 3 users have fewer than 10 items left to recommend" in said
    assert Path("out.csv").read_text() == HEAD + "30,100 300\n10,300\n20,300 100\n"
    assert export("-o", "out.csv", "--items", only, "--include-seen", "--k", "2")[0] == 0
    assert Path("out.csv").read_text() == HEAD + "30,100 400\n10,100 300\n20,400 300\n"


@words
def test_words_with_blanks_and_another_separator(export: Export) -> None:
    code, *_ = export("-o", "out.csv", "--k", "4", "--include-seen", "--scores")
    assert code == 0
    read = pd.read_csv("out.csv")
    assert read["UserId"].tolist() == ["eve", "ann", "bob"]
    assert read["ItemId"][1] == '"a b" é <i> z'
    assert read["Score"][1] == "4.0 3.0 2.0 1.0"
    assert export("-o", "out.csv", "--k", "2", "--submission-sep", "|")[0] == 0
    assert pd.read_csv("out.csv")["ItemId"].tolist() == ["a b|z", "é|<i>", "<i>|é"]


def test_parquet_by_the_ending(export: Export) -> None:
    assert export("-o", "out.parquet", "--k", "3", "--scores")[0] == 0
    table = pq.read_table("out.parquet").to_pydict()
    assert table == {
        "UserId": [30, 10, 20],
        "ItemId": [[100, 400, 200], [200, 300, 400], [300, 200, 100]],
        "Score": [[1, 1, 0], [3, 2, 1], [3, 2, 1]],
        "Source": ["popular", "model", "model"],
    }
    users = file("u.csv", "user_id\n10\nzed\n")
    assert export("-o", "out.parquet", "--users", users)[0] == 0
    assert pq.read_table("out.parquet").to_pydict()["UserId"] == ["10", "zed"]


@words
def test_parquet_of_words(export: Export) -> None:
    assert export("-o", "out.parquet")[0] == 0
    table = pq.read_table("out.parquet").to_pydict()
    assert table["ItemId"][2] == ["<i>", "é", "a b"]


def test_vectors_give_the_scores_of_the_model(export: Export, run: FakeRun) -> None:
    code, said, _ = export("--vectors", "v")
    assert code == 0
    users, items = np.load("v/users.npy"), np.load("v/items.npy")
    assert users.dtype == items.dtype == np.float32
    np.testing.assert_array_equal(users @ items.T, [[4, 3, 2, 1], [1, 2, 3, 4], [0, 0, 0, 0]])
    table = pq.read_table("v/items.parquet").to_pydict()
    assert table["id"] == [100, 200, 300, 400]
    np.testing.assert_array_equal(table["vector"], items)
    assert pq.read_table("v/users.parquet").to_pydict()["id"] == [10, 20, 30]
    # the line that is printed loads what was written
    line = next(line for line in said.splitlines() if line.startswith("load"))
    flat: dict[str, Any] = {}

    class Index:
        def __init__(self, size: int) -> None:
            flat["size"] = size

        def add(self, rows: np.ndarray) -> None:
            flat["rows"] = rows

    statement = line.removeprefix("load").strip().removeprefix("import faiss, numpy as np; ")
    exec(statement, {"np": np, "faiss": type("faiss", (), {"IndexFlatIP": Index})})
    assert flat["size"] == flat["rows"].shape[1] == 3
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


def test_a_model_without_vectors_is_refused(export: Export, run: FakeRun) -> None:
    seen = CSR.from_pairs(np.array([0, 1]), np.array([0, 3]), 3, 4)
    save_model(run.path / "model", Popularity(seen).to_bytes(), PopularityConfig())
    code, _, said = export("--vectors", "v")
    assert code == 2
    assert "the model is popularity, which has no vectors" in said
    assert said.count("\n") == 1
    assert not Path("v").exists()


def test_a_run_without_a_model_says_how_to_get_one(export: Export, run: FakeRun) -> None:
    (run.path / "model" / "weights.pt").unlink()
    for args in (("-o", "out.csv", "--k", "3"), ("--vectors", "v")):
        code, _, said = export(*args)
        assert code == 2
        assert "has no model yet: finish it with" in said


def test_a_run_that_still_runs_is_waited_for(export: Export, run: FakeRun) -> None:
    (run.path / "model" / "weights.pt").unlink()
    folder = RunFolder(run.path)
    folder.lock()
    try:
        code, _, said = export("-o", "out.csv", "--k", "3")
    finally:
        folder.close()
    assert code == 2
    assert "has no model yet, and is running: wait until it ends" in said


MISTAKES = {
    "nothing to write": ((), "expected -o FILE for lists, or --vectors DIR"),
    "two things": (("-o", "x.csv", "--vectors", "v"), "expected -o FILE for lists, or"),
    "k of vectors": (("--vectors", "v", "--k", "3"), "--k: has no effect with --vectors"),
    "seen of vectors": (("--vectors", "v", "--include-seen"), "--include-seen: has no effect"),
    "separated vectors": (("--vectors", "v", "--submission-sep", "|"), "--submission-sep: has no"),
    "separated parquet": (("-o", "x.parquet", "--submission-sep", "|"), "parquet has lists"),
    "vectors over a folder": (("--vectors", "runs"), "is there already"),
    "vectors in nowhere": (("--vectors", "no/v"), "there is no folder"),
    "no such file": (("-o", "x.csv", "--users", "none"), "--users none: there is no such file"),
    "a folder": (("-o", "x.csv", "--items", "runs"), "--items runs: is a folder"),
    "a pipe": (("-o", "x.csv", "--users", "pipe"), "--users pipe: not a regular file"),
    "empty": (("-o", "x.csv", "--users", "empty"), "--users empty: is empty"),
    "no rows": (("-o", "x.csv", "--users", "head"), "--users head: has no rows"),
    "an empty id": (("-o", "x.csv", "--users", "gap"), "--users gap: user 2 is empty"),
    "no column": (("-o", "x.csv", "--items", "other"), "no column of items among 'a', 'b'"),
    "pairs": (("-o", "x.csv", "--exclude", "pairs"), "has a column of users too"),
    "strangers": (("-o", "x.csv", "--users", "strange"), "none of the users of the run's data"),
    "unknown items": (("-o", "x.csv", "--items", "strange"), "none of the items of the run's data"),
    "nothing left": (("-o", "x.csv", "--exclude", "all"), "no item is left"),
    "binary": (("-o", "x.csv", "--users", "binary"), "--users binary: "),
    "cells": (("-o", "x.csv", "--items", "cells"), "row 2 has 2 cells"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_and_leave_nothing(name: str, export: Export) -> None:
    file("empty", "")
    os.mkfifo("pipe")
    file("head", "user_id\n")
    file("gap", "user_id,x\n10,1\n,2\n")
    file("other", "a,b\n100,1\n")
    file("pairs", "user,item\n10,100\n")
    file("strange", "alpha\nbeta\n")
    file("all", "100\n200\n300\n400\n")
    file("cells", "100\n200\t300\n")
    Path("binary").write_bytes(b"10\n\0\0\n")
    before = sorted(path.name for path in Path().rglob("*"))
    args, words = MISTAKES[name]
    code, _, said = export(*args)
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in Path().rglob("*")) == before


@pytest.mark.parametrize("name", ["out.tsv", "out.xlsx", "out.json", "out.csv.gz", "out.CSV.ZIP"])
def test_a_name_that_promises_another_format_is_refused(name: str, export: Export) -> None:
    code, _, error = export("-o", name)
    assert code == 2
    assert error == f"run_search.py: -o {name}: expected a name ending in .csv or .parquet\n"
    assert not Path(name).exists()


def test_a_header_that_is_not_known_is_no_user(export: Export) -> None:
    code, _, error = export("-o", "out.csv", "--users", file("users.csv", "Kunde\n20\n10\n"))
    assert code == 2
    assert "--users users.csv: row 1, 'Kunde', is the only one that is not a user" in error
    assert not Path("out.csv").exists()
    assert export("-o", "out.csv", "--users", file("users.csv", "user\n99\n10\n"))[0] == 0
    assert export("-o", "out.csv", "--users", file("users.csv", "99\n10\n98\n"))[0] == 0
    assert export("-o", "out.csv", "--items", file("items.csv", "Ware\n100\n200\n"))[0] == 0


def needed(run: FakeRun) -> dict[str, Path]:
    """Files that must stay, some by other names."""
    file("u.csv", "user_id\n20\n10\n")
    file("i.csv", "item_id\n100\n")
    Path("data").mkdir()
    Path("data/part.csv").write_text("user,item\n1,2\n")
    Path("link.csv").symlink_to("u.csv")
    Path("hard.csv").hardlink_to("i.csv")
    Path("there").symlink_to(run.path)
    return {path.name: path for path in [*Path().glob("*.csv"), *run.path.glob("*")]}


LOSSES = {
    "users": (("-o", "u.csv", "--users", "u.csv"), "-o u.csv: would change --users u.csv"),
    "a link": (("-o", "link.csv", "--users", "u.csv"), "would change --users u.csv"),
    "from a link": (("-o", "./data/../u.csv", "--users", "link.csv"), "--users link.csv"),
    "items": (("-o", "hard.csv", "--items", "i.csv"), "would change --items i.csv"),
    "excluded": (("-o", "i.csv", "--exclude", "i.csv"), "would change --exclude i.csv"),
    "data": (("-o", "u.csv", "--trial", "t0000", "--data", "u.csv"), "would change --data u.csv"),
    "a folder": (("-o", "data/x.csv", "--trial", "t0000", "--data", "data"), "change --data data"),
    "vectors": (("--vectors", "data/v", "--trial", "t0000", "--data", "data"), "change --data"),
    "the run": (("-o", "runs/r/submission.csv", "--k", "3"), "lies in the folder of run r"),
    "its model": (("-o", "there/model/x.csv", "--k", "3"), "lies in the folder of run r"),
    "in the run": (("--vectors", "runs/r/v"), "lies in the folder of run r"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_still_needed_is_not_written_over(name: str, export: Export, run: FakeRun) -> None:
    before = {path: path.read_bytes() for path in needed(run).values() if path.is_file()}
    args, words = LOSSES[name]
    code, _, said = export(*args)
    assert code == 2
    assert words in said
    assert said.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before
    assert not Path("data/x.csv").exists()


def test_the_data_of_the_run_are_needed_too(export: Export, run: FakeRun) -> None:
    settings = settings_of(run.folder.state())
    assert not Path(settings.data).exists()
    data = Path("own.csv").resolve()
    data.write_text("user,item\n1,2\n")
    journal = run.path / "journal.jsonl"
    assert json.dumps(settings.data) in journal.read_text()
    journal.write_text(journal.read_text().replace(json.dumps(settings.data), f'"{data}"'))
    code, _, said = export("-o", "own.csv", "--k", "3")
    assert (code, "-o own.csv: would change the data of run r" in said) == (2, True)
    assert data.read_text() == "user,item\n1,2\n"


def test_a_comparison_spares_the_runs(export: Export, run: FakeRun) -> None:
    report = run.path / "report.html"
    report.write_text("mine")
    assert main(["compare", "r", "r", "-o", str(report)]) == 2
    assert report.read_text() == "mine"


@pytest.mark.parametrize("name", ["x.txt", "x.csv", "x", "x.html.gz"])
def test_a_comparison_is_a_page(name: str, export: Export) -> None:
    assert main(["compare", "r", "r", "-o", name]) == 2
    assert not Path(name).exists()
