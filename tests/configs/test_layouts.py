"""Names of layouts: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from polyhead.configs.errors import ConfigError
from polyhead.configs.layouts import Layout, parse_layout

ALLOWED = "Allowed: single, zero0, zero1, zero2, zero3, pipeN, pipeN+zero1 (N stages, at least 2)."


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("single", Layout("single", distributed=False)),
        ("zero0", Layout("zero0", distributed=True)),
        ("zero1", Layout("zero1", distributed=True, zero_stage=1)),
        ("zero2", Layout("zero2", distributed=True, zero_stage=2)),
        ("zero3", Layout("zero3", distributed=True, zero_stage=3)),
        ("pipe2", Layout("pipe2", distributed=True, pipeline_stages=2)),
        ("pipe2+zero0", Layout("pipe2", distributed=True, pipeline_stages=2)),
        ("pipe2+zero1", Layout("pipe2+zero1", distributed=True, zero_stage=1, pipeline_stages=2)),
        ("zero1+pipe12", Layout("pipe12+zero1", distributed=True, zero_stage=1, pipeline_stages=12)),
        (" ZeRO1 + Pipe2 ", Layout("pipe2+zero1", distributed=True, zero_stage=1, pipeline_stages=2)),
    ],
)
def test_a_name_means_one_layout(text: str, layout: Layout) -> None:
    assert parse_layout(text) == layout
    assert parse_layout(layout.name) == layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zero7", "layout 'zero7': ZeRO stage 7 does not exist; allowed: 0, 1, 2, 3"),
        ("pipe2+zero7", "layout 'pipe2+zero7': ZeRO stage 7 does not exist; allowed: 0, 1, 2, 3"),
        ("zeor1", f"layout 'zeor1': no such part 'zeor1'. Did you mean 'zero1'? {ALLOWED}"),
        ("quantum", f"layout 'quantum': no such part 'quantum'. {ALLOWED}"),
        ("单机", f"layout '单机': no such part '单机'. {ALLOWED}"),
        ("", f"layout '': no such part ''. {ALLOWED}"),
        ("zero", f"layout 'zero': 'zero' needs the ZeRO stage, as in zero2. {ALLOWED}"),
        ("pipe", f"layout 'pipe': 'pipe' needs the number of pipeline stages, as in pipe2. {ALLOWED}"),
        ("pipe1", "layout 'pipe1': a pipeline has at least 2 stages; without one use zero0"),
        (
            "zero1+pipe0",
            "layout 'zero1+pipe0': a pipeline has at least 2 stages; without one use zero1",
        ),
        ("zero1+zero2", "layout 'zero1+zero2': 'zero' stands twice"),
        (
            "single+zero1",
            "layout 'single+zero1': 'single' is one process without DeepSpeed and cannot be combined",
        ),
        (
            "zero2+pipe4",
            (
                "layout 'zero2+pipe4': a pipeline keeps gradients over its micro-batches, so DeepSpeed "
                "cannot partition them as ZeRO 2 would; use pipe4+zero1"
            ),
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_layout(text)
    assert str(caught.value) == message


def test_pipeline_with_zero_3_names_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"as ZeRO 3 would; use pipe2\+zero1$"):
        parse_layout("pipe2+zero3")
