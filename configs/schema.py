"""What a run may say: one model per section, one docstring per key, unknown keys forbidden.

A model that exists is free of contradictions (`polyhead.configs.contradictions`). `polyhead.configs.load`
turns YAML and the command line into a `RunConfig`, and pydantic's complaints into one line each.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from polyhead.configs import contradictions
from polyhead.configs.errors import ConfigError, nearest
from polyhead.configs.layouts import parse_layout

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, lt=1, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Switch = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(min_length=1)]


def _refuse_empty(value: object) -> object:
    if value == "":
        raise ConfigError("must be a path, not ''")
    return value


def _as_list(value: object) -> object:
    if value is None:
        return ()
    return (value,) if isinstance(value, str | Path) else value


def _as_backbone(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _path_or_mapping(value: object) -> object:
    if value is None or isinstance(value, str | Path | Mapping):
        return _refuse_empty(value)
    raise ConfigError(f"must be the path of a JSON file, or its content as a mapping, not {value!r}")


def _refuse_half_a_choice(value: object) -> object:
    if not isinstance(value, str) or not all(value.partition(":")):
        raise ConfigError(f"must be DISTRIBUTION:NAME, as in acme-nlp:ner, not {value!r}")
    return value


FilePath = Annotated[Path, BeforeValidator(_refuse_empty, json_schema_input_type=str)]
FilePaths = Annotated[tuple[FilePath, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str] | None)]

PluginChoice = Annotated[str, BeforeValidator(_refuse_half_a_choice, json_schema_input_type=str)]
Names = Annotated[
    tuple[Name, ...], Field(min_length=1), BeforeValidator(_as_list, json_schema_input_type=str | list[str])
]


class Section(BaseModel):
    """One section of a configuration: frozen, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LoraSettings(Section):
    """LoRA: the trunk is frozen, and small matrices beside its linear layers train; saved models have them merged."""

    rank: Count = 8
    """Rank of the update of each matrix: more learns more and costs more."""
    alpha: Positive = 16
    """The update is scaled by ``alpha / rank``."""
    dropout: Share = 0.0
    """Dropout on the way into the small matrices."""
    targets: Names = ("attention",)
    """Which linear layers of the blocks: ``attention`` (those of attention), ``all-linear``, or names of theirs, such
    as q_proj; one, or a list."""


class BackboneConfig(Section):
    """The pretrained transformer; plain text stands for its ``name``."""

    name: Name = "minilm"
    """A registered name (see ``polyhead backbones``), a local folder, a GGUF file (converted once, and kept in the
    cache), or a name on the Hugging Face hub."""
    revision: Name | None = None
    """Branch, tag or commit on the hub; null takes the default branch."""
    trust_remote_code: Switch = False
    """Whether Python code that lies beside the weights may run. It can do anything that you can: leave it off
    unless you have read that code."""
    decoder_blocks: Count | None = None
    """Blocks of the decoder where a task warm-starts an encoder-decoder from an encoder: taken evenly from the
    encoder's own; null takes all of them."""
    architecture: dict[str, Any] | None = None
    """Random weights instead of pretrained ones: the keys of a ``transformers`` config, ``model_type`` among them, such
    as ``{model_type: bert, hidden_size: 256, num_hidden_layers: 4}``; ``name`` then says only where the tokenizer is
    taken from, unless ``tokenizer`` does."""
    tokenizer: FilePath | None = None
    """The folder of another tokenizer (``polyhead tokenizer train``). Tokens that the backbone's own tokenizer has too
    keep their embeddings; null takes the backbone's own."""
    lora: LoraSettings | None = None
    """Train small matrices beside the backbone's own, which stay as they are; null trains all weights."""
    new_tokens: Literal["characters"] | None = None
    """``characters``: those that the tokenizer does not know and that occur in the training texts become tokens, with
    embeddings of their own (Chinese on an English BERT); null leaves the tokenizer as it is."""
    new_tokens_min_count: Count = 2
    """How often a character must occur in the training texts to become a token."""


class DataConfig(Section):
    """Where rows come from and how they become batches."""

    train: FilePaths = ()
    """Files or folders to train on: one, or a list. ``train.en-zh`` stands for two files of parallel texts,
    ``train.en`` and ``train.zh``."""
    validation: FilePaths = ()
    """Files or folders that choose the best model during training."""
    test: FilePaths = ()
    """Files or folders for the final score; training never sees them."""
    columns: dict[str, Name] = {}
    """Names of the file's columns by the task's names: ``text: review`` reads ``text`` from ``review``, and
    ``text: review.body`` from the field ``body`` of ``review``."""
    format: Name | None = None
    """Format of the files: jsonl, json, csv, tsv, parquet, datasets, conll, squad, parallel, tmx, text, documents, or
    one of a plugin; null goes by the file's suffix (a further ``.gz`` is unpacked)."""
    encoding: Name | None = None
    """Encoding of text files, such as utf-8 or gb18030; null detects it."""
    on_error: Literal["stop", "skip"] = "stop"
    """On a row that makes no sense: ``stop`` the run, or ``skip`` the row and count it in the report."""
    validation_fraction: Share = 0.1
    """Share of the training rows held out where no validation file is given; 0 holds none out."""
    max_length: Annotated[int, Field(strict=True, ge=8)] | None = None
    """Most tokens in one window; longer texts become several windows that overlap. Null takes what the
    backbone allows, at most 512."""
    stride: Annotated[int, Field(strict=True, ge=0)] | None = None
    """Tokens that neighbouring windows of one text share; smaller than ``max_length``. Null: a quarter of the
    window."""
    max_tokens: Count = 2048
    """Most tokens, padding included, in one micro-batch of one process: less needs less memory and changes no
    result."""
    unique: Switch = False
    """Whether of texts that are alike in all but their id only the first is used, in training and in validation."""
    stream: Switch = False
    """Whether the training files are read once, piece by piece, into a file of tokens on disk that is then read from
    there: for texts larger than memory. Tasks that pretrain only."""
    workers: Annotated[int, Field(strict=True, ge=0)] | None = None
    """Processes beside each training process that make the next batches while it computes; changes no result. Null:
    none on a CPU, and at most four on a GPU."""
    cache: Switch = True
    """Whether tokenised data are kept on disk for the next run on the same files."""

    @field_validator("columns", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            "a".encode(value or "utf-8")
        except (LookupError, ValueError) as error:
            known = ("utf-8", "utf-8-sig", "utf-16", "gb18030", "gbk", "big5", "latin-1", "cp1252")
            near = nearest(value or "", known)
            hint = f"; did you mean '{near}'?" if near else ""
            problem = f"must be a text encoding such as utf-8 or gb18030, not '{value}'{hint}"
            raise ConfigError(problem) from error
        return value

    @model_validator(mode="after")
    def _free_of_contradictions(self) -> Self:
        contradictions.refuse(contradictions.in_data(self))
        return self


class TrainingConfig(Section):
    """How the model is trained."""

    epochs: Positive = 3
    """Passes over the training data; parts of one are allowed. ``max_steps``, where given, wins."""
    max_steps: Count | None = None
    """Optimizer steps; where given it wins over ``epochs``."""
    learning_rate: Positive = 5e-5
    """Highest learning rate, reached after the warm-up."""
    batch_size: Count = 32
    """Windows in one optimizer step, over all processes together (a text that fits is one window); for tasks whose
    loss compares examples (similarity), examples. How they are split changes no result."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or plain gradient descent without momentum, which has no state."""
    weight_decay: NotNegative = 0.01
    """The optimizer's weight decay; biases and norms are left out."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moments."""
    epsilon: Positive = 1e-8
    """AdamW's term against division by zero."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate goes on after the warm-up: down to 0 in a line, along a cosine, or not at all."""
    warmup: NotNegative = 0.1
    """Warm-up: below 1 a share of all steps, from 1 on a number of steps."""
    gradient_clipping: NotNegative = 1.0
    """Largest norm of the gradient of a step, larger ones are scaled down; 0 is off."""
    activation_checkpointing: Switch = False
    """Whether only the states between blocks are kept for the backward pass, and each block is run again then: less
    memory, about a third more work, the same result."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Number format of the computation; fp16 needs a GPU."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 42
    """Seed of all that is random: new weights, order of the data, dropout, held-out rows."""
    dropout: Share | None = None
    """Replaces every dropout rate of the model; 0 is off, null keeps the backbone's own."""
    evaluate_every: Count | None = None
    """Optimizer steps between evaluations; null evaluates after every epoch."""
    patience: Count | None = None
    """Evaluations in a row without improvement after which training stops; null never stops early."""
    metric: Name | None = None
    """Validation score that decides which model is best, such as ``f1_macro``; null: the task's headline."""
    validate_generation: Switch = False
    """Whether validation also writes text, for tasks that do (translation, summarization, ...), so that their own
    metric chooses the best model; off, the loss chooses it, which is much faster."""
    checkpoint_every: Count | None = None
    """Optimizer steps between checkpoints; null saves one at every evaluation, or after every epoch where
    nothing is evaluated."""
    keep_checkpoints: Count = 2
    """How many of the latest checkpoints stay on disk."""
    keep_best: Switch = True
    """Whether the checkpoint of the best evaluation stays too, where one was written at its step."""
    divergence_factor: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False)] = 10.0
    """The run stops when its loss grows beyond this many times what it was at the start. A loss that is not a
    number stops it always."""
    log_to: tuple[Literal["csv", "tensorboard"], ...] = ("csv",)
    """Where loss curves go besides ``events.jsonl``: csv, tensorboard, both, or nothing (``[]``)."""
    log_every: Count = 1
    """Optimizer steps between two lines of the log."""

    @field_validator("log_to", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return _as_list(value)

    @model_validator(mode="after")
    def _free_of_contradictions(self) -> Self:
        contradictions.refuse(contradictions.in_training(self))
        return self


class RunConfig(Section):
    """All that one run may say."""

    task: Name
    """What the model learns: a task's name (see ``polyhead tasks``)."""
    backbone: Annotated[BackboneConfig, BeforeValidator(_as_backbone, json_schema_input_type=str | BackboneConfig)] = (
        BackboneConfig()
    )
    """The pretrained transformer: its name, or a section with ``name`` and more."""
    head: Name = "default"
    """What turns hidden states into outputs: the task's own head, or one that a plugin brings."""
    layout: Annotated[str, Field(examples=["single", "zero1", "zero2", "zero3", "pipe2+zero1"])] = "single"
    """How the run is spread over processes: ``single`` (one process), ``zero0`` to ``zero3``
    (data parallel, ZeRO stage), ``pipeN`` or ``pipeN+zero1`` (N pipeline stages)."""
    partition: Literal["auto", "parameters"] | tuple[Count, ...] = "auto"
    """Where a pipeline is cut: ``auto`` shares the blocks out by their measured time, ``parameters`` by the
    number of parameters; a list such as ``[3, 3]`` says how many blocks each stage has."""
    offload_folder: FilePath | None = None
    """Where a layout with ``nvme`` keeps what it takes off the accelerator: a folder on a fast local disk."""
    data: DataConfig = DataConfig()
    """Files, columns, windows and micro-batches."""
    training: TrainingConfig = TrainingConfig()
    """Length, optimizer, precision, evaluation, checkpoints and logs."""
    options: dict[str, Any] = {}
    """The task's own settings (see ``polyhead tasks show NAME``)."""
    deepspeed: Annotated[
        Path | dict[str, Any] | None,
        BeforeValidator(_path_or_mapping, json_schema_input_type=str | dict[str, Any] | None),
    ] = None
    """A DeepSpeed configuration of yours, as a JSON file or a mapping, merged with the generated one; what
    contradicts the layout is an error."""
    plugins: Annotated[
        tuple[PluginChoice, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str] | None)
    ] = ()
    """Whose task, head, reader or backbone is meant where several plugins claim a name, as ``acme-nlp:ner``:
    distribution and name (see ``polyhead plugins doctor``)."""
    output: FilePath = Path("runs")
    """The run's folder; relative paths start at the working directory. Absent: ``runs/<recipe>``."""

    @field_validator("data", "training", "options", mode="before")
    @classmethod
    def _null_is_empty(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("layout")
    @classmethod
    def _canonical_layout(cls, value: str) -> str:
        return parse_layout(value).name

    @model_validator(mode="after")
    def _free_of_contradictions(self) -> Self:
        contradictions.refuse(contradictions.in_run(self))
        return self


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a recipe, for editors."""
    return RunConfig.model_json_schema()
