"""The task's own settings: checked against its dataclass, one clear line for what is wrong."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest

from polyhead.backbone.options import build_options
from polyhead.registry import RunError


@dataclasses.dataclass(frozen=True)
class Options:
    depth: int = 2
    mode: Literal["fast", "good"] = "fast"
    names: tuple[str, ...] = ()
    either: Literal["auto"] | float = "auto"

    def __post_init__(self) -> None:
        if self.depth > 9:
            raise ValueError("depth must be at most 9")


@pytest.fixture
def task(registry: Any) -> Any:
    return dataclasses.replace(registry.task("sentiment"), name="toy", options=Options)


def test_defaults_and_values(task):
    assert build_options(task, {}) == Options()
    assert build_options(task, {"depth": 3, "names": ["a", "中"]}) == Options(depth=3, names=("a", "中"))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (
            {"dept": 1},
            "options.dept: task 'toy' has no such option. Did you mean 'depth'? Available: depth, either, mode, names.",
        ),
        ({"depth": "x"}, "options.depth: expected a valid integer, unable to parse string as an integer; found 'x'"),
        ({"mode": "quick"}, "options.mode: expected 'fast' or 'good'; found 'quick'"),
        ({"names": [1, "a"]}, "options.names: expected a valid string; found [1, 'a']"),
        (
            {"either": "no"},
            "options.either: expected 'auto', or a valid number, unable to parse string as a number; found 'no'",
        ),
        ({"depth": 10}, "options: depth must be at most 9"),
    ],
)
def test_what_is_wrong_is_one_line(task, values, problem):
    with pytest.raises(RunError) as caught:
        build_options(task, values)
    assert str(caught.value) == problem


def test_a_task_without_options(task):
    bare = dataclasses.replace(task, options=None)
    assert build_options(bare, {}) is None
    with pytest.raises(RunError) as caught:
        build_options(bare, {"depth": 1})
    assert str(caught.value) == "options.depth: task 'toy' has no such option. It has none."
