import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import ConfigError
from recsys.yamlio import load_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("-2.5e+1", -25.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("12", 12),
        ("+7", 7),
        ("010", 10),
        ("0x1f", 31),
        ("0o17", 15),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2024-01-31", "2024-01-31"),
        ("'1e-4'", "1e-4"),
        ("-.inf", -math.inf),
        ("a: {b: [1, 2e0, x]}", {"a": {"b": [1, 2.0, "x"]}}),
        ("a:", {"a": None}),
    ],
)
def test_scalars_mean_what_a_person_means(text: str, value: object) -> None:
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_nan() -> None:
    assert math.isnan(parse_yaml(".NaN"))


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is given twice"),
        ("x:\n  - {k: 1, k: 2}\n", 2, "'k' is given twice"),
        ("a: [1, 2\nb: 3\n", 2, ""),
        ("a: &x [1]\nb: *x\n", 2, "aliases"),
        ("a: 1\n? [1]\n: 2\n", 2, "plain value"),
        ("a: !!python/object/apply:os.system [x]\n", 1, "constructor"),
        ("--- 1\n--- 2\n", 2, ""),
        ("ok: 1\nbad: \x00\n", 2, "special characters"),
        ("a: " + "9" * 5000, 1, "integer"),
        ("a: !!int x", 1, "integer"),
        ("a: !!float x", 1, "number"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, line: int, part: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    assert part in message
    assert "\n" not in message


def test_unreadable_files(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(missing)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_yaml(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load_yaml(latin)
    big = tmp_path / "big.yaml"
    big.write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="larger than"):
        load_yaml(big)
    deep = tmp_path / "deep.yaml"
    deep.write_text("[" * 5000)
    with pytest.raises(ConfigError):
        load_yaml(deep)
    bom = tmp_path / "bom.yaml"
    bom.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert load_yaml(bom) == {"a": 1, "b": 2}


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab10:-[]{}!&*?|>'\"%@`#,. \n\té<~e+_x"), max_size=40))
def test_any_text_parses_or_is_a_one_line_error(text: str) -> None:
    try:
        parse_yaml(text)
    except ConfigError as error:
        assert "\n" not in str(error)
