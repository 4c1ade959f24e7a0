"""Folders of `sentence-transformers`, read and written: the older and the newer form of their files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyhead.registry import BackboneError
from polyhead.registry.toolkit.sentence_folder import SentenceSettings, read_sentence_settings, sentence_files


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def modules(*names: str) -> list[dict[str, object]]:
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", "Dense": "2_Dense"}
    return [{"idx": at, "name": str(at), "path": paths[n], "type": f"a.b.{n}"} for at, n in enumerate(names)]


@pytest.mark.parametrize("pooling", ["mean", "cls", "last", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_what_is_written_is_read(tmp_path, pooling, normalize):
    settings = SentenceSettings(pooling, normalize, 100, lowercase=normalize, prompt="查询: " if normalize else "")
    assert read_sentence_settings(write(tmp_path, dict(sentence_files(settings, 32)))) == settings


@pytest.mark.parametrize(("theirs", "ours"), [("mean", "mean"), ("lasttoken", "last"), (["cls"], "cls")])
def test_the_newer_form_of_pooling(tmp_path, theirs, ours):
    files = {"modules.json": modules("Transformer", "Pooling"), "1_Pooling/config.json": {"pooling_mode": theirs}}
    assert read_sentence_settings(write(tmp_path, files)) == SentenceSettings(ours, normalize=False)


def test_a_folder_without_modules_is_none_of_them(tmp_path):
    assert read_sentence_settings(tmp_path) is None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"modules.json": modules("Transformer", "Pooling", "Dense")}, "module 'Dense' is not supported"),
        ({"modules.json": modules("Pooling")}, "expected the modules Transformer and Pooling"),
        ({"modules.json": "{"}, "is damaged"),
        (
            {
                "modules.json": modules("Transformer", "Pooling"),
                "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            },
            r"pooling 'mean\+cls' is not supported",
        ),
        (
            {
                "modules.json": modules("Transformer", "Pooling"),
                "1_Pooling/config.json": {"pooling_mode_weightedmean_tokens": True},
            },
            "weightedmean_tokens' is not supported",
        ),
        (
            {
                "modules.json": modules("Transformer", "Pooling"),
                "1_Pooling/config.json": {"include_prompt": False},
                "config_sentence_transformers.json": {"prompts": {"q": "Q: "}, "default_prompt_name": "q"},
            },
            "without the tokens of the prompt",
        ),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path, files, message):
    with pytest.raises(BackboneError, match=message):
        read_sentence_settings(write(tmp_path, files))
