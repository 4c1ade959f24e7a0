"""Every command on a run that is really there: what it prints, writes and returns."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from polyhead.configs.schema import RunConfig

ROWS = [
    ("a warm and funny film", "positive"),
    ("dull from start to end", "negative"),
    ("i loved every minute", "positive"),
]


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label"), **options: str):
    with path.open("w", newline="", **options) as file:
        csv.writer(file).writerows([header, *rows])
    return path


def ids(predictions: list[dict[str, Any]]) -> list[str]:
    return [prediction["id"] for prediction in predictions]


# ── evaluate ────────────────────────────────────────────────────────────────────────────────────────────


def test_evaluate_prints_the_scores_beside_the_baseline(polyhead, finished_run):
    answer = polyhead("evaluate", finished_run, "--split", "validation")
    assert answer.code == 0
    assert "sentiment, validation: 21 examples" in answer.out
    assert "this model" in answer.out
    assert "majority class" in answer.out
    assert "accuracy *" in answer.out
    assert "Confusion matrix" in answer.out
    assert "signature: accuracy+prf+mcc|scikit-learn:" in answer.out
    assert answer.err == ""


def test_evaluate_gives_one_json_object_and_keeps_it_in_the_run(polyhead, run_copy):
    before = json.loads((run_copy / "metrics.json").read_text(encoding="utf-8"))
    assert list(before) == ["validation"]
    answer = polyhead("evaluate", run_copy, "--json")
    found = answer.json
    assert {"task", "metrics", "examples", "signature", "baseline"} <= found.keys()
    assert (found["task"], found["split"], found["examples"], found["skipped"]) == ("sentiment", "test", 30, 0)
    assert {"accuracy", "f1_macro", "mcc", "loss"} <= found["metrics"].keys()
    assert found["baseline"]["name"] == "majority class"
    assert found["headline"] == "accuracy"
    after = json.loads((run_copy / "metrics.json").read_text(encoding="utf-8"))
    assert after == {**before, "test": found}
    report = (run_copy / "report.md").read_text(encoding="utf-8")
    assert report.count("## test: 30 examples") == 1
    assert report.count("## validation: 21 examples") == 1


def test_evaluating_again_gives_the_scores_of_the_run_itself(polyhead, finished_run):
    during = json.loads((finished_run / "metrics.json").read_text(encoding="utf-8"))["validation"]["metrics"]
    after = polyhead("evaluate", finished_run, "--split", "validation", "--json").json["metrics"]
    assert after == pytest.approx(during, abs=1e-6)


def test_evaluate_on_another_file_leaves_the_run_as_it_is(polyhead, run_copy, tmp_path):
    before = (run_copy / "metrics.json").read_bytes(), (run_copy / "report.md").read_bytes()
    file = write_csv(tmp_path / "own.csv", ROWS, ("review", "mood"), encoding="utf-8")
    answer = polyhead(
        "evaluate", run_copy, "data.columns.text=review", "data.columns.label=mood", "--data", file, "--json"
    )
    assert answer.code == 0, answer.err
    assert (answer.json["split"], answer.json["examples"]) == ("own.csv", 3)
    assert ((run_copy / "metrics.json").read_bytes(), (run_copy / "report.md").read_bytes()) == before


def test_evaluate_counts_several_files_together(polyhead, finished_run, tmp_path):
    one = write_csv(tmp_path / "one.csv", ROWS, encoding="utf-8")
    two = write_csv(tmp_path / "two.csv", ROWS[:2], encoding="gb18030")
    answer = polyhead("evaluate", finished_run, "--data", one, "--data", two, "--json")
    assert answer.json["examples"] == 5


def test_evaluate_says_how_many_rows_it_skipped(polyhead, finished_run, tmp_path):
    file = write_csv(tmp_path / "some.csv", [*ROWS, ("", "positive"), ("fine", "lukewarm")], encoding="utf-8")
    answer = polyhead("evaluate", finished_run, "data.on_error=skip", "--data", file)
    assert answer.code == 0
    assert answer.err == "2 rows skipped\n"
    assert "some.csv: 3 examples" in answer.out


def test_evaluate_scores_once_more_under_each_perturbation(polyhead, finished_run):
    names = ["--perturb", "typos", "--perturb", "lowercase"]
    answer = polyhead("evaluate", finished_run, "--split", "validation", *names, "--json")
    found = answer.json
    assert list(found["perturbed"]) == ["typos", "lowercase"]
    assert found["perturbed"]["lowercase"]["accuracy"] == found["metrics"]["accuracy"]  # the samples are lower case
    again = polyhead("evaluate", finished_run, "--split", "validation", *names, "--json")
    assert again.json == found
    table = polyhead("evaluate", finished_run, "--split", "validation", "--perturb", "typos").out
    assert "typos" in next(line for line in table.splitlines() if "this model" in line)


@pytest.mark.parametrize("where", ["", "model"])
def test_evaluate_a_task_with_a_model_folder(polyhead, finished_run, tmp_path, where):
    file = write_csv(tmp_path / "own.csv", ROWS, encoding="utf-8")
    answer = polyhead("evaluate", "sentiment", "--model", finished_run / where, "--data", file, "--json")
    assert answer.code == 0, answer.err
    assert answer.json == polyhead("evaluate", finished_run, "--data", file, "--json").json


def test_evaluate_a_model_folder_that_knows_its_task(polyhead, finished_run, tmp_path):
    file = write_csv(tmp_path / "own.csv", ROWS, encoding="utf-8")
    answer = polyhead("evaluate", finished_run / "model", "--data", file, "--json")
    assert answer.json == polyhead("evaluate", finished_run, "--data", file, "--json").json


def test_evaluate_a_model_that_others_fine_tuned(polyhead, finished_run, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (foreign / name).write_bytes((finished_run / "model" / name).read_bytes())
    file = write_csv(tmp_path / "own.csv", ROWS, encoding="utf-8")
    answer = polyhead("evaluate", "sentiment", "--model", foreign, "--data", file, "--json")
    assert answer.code == 0, answer.err
    expected = polyhead("evaluate", finished_run, "--data", file, "--json").json
    assert answer.json["metrics"] == pytest.approx(expected["metrics"], abs=1e-6)


def test_evaluate_without_validation_file_takes_the_rows_held_out(polyhead, run_copy):
    settings = (run_copy / "config.yaml").read_text(encoding="utf-8").splitlines()
    files = [at for at, line in enumerate(settings) if line.strip() in {"validation:", "test:"}]
    for at in reversed(files):  # the key and its one file
        settings[at : at + 2] = []
    (run_copy / "config.yaml").write_text("\n".join(settings) + "\n", encoding="utf-8")
    answer = polyhead("evaluate", run_copy, "--json")
    assert answer.code == 0, answer.err
    assert (answer.json["split"], answer.json["examples"]) == ("validation", 7)  # a tenth of 71
    missing = polyhead("evaluate", run_copy, "--split", "test")
    assert missing.code == 2
    assert missing.err == (
        "error: data.test is not set (data.validation, data.train is): say --data FILE or --split validation\n"
    )


# ── predict ─────────────────────────────────────────────────────────────────────────────────────────────


def test_predict_texts_in_their_order(polyhead, finished_run):
    answer = polyhead("predict", finished_run, "--text", "a warm film", "--text", "这部电影很好看。", "--text", "dull")
    assert (answer.code, answer.err) == (0, "")
    predictions = answer.json_lines
    assert ids(predictions) == ["text:1", "text:2", "text:3"]
    for prediction in predictions:
        assert list(prediction["scores"]) == ["negative", "positive"]
        assert sum(prediction["scores"].values()) == pytest.approx(1.0)
        assert prediction["score"] == max(prediction["scores"].values())
        assert prediction["scores"][prediction["label"]] == prediction["score"]


def test_predict_says_of_a_text_what_it_says_of_it_in_company(polyhead, finished_run):
    texts = ["a warm film", "dull " * 50, "ok", "这部电影很好看。"]
    together = polyhead("predict", finished_run, *[word for text in texts for word in ("--text", text)]).json_lines
    alone = [polyhead("predict", finished_run, "--text", text).json_lines[0] for text in texts]
    assert [one["score"] for one in together] == pytest.approx([one["score"] for one in alone], abs=1e-6)


def test_predict_a_json_lines_file_keeps_order_and_ids(polyhead, finished_run, tmp_path):
    texts = [f"film number {number} " + "and so on " * (number * 7 % 11) for number in range(25)]
    file = tmp_path / "many.jsonl"
    rows = [{"text": text, "id": f"r{number}", "other": 1} for number, text in enumerate(texts)]
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    predictions = polyhead("predict", finished_run, "--input", file).json_lines
    assert ids(predictions) == [f"r{number}" for number in range(25)]
    alone = polyhead("predict", finished_run, "--text", texts[7]).json_lines[0]
    assert predictions[7]["scores"] == pytest.approx(alone["scores"], abs=1e-6)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_predict_a_csv_file_in_any_encoding(polyhead, finished_run, tmp_path, encoding):
    rows = [("这部电影很好看,我非常喜欢。", "好"), ("太无聊了,看到一半就睡着了。", "坏")]
    file = write_csv(tmp_path / "评论.csv", rows, ("评论", "标签"), encoding=encoding)
    answer = polyhead("predict", finished_run, "data.columns.text=评论", "--input", file)
    assert answer.code == 0, answer.err
    assert ids(answer.json_lines) == ["评论:2", "评论:3"]
    expected = polyhead("predict", finished_run, "--text", rows[0][0]).json_lines[0]
    assert answer.json_lines[0]["scores"] == pytest.approx(expected["scores"], abs=1e-6)


def test_predict_standard_input_with_objects_and_texts(polyhead, finished_run):
    lines = '{"text": "a warm film", "id": "warm"}\n\ndull from start to end\r\n{"text": "很好看"}\n'
    answer = polyhead("predict", finished_run, "--input", "-", stdin=lines)
    assert answer.code == 0, answer.err
    assert ids(answer.json_lines) == ["warm", "stdin:3", "stdin:4"]
    plain = polyhead("predict", finished_run, "--text", "dull from start to end").json_lines[0]
    assert answer.json_lines[1]["scores"] == pytest.approx(plain["scores"], abs=1e-6)


def test_predict_standard_input_goes_by_the_column_mapping(polyhead, finished_run):
    answer = polyhead(
        "predict", finished_run, "data.columns.text=review", "--input", "-", stdin='{"review": "dull"}\nwarm\n'
    )
    assert answer.code == 0, answer.err
    assert ids(answer.json_lines) == ["stdin:1", "stdin:2"]


def test_predict_names_the_line_of_standard_input_that_is_wrong(polyhead, finished_run):
    lines = 'fine\n\n{"text": \n{"text": "good"}\n'
    answer = polyhead("predict", finished_run, "--input", "-", stdin=lines)
    assert answer.code == 2
    assert answer.err.startswith("error: stdin, line 3: broken JSON: ")
    skipping = polyhead("predict", finished_run, "data.on_error=skip", "--input", "-", stdin=lines)
    assert skipping.code == 0
    assert ids(skipping.json_lines) == ["stdin:1", "stdin:4"]
    assert skipping.err.startswith("skipped: stdin, line 3: broken JSON: ")


def test_predict_standard_input_that_is_no_utf_8(polyhead, finished_run):
    answer = polyhead("predict", finished_run, "--input", "-", stdin="fine\n很好看\n".encode("gb18030"))
    assert answer.code == 2
    assert answer.err == "error: stdin, line 2: is not UTF-8; put it into a file and say --input FILE\n"


def test_predict_into_a_file(polyhead, finished_run, tmp_path):
    target = tmp_path / "answers.jsonl"
    target.write_text("old\n")
    answer = polyhead("predict", finished_run, "--text", "很好看", "--output", target)
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert [json.loads(line)["id"] for line in target.read_text(encoding="utf-8").splitlines()] == ["text:1"]
    assert [file.name for file in tmp_path.iterdir()] == ["answers.jsonl"]


def test_predict_leaves_the_old_file_where_a_row_is_wrong(polyhead, finished_run, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "answers.jsonl"
    source.write_text('{"text": "good"}\n{"text": 5}\n', encoding="utf-8")
    target.write_text("old\n")
    answer = polyhead("predict", finished_run, "--input", source, "--output", target)
    assert answer.code == 2
    assert f"{source}, line 2: column 'text': expected a text, found int 5" in answer.err
    assert target.read_text() == "old\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["answers.jsonl", "in.jsonl"]


def test_predict_says_which_rows_it_skipped(polyhead, finished_run, tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"text": "good"}\n{"text": ""}\n{"text": "bad"}\n', encoding="utf-8")
    answer = polyhead("predict", finished_run, "data.on_error=skip", "--input", source)
    assert ids(answer.json_lines) == ["in:1", "in:3"]
    assert answer.err == f"skipped: {source}, line 2: column 'text': is empty\n"


def test_predictions_equal_plain_transformers(polyhead, finished_run):
    import transformers

    texts = ["a warm film", "dull from start to end", "这部电影很好看。"]
    pipeline = transformers.pipeline("text-classification", str(finished_run / "model"), top_k=None)
    expected = [{entry["label"]: entry["score"] for entry in found} for found in pipeline(texts)]
    words = [word for text in texts for word in ("--text", text)]
    found = [prediction["scores"] for prediction in polyhead("predict", finished_run, *words).json_lines]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)


# ── data check ──────────────────────────────────────────────────────────────────────────────────────────


def test_data_check_of_a_good_file(polyhead, tmp_path):
    file = write_csv(tmp_path / "good.csv", [*ROWS, ("很好看", "positive")], encoding="gb18030")
    answer = polyhead("data", "check", "sentiment", file, "--json")
    assert answer.code == 0
    assert (answer.json["rows"], answer.json["usable"], answer.json["encoding"]) == (4, 4, "gb18030")
    assert answer.json["labels"] == {"positive": 3, "negative": 1}
    table = polyhead("data", "check", "sentiment", file)
    assert table.code == 0
    assert "positive: 3, negative: 1" in table.out


def test_data_check_of_a_file_with_bad_rows(polyhead, tmp_path):
    file = tmp_path / "bad.csv"
    file.write_text("text,label\ngood,positive\n,negative\nfine,positive,extra\nbad,negative\n", encoding="utf-8")
    answer = polyhead("data", "check", "sentiment", file, "--json")
    assert answer.code == 1
    assert (answer.json["rows"], answer.json["usable"]) == (4, 2)
    assert [problem["line"] for problem in answer.json["problems"]] == [3, 4]
    table = polyhead("data", "check", "sentiment", file)
    assert table.code == 1
    assert "3 missing value column 'text': is empty" in table.out
    assert "has 3 fields, the header has 2" in table.out


def test_data_check_goes_by_columns_and_options(polyhead, tmp_path):
    file = tmp_path / "several.jsonl"
    file.write_text('{"body": "好看又好笑", "tags": ["好看", "好笑"]}\n', encoding="utf-8")
    settings = ["options.multi_label=true", "data.columns.text=body", "data.columns.label=tags"]
    answer = polyhead("data", "check", "classification", file, *settings, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["labels"] == {"好看": 1, "好笑": 1}


# ── config ──────────────────────────────────────────────────────────────────────────────────────────────


def test_config_show_writes_every_key(polyhead, tmp_path):
    answer = polyhead("config", "show", "sentiment", "training.learning_rate=3e-5", f"output={tmp_path / 'x'}")
    assert answer.code == 0
    saved = tmp_path / "saved.yaml"
    saved.write_text(answer.out, encoding="utf-8")
    again = polyhead("config", "show", saved, "--json").json
    assert again == polyhead("config", "show", "sentiment", "training.learning_rate=3e-5", "--json",
                             f"output={tmp_path / 'x'}").json  # fmt: skip
    assert again["training"]["learning_rate"] == 3e-5
    assert set(again) == set(RunConfig.model_fields)


def test_config_show_deepspeed_always_writes_the_clipping(polyhead):
    found = polyhead("config", "show", "sentiment", "layout=zero2", "training.gradient_clipping=0", "--deepspeed").json
    assert found["gradient_clipping"] == 0
    assert found["zero_optimization"]["stage"] == 2


def test_config_check_reads_everything_and_notes_absent_files(polyhead, tmp_path):
    answer = polyhead("config", "check", "classification", "layout=zero1", f"data.train={tmp_path / 'no.csv'}")
    assert answer.code == 0
    assert answer.out == "classification: ok (task classification, backbone minilm, layout zero1)\n"
    assert answer.err == f"note: {tmp_path / 'no.csv'} does not exist\n"


def test_config_schema_and_list(polyhead):
    schema = polyhead("config", "schema").json
    assert set(schema["properties"]) == set(RunConfig.model_fields)
    names = polyhead("config", "list").out.split()
    assert {"sentiment", "sentiment-rotten-tomatoes", "classification", "classification-banking77"} <= set(names)
    for name in names:
        assert polyhead("config", "check", name).code == 0


# ── what there is ───────────────────────────────────────────────────────────────────────────────────────


def test_tasks_lists_them(polyhead):
    found = {task["name"]: task for task in polyhead("tasks", "--json").json}
    assert {"sentiment", "classification"} <= found.keys()
    assert found["sentiment"]["families"] == ["decoder", "encoder", "encoder-decoder"]
    assert found["sentiment"]["distribution"] == "polyhead"
    assert "How positive or negative a text" in polyhead("tasks").out


def test_objectives_of_pretraining_are_tasks_but_stand_in_no_matrix(polyhead):
    found = {task["name"] for task in polyhead("tasks", "--json").json}
    objectives = {"causal-lm", "masked-lm", "span-corruption", "denoising"}
    assert objectives < found
    assert polyhead("tasks", "--matrix", "--json").json.keys() == found - objectives


def test_tasks_show_tells_columns_options_and_metrics(polyhead):
    found = polyhead("tasks", "show", "classification", "--json").json
    assert [column["name"] for column in found["columns"]] == ["text", "text_pair", "label", "id"]
    assert [option["name"] for option in found["options"]] == [
        "multi_label",
        "threshold",
        "class_weights",
        "calibrated",
        "reject",
        "out_of_scope",
    ]
    shown = polyhead("tasks", "show", "classification").out
    assert "Perturbations: full-width, lowercase, no-punctuation, typos" in shown
    assert "Baseline: majority class" in shown


def test_plugins_lists_them(polyhead):
    found = {plugin["name"]: plugin for plugin in polyhead("plugins", "--json").json}
    assert {name: found[name]["status"] for name in ("sentiment", "classification", "readers", "named")} == {
        "sentiment": "ok",
        "classification": "ok",
        "readers": "ok",
        "named": "ok",
    }
    assert "sentiment" in polyhead("plugins").out


def test_backbones_lists_them(polyhead):
    found = {backbone["name"]: backbone for backbone in polyhead("backbones", "--json").json}
    assert found["minilm"]["installed"] is True
    assert Path(found["minilm"]["where"], "config.json").is_file()
    assert "minilm" in polyhead("backbones").out


def test_doctor_finds_nothing_missing_here(polyhead):
    answer = polyhead("doctor", "--json")
    states = {check["check"]: check["state"] for check in answer.json}
    assert answer.code == 0, answer.out
    assert {states[name] for name in ("python", "torch", "deepspeed", "plugin sentiment", "backbone minilm")} == {"ok"}
    table = polyhead("doctor")
    assert table.code == 0
    assert "MISSING" not in table.out
