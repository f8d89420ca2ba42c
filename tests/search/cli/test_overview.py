"""`data FILE`: histograms that add up, what each split leaves, and a terminal without blocks."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from recsys.data import load
from recsys.data.facts import histogram
from recsys.split import HoldOut, SplitPlan, make_split
from search.cli.arguments import search_parser
from search.cli.main import main
from search.cli.overview import bar_of, drawn, split_lines
from search.record.settings import DEFAULT_SEED
from search.run import estimate as estimate_module
from search.run.evidence import check_evidence
from search.run.opened import read_data
from search.space.load import load_spec
from search.tune.pace import Probed
from tests.factories import SETTINGS


def counts(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def test_every_count_is_in_the_bin_that_its_label_says() -> None:
    rng = np.random.default_rng(0)
    for values in (counts([0, 0, 7]), counts([1]), rng.integers(0, 5000, 400)):
        bins = histogram(values)
        assert bins[0].count and bins[-1].count
        assert [one.count for one in bins] == [
            int(((values >= one.low) & (values <= one.high)).sum()) for one in bins
        ]
        assert sum(one.count for one in bins) == len(values)
        assert all(b.low == a.high + 1 for a, b in pairwise(bins))
    assert histogram(counts([])) == []


def test_bars_are_as_long_as_their_counts_and_none_vanishes() -> None:
    lines = list(drawn("items", "users", histogram(counts([1] * 1000 + [2] * 500 + [9])), "#"))
    assert lines == [
        "items  users",
        "    1       1,000  66.6%  " + "#" * 40,
        "    2         500  33.3%  " + "#" * 20,
        "  3-4           0   0.0%",
        "  5-8           0   0.0%",
        " 9-16           1   0.1%  #",
    ]


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "\u2588"), ("ascii", "#"), ("no", "#")])
def test_a_bar_is_what_the_terminal_can_show(encoding: str, bar: str) -> None:
    assert bar_of(encoding) == bar


def test_what_is_said_of_a_split_is_what_it_leaves() -> None:
    data = load("demo")
    lines = {line.split("  ")[0].strip(): line.split() for line in split_lines(data)}
    for name, test, valid in (
        ("split.test.ratio=0.2", HoldOut("ratio", 0.2), HoldOut("ratio", 0.1)),
        ("split.test.fixed=1 split.valid.fixed=1", HoldOut("fixed", 1), HoldOut("fixed", 1)),
    ):
        split = make_split(data, SplitPlan("random", test, valid), seed=3)
        assert split.test is not None
        parts = [split.valid, split.test]
        held = [w for p in parts for w in (f"{p.nnz:,}", f"({np.count_nonzero(p.degrees())})")]
        assert lines[name][-5:] == [f"{split.train.nnz:,}", *held]


def test_given_parts_are_one_line(tmp_path: Path) -> None:
    for name, shift in (("train", 0), ("valid", 1), ("test", 2)):
        rows = [f"u{u},i{(u + 3 * n + shift) % 12}" for u in range(12) for n in range(2)]
        (tmp_path / f"{name}.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    lines = list(split_lines(load(str(tmp_path))))
    assert not any("recommended" in line for line in lines)
    assert sum("24 (12)" in line for line in lines) == 1


def plain(sizes: list[int], tmp_path: Path) -> list[str]:
    """What is said of splits of users with so many items each, without times."""
    rng = np.random.default_rng(1)
    rows = [f"u{u},i{i}" for u, size in enumerate(sizes) for i in rng.permutation(60)[:size]]
    file = tmp_path / "my.csv"
    file.write_text("user,item\n" + "\n".join(rows) + "\n")
    return list(split_lines(load(str(file))))


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (
            [30] * 100 + [5] * 4,
            "recommended: the default (a tenth of each user's items for test and validation, at "
            "random as no order of time is known): each part has 100 users or more, measured by "
            "several items where they have many (with one item of each: 104 users)",
        ),
        (
            [30] * 40 + [5] * 60,
            "recommended: --set split.test.fixed=1 --set split.valid.fixed=1 (one item of each "
            "user for test and validation, at random as no order of time is known): each part has "
            "100 users or more (with a tenth: 40, those with 11 items or more); a user with 3 "
            "items keeps one to learn from",
        ),
        (
            [3] * 50,
            "recommended: --set split.test.fixed=1 --set split.valid.fixed=1 (one item of each "
            "user for test and validation, at random as no order of time is known): each part has "
            "50 users or more (with a tenth: 0); a user with 3 items keeps one to learn from",
        ),
        (
            [2] * 50 + [1] * 9,
            "recommended: --set split.test=none --set split.valid.fixed=1 (one item of each user "
            "for validation and no test, at random as no order of time is known): no user has "
            "items enough for both; 50 users have two or more",
        ),
    ],
)
def test_without_times_a_split_is_recommended_by_who_has_few_items(
    sizes: list[int], said: str, tmp_path: Path
) -> None:
    lines = plain(sizes, tmp_path)
    assert lines[0] == "what a split leaves, in positives:"
    assert [line for line in lines if line.startswith("recommended")] == [said]
    options = re.findall(r"--set (\S+)", said)
    check_evidence(load(str(tmp_path / "my.csv")), load_spec("smoke", [*options, "race=none"]))


def test_nothing_is_recommended_where_nothing_can_be_held_out(tmp_path: Path) -> None:
    assert not any("recommended" in line for line in plain([1] * 30, tmp_path))


def test_only_the_part_that_is_drawn_is_recommended(tmp_path: Path) -> None:
    for name, items in (("train", range(6)), ("test", range(6, 8))):
        rows = [f"u{u},i{(u + n) % 12}" for u in range(12) for n in items]
        (tmp_path / f"{name}.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    (line,) = [one for one in split_lines(load(str(tmp_path))) if "recommended" in one]
    assert line.startswith(
        "recommended: the default (a tenth of each user's items, at least one, for validation, "
    )
    first = next(one for one in split_lines(load(str(tmp_path))) if "(the default)" in one)
    assert first.startswith("a tenth, at least one of a user (the default)")
    assert "12 (12)" in first  # one of the six items of each user, where a tenth would be none


def test_one_item_of_each_is_not_the_default_where_that_takes_more_than_a_fifth(
    tmp_path: Path,
) -> None:
    for name, items in (("train", range(4)), ("test", range(4, 6))):
        rows = [f"u{u},i{(u + n) % 12}" for u in range(12) for n in items]
        (tmp_path / f"{name}.csv").write_text("user,item\n" + "\n".join(rows) + "\n")
    lines = split_lines(load(str(tmp_path)))
    (line,) = [one for one in lines if "recommended" in one]
    assert line.startswith("recommended: --set split.valid.fixed=1 (one item of each user for ")
    assert not any("at least one of a user" in one for one in lines)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs that take no time to measure; tests of the estimate itself are in tests/search/run."""
    one = Probed("", 1e6, 0.01, 0.001, 10)
    monkeypatch.setattr(
        estimate_module, "run_probe", lambda config, *_: replace(one, kind=config.kind)
    )


def said_of(rows: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `data` prints of rows of user, item and time."""
    file = tmp_path / "my.csv"
    file.write_text("user,item,timestamp\n" + "\n".join(rows) + "\n")
    assert main(["data", str(file)]) == 0
    return capsys.readouterr().out


def test_the_command_says_when_and_how_often(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        f"u{u},i{(u + k) % 9},{1_000_000_000 + 86_400 * k}" for u in range(30) for k in range(6)
    ]
    said = said_of([*rows, *rows[:20]], tmp_path, capsys)
    assert "duplicates merged: 20 (10.0% of the rows); order of time: known" in said
    assert "known, 2001-09-09 to 2001-09-14" in said
    assert "recommended: --set split.order=latest, the latest items of each user" in said
    assert "with it --set split.test.fixed=1 --set split.valid.fixed=1 (one item of each" in said
    assert "items of a user  users" in said and "users of an item  items" in said
    assert "a trial of 60 epochs takes about" in said  # on a tiny file too
    assert "a whole search (--space all) takes about" in said and "memory: trials take" in said


def test_rows_of_one_moment_have_no_split_by_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"u{u},i{(u + k) % 9},1000000000" for u in range(30) for k in range(6)]
    said = said_of(rows, tmp_path, capsys)
    assert "all rows have the same time" in said
    assert "recommended: --set split.test.fixed=1 --set split.valid.fixed=1" in said
    assert "split.order" not in said


def test_order_numbers_have_no_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"u{u},i{(u + k) % 9},{k}" for u in range(30) for k in range(6)]
    said = said_of(rows, tmp_path, capsys)
    assert "duplicates merged: 0; order of time: known\n" in said


def test_what_a_search_takes_is_a_command_that_reads_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my data.csv"
    rows = [f"u{u},i{(u + k) % 9},{k}" for u in range(30) for k in range(6)]
    file.write_text("who,what,rating\n" + "\n".join(rows) + "\n")
    read = ["--columns", "user=who,item=what", "--min-rating", "1.5"]
    assert main(["data", str(file), *read]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(last[last.index("--space") :])
    options = search_parser().parse_args(words)
    assert options.dry_run
    assert options.data == str(file)
    assert options.columns == "user=who,item=what"
    assert options.min_rating == 1.5


def test_the_command_that_is_printed_can_be_pasted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that begins with a dash is no option, and a threshold keeps its digits."""
    monkeypatch.chdir(tmp_path)
    text = "user,item,rating\n" + "".join(f"{u},{i},5\n" for u in range(9) for i in range(5))
    Path("-my data.csv").write_text(text)
    assert main(["data", "--min-rating", "3.1234567", "--", "-my data.csv"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    words = shlex.split(last[last.index("--space") :])
    options = search_parser().parse_args(words)
    assert (options.data, options.min_rating) == ("./-my data.csv", 3.1234567)


def test_demo_is_described_as_a_search_reads_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is generated from the seed."""
    monkeypatch.setattr("search.cli.commands._measured", lambda *_: [])
    assert main(["data", "demo"]) == 0
    settings = replace(SETTINGS, data="demo", seed=DEFAULT_SEED)
    searched = read_data(settings, None, lambda _: None)
    assert f"{searched.interactions.csr.nnz:,} positives" in capsys.readouterr().out
    assert searched.interactions.csr.nnz != load("demo", seed=0).interactions.csr.nnz
