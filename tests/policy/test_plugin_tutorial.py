"""The plugins that README.md and docs/plugins.md show are run as they stand there, installed as they say."""

from __future__ import annotations

import importlib
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from polyhead.registry import DataError, Registry, SourceRow

ROOT = Path(__file__).parents[2]
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "plugins.md"
BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\w+\.py)\n")
BROUGHT = {
    "titles",
    "rows_reader",
    "overconfidence",
    "shouting",
    "first_token_head",
    "house_backbones",
    "count_labels",
    "speed",
}


def modules_of(page: Path) -> dict[str, str]:
    """Return the source of each code block that begins with the name of a file."""
    blocks = [source for kind, source in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == "python"]
    return {match[1]: source for source in blocks if (match := NAMED.match(source))}


def entry_points_of(page: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, source in BLOCK.findall(page.read_text(encoding="utf-8")):
        if kind == "toml":
            found |= tomllib.loads(source).get("project", {}).get("entry-points", {}).get("polyhead", {})
    return found


@contextmanager
def installed(page: Path, folder: Path) -> Iterator[Registry]:
    """Install what a page shows, as pip would, and yield the registry of this installation."""
    from polyhead.backbone.builtin import load_registry

    modules = modules_of(page)
    for name, source in modules.items():
        (folder / name).write_text(source, encoding="utf-8")
    metadata = folder / "tutorial-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tutorial\nVersion: 1.0\n")
    lines = [f"{name} = {target}" for name, target in entry_points_of(page).items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[polyhead]", *lines, ""]))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield load_registry()
    finally:
        sys.path.remove(str(folder))
        for name in modules:
            sys.modules.pop(name.removesuffix(".py"), None)


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with installed(GUIDE, tmp_path_factory.mktemp("guide")) as registry:
        yield registry


def train(registry: Registry, task: str, backbone: Path | str, data: Path, output: Path, *more: str) -> Any:
    from polyhead.backbone.training.finetune import finetune
    from polyhead.configs.load import load_config

    overrides = [
        f"backbone={backbone}",
        f"data.train={data}",
        f"output={output}",
        "data.validation_fraction=0.25",
        "training.max_steps=2",
        "training.batch_size=4",
    ]
    return finetune(load_config(task, [*overrides, *more], tasks=registry.tasks()), registry)


def write_rows(path: Path, *labels: str) -> Path:
    rows = [{"text": f"text {number} 文本", "label": labels[number % len(labels)]} for number in range(16)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


# ── the plugin in twenty lines ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", [README, GUIDE], ids=lambda page: page.name)
def test_the_twenty_line_task_trains_and_is_scored_by_its_own_metric(
    page: Path, tmp_path: Path, tiny_bert: Path
) -> None:
    source = modules_of(page)["my_plugin.py"]
    (tmp_path / "site").mkdir()
    with installed(page, tmp_path / "site") as registry:
        (task,) = [name for name, entry in registry.tasks().items() if entry.plugin == "triage"]
        data = write_rows(tmp_path / "messages.jsonl", "urgent", "later")
        result = train(registry, task, tiny_bert, data, tmp_path / "run", "training.metric=urgent_recall")

    assert len([line for line in source.splitlines() if line.strip()]) <= 20
    assert registry.broken() == ()
    assert (result.status, result.steps) == ("completed", 2)
    assert 0.0 <= result.evaluation.values["urgent_recall"] <= 1.0
    assert "urgent_recall|my_plugin:1" in result.evaluation.signature
    assert json.loads((tmp_path / "run" / "model" / "polyhead.json").read_text())["labels"] == ["later", "urgent"]


def test_the_pyproject_of_the_guide_packs_the_module() -> None:
    (project,) = [
        tomllib.loads(source)
        for kind, source in BLOCK.findall(GUIDE.read_text(encoding="utf-8"))
        if kind == "toml" and source.startswith("# pyproject.toml\n")
    ]
    assert project["project"]["entry-points"]["polyhead"] == {"triage": "my_plugin"}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"] == ["my_plugin.py"]


@pytest.mark.parametrize("backbone", ["bert", "llama", "t5"])
def test_the_task_that_writes_works_on_every_family(
    guide: Registry, backbone: str, tmp_path: Path, tiny_backbones: dict[str, Path]
) -> None:
    from polyhead.backbone.inference.session import open_session
    from polyhead.backbone.parallel.processes import World
    from polyhead.configs.load import load_config

    data = tmp_path / "titles.jsonl"
    rows = [{"text": f"a long story of number {number} and nothing else", "title": "a story"} for number in range(16)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    more = ("training.validate_generation=true", "options.max_new_tokens=3")

    result = train(guide, "titles", tiny_backbones[backbone], data, tmp_path / "run", *more)
    config = load_config(str(tmp_path / "run" / "config.yaml"))
    session = open_session(str(tmp_path / "run"), config, guide, World())
    (prediction,) = session.predict([guide.task("titles").to_example({"text": "a story"}, "1", None)])

    assert "exact|titles:1" in result.evaluation.signature
    assert 0.0 <= result.evaluation.values["exact"] <= 1.0
    assert (prediction.id, type(prediction.title)) == ("1", str)


# ── the other kinds ─────────────────────────────────────────────────────────────────────────────────────


def test_every_block_is_installed_and_works(guide: Registry) -> None:
    modules = {target.partition(":")[0] for target in entry_points_of(GUIDE).values()}
    loaded = {plugin.name for plugin in guide.plugins() if plugin.distribution == "tutorial"}
    assert modules == {name.removesuffix(".py") for name in modules_of(GUIDE)} == BROUGHT | {"my_plugin"}
    assert loaded == set(entry_points_of(GUIDE))
    assert (guide.broken(), guide.clashes()) == ((), ())


def test_the_reader_reads_its_format_and_leaves_others_alone(guide: Registry, tmp_path: Path) -> None:
    rows = tmp_path / "reviews.ft"
    rows.write_text("__label__好评 画面很美\nno label\n__label__bad too long\n", encoding="utf-8")
    other = write_rows(tmp_path / "rows.jsonl", "a", "b")

    assert list(guide.read_rows(rows, "ft", None)) == [
        SourceRow(1, {"text": "画面很美", "label": "好评"}),
        SourceRow(2, {}, "does not begin with __label__"),
        SourceRow(3, {"text": "too long", "label": "bad"}),
    ]
    assert next(guide.read_rows(other, "jsonl", None)).row["label"] == "a"
    with pytest.raises(DataError, match="there is no such file"):
        list(guide.read_rows(tmp_path / "none.ft", "ft", None))


def test_the_perturbation_changes_the_text_only(guide: Registry) -> None:
    import random

    from polyhead.registry import TextExample

    changed = guide.perturbations("sentiment")["shouting"].apply(TextExample("1", "fine 很好"), random.Random(1))
    assert (changed.id, changed.text.rstrip("!")) == ("1", "FINE 很好")
    assert "shouting" not in guide.perturbations("classification")


def test_the_command_counts(guide: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "rows.jsonl", "好评", "差评", "好评")
    assert guide.command("count-labels").run([str(data)]) == 0
    assert capsys.readouterr().out == "11\t好评\n5\t差评\n"
    with pytest.raises(DataError, match="usage:"):
        guide.command("count-labels").run([])


def test_backbone_head_metric_and_observer_take_part_in_a_run(
    guide: Registry, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from polyhead.backbone.evaluation.evaluate import Request, evaluate
    from polyhead.configs.load import load_config

    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "house-bert").symlink_to(tiny_bert)
    monkeypatch.setenv("HOME", str(tmp_path))
    data, run = write_rows(tmp_path / "rows.jsonl", "good", "bad"), tmp_path / "run"

    result = train(guide, "sentiment", "house-bert", data, run, "head=first-token", "training.metric=overconfident")
    again = evaluate(Request(str(run), load_config(str(run / "config.yaml")), files=(data,)), guide)

    assert "overconfident|threshold:0.9" in result.evaluation.signature
    assert (run / "model" / "polyhead_head.safetensors").is_file()
    assert again is not None
    assert 0.0 <= again.values["overconfident"] <= 1.0
    assert json.loads((run / "speed.json").read_text())["status"] == "completed"
