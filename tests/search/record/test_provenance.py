"""provenance.json: the same text as ever, typed to whoever reads it, and never in anybody's way."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.record.folder import PROVENANCE, RunFolder
from search.record.provenance import (
    CodeFacts,
    DataFacts,
    Provenance,
    SearchFacts,
    SessionFacts,
    SplitFacts,
    provenance,
    read_provenance,
    session_facts,
    times_of,
)
from search.record.result import RefitOf
from search.words import hide_password
from tests.factories import SETTINGS
from tests.factories import provenance as an_earlier_one

DATA = DataFacts(
    source="/data/x.csv", name="x", digest="d", users=3, items=4, positives=5, times=(7, 9)
)
FACTS = SearchFacts(
    data=DATA,
    split=SplitFacts(name="random", digest="s", seed=42),
    seed=42,
    settings=SETTINGS,
)
ABOUT = {
    "data": {
        "source": "/data/x.csv",
        "name": "x",
        "digest": "d",
        "users": 3,
        "items": 4,
        "positives": 5,
        "times": [7, 9],
    },
    "split": {"name": "random", "digest": "s", "seed": 42},
    "seed": 42,
    "settings": asdict(SETTINGS),
}
SESSION = ["time", "command", "code", "python", "packages", "machine"]


def test_the_text_has_what_it_always_had_in_the_same_order() -> None:
    text = provenance(Provenance(), FACTS).plain()
    assert list(text) == ["data", "split", "seed", "settings", *SESSION, "sessions"]
    now = {name: text[name] for name in SESSION}
    assert json.dumps(text) == json.dumps({**ABOUT, **now, "sessions": [now]})
    assert list(now["code"]) == ["commit", "modified"]
    assert list(now["machine"]) == ["cpu", "cores", "memory_gib", "system"]
    assert now["packages"]["numpy"] == np.__version__
    assert now["machine"]["cores"] >= 1


def test_of_a_refit_it_says_what_was_trained_again() -> None:
    of = RefitOf(run="a", uid="u", before=0.5)
    text = provenance(Provenance(), FACTS.model_copy(update={"refit_of": of})).plain()
    assert list(text)[3:6] == ["settings", "refit_of", "time"]
    assert text["refit_of"] == of.plain()


def test_data_without_times_and_an_installation() -> None:
    known = FACTS.model_copy(update={"data": DATA.model_copy(update={"times": None})})
    assert provenance(Provenance(), known).plain()["data"]["times"] is None
    code = CodeFacts(commit=None, modified=None, version="0.1.0").plain()
    assert code == {"commit": None, "modified": None, "version": "0.1.0"}


def written(folder: Path, content: Any) -> Provenance:
    (folder / PROVENANCE).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_provenance(folder)


def test_it_is_read_back_and_written_again_as_it_was(tmp_path: Path) -> None:
    first = provenance(Provenance(), FACTS)
    folder = RunFolder(tmp_path)
    folder.write_json(PROVENANCE, first.plain())
    text = (tmp_path / PROVENANCE).read_bytes()
    assert (read_provenance(tmp_path), times_of(tmp_path)) == (first, (7, 9))
    folder.write_json(PROVENANCE, read_provenance(tmp_path).plain())
    assert (tmp_path / PROVENANCE).read_bytes() == text
    earlier = an_earlier_one("x")
    assert json.dumps(written(tmp_path, earlier).plain()) == json.dumps(earlier)


def test_earlier_sessions_stay_as_they_were_written(tmp_path: Path) -> None:
    sessions = [
        {"command": "first"},
        {"time": "t", "command": "second", "code": {"commit": None}, "python": "3.11.9"},
        {"time": "t", "host": {"of": "a later version"}},
    ]
    previous = written(tmp_path, {"data": {"name": "old"}, "sessions": sessions})
    text = provenance(previous, FACTS).plain()
    assert text["data"] == ABOUT["data"]
    assert json.dumps(text["sessions"][:3]) == json.dumps(sessions)
    assert text["sessions"][3]["command"] == text["command"]


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "3", '{"data": [1], "sessions": 3, "code": "x", "machine": null}']
)
def test_what_is_damaged_is_as_what_is_missing(tmp_path: Path, content: str) -> None:
    found = written(tmp_path, content)
    assert (found.data, found.code, found.sessions) == (DataFacts(), CodeFacts(), ())
    assert times_of(tmp_path) is None
    assert len(provenance(found, FACTS).sessions) == 1


def test_the_rest_of_a_damaged_file_is_read(tmp_path: Path) -> None:
    content = {
        "data": {"name": "x", "users": "many", "times": ["a", 3]},
        "command": 3,
        "sessions": [3, {"time": "t", "packages": [1]}, None],
    }
    found = written(tmp_path, content)
    assert (found.data.name, found.data.users, found.data.times) == ("x", None, None)
    assert found.command is None
    assert [one.time for one in found.sessions] == ["t"]
    assert dict(found.sessions[0].packages) == {}


def test_what_is_written_is_checked() -> None:
    with pytest.raises(ValueError, match="users"):
        DataFacts(users="many")  # type: ignore[arg-type]


def test_no_password_gets_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = "postgresql://ann:secret@host/x"
    monkeypatch.setattr(sys, "argv", ["run_search.py", "--tracking-uri", uri])
    known = FACTS.model_copy(update={"settings": replace(SETTINGS, tracking_uri=uri)})
    assert "secret" not in json.dumps(session_facts().plain())
    assert "secret" not in json.dumps(provenance(Provenance(), known).plain())
    assert "secret" not in hide_password("x --tracking-uri http://ann:secret@h:5000/a?b=1")
    earlier = SessionFacts(command=f"run_search.py --tracking-uri {uri}")
    previous = Provenance(sessions=(earlier,))
    assert "secret" not in json.dumps(provenance(previous, FACTS).plain())
