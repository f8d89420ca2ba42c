"""Arguments as a whole, before any is looked at."""

from __future__ import annotations

import os

import pytest

from search.cli.main import main


@pytest.mark.parametrize("command", [["data"], ["--space", "smoke", "--data"]])
def test_a_name_that_is_not_utf8_is_one_line_before_anything_begins(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, os.fsdecode(b"b\xff.csv")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert r"b\xff.csv" in said
    assert "not UTF-8" in said
