"""What the engine refuses before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyhead.backbone.model.loading import find_backbone, load_with_head
from polyhead.backbone.model.stages import Stage
from polyhead.backbone.parallel.engine import PipelineEngine, Spread
from polyhead.registry import HeadSpec, Registry, RunError


@pytest.mark.parametrize(
    ("name", "auto_class", "shared"),
    [
        ("gpt2", "AutoModelForCausalLM", "transformer.wte.weight"),
        ("bart", "AutoModelForSeq2SeqLM", "model.shared.weight"),
        ("t5", "AutoModelForTokenClassification", "relative_attention_bias.weight"),
    ],
)
def test_a_pipeline_whose_stages_would_share_parameters_is_refused(
    name: str, auto_class: str, shared: str, tiny_backbones: dict[str, Path], registry: Registry
) -> None:
    spec = HeadSpec(size=2, auto_class=auto_class)
    model, head = load_with_head(find_backbone(str(tiny_backbones[name]), registry), spec, dropout=None)
    whole = Stage(model, head, spec, ("input_ids", "attention_mask"))
    with pytest.raises(RunError) as caught:
        PipelineEngine(whole, Spread(0, 1, 0, 2), lambda *_: None, {}, None)
    text = str(caught.value)
    assert text.startswith("layouts with pipe cannot train this model yet: 2 stages would share parameters (")
    assert shared in text
    assert text.endswith("use layout=zero1, zero2 or zero3")
