"""From a recipe and overrides to a configuration: where paths start, who wins, and the way back to YAML."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polyhead.configs.errors import ConfigError
from polyhead.configs.load import dump_config, list_recipes, load_config, recipe_path, require_training_data

RECIPE = """\
task: sentiment
backbone: minilm
data:
  train: ../数据/评论.csv
  test: [a.jsonl, /elsewhere/b.jsonl]
  columns: {text: 评论 内容, label: 情感}
training:
  learning_rate: 3e-5
deepspeed: ds.json
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a recipe in ``配置/mine.yaml``; the working directory is another folder."""
    for folder in ("配置", "数据", "work"):
        (tmp_path / folder).mkdir()
    path = tmp_path / "配置" / "mine.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")
    return path


def test_paths_in_a_file_start_at_the_file(recipe: Path, tmp_path: Path) -> None:
    for name in (str(recipe), os.path.relpath(recipe)):
        config = load_config(name)
        assert (tmp_path / "数据" / "评论.csv",) == config.data.train
        assert (tmp_path / "配置" / "a.jsonl", Path("/elsewhere/b.jsonl")) == config.data.test
        assert tmp_path / "配置" / "ds.json" == config.deepspeed
        assert config.data.columns == {"text": "评论 内容", "label": "情感"}


def test_paths_in_overrides_start_at_the_working_directory(recipe: Path, tmp_path: Path) -> None:
    config = load_config(
        str(recipe),
        [
            *("data.train=[甲.csv, ../数据/b.csv]", "data.validation=v.csv", "deepspeed=my.json", "output=出/一"),
            "backbone.tokenizer=词",
        ],
    )
    work = tmp_path / "work"
    assert work / "词" == config.backbone.tokenizer
    assert (work / "甲.csv", tmp_path / "数据" / "b.csv") == config.data.train
    assert (work / "v.csv",) == config.data.validation
    assert work / "my.json" == config.deepspeed
    assert work / "出" / "一" == config.output
    assert (tmp_path / "配置" / "a.jsonl", Path("/elsewhere/b.jsonl")) == config.data.test


def test_home_folder_and_links(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work" / "link.csv").symlink_to(tmp_path / "blob")
    config = load_config(str(recipe), ["data.train=~/a.csv", "data.test=link.csv", "data.validation=~$lock.csv"])
    assert (tmp_path / "a.csv",) == config.data.train
    assert (tmp_path / "work" / "link.csv",) == config.data.test  # the name of a link says the format
    assert (tmp_path / "work" / "~$lock.csv",) == config.data.validation


def test_the_output_is_named_after_the_recipe(recipe: Path, tmp_path: Path) -> None:
    assert tmp_path / "work" / "runs" / "mine" == load_config(str(recipe)).output
    assert tmp_path / "work" / "runs" / "sentiment" == load_config("sentiment").output
    assert tmp_path / "work" / "runs" / "sentiment" == load_config("sentiment", ["output="]).output


def test_overrides_win_and_the_last_wins(recipe: Path) -> None:
    config = load_config(
        str(recipe),
        [
            "training.epochs=2",
            "training.epochs=5",
            "data.columns.text=正文",
            "training.betas=[0.8, 0.9]",
            "options.weights.正面=2",
            "backbone.revision=v1.0",
            "training.max_steps=",
        ],
    )
    assert config.training.epochs == 5
    assert config.training.learning_rate == 3e-5
    assert config.training.betas == (0.8, 0.9)
    assert config.data.columns == {"text": "正文", "label": "情感"}
    assert config.options == {"weights": {"正面": 2}}
    assert (config.backbone.name, config.backbone.revision) == ("minilm", "v1.0")


def test_three_times_ten_to_the_minus_five_is_a_number() -> None:
    assert load_config("sentiment", ["training.learning_rate=3e-5"]).training.learning_rate == 3e-5


def test_a_whole_section_can_be_given(recipe: Path, tmp_path: Path) -> None:
    config = load_config(str(recipe), ["data={train: x.csv}", "deepspeed={zero_optimization: {stage: 1}}"])
    assert (tmp_path / "work" / "x.csv",) == config.data.train
    assert config.data.columns == {}
    assert config.deepspeed == {"zero_optimization": {"stage": 1}}


def test_a_task_without_a_recipe_starts_from_the_defaults(tmp_path: Path) -> None:
    config = load_config("诗歌", ["data.train=a.csv"], tasks=["诗歌", "sentiment"])
    assert (config.task, config.output.parent.name, config.output.name) == ("诗歌", "runs", "诗歌")
    with pytest.raises(ConfigError, match=r"^unknown recipe '诗歌曲'\. Did you mean '诗歌'\? Available: .*, 诗歌;"):
        load_config("诗歌曲", tasks=["诗歌"])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["training.learning_rate=1e-7", "training.epsilon=1e-12", "layout=zero1+pipe2", "data.validation="],
        ["options.word=no", "options.number='3e-5'", "options.date=2024-01-01", "options.inner={a: [1, .5]}"],
        ["deepspeed={bf16: {enabled: true}}", "output=出 口", "backbone=hfl/chinese-macbert-base"],
    ],
)
def test_what_is_dumped_loads_to_the_same(recipe: Path, tmp_path: Path, overrides: list[str]) -> None:
    config = load_config(str(recipe), overrides)
    run = tmp_path / "runs" / "一"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    assert config == load_config(str(run / "config.yaml"))
    assert dump_config(config) == dump_config(load_config(str(run / "config.yaml")))


def test_training_data_are_only_needed_to_train() -> None:
    config = load_config("sentiment")
    assert config.data.train == ()
    with pytest.raises(ConfigError) as caught:
        require_training_data(config)
    assert str(caught.value) == "data.train is missing: nothing to train on; say data.train=FILE"
    require_training_data(load_config("sentiment", ["data.train=我的.csv"]))


@pytest.mark.parametrize(
    ("recipe_name", "message"),
    [
        (
            "sentimnt",
            (
                f"unknown recipe 'sentimnt'. Did you mean 'sentiment'? Available: {', '.join(list_recipes())}; "
                "or give the path of a YAML file."
            ),
        ),
        (
            "情感",
            f"unknown recipe '情感'. Available: {', '.join(list_recipes())}; or give the path of a YAML file.",
        ),
        ("sentiment.yaml", "sentiment.yaml does not exist. Did you mean the shipped recipe 'sentiment'?"),
        ("../配置/mime.yaml", "../配置/mime.yaml does not exist. Did you mean '../配置/mine.yaml'?"),
        ("nowhere/at_all.yml", "nowhere/at_all.yml does not exist."),
        ("../配置", "../配置 is a directory, not a YAML file."),
        ("x" * 300, f"{'x' * 300} cannot be read: File name too long"),
    ],
)
def test_a_recipe_that_is_not_there_gets_one_line(recipe: Path, recipe_name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(recipe_name)
    assert message == str(caught.value)


def test_a_run_folder_as_recipe_points_at_its_config(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "配置" / "config.yaml").write_text("task: sentiment\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"not a YAML file\. Did you mean '../配置/config\.yaml'\?$"):
        load_config("../配置")


def test_recipe_path_of_an_unknown_name() -> None:
    assert recipe_path("sentiment").name == "sentiment.yaml"
    with pytest.raises(ConfigError, match=r"unknown recipe 'nothing'\. Available: "):
        recipe_path("nothing")


def test_reading_a_configuration_loads_nothing_heavy() -> None:
    program = (
        "import sys; from polyhead.configs.load import load_config; load_config('sentiment');"
        "print(sorted({'torch', 'numpy', 'transformers', 'deepspeed', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
