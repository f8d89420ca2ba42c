"""Runs side by side: only where their tests are of the same items, user by user if they can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import ConfigError
from search.cli.main import main
from search.record.folder import JOURNAL
from search.record.measured import TEST_VALUES, UserValues, load_test_values, save_test_values
from search.report.compare import compare_runs, render_comparison
from search.stats import compare_paired
from tests.factories import BLENDED, fake_run, fake_table
from tests.search.report.html_page import Page

VALUES = {
    "a": np.random.default_rng(0).beta(0.6, 3.5, 400),
    "b": np.random.default_rng(0).beta(0.6, 3.5, 400) + 0.02,
    "c": np.random.default_rng(1).beta(0.6, 3.5, 400),
}


def run(home: Path, name: str, *, users: int = 400, data: str = "d1", **result: Any) -> Path:
    """A finished run on `data` whose test values per user are those of `VALUES`."""
    path = fake_run(home, name, trials=12, seed=ord(name), result_changes=result)
    mine = VALUES[name][:users]
    save_test_values(path, UserValues(np.arange(users, dtype=np.int32), mine))
    journal = path / JOURNAL
    text = journal.read_text()
    assert '"data_digest":""' in text
    journal.write_text(text.replace('"data_digest":""', f'"data_digest":"{data}"'))
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    home = tmp_path_factory.mktemp("runs")
    return [run(home, name, test=float(VALUES[name].mean())) for name in "abc"]


def test_the_first_is_compared_with_each_other_user_by_user(three: list[Path]) -> None:
    (group,) = compare_runs(three).groups
    assert [c.name for c in group.comparisons] == ["b", "c"]
    against_b, against_c = group.comparisons
    assert against_b.gain == pytest.approx(-0.02)
    assert against_b.proven and against_b.words.startswith("a is worse than b by 0.0200")
    assert not against_c.proven
    alone = compare_paired(VALUES["a"], VALUES["c"], np.random.default_rng([1, 11]))
    assert against_c.gain == pytest.approx(alone.gain)
    assert against_c.p is not None and against_c.p >= alone.p  # corrected for two questions


def test_the_page_and_the_terminal_say_the_same(
    three: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "a", "b", "c", "--runs-dir", str(three[0].parent)]) == 0
    said = capsys.readouterr().out
    page = Page((tmp_path / "compare.html").read_text())
    for words in ("a is worse than b by 0.0200", "is a choice on the test items"):
        assert words in " ".join(said.split()) and words in page.text
    for path in three:
        assert f"{VALUES[path.name].mean():.4f}" in said
        assert f"{VALUES[path.name].mean():.4f}" in page.text
    assert page.tags.count("svg") == 3
    assert not [v for _, name, v in page.attributes if name == "src" or "http" in str(v)]


def test_a_blend_that_is_handed_over_is_compared_by_its_own_test(tmp_path: Path) -> None:
    runs = [run(tmp_path, "a", **BLENDED), run(tmp_path, "b")]
    blended, alone = compare_runs(runs).groups[0].sides
    assert blended.cells()[2:5] == ("blend of 3", "0.1763", "0.1672 to 0.1854")
    assert alone.cells()[3:5] == ("0.1702", "0.1611 to 0.1795")


def test_a_run_of_another_split_stands_apart(three: list[Path], tmp_path: Path) -> None:
    other = run(tmp_path, "c", split_digest="0000")
    found = compare_runs([*three[:2], other])
    assert [side.name for side in found.groups[0].sides] == ["a", "b"]
    ((side, why),) = found.apart
    assert (side.letter, why) == ("C", "c has another split (0000, not 9f8a1c2b3d4e5f60) than a")
    assert (
        f"{why}: their tests say nothing about each other." in Page(render_comparison(found)).text
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metric": "ndcg@20"}, "c has another metric (ndcg@20, not map@50) than a"),
        ({"split_digest": "0000"}, "c has another split"),
        ({"data": "d2"}, "c has other data than a"),
    ],
)
def test_nothing_to_compare_is_one_line(
    three: list[Path],
    tmp_path: Path,
    changes: dict[str, Any],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = run(tmp_path / "runs", "c", **changes)
    target = tmp_path / "page.html"
    assert main(["compare", str(three[0]), str(other), "-o", str(target)]) == 2
    error = capsys.readouterr().err
    assert expected in error and error.count("\n") == 1
    assert not target.exists()


def test_without_values_of_every_user_it_says_so(three: list[Path], tmp_path: Path) -> None:
    old = run(tmp_path, "c")
    (old / TEST_VALUES).unlink()
    (group,) = compare_runs([three[0], old]).groups
    assert group.comparisons == ()
    assert group.verdicts == [
        "c kept no values of single users (it is from an earlier version): nothing can be said "
        "beyond the intervals"
    ]
    (old / TEST_VALUES).write_bytes(b"no archive")
    assert load_test_values(old) is None
    whole = (three[0] / TEST_VALUES).read_bytes()
    for size in range(0, len(whole), 37):  # cut off, wherever that was
        (old / TEST_VALUES).write_bytes(whole[:size])
        assert load_test_values(old) is None


def test_other_users_are_not_paired(three: list[Path], tmp_path: Path) -> None:
    (group,) = compare_runs([three[0], run(tmp_path, "c", users=300)]).groups
    assert group.verdicts == ["a and c were tested on different users"]


def test_mistakes(three: list[Path], tmp_path: Path) -> None:
    for runs, expected in (
        (three[:1], "expected two runs or more"),
        ([three[0], three[0]], "given twice"),
        ([three[0], fake_table(tmp_path)], "has no winner"),
    ):
        with pytest.raises(ConfigError, match=expected):
            compare_runs(runs)


def test_names_of_runs_are_text(three: list[Path], tmp_path: Path) -> None:
    other = run(tmp_path, "c", data="d1")
    changed = other.rename(tmp_path / "<i>&c")
    page = render_comparison(compare_runs([three[0], changed]))
    assert "<i>&c" not in page and "&lt;i&gt;&amp;c" in page
