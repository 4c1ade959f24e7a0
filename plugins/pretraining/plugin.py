"""Register the objectives of pretraining."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from polyhead.plugins.pretraining import data, metrics
from polyhead.plugins.pretraining import head as heads
from polyhead.registry import Column, EncodeSettings, Family, Feature, HeadFactory, Metric, Task, hookimpl
from polyhead.registry.toolkit.language_model import restoration
from polyhead.registry.toolkit.sample_rows import sample_rows

polyhead_api_version = 1

Objective = Task[data.PretrainingExample, heads.PretrainingPrediction]
PAIRS: Mapping[Family, HeadFactory] = {"encoder": heads.default_head, "encoder-decoder": heads.default_head}


def _objective(
    name: str,
    summary: str,
    options: type,
    *,
    encode: Callable[[Sequence[data.PretrainingExample], EncodeSettings], list[Feature]],
    corrupt: data.Corrupt | None,
    heads_of: Mapping[Family, HeadFactory],
    packs: bool = False,
) -> Objective:
    """Return an objective: what all of them share, and what is its own."""
    return Task(
        name=name,
        summary=summary,
        example_type=data.PretrainingExample,
        columns=(
            Column("text", "a document; options.fields names what else of a row is read", required="never"),
            Column("id", "a name for the row; file name and line otherwise", required="never"),
        ),
        options=options,
        to_example=data.to_example,
        prepare=data.prepare,
        setup_from_labels=data.setup_from_labels,
        check_example=data.check_example,
        encode=encode,
        corrupt=corrupt,
        pretrains=True,
        loss_by_token=True,
        packs=packs,
        heads=heads_of,
        label_fields=heads.label_fields,
        count_targets=heads.count_targets,
        loss=heads.loss,
        decode=heads.decode,
        reduction=restoration,
        metrics=(
            Metric(
                "restoration",
                metrics.score,
                lower_is_better=frozenset({"perplexity", "bits_per_token"}),
                perfect={"perplexity": 1.0},
            ),
        ),
        headline=metrics.headline,
        baseline_name="words by frequency",
        baseline=metrics.baseline,
        samples=partial(sample_rows, __package__),
    )


TASKS = [
    _objective(
        "causal-lm",
        "Pretrain a decoder: the next token of documents.",
        data.CausalOptions,
        encode=data.encode_causal,
        corrupt=None,
        heads_of={"decoder": heads.causal_head},
        packs=True,
    ),
    _objective(
        "masked-lm",
        "Pretrain an encoder: words that are hidden in documents (BERT), whole words in Chinese too.",
        data.MaskedOptions,
        encode=data.encode_masked,
        corrupt=data.corrupt_masked,
        heads_of={"encoder": heads.masked_head},
    ),
    _objective(
        "span-corruption",
        "Pretrain an encoder-decoder: spans that are taken from documents are written behind sentinels (T5).",
        data.SpanOptions,
        encode=data.encode_spans,
        corrupt=data.corrupt_spans,
        heads_of=PAIRS,
    ),
    _objective(
        "denoising",
        "Pretrain an encoder-decoder: documents with holes and shuffled sentences are written as they were (BART).",
        data.DenoisingOptions,
        encode=data.encode_denoising,
        corrupt=data.corrupt_denoising,
        heads_of=PAIRS,
    ),
]


@hookimpl
def polyhead_register_tasks() -> list[Objective]:
    """Add the tasks."""
    return TASKS
