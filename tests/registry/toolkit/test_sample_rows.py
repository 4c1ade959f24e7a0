"""The rows that a plugin ships are read from its package, and what is wrong with them is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyhead.registry import PluginError
from polyhead.registry.toolkit.sample_rows import sample_rows


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of an empty package, whose name no other test has."""
    folder = tmp_path / f"package_of_{tmp_path.name}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


def test_the_rows_are_those_of_the_file(package: Path) -> None:
    (package / "samples.jsonl").write_text('{"text": "a\u2028b"}\n\n{"text": "好", "label": 1}\n', encoding="utf-8")
    assert sample_rows(package.name) == [{"text": "a\u2028b"}, {"text": "好", "label": 1}]


def test_a_file_of_another_name(package: Path) -> None:
    (package / "more.jsonl").write_text("{}\n", encoding="utf-8")
    assert sample_rows(package.name, "more.jsonl") == [{}]


def test_a_file_that_was_not_packed_is_named(package: Path) -> None:
    with pytest.raises(PluginError, match=rf"{package.name} holds no file samples\.jsonl: .* the wheel packs it"):
        sample_rows(package.name)


@pytest.mark.parametrize(("line", "problem"), [("{'a'", "no JSON"), ("[1]", r"expected an object .*, found \[1\]")])
def test_a_line_that_is_no_row_is_named(package: Path, line: str, problem: str) -> None:
    (package / "samples.jsonl").write_text(f"{{}}\n{line}\n", encoding="utf-8")
    with pytest.raises(PluginError, match=rf"samples\.jsonl, line 2: .*{problem}"):
        sample_rows(package.name)
