"""The report: what it says, in every state of a run, and that it runs nothing of what it shows."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import InputError
from recsys.models import config_from_flat
from search.record.events import Reason, ReplicateRaced
from search.record.folder import RunFolder
from search.record.result import Baseline, RunResult, read_result, write_result
from search.report import page as page_module
from search.report.files import RunFiles, baselines, read_run
from search.report.page import render_report
from search.report.tables import ENDINGS, MOST_ROWS, leak_table, leak_words
from search.space.load import load_run_spec
from search.stages.result import mattered
from search.summary import lost_words
from tests.factories import BLENDED, fake_run, fake_table
from tests.search.report.html_page import Page

EVIL = (
    "<script>window.pwned=1</script>\"'><img src=x onerror=window.pwned=1> </title></style>&{{7*7}}"
)


def edit_journal(path: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Change every line of a run's journal; those for which `change` gives None are left out."""
    lines = (path / "journal.jsonl").read_text().splitlines()
    changed = [change(json.loads(line)) for line in lines]
    text = "".join(json.dumps(line) + "\n" for line in changed if line is not None)
    (path / "journal.jsonl").write_text(text)


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    return fake_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(done) -> Page:
    return Page(render_report(done))


class TestDone:
    def test_result_in_words(self, done, page):
        """What won is named first: the method and the parameters that say most of it."""
        result = read_result(done)
        assert result is not None and result.best_config is not None
        label = config_from_flat(dict(result.best_config)).label()
        assert label.startswith("bpr-hard d=")
        assert page.text.index(f"{label} on ml-100k, space bpr_hard") < page.text.index("reaches")
        assert (
            f"{label} ({result.best_trial}) reaches map@50 0.1702 (95% interval 0.1611 to 0.1795, "
            "940 users) on the test items, above popularity (0.0691) and close to EASE (0.1721)."
        ) in page.text

    def test_no_line_ends_within_a_p_value(self, done):
        html = render_report(done)
        for comparison in json.loads((done / "result.json").read_text())["race"]["comparisons"]:
            words = comparison["words"]
            assert " p = " in words or " p < " in words or "(p" in words
            broken = words[1:].replace("p = ", "p\xa0=\xa0").replace("p < ", "p\xa0&lt;\xa0")
            assert broken in html
        shown = re.sub("<title>.*?</title>", "", html)  # of charts: hints, which break anywhere
        assert not re.search(r"\bp (=|&lt;) \d", shown)

    def test_a_blend_that_failed_is_said_to_have(self, tmp_path):
        """Its value on the test stays; what is handed over is the winner."""
        why = "its member t0002 (ials d=64) cannot be trained on everything: an error"
        blend = BLENDED["blend"] | {"handed_over": False, "failed": why}
        page = Page(render_report(fake_run(tmp_path, result_changes={"blend": blend}))).text
        assert "test map@50, blend 0.1763 proven better, but could not be trained" in page
        assert f"The submission is the winner's: {lost_words(why, tested=True)}." in page
        assert "A blend of 3 finalists, proven better, could not be trained: the winner" in page
        assert "not proven better" not in page

    def test_how_far_to_trust_it(self, page):
        for words in (
            "Exclude training items only",
            "Read once, on 2026-",
            "random, valid ratio 0.1, test ratio 0.1",
            "9f8a1c2b3d4e5f60",
            "Run 42;",
            "hence too high",
        ):
            assert words in page.text

    def test_other_orders_of_the_split(self, done, page, tmp_path):
        assert "Compare its numbers with those of the same split only." in page.text
        assert "by one date" not in page.text
        timed = shutil.copytree(done, tmp_path / "timed")
        result = json.loads((timed / "result.json").read_text())
        result["split_orders"] = {"random": [0.2, 0.05], "time": [0.1, 0.125]}
        result["split_order"] = "time"
        (timed / "result.json").write_text(json.dumps(result))
        text = Page(render_report(timed)).text
        assert (
            "This split, by one date, shows 0.80 x popularity (map@50 0.1000 against 0.1250); a "
            "split at random would have shown 4.00 x popularity (map@50 0.2000 against 0.0500); "
            "the winner's map@50 is 100% higher at random than by one date: so much it flatters."
        ) in text
        assert "Compare its numbers" not in text

    def test_verdicts_are_those_of_the_race(self, done, page):
        result = json.loads((done / "result.json").read_text())
        assert len(result["race"]["comparisons"]) == 2
        for comparison in result["race"]["comparisons"]:
            assert page.text.count(comparison["words"][1:]) >= 2  # honesty box and race table

    def test_who_was_first_seen_after_the_date(self, done, page, tmp_path):
        assert "Newcomers" not in page.text
        timed = shutil.copytree(done, tmp_path / "timed")
        result = json.loads((timed / "result.json").read_text())
        one = {"part": "test", "since": "1998-04-01", "users": 300, "pairs": 4000}
        new = {"new_users": 120, "new_pairs": 30, "new_items": 7}
        result["newcomers"] = [one | new, one | {"part": "validation", "since": "1998-03-12"}]
        (timed / "result.json").write_text(json.dumps(result))
        assert (
            "Newcomers Test: from 1998-04-01 on, 4,000 interactions of 300 users; 120 of them are "
            "new, and all of these get the same list; 0.8% of the interactions are with 7 new "
            "items, which no model can recommend. Validation: from 1998-03-12 on, 4,000 "
            "interactions of 300 users; none of these users is new; all of the items were there "
            "before." in Page(render_report(timed)).text
        )

    def test_whom_it_fails(self, page):
        assert (
            "The winner serves worst: users with 4 to 19 items (map@50 0.1312, 95% interval 0.1112 "
            "to 0.1512, 310 users; EASE 0.1352) and items with 1 to 30 users (7.2% of the "
            "test items among them are in the lists of 50; EASE 7.6%)." in page.text
        )
        for row in (
            "users with 20 to 61 items 0.1700 0.1500 to 0.1900 0.1100 +0.0600 0.0410 to 0.0790 "
            "0.1740 -0.0040 -0.0200 to 0.0120 318 954",
            "items that nobody had 0.0% 0.0% to 0.0% - - - - 21 21 15",
            "items with 31 to 455 users 41.0% 39.0% to 43.0% 35.0% +6.0% 4.1% to 7.9% ",
        ):
            assert row in page.text
        assert "Bar: EASE. Grey dot: popularity." in page.text

    def test_a_run_of_an_earlier_version_says_that_it_does_not_know_whom(self, done, tmp_path):
        old = shutil.copytree(done, tmp_path / "old")
        result = json.loads((old / "result.json").read_text())
        del result["groups"]
        (old / "result.json").write_text(json.dumps(result))
        page = Page(render_report(old))
        assert "Not known: the version that tested this run did not keep it" in page.text
        assert "serves worst" not in page.text

    def test_commands(self, done, page):
        export = f"export {done.name} --runs-dir {done.parent} -o submission.csv"
        assert f"python run_search.py {export}" in page.text
        assert "python run_search.py --space bpr_hard" in page.text
        assert "--resume" not in page.text

    def test_every_number_of_trials_csv_is_there(self, done, page):
        with (done / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 64
        for row in rows:
            assert row["id"] in page.text
            if row["value"]:
                assert f"{float(row['value']):.4f}" in page.text
            if row["param.lr"]:
                assert f"{float(row['param.lr']):.4g}" in page.text

    def test_charts(self, page):
        titles = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
        assert titles[:6] == [
            "Importance of the parameters",
            "Best value so far",
            "Best value by time",
            "Learning curves",
            "Race",
            "Gain of the winner",
        ]
        assert {"Quality by seconds", "Quality by size", "map@50 by lr"} <= set(titles)

    def test_methods_come_first_and_importance_is_within_the_winners(self, tmp_path):
        path = fake_run(tmp_path, space="all", trials=120)
        state, spec = RunFolder(path).state(), load_run_spec(path)
        result = json.loads((path / "result.json").read_text())
        winner = state.trials[result["best_trial"]].params["method"]
        found = mattered(state, spec, 0)
        known = RunResult.model_validate(result).model_copy(update=found)
        write_result(RunFolder(path), known)
        page = Page(render_report(path))
        titles = [v for tag, name, v in page.attributes if tag == "svg" and name == "aria-label"]
        assert titles[:2] == ["Trials by method", "Importance of the parameters"]
        assert f"What mattered for {winner}." in page.text
        rows = found["deciding"].values
        assert sum(one.trials for one in rows.values()) == 120
        for name, one in rows.items():
            assert f" {name} {one.trials} {one.best:.4f} {one.median:.4f} " in page.text
        assert "method" not in found["importance"]
        own = {
            p.name for p in spec.searched() if p.name in state.trials[result["best_trial"]].params
        }
        assert found["importance"].keys() == own - {"method"}
        # the first axis of all parameters at once
        svgs = re.findall(r'aria-label="Parallel coordinates".*?</svg>', render_report(path), re.S)
        names = re.findall(r'<text class="name mid"[^>]*>([^<]*)<', svgs[0])
        assert names[0] == "method"

    def test_the_importance_of_an_earlier_version_is_not_shown_as_ours(self, tmp_path):
        """It was of all trials, with a share of what was adaptively sampled."""
        path = fake_run(tmp_path, result_changes={"version": 1, "importance": {"lr": 0.77}})
        page = render_report(path)
        assert "a hint, not a measurement" in page
        assert "0.77" not in Page(page).text
        result = json.loads((path / "result.json").read_text())
        (path / "result.json").write_text(json.dumps(result | {"version": 2}))
        assert "a hint, not a measurement" not in render_report(path)

    def test_parameters_without_effect_are_one_line(self, tmp_path):
        shares = {
            "importance": {"lr": 0.7, "margin": 0.004, "l2": 0.0},
            "importance_ci": {"lr": (0.5, 0.9), "margin": (0.0, 0.2), "l2": (0.0, 0.01)},
        }
        page = Page(render_report(fake_run(tmp_path, result_changes=shares)))
        assert "No effect seen: margin, l2." in page.text

    def test_failures_are_grouped_by_cause(self, page):
        found = re.search(r"trials cause which (.*?) Trials ", page.text)
        assert found is not None
        assert found[1].startswith("2 ")  # two of each kind, though each names its own lr
        assert found[1].count("DivergedError") == 1
        assert found[1].count("MemoryError") == 1

    def test_provenance(self, page):
        for words in ("0e5aa57f1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f", "ray 2.60.0", "942 users", "93%"):
            assert words in page.text
        assert "numba None" not in page.text

    def test_small(self, done):
        assert len(render_report(done)) < 300_000

    def test_the_same_folder_gives_the_same_page(self, done):
        assert render_report(done) == render_report(done)


TAGS = set(
    """html head meta title link style body header main section p span strong small h1 h2 dl dt dd
    div code button figure figcaption svg text line circle polyline rect details summary table
    thead tbody tr th td script""".split()  # noqa: SIM905
)


class TestSafe:
    def check(self, html: str) -> Page:
        page = Page(html)
        assert set(page.tags) <= TAGS
        assert page.tags.count("script") == 1
        assert page.tags.count("title") >= 1
        for tag, name, value in page.attributes:
            assert not name.startswith("on")
            assert name not in ("style", "srcset", "action", "formaction", "xlink:href")
            if name in ("href", "src"):
                assert (tag, value) == ("link", "data:,")
        return page

    def test_policy_allows_our_script_only(self, page):
        policy = next(v for t, n, v in page.attributes if n == "content" and "default-src" in v)
        digest = base64.b64encode(hashlib.sha256("".join(page.scripts).encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy

    def test_nothing_comes_from_the_network(self, done):
        html = render_report(done)
        self.check(html)
        assert not re.search(r"https?://|@import|url\(", html)

    def test_hostile_words_everywhere_are_shown_not_run(self, tmp_path):
        path = fake_run(tmp_path, trials=20, data=EVIL)

        def hostile(line):
            for key in ("id", "config_id"):
                if key in line:
                    line[key] = EVIL + line[key]
            if line["t"] == "end":
                line |= {"error": EVIL, "cause": EVIL}
            if line["t"] == "trial":
                line["params"] = {EVIL if k == "l2" else k: v for k, v in line["params"].items()}
                line["params"]["lr"] = EVIL + line["id"]
            return line

        edit_journal(path, hostile)
        result = json.loads((path / "result.json").read_text())
        result |= {"split": EVIL, "split_digest": EVIL}
        result["best_trial"] = EVIL + result["best_trial"]
        result["best_config"] = {EVIL: EVIL}
        result["test_metrics"] = {EVIL: 0.1}
        result["baselines"] = {EVIL: {"valid": 0.1, "test": 0.1, EVIL: EVIL}}
        result["importance"] = {EVIL: 0.5}
        for finalist in result["race"]["finalists"]:
            finalist["id"] = EVIL + finalist["id"]
        for comparison in result["race"]["comparisons"]:
            comparison |= {"words": EVIL, "name": EVIL, "against": EVIL + comparison["against"]}
        (path / "result.json").write_text(json.dumps(result))
        facts = {"command": EVIL, "packages": {EVIL: EVIL}, "machine": {"cpu": EVIL}, "time": EVIL}
        facts |= {
            "sessions": [{"time": EVIL}] * 2,
            "code": {"commit": EVIL},
            "data": {"name": EVIL},
        }
        (path / "provenance.json").write_text(json.dumps(facts))
        page = self.check(render_report(path))
        assert page.text.count("<script>window.pwned=1</script>") > 50
        assert "{{7*7}}" in page.text
        assert any(n == "data-trial" and v and v.startswith(EVIL) for _, n, v in page.attributes)

    def test_hostile_space(self, tmp_path):
        path = fake_run(tmp_path, trials=3, done=False)
        began = {"space": EVIL, "metric": EVIL}
        edit_journal(path, lambda line: line | began if line["t"] == "run" else line)
        page = self.check(render_report(path))
        assert EVIL.split(" ")[0] in page.text


class TestUnfinished:
    def test_after_the_search(self, tmp_path):
        path = fake_run(tmp_path, trials=20, done=False)
        page = Page(render_report(path))
        assert "This run is not finished." in page.text
        assert "The test items have not been looked at." in page.text
        assert "Not read so far." in page.text
        assert f"--resume --run {path.name}" in page.text
        assert "The best trial so far" in page.text
        assert "The winner:" not in page.text
        assert "random, valid ratio 0.1, test ratio 0.1" in page.text  # from provenance.json

    def test_in_the_middle_of_the_race(self, tmp_path):
        path = fake_run(tmp_path, trials=20, done=False)
        values = [("t0000", 0, 0.11), ("t0001", 0, 0.12), ("t0001", 1, 0.14), ("t0002", 0, None)]
        with RunFolder(path).journal() as journal:
            for name, replicate, value in values:
                cause = "oom" if value is None else None
                journal.append(
                    ReplicateRaced(config_id=name, replicate=replicate, value=value, cause=cause)
                )
        page = Page(render_report(path))
        assert page.text.index("t0001 0.1300 0.1200 0.1400") < page.text.index(
            "t0000 0.1100 0.1100"
        )
        assert "(1 splits only)" in page.text
        words = (
            "with fresh seeds, each half of the users at the epoch that the other half found best."
        )
        assert words not in page.text  # values of an earlier version
        with RunFolder(path).journal() as journal:
            journal.append(ReplicateRaced(config_id="t0000", replicate=1, value=0.13, crossed=True))
        assert words in Page(render_report(path)).text

    @pytest.mark.parametrize("status", ["failed", "interrupted"])
    def test_status_of_the_result(self, tmp_path, status):
        changes = {
            "status": status,
            "test": None,
            "test_ci": None,
            "test_reads": 0,
            "baselines": {},
        }
        path = fake_run(tmp_path, trials=8, result_changes=changes)
        page = Page(render_report(path))
        assert f"This run is {status}." in page.text
        assert "95%" not in page.text.split("How far")[0]

    def test_only_the_first_line(self, tmp_path):
        path = fake_run(tmp_path, trials=1, done=False)
        edit_journal(path, lambda line: line if line["t"] == "run" else None)
        for file in path.iterdir():
            if file.name != "journal.jsonl":
                file.unlink()
        page = Page(render_report(path))
        assert "No honest trial has a value yet" in page.text
        assert "no trial yet" in page.text
        assert "svg" not in page.tags

    def test_no_trials_at_all(self, tmp_path):
        path = fake_run(tmp_path, trials=0, done=False)
        assert "No honest trial has a value yet" in Page(render_report(path)).text

    def test_the_legend_has_every_kind_that_is_drawn(self, tmp_path):
        path = fake_run(tmp_path, trials=30)

        def late(line):  # it failed after it had a value
            return line | {"value": 0.05} if line.get("state") == "FAILED" else line

        edit_journal(path, late)
        html = render_report(path)
        drawn = set(re.findall(r'class="dot (\w+)" data-trial', html))
        assert drawn >= {"winner", "complete", "pruned", "failed"}
        keys = set(re.findall(r'<span class="key (\w+)">', html))
        assert {kind for kind in drawn if not kind.startswith("fifth")} == keys

    def test_all_trials_failed(self, tmp_path):
        path = fake_run(tmp_path, trials=3, done=False)
        failed = {"state": "FAILED", "value": None, "cause": "MemoryError"}

        def fail(line):
            return None if line["t"] == "epochs" else line | failed if line["t"] == "end" else line

        edit_journal(path, fail)
        page = Page(render_report(path))
        assert "3 failed" in page.text
        assert "3 MemoryError t0000, t0001, t0002" in page.text

    @pytest.mark.parametrize(
        "missing",
        ["epochs.csv", "best.json", "provenance.json", "spec.yaml", "trials.csv"],
    )
    def test_any_file_but_the_journal_may_be_missing(self, tmp_path, missing):
        path = fake_run(tmp_path, trials=15)
        (path / missing).unlink()
        assert "map@50" in Page(render_report(path)).text

    @pytest.mark.parametrize("text", ["", "{", "[1]"])
    def test_a_provenance_that_is_damaged_is_done_without(self, tmp_path, text):
        path = fake_run(tmp_path, trials=15)
        (path / "provenance.json").write_text(text)
        assert "map@50" in Page(render_report(path)).text

    def test_a_run_that_was_cut_off_behind_its_test_does_not_deny_it(self, tmp_path):
        path = fake_run(tmp_path, trials=15)
        (path / "result.json").unlink()
        lines = (path / "journal.jsonl").read_text().splitlines(keepends=True)
        assert json.loads(lines[-1])["t"] == "finish"
        (path / "journal.jsonl").write_text("".join(lines[:-1]))
        text = Page(render_report(path)).text
        assert "have not been looked at" not in text
        assert "0.1702" in text

    def test_without_its_result_a_run_that_is_not_finished_has_a_report(self, tmp_path):
        path = fake_run(tmp_path, trials=15, done=False)
        assert not (path / "result.json").exists()
        assert "map@50" in Page(render_report(path)).text

    def test_any_key_of_the_result_may_be_missing(self, tmp_path):
        path = fake_run(tmp_path, trials=15)
        result = json.loads((path / "result.json").read_text())
        for key in result:
            left = {k: v for k, v in result.items() if k != key}
            (path / "result.json").write_text(json.dumps(left))
            assert "Trials" in Page(render_report(path)).text


class TestBroken:
    def test_no_run(self, tmp_path):
        with pytest.raises(InputError, match="no run here"):
            render_report(tmp_path)

    def test_a_finished_run_without_its_result(self, tmp_path):
        """A report of it would say that the test items have not been looked at."""
        path = fake_run(tmp_path, trials=15)
        (path / "result.json").unlink()
        with pytest.raises(InputError, match=r"result\.json: is missing.*--resume --run"):
            render_report(path)

    @pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff", "[" * 100_000])
    def test_json_that_is_none(self, tmp_path, text):
        path = fake_run(tmp_path, trials=2, done=False)
        (path / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(InputError, match=r"result\.json: .*--resume --run"):
            render_report(path)

    @pytest.mark.parametrize(
        ("key", "value", "where"),
        [("status", "well", "status"), ("valid", "high", "valid"), ("trials", 3, "trials"),
         ("race", {"finalists": [{"mean": []}]}, "race.finalists.0.mean")],
    )  # fmt: skip
    def test_a_result_that_means_nothing(self, tmp_path, key, value, where):
        path = fake_run(tmp_path, trials=2, done=False)
        (path / "result.json").write_text(json.dumps({key: value}))
        with pytest.raises(InputError, match=rf"result\.json: {re.escape(where)}: ") as caught:
            render_report(path)
        assert "\n" not in str(caught.value)

    def test_it_says_in_words_why_trials_ended(self, tmp_path):
        assert set(ENDINGS) == set(Reason)
        text = Page(render_report(fake_run(tmp_path, trials=30))).text
        assert "pruned (others ahead)" in text
        assert "asha)" not in text

    def test_a_very_long_error(self, tmp_path):
        path = fake_run(tmp_path, trials=30)
        text = (path / "journal.jsonl").read_text()
        assert "MemoryError" in text
        long = text.replace("MemoryError", "MemoryError" + "x" * 200_000)
        (path / "journal.jsonl").write_text(long)
        assert len(render_report(path)) < 200_000


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return fake_table(tmp_path_factory.mktemp("runs"))


class TestLeak:
    def test_both_ways_side_by_side(self, table):
        rows = leak_table(read_run(table))
        assert [row["name"] for row in rows] == [
            "bpr_even", "bce_even", "bpr_fixed", "bce_fixed", "bpr_hard",
        ]  # fmt: skip
        hard = rows[-1]
        assert hard["train"][:2] == pytest.approx((0.13, 0.1625))
        assert hard["all"][:2] == pytest.approx((0.221, 0.143))
        assert "validation changes by +0.0588 and test changes by -0.0126" in leak_words(rows)

    def test_page(self, table):
        page = Page(render_report(table))
        assert "bpr_hard 0.1300 0.1625 0.2210 0.1430 +0.0910 -0.0195" in page.text
        assert "no winner is chosen" in page.text
        assert "Some trials leak." in page.text
        assert "The winner" not in page.text
        assert "export" not in page.text

    def test_a_table_of_one_way(self, tmp_path):
        path = fake_table(tmp_path)
        trials = read_run(path).trials
        leaky = {t.id for t in trials if t.leaky}
        assert len(leaky) == 5
        edit_journal(path, lambda line: None if line.get("id") in leaky else line)
        result = json.loads((path / "result.json").read_text())
        honest = {"negatives_exclude": "train", "leaky": False}
        (path / "result.json").write_text(json.dumps(result | honest))
        page = Page(render_report(path))
        assert "bpr_hard 0.1300 0.1625" in page.text
        assert "both ways" not in page.text
        assert "leak" not in page.text.lower().replace("blue: honest. red: leaky.", "")

    def test_a_leaky_trial_is_no_winner_even_if_the_result_says_so(self, tmp_path):
        path = fake_run(tmp_path, trials=20, done=False)
        leaky = "t0007"

        def leak(line):
            if line["t"] == "trial" and line["id"] == leaky:
                line["config"]["negatives_exclude"] = "all"
            return line

        edit_journal(path, leak)
        (path / "result.json").write_text(json.dumps({"best_trial": leaky, "metric": "map@50"}))
        run = read_run(path)
        assert run.winner is not None
        assert run.winner != leaky
        html = render_report(path)
        assert f"The best trial so far: {run.winner}" in Page(html).text
        assert f'<tr class="leaky" data-trial="{leaky}">' in html

    def test_a_leaky_space(self, tmp_path):
        path = fake_run(tmp_path, trials=5, done=False, negatives_exclude="all")
        run = read_run(path)
        assert all(t.leaky for t in run.trials)
        assert run.winner is None
        page = Page(render_report(path))
        assert "This run leaks." in page.text
        assert "No honest trial has a value yet" in page.text
        (path / "result.json").write_text(
            json.dumps({"best_trial": "t0000", "valid": 0.9876, "metric": "map@50"})
        )
        assert "0.9876" not in render_report(path)


class TestMany:
    def test_a_thousand_of_trials_is_less_than_a_megabyte(self, tmp_path):
        """Every chart is there at this number; beyond it the largest, of bars, is left out."""
        html = render_report(fake_run(tmp_path, trials=1000))
        assert len(html) < 1_000_000
        for title in ("Best value by time", "Quality by size", "Workers"):
            assert f'aria-label="{title}"' in html

    def test_thousands_of_trials(self, tmp_path):
        path = fake_run(tmp_path, trials=3000)
        html = render_report(path)
        page = Page(html)
        assert len(html) < 1_000_000
        assert f"{MOST_ROWS} of 3,000 trials" in page.text
        rows = html.split('<table class="numbers sortable">')[1].count("<tr class=")
        assert rows == MOST_ROWS
        best = max(
            (t for t in read_run(path).trials if t.value is not None), key=lambda t: t.value or 0
        )
        assert f'data-trial="{best.id}"' in html


def test_times_and_remarks_are_written_for_people(done):
    said = Page(render_report(done)).text
    assert "2026-01-31 12:00:00 UTC" in said
    assert "T12:00:00" not in said
    result = read_result(done)
    assert result is not None
    rows = baselines(result.model_copy(update={"baselines": {"ease": Baseline(l2=500.0)}}))
    assert rows == [("ease", None, None, "l2: 500")]


def test_what_mattered_is_found_out_once(done, monkeypatch):
    """Charts, axes and the order of the scatters all need it."""
    found, asked = page_module._mattered, list[RunFiles]()
    monkeypatch.setattr(page_module, "_mattered", lambda run: asked.append(run) or found(run))
    assert "What mattered" in render_report(done)
    assert len(asked) == 1


def test_lifecycle_of_a_real_folder(tmp_path):
    """What the driver does: write the page into the folder it was made from."""
    path = fake_run(tmp_path, trials=5)
    with RunFolder.open(tmp_path, path.name) as folder:
        folder.write("report.html", render_report(folder.path))
    assert isinstance(read_run(path), RunFiles)
    assert (path / "report.html").read_text().startswith("<!doctype html>")
