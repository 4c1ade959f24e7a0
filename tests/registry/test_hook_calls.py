"""Hooks that are called later than loading: rows, metrics, perturbations, and the life of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyhead.registry import (
    DataError,
    EvaluationEnd,
    Metric,
    Perturbation,
    PluginError,
    Reader,
    RunEnd,
    RunStart,
    Scores,
    SourceRow,
    StepEnd,
    UnknownNameError,
    hookimpl,
)

EVENTS = {
    "polyhead_start_run": {"run": RunStart(Path("runs/中文"), "sentiment", {}, 100, 0, 0, 1)},
    "polyhead_end_step": {"step": StepEnd(1, 100, 0.01, 0.7, 3e-5, 1.0, 512, 0.2)},
    "polyhead_end_evaluation": {"evaluation": EvaluationEnd("test", None, {"accuracy": 0.9}, 10)},
    "polyhead_end_run": {"run": RunEnd("completed", 100, 20.0)},
}


class Recorder:
    """An observer of every life-cycle hook."""

    def __init__(self) -> None:
        self.heard = []

    @hookimpl
    def polyhead_start_run(self, run):
        self.heard.append(run)

    @hookimpl
    def polyhead_end_step(self, step):
        self.heard.append(step)

    @hookimpl
    def polyhead_end_evaluation(self, evaluation):
        self.heard.append(evaluation)

    @hookimpl
    def polyhead_end_run(self, run):
        self.heard.append(run)


def metric(name: str) -> Metric:
    return Metric(name, lambda predictions, examples, setup: Scores({name: 1.0}, name))


def perturbation(name: str) -> Perturbation:
    return Perturbation(name, "changes nothing", lambda example, generator: example)


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────


def readers_of(*formats: str, read=lambda path, encoding: iter(())):
    def polyhead_register_readers():
        return [Reader(name, "rows", read) for name in formats]

    return polyhead_register_readers


def test_the_reader_of_the_format_is_found(site):
    row = SourceRow(1, {"text": "很好"})
    site.install(
        "acme-nlp", "2.1", excel=site.plugin(readers_of("xlsx", "ods", read=lambda path, encoding: iter([row])))
    )
    site.install("beta-nlp", "1.0", feather=site.plugin(readers_of("feather")))
    registry = site.load()

    assert list(registry.read_rows(Path("a.xlsx"), "xlsx", None)) == [row]
    assert list(registry.readers()) == ["feather", "ods", "xlsx"]


def test_a_reader_is_told_path_and_encoding(site):
    told = []

    def read(path, encoding):
        told.append((path, encoding))
        return iter(())

    site.install("acme-nlp", "2.1", excel=site.plugin(readers_of("xlsx", read=read)))
    site.load().read_rows(Path("数据.xlsx"), "xlsx", "gb18030")

    assert told == [(Path("数据.xlsx"), "gb18030")]


def test_a_format_of_polyhead_s_stays_its_own_until_another_reader_is_chosen(site):
    ours, theirs = SourceRow(1, {"text": "ours"}), SourceRow(1, {"text": "theirs"})
    site.install("acme-nlp", "2.1", excel=site.plugin(readers_of("csv", read=lambda path, encoding: iter([theirs]))))
    registry = site.load(site.plugin(readers_of("csv", read=lambda path, encoding: iter([ours]))))

    assert list(registry.read_rows(Path("a.csv"), "csv", None)) == [ours]
    registry.choose("acme-nlp:csv")
    assert list(registry.read_rows(Path("a.csv"), "csv", None)) == [theirs]


def test_a_format_that_two_plugins_read_is_refused_until_one_is_chosen(site):
    site.install("acme-nlp", "2.1", excel=site.plugin(readers_of("xlsx")))
    site.install("beta-nlp", "1.0", sheets=site.plugin(readers_of("xlsx")))
    registry = site.load()

    with pytest.raises(PluginError) as raised:
        registry.read_rows(Path("a.xlsx"), "xlsx", None)
    assert str(raised.value) == (
        "reader 'xlsx' is registered by plugin 'excel' of acme-nlp 2.1 and by plugin 'sheets' of beta-nlp 1.0; "
        "choose by --plugin acme-nlp:xlsx or --plugin beta-nlp:xlsx, or uninstall one of them"
    )
    registry.choose("beta-nlp:xlsx")
    assert list(registry.read_rows(Path("a.xlsx"), "xlsx", None)) == []


def test_a_format_that_nobody_reads_is_named(site):
    with pytest.raises(DataError) as raised:
        site.load(site.plugin(readers_of("csv", "xls"))).read_rows(Path("data/文件.xlsx"), "xlsx", None)

    assert str(raised.value) == (
        "data/文件.xlsx: nothing reads the format 'xlsx'. Did you mean 'xls'? Available: csv, xls. State another with "
        "data.format=, or install a plugin that reads 'xlsx'."
    )


def test_a_reader_that_breaks_is_named(site):
    def read(path, encoding):
        raise KeyError("sheet")

    site.install("acme-nlp", "2.1", excel=site.plugin(readers_of("xlsx", read=read)))

    with pytest.raises(PluginError) as raised:
        site.load().read_rows(Path("a.xlsx"), "xlsx", None)
    assert str(raised.value) == "plugin 'excel' of acme-nlp 2.1: reader 'xlsx' failed: KeyError: 'sheet'"
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_reader_that_breaks_between_two_rows_is_named(site):
    def read(path, encoding):
        yield SourceRow(1, {})
        raise KeyError("sheet")

    site.install("acme-nlp", "2.1", excel=site.plugin(readers_of("xlsx", read=read)))
    rows = site.load().read_rows(Path("a.xlsx"), "xlsx", None)

    assert next(rows) == SourceRow(1, {})
    with pytest.raises(PluginError, match=r"^plugin 'excel' of acme-nlp 2.1: reader 'xlsx' failed: KeyError"):
        next(rows)


def test_what_a_reader_says_of_the_file_reaches_the_user_unchanged(site):
    def broken_rows():
        raise DataError("a.xlsx: sheet 2 is empty")
        yield

    def read(path, encoding):
        if path.name == "a.xlsx":
            return broken_rows()
        raise DataError(f"{path}: is locked")

    site.install("acme-nlp", "2.1", excel=site.plugin(readers_of("xlsx", read=read)))
    registry = site.load()

    with pytest.raises(DataError, match=r"^a.xlsx: sheet 2 is empty$"):
        list(registry.read_rows(Path("a.xlsx"), "xlsx", None))
    with pytest.raises(DataError, match=r"^b.xlsx: is locked$"):
        registry.read_rows(Path("b.xlsx"), "xlsx", None)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([SourceRow(1, {})], "returned a list, not an iterator"),
        (iter([{"text": "good"}]), "gave a dict where a SourceRow belongs"),
    ],
)
def test_a_reader_that_gives_something_else_is_named(site, answer, problem):
    site.install("acme-nlp", "2.1", excel=site.plugin(readers_of("xlsx", read=lambda path, encoding: answer)))

    with pytest.raises(PluginError) as raised:
        list(site.load().read_rows(Path("a.xlsx"), "xlsx", None))
    assert str(raised.value) == f"plugin 'excel' of acme-nlp 2.1: reader 'xlsx' {problem}"


# ── metrics and perturbations ───────────────────────────────────────────────────────────────────────────


def test_metrics_are_the_task_s_own_and_then_those_of_plugins(site):
    own, added = metric("accuracy"), metric("fairness")

    def polyhead_register_tasks():
        return [site.task("sentiment", metrics=(own,)), site.task("topics")]

    def polyhead_register_metrics(task):
        return [added] if task == "sentiment" else None

    site.install("acme-nlp", "2.1", feelings=site.plugin(polyhead_register_tasks))
    site.install("beta-nlp", "1.0", more=site.plugin(polyhead_register_metrics))
    registry = site.load()

    assert registry.metrics("sentiment") == (own, added)
    assert registry.metrics("topics") == ()
    with pytest.raises(UnknownNameError, match="unknown task 'topic'"):
        registry.metrics("topic")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (KeyError("x"), "polyhead_register_metrics failed: KeyError: 'x'"),
        (metric("fairness"), "polyhead_register_metrics returned a Metric where a list of Metric belongs"),
        (["fairness"], "polyhead_register_metrics returned a str where a Metric belongs"),
    ],
)
def test_metrics_that_break_name_the_plugin(site, answer, problem):
    def polyhead_register_metrics():
        if isinstance(answer, Exception):
            raise answer
        return answer

    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))
    site.install("beta-nlp", "1.0", more=site.plugin(polyhead_register_metrics))

    with pytest.raises(PluginError) as raised:
        site.load().metrics("sentiment")
    assert str(raised.value) == f"plugin 'more' of beta-nlp 1.0: {problem}"


def perturbations_of(*names: str):
    def polyhead_register_perturbations(task):
        return [perturbation(name) for name in names]

    return polyhead_register_perturbations


def test_a_perturbation_of_polyhead_s_stays_its_own(site):
    ours = perturbation("typos")

    def polyhead_register_perturbations(task):
        return [ours]

    site.install("acme-nlp", "2.1", more=site.plugin(perturbations_of("typos", "shouting")))
    built_in = site.task_plugin("sentiment")
    built_in.polyhead_register_perturbations = hookimpl(polyhead_register_perturbations)

    found = site.load(built_in).perturbations("sentiment")

    assert list(found) == ["shouting", "typos"]
    assert found["typos"] is ours


def test_perturbations_are_known_by_name(site):
    typing_errors, lower_case = perturbation("typos"), perturbation("lower-case")

    def polyhead_register_perturbations(task):
        return [typing_errors, lower_case] if task == "sentiment" else []

    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment", "topics"))
    registry = site.load(site.plugin(polyhead_register_perturbations))

    assert registry.perturbations("sentiment") == {"lower-case": lower_case, "typos": typing_errors}
    assert registry.perturbations("topics") == {}
    with pytest.raises(UnknownNameError, match="unknown task 'qa'"):
        registry.perturbations("qa")


def test_a_perturbation_that_two_plugins_claim_is_refused(site):
    site.install("acme-nlp", "2.1", one=site.plugin(perturbations_of("typos")))
    site.install("beta-nlp", "1.0", two=site.plugin(perturbations_of("typos")))

    with pytest.raises(PluginError) as raised:
        site.load(site.task_plugin("sentiment")).perturbations("sentiment")
    assert str(raised.value) == (
        "sentiment perturbation 'typos' is registered by plugin 'one' of acme-nlp 2.1 and by plugin 'two' of "
        "beta-nlp 1.0; leave one of them out by POLYHEAD_LOAD_PLUGINS, or uninstall it"
    )


# ── the life of a run ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hook", EVENTS)
def test_plugins_and_observers_are_told(site, hook):
    installed, observer = Recorder(), Recorder()
    site.install("acme-nlp", "2.1", recorder=installed)
    registry = site.load()
    registry.add_observer(observer, "event log")

    registry.notify(hook, **EVENTS[hook])

    assert installed.heard == observer.heard == list(EVENTS[hook].values())


def test_plugins_are_told_in_the_plugin_manager_s_order(site):
    told = []

    def listener(name: str, **options: bool):
        @hookimpl(**options)
        def polyhead_end_run():
            told.append(name)

        return polyhead_end_run

    for name, options in {"a": {}, "b": {"trylast": True}, "c": {"tryfirst": True}, "d": {}}.items():
        plugin = site.plugin()
        plugin.polyhead_end_run = listener(name, **options)
        site.install(f"acme-{name}", "1.0", **{name: plugin})

    site.load().notify("polyhead_end_run", run=None)

    assert told == ["c", "d", "a", "b"]


def test_a_listener_that_breaks_is_named_after_all_others_were_told(site):
    def polyhead_end_step(step):
        raise ZeroDivisionError("没有\n数据")

    observer = Recorder()
    site.install("acme-nlp", "2.1", broken=site.plugin(polyhead_end_step))
    registry = site.load(observer)

    with pytest.raises(PluginError) as raised:
        registry.notify("polyhead_end_step", **EVENTS["polyhead_end_step"])

    assert str(raised.value) == (
        "plugin 'broken' of acme-nlp 2.1: polyhead_end_step failed: ZeroDivisionError: 没有 数据"
    )
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert observer.heard == [EVENTS["polyhead_end_step"]["step"]]


def test_only_life_cycle_hooks_are_notified(site):
    with pytest.raises(UnknownNameError, match=r"unknown life-cycle hook 'polyhead_run_end'. .*polyhead_end_run"):
        site.load().notify("polyhead_run_end")


def test_an_observer_is_told_within_its_block_only(site):
    registry, observer = site.load(), Recorder()

    with registry.observing(observer, "progress"):
        registry.notify("polyhead_end_run", run=1)
    registry.notify("polyhead_end_run", run=2)

    assert observer.heard == [1]


def test_an_observer_is_forgotten_when_its_block_breaks(site):
    registry, observer = site.load(), Recorder()

    with pytest.raises(KeyboardInterrupt), registry.observing(observer, "progress"):
        raise KeyboardInterrupt
    registry.add_observer(observer, "progress")

    assert observer.heard == []


def test_an_observer_that_breaks_is_named(site):
    class Broken:
        @hookimpl
        def polyhead_end_run(self, run):
            raise OSError("disk full")

    registry = site.load()
    registry.add_observer(Broken(), "event log")

    with pytest.raises(PluginError, match=r"^plugin 'event log' of this process: .* OSError: disk full$"):
        registry.notify("polyhead_end_run", run=None)


def test_an_observer_with_a_misspelt_hook_is_refused(site):
    class Misspelt:
        @hookimpl
        def polyhead_end_runs(self):
            """Never called."""

    registry = site.load()

    with pytest.raises(PluginError, match=r"observer 'log': there is no hook 'polyhead_end_runs'. Did you mean"):
        registry.add_observer(Misspelt(), "log")
    registry.add_observer(Recorder(), "log")


def test_a_refused_observer_does_not_push_out_another_of_its_name(site):
    class Misspelt:
        @hookimpl
        def polyhead_end_runs(self):
            """Never called."""

    registry, observer = site.load(), Recorder()
    registry.add_observer(observer, "log")
    with pytest.raises(PluginError, match="there is no hook 'polyhead_end_runs'"):
        registry.add_observer(Misspelt(), "log")

    registry.notify("polyhead_end_run", run=1)

    assert observer.heard == [1]


def test_an_observer_with_another_hook_is_refused(site):
    registry = site.load()

    with pytest.raises(PluginError, match="observer 'log' implements polyhead_register_tasks; observers may"):
        registry.add_observer(site.task_plugin("sentiment"), "log")
    assert registry.tasks() == {}


def test_a_refused_observer_is_never_told(site):
    class Greedy(Recorder):
        @hookimpl
        def polyhead_register_tasks(self):
            return []

    registry, observer = site.load(), Greedy()
    with pytest.raises(PluginError, match="observer 'log' implements"):
        registry.add_observer(observer, "log")

    registry.notify("polyhead_end_run", run=1)

    assert observer.heard == []


def test_two_observers_of_one_name_are_refused(site):
    registry = site.load()
    registry.add_observer(Recorder(), "log")

    with pytest.raises(PluginError, match="observer 'log': is already registered"):
        registry.add_observer(Recorder(), "log")


def test_an_observer_that_is_not_there_cannot_be_removed(site):
    registry = site.load(site.task_plugin("sentiment"))
    registry.add_observer(Recorder(), "progress")

    with pytest.raises(UnknownNameError, match=r"unknown observer 'progres'. .* Available: progress\."):
        registry.remove_observer("progres")
