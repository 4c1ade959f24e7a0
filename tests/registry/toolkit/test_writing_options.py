"""How a task may be told to write: what is allowed, and what the engine gets to know."""

from __future__ import annotations

from dataclasses import fields

import pytest

from polyhead.registry import GenerationSettings
from polyhead.registry.toolkit.writing_options import WritingOptions, generation_settings


def test_the_engine_gets_every_setting_it_knows():
    options = WritingOptions(max_new_tokens=9, beams=4, candidates=2, length_penalty=0.5, stop=("。",), seed=3)
    expected = GenerationSettings(max_new_tokens=9, beams=4, candidates=2, length_penalty=0.5, stop=("。",), seed=3)
    assert generation_settings(options) == expected
    assert generation_settings(WritingOptions()) == GenerationSettings()
    drawn = WritingOptions(sample=True, temperature=0.7, top_k=5, top_p=0.9, candidates=3)
    assert {field.name: getattr(generation_settings(drawn), field.name) for field in fields(GenerationSettings)} == {
        field.name: getattr(drawn, field.name) for field in fields(GenerationSettings)
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ({"max_new_tokens": 4, "min_new_tokens": 5}, "min_new_tokens must lie between 0 and max_new_tokens=4, not 5"),
        ({"beams": 0}, "beams must be at least 1, not 0"),
        ({"sample": True, "temperature": 0.0}, "temperature must be above 0, not 0.0"),
        ({"sample": True, "temperature": float("nan")}, "temperature must be above 0, not nan"),
        ({"sample": True, "top_k": -1}, r"top_k must be at least 0 \(all tokens\), not -1"),
        ({"sample": True, "top_p": 1.5}, "top_p must be above 0 and at most 1, not 1.5"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be above 0, not 0.0"),
        ({"no_repeat_ngram": -2}, r"no_repeat_ngram must be at least 0 \(off\), not -2"),
        ({"candidates": 0}, "candidates must be at least 1, not 0"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
        ({"stop": ("",)}, "stop must hold texts that are not empty"),
        ({"temperature": 0.5, "top_k": 3}, "temperature, top_k: without effect unless sample is true"),
        ({"sample": True, "beams": 2}, "sample and beams: choose one of them"),
        ({"length_penalty": 2.0}, "length_penalty: without effect unless beams is 2 or more"),
        ({"candidates": 3, "beams": 2}, "candidates=3: needs sample=true, or beams=3 or more"),
    ],
)
def test_what_makes_no_sense_is_refused(given, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        WritingOptions(**given)
