"""What a plugin is made of: the records and function types that the engine and a task share.

The engine calls the task at these points and nowhere else; a task never calls the engine::

    row ─to_example→ example ─encode→ features ─(engine pads)→ (inputs, labels) ─model→ outputs
        training:    outputs ─loss→ (sum, count)
        prediction:  outputs ─decode→ prediction ─metrics→ scores
    tasks that write text, besides:
        example ─encode_prompts→ features ─(engine generates)→ text ─decode→ prediction

Importing this module loads no torch: tensors are named in annotations only.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch

API_VERSION = 1
"""The version of this plugin API. A plugin module may state the one it was written for in ``polyhead_api_version``."""

Row = Mapping[str, Any]
"""One record as read from a file, keys renamed by the column mapping."""

Family = Literal["encoder", "decoder", "encoder-decoder"]
"""The kind of backbone."""


class Example(Protocol):
    """What every task's typed example has."""

    @property
    def id(self) -> str:
        """Return the name that predictions are gathered by, unique within its file."""
        ...


E_ = TypeVar("E_", bound=Example)
P_ = TypeVar("P_")


# ── data ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Column:
    """One column that a task reads from a row."""

    name: str
    summary: str
    required: Literal["always", "training", "never"] = "always"
    """``training``: needed to train and to score, absent when predicting."""


@dataclass(frozen=True)
class SourceRow:
    """One row where it stands in its file; ``problem`` says why it could not be read (then ``row`` is empty)."""

    line: int
    row: Row
    problem: str | None = None


@dataclass(frozen=True)
class LabelField:
    """One label tensor of a task.

    Padded by the engine to ``[batch]`` (scalar), ``[batch, size]`` (vector), ``[batch, tokens]`` (tokens: one a token
    of ``input_ids``) or ``[batch, longest]`` (targets: a sequence with a length of its own, such as a decoder's).
    The last two are filled up with -100, which no loss counts.
    """

    name: str
    dtype: Literal["int", "float"] = "int"
    shape: Literal["scalar", "vector", "tokens", "targets"] = "scalar"


@dataclass(frozen=True)
class Feature:
    """Token ids, masks and labels of one window of one example; unpadded."""

    example: int
    """Position of its example in the sequence that was encoded."""
    inputs: Mapping[str, Sequence[int]]
    """One value a token under the model's own argument names: ``input_ids``, ``attention_mask``, ...

    What begins with ``decoder_`` has a length of its own; all else is as long as ``input_ids``.
    """
    labels: Mapping[str, float | Sequence[float]] = field(default_factory=dict)
    """One entry per `LabelField`; empty where the example bears no label."""
    offsets: Sequence[tuple[int, int]] = ()
    """Character span of each token in the original text, for tasks that point into it."""


@dataclass(frozen=True)
class TaskSetup:
    """What a task learned from its options and training data; saved beside the weights as JSON."""

    options: Any
    """The task's options record (`Task.options`)."""
    labels: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Anything else worth keeping, JSON only: class weights, the majority label, thresholds."""


@dataclass(frozen=True)
class EncodeSettings:
    """How text becomes features."""

    tokenizer: Any
    """A fast ``transformers`` tokenizer."""
    max_length: int
    """Most tokens in one window; what is longer becomes several windows."""
    stride: int
    """Tokens that neighbouring windows share."""
    setup: TaskSetup
    family: Family = "encoder"
    """How the model reads: an ``encoder-decoder`` (a pair that was warm-started from an encoder too) takes source and
    target apart, a ``decoder`` takes both in one sequence."""
    decoder_start: int | None = None
    """The token that a decoder's own sequence begins with; encoder-decoders only."""
    predicting: bool = False
    """Whether the features only serve to predict: labels, where there are any, do not count."""


# ── model ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Output:
    """One tensor that a head gives: one row per feature, or one row per token of each feature."""

    name: str
    per: Literal["feature", "token"] = "feature"


@dataclass(frozen=True)
class HeadSpec:
    """What turns hidden states into outputs: a head class of ``transformers``, or one of our own.

    ``AutoModelForSeq2SeqLM`` on an encoder warm-starts a pair from it: encoder and decoder both begin with its
    weights, cross-attention is new. A head of our own reads the encoder's states of an encoder-decoder.
    """

    size: int
    """How many numbers each output row holds: labels, or 1."""
    labels: tuple[str, ...] = ()
    """Names of these numbers, written to the model's config as ``id2label``."""
    auto_class: str | None = None
    """The ``transformers`` class that has this head, such as ``AutoModelForSequenceClassification``."""
    build: Callable[[Any, HeadSpec], torch.nn.Module] | None = None
    """``build(config, spec)`` gives a module ``(hidden_BTD, mask_BT) -> tuple of tensors``; used where
    ``auto_class`` is None or ``transformers`` has no such class for the architecture."""
    outputs: tuple[Output, ...] = (Output("logits"),)
    config: Mapping[str, Any] = field(default_factory=dict)
    """Further keys for the model's config, such as ``problem_type``."""
    causal: bool = True
    """False switches the causal mask of a decoder off, so that every token sees the whole text."""
    loss: Callable[[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], TaskSetup], LossSum] | None = None
    """Replaces `Task.loss` for a head that is trained in another way (a CRF); counts the same targets."""
    reduction: Reduction | None = None
    """Replaces `Task.reduction`: turns outputs that `Task.decode` does not know into some that it does."""


HeadFactory = Callable[[TaskSetup], HeadSpec]
"""``factory(setup)``: the head for what a task has learned."""


class LossSum(NamedTuple):
    """A loss as a sum and the number of targets in it, so that no split of a batch changes the mean."""

    total: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True)
class Reduction:
    """What is kept of outputs that are too large to keep: of logits over a vocabulary, the loss of each feature."""

    outputs: tuple[Output, ...]
    apply: Callable[[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], TaskSetup], tuple[torch.Tensor, ...]]
    """``apply(outputs, labels, setup)``, where the outputs lie; gives one tensor for each of ``outputs``. ``labels``
    is empty where the features bear none."""


@dataclass(frozen=True)
class Generated:
    """One text that the model wrote for a prompt."""

    text: str
    log_probability: float
    """Sum over its tokens, the end token included; natural logarithm, in the model's own distribution (before
    temperature, top-k and top-p)."""
    tokens: int
    """How many tokens it has, the end token included."""
    finished: bool = True
    """False where ``max_new_tokens`` cut it off."""


@dataclass(frozen=True)
class GenerationSettings:
    """How text is written; the meaning of each field is that of ``transformers.GenerationConfig``."""

    max_new_tokens: int = 64
    min_new_tokens: int = 0
    beams: int = 1
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    """0: all tokens."""
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    length_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    """Texts at which writing ends; they are not part of what is given back."""
    candidates: int = 1
    """How many texts each prompt gets, best first."""
    seed: int = 0
    """For sampling: the same seed gives the same text, however prompts are batched or shared out."""


@dataclass(frozen=True)
class Window:
    """One feature and the model's outputs for it: arrays ``[size]`` or ``[tokens, size]``, padding removed.

    A feature of `Task.encode_prompts` comes with what was ``generated`` from it instead, best first.
    """

    feature: Feature
    outputs: Mapping[str, np.ndarray]
    generated: tuple[Generated, ...] = ()


# ── evaluation ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Table:
    """A table for the report: column names and rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float, ...], ...]


@dataclass(frozen=True)
class Scores:
    """The values of a metric, with what is needed to know what was computed."""

    values: Mapping[str, float]
    """Plain names: ``accuracy``, ``f1_macro``, ..."""
    signature: str
    """Metric, library version and settings, as in ``accuracy|scikit-learn:1.9.1|normalize:yes``."""
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Metric(Generic[E_, P_]):
    """A named metric: predictions against the examples that hold their references."""

    name: str
    compute: Callable[[Sequence[P_], Sequence[E_], TaskSetup], Scores]
    lower_is_better: frozenset[str] = frozenset()
    """Which of its values are better when lower."""
    reference: Callable[[Sequence[P_], Sequence[E_], TaskSetup], Mapping[str, float]] | None = None
    """The same values, or some of them, computed in another way (the official script, another library): the
    conformance kit compares."""
    perfect: Mapping[str, float] = field(default_factory=dict)
    """What some values are where every answer is right; of the headline 1 or 100, lower being better 0, where it is
    not said."""


@dataclass(frozen=True)
class Perturbation(Generic[E_]):
    """A change to examples under which a good model's score should hold: typing errors, lower case, ..."""

    name: str
    summary: str
    apply: Callable[[E_, random.Random], E_]


@dataclass(frozen=True)
class ModelFacts:
    """What a task may want to know of the model that is saved."""

    family: Family
    hidden_size: int
    max_length: int
    model_type: str = ""
    """The architecture's name in ``transformers``: ``bert``, ``t5``, ..."""


# ── the task ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Task(Generic[E_, P_]):
    """One language task: a frozen record of functions.

    ``E_`` is its example, ``P_`` its prediction (a frozen dataclass of JSON values, with an ``id``).
    Functions that touch tensors import torch inside themselves: listing tasks must stay instant.
    """

    name: str
    summary: str
    example_type: type[E_]
    columns: tuple[Column, ...]
    to_example: Callable[[Row, str, Any], E_]
    """``to_example(row, id, options)``; raises `RowError` for a row that makes no sense."""
    prepare: Callable[[Sequence[E_], Any], TaskSetup]
    """``prepare(training examples, options)``: learns the label set and whatever else the head needs."""
    setup_from_labels: Callable[[tuple[str, ...], Any], TaskSetup]
    """``setup_from_labels(labels, options)``: the setup for a model that others fine-tuned (its ``id2label``)."""
    check_example: Callable[[E_, TaskSetup], None]
    """Raises `RowError` for an example that this setup cannot score, such as one with an unknown label."""
    encode: Callable[[Sequence[E_], EncodeSettings], list[Feature]]
    heads: Mapping[Family, HeadFactory]
    """The default head for each family that the task supports."""
    label_fields: Callable[[TaskSetup], tuple[LabelField, ...]]
    """``label_fields(setup)``: the label tensors that `loss` receives, in this order."""
    count_targets: Callable[[tuple[torch.Tensor, ...], TaskSetup], torch.Tensor]
    """``count_targets(labels, setup)``: the ``targets`` of `loss`, known before the model has run."""
    loss: Callable[[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...], TaskSetup], LossSum]
    """``loss(outputs, labels, setup)``: never a mean."""
    decode: Callable[[E_, Sequence[Window], TaskSetup], P_]
    """Merges the windows of one example into what a user wants to read."""
    metrics: tuple[Metric[E_, P_], ...]
    headline: Callable[[TaskSetup], str]
    """The one metric value that decides which model is best."""
    baseline_name: str
    baseline: Callable[[Sequence[E_], TaskSetup], Sequence[P_]]
    """Predictions without a model, scored beside the model's: the majority class, the first sentence, ..."""
    options: type | None = None
    """A frozen dataclass of the task's own settings, every field with a default (``options.*`` in a config)."""
    text_column: str = "text"
    """The column that a bare text (``polyhead predict --text``) stands for."""
    samples: Callable[[], Sequence[Row]] | None = None
    """A few dozen rows with their answers, in each language that the task is meant for: what the conformance kit
    trains and scores on, and what a user sees as an example."""
    perfect_outputs: Callable[[Feature, TaskSetup], Mapping[str, np.ndarray]] | None = None
    """``perfect_outputs(feature, setup)``: what a perfect head would give for a feature that bears labels, by the
    outputs' names: arrays ``[size]`` or ``[tokens, size]``. The conformance kit decodes and scores them. None: the kit
    tells it from the labels where each is one class, one number, or one class a token."""

    # what only some tasks need

    reduction: Reduction | None = None
    """Shrinks outputs right after the model has run; then `decode` sees these instead."""
    calibrate: Callable[[Sequence[P_], Sequence[E_], TaskSetup], TaskSetup] | None = None
    """``calibrate(predictions, validation examples, setup)``: the setup with thresholds chosen on validation data; the
    engine decodes again with it, and saves it with the model."""
    together: Callable[[TaskSetup], int] | None = None
    """``together(setup)``: how many examples, each with all its features in order, the loss needs side by side
    (in-batch negatives); they share a micro-batch in every layout, and ``batch_size`` counts examples. None: each
    feature stands alone."""
    loss_by_token: bool = False
    """Whether `loss` adds up one term for each labelled token, made of that token's outputs and label alone. Outputs
    over a vocabulary are then computed only where labels are: `loss` is given ``[1, N, size]`` and labels ``[1, N]`` of
    N labelled tokens, or whole rows (a pipeline). For tasks with one label field, of the shape ``targets``."""
    packs: bool = False
    """Whether the loss is one of token by token, so that a decoder may be given several features in one row. For
    decoders `encode` then also gives ``position_ids``, from 0, in each feature."""
    pretrains: bool = False
    """Whether this is an objective of pretraining: ``polyhead pretrain`` runs it, and its training texts may be
    streamed."""
    corrupt: Callable[[Feature, np.random.Generator, EncodeSettings], Feature] | None = None
    """``corrupt(feature, generator, settings)``: what the model gets to see of a feature, with the labels that it has
    to restore; drawn anew each time that the feature is trained on (the generator depends on seed, epoch and feature
    alone), and always alike in an evaluation. What `encode` gives then bears no labels, and a corrupted feature is at
    most as long."""
    encode_prompts: Callable[[Sequence[E_], EncodeSettings], list[Feature]] | None = None
    """For tasks that write text: what the model writes on from. On an encoder-decoder a feature may hold the first
    tokens of the decoder in ``decoder_input_ids``. An example may have no prompt, or several."""
    generation: Callable[[TaskSetup], GenerationSettings] | None = None
    """``generation(setup)``: how text is written; goes with `encode_prompts`."""
    follow_up: Callable[[E_, P_, TaskSetup], E_ | None] | None = None
    """``follow_up(example, prediction, setup)``: another example to be predicted in its place (the summaries of a long
    document's windows, to be summarised again), or None where the prediction is final."""
    search: Callable[[Sequence[P_], Sequence[P_], int], list[P_]] | None = None
    """``search(predictions for queries, predictions for a corpus, k)``: the queries' predictions with their ``k``
    nearest entries of the corpus."""
    extra_files: Callable[[TaskSetup, ModelFacts], Mapping[str, str]] | None = None
    """``extra_files(setup, model)``: relative paths and texts of further files for the model folder."""
    setup_from_folder: Callable[[Path, TaskSetup], TaskSetup] | None = None
    """``setup_from_folder(folder, setup)``: what the files of a model that others trained say of the setup."""

    def __post_init__(self) -> None:
        """Refuse a task that says what it writes from and not how, or the other way round."""
        if (self.encode_prompts is None) != (self.generation is None):
            raise ValueError(f"task '{self.name}': encode_prompts and generation go together; give both or neither")
