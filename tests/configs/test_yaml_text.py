"""YAML in and out: the scalars of YAML 1.2, keys once, values of overrides, and files that are not YAML."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from polyhead.configs.errors import ConfigError
from polyhead.configs.yaml_text import parse_value, read_mapping, write_yaml

SCALARS = [
    ("3e-5", 3e-5),
    ("5.0e-05", 5e-5),
    ("1E3", 1000.0),
    (".5", 0.5),
    ("-1", -1),
    ("042", 42),
    ("0x1f", 31),
    ("0o17", 15),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    ("-.inf", -math.inf),
    ("no", "no"),
    ("on", "on"),
    ("12:30", "12:30"),
    ("1_000", "1_000"),
    ("2024-01-01", "2024-01-01"),
    ("3e-5x", "3e-5x"),
    ("评论", "评论"),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_scalars_mean_the_same_in_a_file_and_in_an_override(tmp_path: Path, text: str, value: object) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"key: {text}\n", encoding="utf-8")
    assert {"key": value} == read_mapping(path)
    assert value == parse_value(text)
    assert type(value) is type(parse_value(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("  2 ", 2),
        ("[甲.csv, b.csv]", ["甲.csv", "b.csv"]),
        ("{text: 评论, 2: x}", {"text": "评论", "2": "x"}),
        ("'3'", "3"),
        ('"a\\tb"', "a\tb"),
        ("a: b", "a: b"),
        ("a #1.csv", "a #1.csv"),
        ("*.csv", "*.csv"),
        ("@x", "@x"),
        ("<<", "<<"),
        ("C:\\data\\a.csv", "C:\\data\\a.csv"),
    ],
)
def test_an_override_is_a_plain_word_unless_it_is_bracketed_or_quoted(text: str, value: object) -> None:
    assert value == parse_value(text)


@pytest.mark.parametrize("text", ["[a", "{a: b", "'a", "[" * 1500, "[a]b.csv", "{a: 1, a: 2}", "[!!int x]"])
def test_a_bracket_that_is_not_yaml_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not valid YAML: .*goes in quotes$"):
        parse_value(text)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", " is empty; a recipe names at least its task, as in 'task: sentiment'"),
        (b"# nothing\n", " is empty; a recipe names at least its task, as in 'task: sentiment'"),
        (b"- a\n", " holds a list; a recipe is a mapping, as in 'task: sentiment'"),
        (b"5\n", " holds the single value 5; a recipe is a mapping, as in 'task: sentiment'"),
        (b"a: 1\nb: 2\na: 3\n", ", line 3, column 1: not valid YAML: the key 'a' stands twice"),
        (b"a: {b: 1, b: 2}\n", ", line 1, column 11: not valid YAML: the key 'b' stands twice"),
        (b"[1, 2]: 3\n", ", line 1, column 1: not valid YAML: a key must be text"),
        (b"a: b: c\n", ", line 1, column 5: not valid YAML: mapping values are not allowed here"),
        (
            b"\ta: 1\n",
            ", line 1, column 1: not valid YAML: found character '\\t' that cannot start any token",
        ),
        (
            b"a: 1\n---\nb: 2\n",
            (
                ", line 2, column 1: not valid YAML: expected a single document in the stream, but found "
                "another document"
            ),
        ),
        (b"a: !!int x\n", ", line 1, column 4: not valid YAML: 'x' is no int"),
        (b"a: b\x00\n", ": not valid YAML: special characters are not allowed at position 4"),
        (b"a: " + b"[" * 1500, ": not valid YAML: nested too deeply"),
        (
            "task: 情感\n".encode("gb18030"),
            " is not UTF-8 text (byte 0xc7 at position 6); save it as UTF-8",
        ),
    ],
)
def test_a_file_that_is_no_recipe_gets_one_line(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_mapping(path)
    assert f"{path}{problem}" == str(caught.value)


def test_python_objects_are_never_built(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: !!python/object/apply:os.getcwd []\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="could not determine a constructor for the tag"):
        read_mapping(path)


def test_a_byte_order_mark_and_merge_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("\ufeffone: &one {甲: 1, b: 2}\ntwo:\n  <<: *one\n  b: 3\n".encode())
    assert read_mapping(path) == {"one": {"甲": 1, "b": 2}, "two": {"甲": 1, "b": 3}}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from([text for text, _ in SCALARS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("a:# 甲1", max_size=4), inner, max_size=3),
    max_leaves=6,
)


@example(value="\x85")
@example(value=["a\u2028b", {"a": "\u2029"}])
@given(value=VALUES)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_written_is_read_back(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(write_yaml({"key": value}), encoding="utf-8", newline="")
    assert {"key": value} == read_mapping(path)


def test_chinese_is_written_as_it_is() -> None:
    assert write_yaml({"列": "评论", "word": "no", "number": "3e-5"}) == "列: 评论\nword: 'no'\nnumber: '3e-5'\n"
