"""What a user reads: one line per problem, with origin, dotted key, what is allowed, and the nearest word."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyhead.configs.errors import ConfigError
from polyhead.configs.load import load_config

TRAINING = (
    "activation_checkpointing, batch_size, betas, checkpoint_every, divergence_factor, dropout, epochs, epsilon, "
    "evaluate_every, gradient_clipping, keep_best, keep_checkpoints, learning_rate, log_every, log_to, max_steps, "
    "metric, optimizer, patience, precision, schedule, seed, validate_generation, warmup, weight_decay"
)
TOP = "backbone, data, deepspeed, head, layout, offload_folder, options, output, partition, plugins, task, training"


def message(overrides: list[str], recipe: str = "sentiment") -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        # malformed
        ("foo", "'foo': expected key=value, as in training.epochs=2"),
        ("=3", "'=3': expected key=value, as in training.epochs=2"),
        ("training..epochs=3", "'training..epochs=3': expected key=value, as in training.epochs=2"),
        (
            "data.train=[甲",
            (
                "data.train: [甲 is not valid YAML: expected ',' or ']', but got '<stream end>'; text that "
                "begins with a bracket or a quote goes in quotes"
            ),
        ),
        # unknown keys
        (
            "training.learning_rat=1",
            (
                "unknown key 'training.learning_rat'. Did you mean 'training.learning_rate'? "
                f"Allowed in training: {TRAINING}."
            ),
        ),
        (
            "learning_rate=1",
            f"unknown key 'learning_rate'. Did you mean 'training.learning_rate'? Allowed: {TOP}.",
        ),
        ("optoins.a=1", f"unknown key 'optoins'. Did you mean 'options'? Allowed: {TOP}."),
        ("数据=1", f"unknown key '数据'. Allowed: {TOP}."),
        (
            "backbone.nam=x",
            (
                "unknown key 'backbone.nam'. Did you mean 'backbone.name'? "
                "Allowed in backbone: architecture, decoder_blocks, lora, name, new_tokens, new_tokens_min_count, "
                "revision, tokenizer, trust_remote_code."
            ),
        ),
        (
            "backbone.lora.rnk=4",
            (
                "unknown key 'backbone.lora.rnk'. Did you mean 'backbone.lora.rank'? "
                "Allowed in backbone.lora: alpha, dropout, rank, targets."
            ),
        ),
        ("backbone.lora.targets=[]", "backbone.lora.targets must be a list of at least 1, not []"),
        ("backbone.new_tokens=words", "backbone.new_tokens must be 'characters', not 'words'"),
        ("task.name=x", "unknown key 'task.name': task holds 'sentiment', which has no keys"),
        # wrong types
        ("training.epochs=three", "training.epochs must be a number, not 'three'"),
        ("training.epochs=true", "training.epochs must be a number, not true"),
        ("training.learning_rate='3e-5'", "training.learning_rate must be a number, not '3e-5'"),
        ("training.learning_rate=.nan", "training.learning_rate must be a finite number, not nan"),
        ("training.max_steps=1.5", "training.max_steps must be a whole number, not 1.5"),
        ("training.betas=0.9", "training.betas must be a list, not 0.9"),
        ("training.betas=[0.9]", "training.betas has too few values: [0.9]"),
        ("training.betas=[0.9, 0.9, 0.9]", "training.betas must be a list of 2, not [0.9, 0.9, 0.9]"),
        ("data.cache=1", "data.cache must be true or false, not 1"),
        ("data=5", "data must be a section of keys and values, not 5"),
        ("data.columns=评论", "data.columns must be a section of keys and values, not '评论'"),
        ("data.columns.text=1", 'data.columns.text must be text, not 1; in quotes it is text: "1"'),
        ("data.train={a: 1}", "data.train must be a list, not {'a': 1}"),
        ("data.train=[甲.csv, 2]", 'data.train[1] must be a path, not 2; in quotes it is text: "2"'),
        ("data.train=''", "data.train[0] must be a path, not ''"),
        ("deepspeed=3", "deepspeed must be the path of a JSON file, or its content as a mapping, not 3"),
        ("task=", "task must be text, not null"),
        ("head=''", "head must be text of at least one character, not ''"),
        # out of range
        ("training.learning_rate=0", "training.learning_rate must be greater than 0, not 0"),
        ("training.epochs=-1", "training.epochs must be greater than 0, not -1"),
        ("training.batch_size=0", "training.batch_size must be at least 1, not 0"),
        ("training.weight_decay=-0.1", "training.weight_decay must be at least 0, not -0.1"),
        ("training.betas=[0.9, 1]", "training.betas[1] must be less than 1, not 1"),
        ("training.dropout=1.0", "training.dropout must be less than 1, not 1.0"),
        ("training.seed=4294967296", "training.seed must be less than 4294967296, not 4294967296"),
        ("training.keep_checkpoints=0", "training.keep_checkpoints must be at least 1, not 0"),
        ("training.divergence_factor=1", "training.divergence_factor must be greater than 1, not 1"),
        ("data.validation_fraction=1", "data.validation_fraction must be less than 1, not 1"),
        ("data.max_length=4", "data.max_length must be at least 8, not 4"),
        # one of several words
        (
            "training.precision=bf61",
            "training.precision must be 'fp32', 'bf16' or 'fp16', not 'bf61'; did you mean 'bf16'?",
        ),
        (
            "training.schedule=square",
            "training.schedule must be 'linear', 'cosine' or 'constant', not 'square'",
        ),
        ("data.on_error=skp", "data.on_error must be 'stop' or 'skip', not 'skp'; did you mean 'skip'?"),
        ("training.log_to=[wandb]", "training.log_to[0] must be 'csv' or 'tensorboard', not 'wandb'"),
        (
            "data.encoding=gb18003",
            ("data.encoding must be a text encoding such as utf-8 or gb18030, not 'gb18003'; did you mean 'gb18030'?"),
        ),
        (
            "data.encoding=base64",
            "data.encoding must be a text encoding such as utf-8 or gb18030, not 'base64'",
        ),
        ("layout=zero7", "layout 'zero7': ZeRO stage 7 does not exist; allowed: 0, 1, 2, 3"),
        ("layout=3", 'layout must be text, not 3; in quotes it is text: "3"'),
        # contradictions
        (
            "layout=pipe2",
            (
                "layout pipe2 cannot have training.gradient_clipping=1: under ZeRO 0 DeepSpeed takes the "
                "first pipeline stage's gradient norm for the whole model's; use layout=pipe2+zero1"
            ),
        ),
        (
            "layout=pipe2+zero2",
            (
                "layout 'pipe2+zero2': a pipeline keeps gradients over its micro-batches, so DeepSpeed "
                "cannot partition them as ZeRO 2 would; use pipe2+zero1"
            ),
        ),
        ("training.warmup=2.5", "training.warmup (2.5) must be a share below 1 or a whole number of steps"),
        (
            "data.stride=512",
            "data.stride (512) must be smaller than the longest window (512); use data.stride=128",
        ),
        (
            "data.max_length=4096",
            "data.max_tokens (2048) must be at least data.max_length (4096), to hold one window",
        ),
    ],
)
def test_a_mistake_on_the_command_line_gets_one_line(override: str, problem: str) -> None:
    assert f"command line: {problem}" == message([override])


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (
            ["layout=zero0", "training.precision=bf16"],
            ("layout zero0 cannot have training.precision=bf16; use layout=zero1: exact master weights, less memory"),
        ),
        (
            ["layout=pipe4", "training.precision=fp16", "training.gradient_clipping=0"],
            (
                "layout pipe4 cannot have training.precision=fp16; use layout=pipe4+zero1: exact master "
                "weights, less memory"
            ),
        ),
        (
            ["backbone.architecture.model_type=bert", "backbone.lora.rank=4"],
            (
                "backbone.architecture cannot have backbone.lora: LoRA leaves all other weights as they are, and "
                "these are random; use backbone.lora=null"
            ),
        ),
        (
            ["data.stream=true", "data.cache=false"],
            "data.stream keeps tokens on disk, which data.cache=false forbids; leave one of them out",
        ),
        (
            ["training.warmup=100", "training.max_steps=100"],
            "training.warmup (100 steps) must be smaller than training.max_steps (100)",
        ),
        (
            ["training.patience=2", "data.validation_fraction=0"],
            ("training.patience needs validation data; say data.validation=FILE or data.validation_fraction=0.1"),
        ),
        (
            ["training.metric=f1_macro", "data.validation_fraction=0"],
            ("training.metric needs validation data; say data.validation=FILE or data.validation_fraction=0.1"),
        ),
        (
            ["training.evaluate_every=5", "data.validation_fraction=0"],
            ("training.evaluate_every needs validation data; say data.validation=FILE or data.validation_fraction=0.1"),
        ),
    ],
)
def test_two_settings_that_disagree_get_one_line(overrides: list[str], problem: str) -> None:
    assert f"command line: {problem}" == message(overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["layout=single", "training.precision=bf16"],
        ["layout=zero1", "training.precision=bf16"],
        ["layout=zero3", "backbone.lora={}"],
        ["layout=pipe2+zero1", "backbone.lora={}", "backbone.lora=null"],
        ["layout=pipe2", "training.gradient_clipping=0"],
        ["layout=pipe2+zero1", "training.precision=bf16"],
        ["data.validation=v.csv", "data.validation_fraction=0", "training.patience=2", "training.metric=f1"],
        ["training.patience=2"],
        ["training.warmup=99", "training.max_steps=100"],
        ["training.warmup=0"],
        ["data.max_length=64", "data.stride=63"],
        ["data.max_length=32"],
        ["data.max_length=2048"],
        ["data.encoding=GB18030"],
    ],
)
def test_settings_that_agree_are_accepted(overrides: list[str]) -> None:
    load_config("sentiment", overrides)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a recipe with four mistakes, in the working directory."""
    text = """\
        task: sentiment
        data: {stride: 40, columns: {text: 3}}
        training: {epochs: many, seed: -1}
        optons: {}
        """
    (tmp_path / "我的.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return "我的.yaml"


def test_every_problem_gets_a_line_that_names_its_origin(recipe: str) -> None:
    assert [
        '我的.yaml: data.columns.text must be text, not 3; in quotes it is text: "3"',
        "command line: training.epochs must be a number, not 'few'",
        "我的.yaml: training.seed must be at least 0, not -1",
        f"我的.yaml: unknown key 'optons'. Did you mean 'options'? Allowed: {TOP}.",
    ] == message(["training.epochs=few"], recipe).splitlines()


def test_a_contradiction_between_file_and_command_line_names_both(recipe: str) -> None:
    lines = message(["data.max_length=32", "data.columns.text=正文"], recipe).splitlines()
    problem = "data.stride (40) must be smaller than data.max_length (32); use data.stride=8"
    assert f"我的.yaml and command line: {problem}" == lines[0]


def test_a_recipe_without_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_text("backbone: minilm\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert message([], "x.yaml") == "x.yaml: task is missing; say which, as in task=sentiment"


def test_a_key_below_a_file_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.yaml").write_text("task: sentiment\ndeepspeed: /ds.json\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert (
        message(["deepspeed.bf16=1"], "x.yaml")
        == "command line: unknown key 'deepspeed.bf16': deepspeed holds '/ds.json', which has no keys"
    )


def test_a_long_value_is_cut() -> None:
    text = message([f"training.epochs={'长' * 500}"])
    assert f"command line: training.epochs must be a number, not '{'长' * 58}…" == text
