"""The memory of what has arrived: delivery.json, as this version and the earlier ones wrote it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from search.tracking.memory import Delivered, Registration

# As written before a model's registration had names for its parts.
FILE = (
    '{"uri": "sqlite:///x.db", "experiment": "recsearch", "uid": "u", "experiment_id": "1", '
    '"run_id": "r", "parent_sent": "", "around_sent": "", "offset": 7, "complete": true, '
    '"error": null, "children": {"t0000": {"run_id": "c", "attempt": 1, "rows": 2, '
    '"ended": true, "traceback": false, "name": "t0000 popularity"}}, '
    '"artifacts": {"spec.yaml": [1, 2, "d"]}, '
    '"model": ["abc", "recsearch-demo", "3", false, "version 2 stayed", true], '
    '"problems": {}, "time": 0.0, "refused": {}}'
)
WRITTEN: dict[str, Any] = json.loads(FILE)


def written(folder: Path, **values: Any) -> Delivered:
    (folder / "delivery.json").write_text(json.dumps(WRITTEN | values))
    found = Delivered.read(folder)
    assert found is not None
    return found


def test_what_is_written_is_what_it_was_byte_for_byte(tmp_path: Path) -> None:
    written(tmp_path).save(tmp_path)
    text = (tmp_path / "delivery.json").read_text()
    assert re.sub(r'(?<="time": )[\d.]+', "0.0", text) == FILE
    written(tmp_path, model=[]).save(tmp_path)
    assert json.loads((tmp_path / "delivery.json").read_bytes())["model"] == []


@pytest.mark.parametrize(
    ("stored", "found"),
    [
        ([], None),
        (["abc", "m", "1"], Registration("abc", "m", "1")),
        (["abc", "m", "1", True], Registration("abc", "m", "1", leads=True)),
        (
            ["abc", "m", "1", False, "the champion stayed", True],
            Registration("abc", "m", "1", False, "the champion stayed", may_lead=True),
        ),
    ],
    ids=["none", "the first form", "whether it leads", "why"],
)
def test_a_registration_of_any_version_is_read(
    stored: list[Any], found: Registration | None, tmp_path: Path
) -> None:
    memory = written(tmp_path, model=stored)
    assert memory.model == found
    line = memory.registered(tmp_path)
    if found is None or not found.why:
        assert line is None  # what was not said then is not made up
    else:
        assert line is not None
        assert line.startswith("registered as m, version 1: the champion stayed; to make it")


def test_a_memory_from_before_models_were_registered_is_read(tmp_path: Path) -> None:
    values = {name: value for name, value in WRITTEN.items() if name != "model"}
    (tmp_path / "delivery.json").write_text(json.dumps(values))
    found = Delivered.read(tmp_path)
    assert found is not None
    assert found.model is None


@pytest.mark.parametrize("damage", [3, ["abc"], [1, 2, 3, 4, 5, 6, 7]])
def test_a_registration_that_cannot_be_read_is_no_obstacle(damage: Any, tmp_path: Path) -> None:
    (tmp_path / "delivery.json").write_text(json.dumps(WRITTEN | {"model": damage}))
    assert Delivered.read(tmp_path) is None
