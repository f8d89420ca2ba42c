"""Lengths of time mean the same in a space and on the command line."""

from __future__ import annotations

import argparse
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import ConfigError
from search.cli.arguments import duration
from search.durations import seconds_of
from search.space.located import Node, Origin
from search.space.reader import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800)),
        *((" 5m ", 300), ("0.5", 0.5), ("366d", 366 * 86400)),
    ],
)
def test_what_is_a_time(text, seconds):
    assert seconds_of(text) == seconds
    assert duration(text) == seconds


BAD = ["", " ", "0", "0s", "-1", "1e3", "nan", "inf", "soon", "1h 30m", "10 m", "367d", "1_0", "٣s"]


@pytest.mark.parametrize("text", [*BAD, "9" * 40, "1w", "h", "."])
def test_what_is_none(text):
    assert seconds_of(text) is None
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time such as"):
        duration(text)


@given(st.text(alphabet="0123456789.smhd ", max_size=8) | st.text(max_size=6))
def test_a_space_and_the_command_line_agree(text):
    in_space: float | None
    try:
        in_space = parse_duration(Node(text, Origin("x")))
    except ConfigError:
        in_space = math.nan
    try:
        said = duration(text)
    except argparse.ArgumentTypeError:
        said = math.nan
    assert in_space == said or (math.isnan(in_space or 0.0) and math.isnan(said))


def test_none_is_no_limit():
    assert duration("none") == math.inf
    assert parse_duration(Node("none", Origin("x"))) is None
