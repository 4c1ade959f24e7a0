"""Names of layouts: what they mean, and what is refused."""

from __future__ import annotations

import pytest

from polyhead.configs.errors import ConfigError
from polyhead.configs.layouts import Layout, parse_layout

ALLOWED = (
    "Allowed: single, zero0, zero1, zero2, zero3, pipeN, pipeN+zero1 (N stages, at least 2), "
    "tpN, tpN+zero1 (N processes a matrix); zero1 to zero3 also with +offload or +nvme."
)


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
        ("tp2", Layout("tp2", distributed=True, tensor_parallel=2)),
        ("zero1+tp4", Layout("tp4+zero1", distributed=True, zero_stage=1, tensor_parallel=4)),
        ("offload+zero2", Layout("zero2+offload", distributed=True, zero_stage=2, offload="cpu")),
        ("zero3+nvme", Layout("zero3+nvme", distributed=True, zero_stage=3, offload="nvme")),
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
        ("tp1+zero1", "layout 'tp1+zero1': at least 2 processes share a matrix; else use zero1"),
        ("pipe2+tp2", "layout 'pipe2+tp2': DeepSpeed's AutoTP takes no pipelines; use one of pipe and tp"),
        (
            "tp2+zero3",
            (
                "layout 'tp2+zero3': the optimizer state of matrices that AutoTP has divided cannot be put together "
                "again under ZeRO 3; use tp2+zero1"
            ),
        ),
        (
            "zero0+offload",
            (
                "layout 'zero0+offload': 'offload' needs ZeRO, which moves what lies elsewhere; "
                "use zero1+offload, or zero3+offload"
            ),
        ),
        ("zero2+nvme", "layout 'zero2+nvme': DeepSpeed swaps to disk under ZeRO 3 only; use zero3+nvme"),
        ("zero3+nvme+offload", "layout 'zero3+nvme+offload': 'nvme' and 'offload' cannot stand together"),
        (
            "pipe2+zero1+offload",
            (
                "layout 'pipe2+zero1+offload': 'offload' works where each process trains the whole model; "
                "use zero3+offload"
            ),
        ),
        (
            "sp2",
            (
                "layout 'sp2': DeepSpeed's sequence parallelism (Ulysses) takes no attention mask, so padded texts, "
                "encoders and encoder-decoders would come out wrong; use zero3, a smaller data.max_tokens, or "
                "training.activation_checkpointing"
            ),
        ),
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
