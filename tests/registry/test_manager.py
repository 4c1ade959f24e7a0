"""The registry: which plugins load, how broken ones are reported, what clashes, and what is found by name."""

from __future__ import annotations

import pytest

from polyhead.registry import (
    BackboneError,
    Command,
    Metric,
    NamedBackbone,
    NamedHead,
    PluginError,
    Reader,
    Registry,
    UnknownNameError,
    discovery,
    hookimpl,
)


def backbone(name: str) -> NamedBackbone:
    return NamedBackbone(name, "a small one", "encoder", 22_700_000, "Apache-2.0", lambda: None)


def function_named(name: str):
    def hook():
        return []

    hook.__name__ = name
    return hook


def only_broken(registry: Registry) -> str:
    """Return the report on the one broken plugin."""
    assert len(registry.broken()) == 1
    return str(registry.broken()[0])


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_is_known_with_the_distribution_that_brought_it(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))

    registered = site.load().tasks()["sentiment"]

    assert (registered.plugin, registered.distribution, registered.version) == ("feelings", "acme-nlp", "2.1")
    assert registered.task.name == "sentiment"


def test_installed_distributions_and_the_environment_are_the_defaults(site, monkeypatch):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("acme-sentiment"))
    monkeypatch.setenv("POLYHEAD_LOAD_PLUGINS", "feelings")

    registry = Registry.load()

    assert list(registry.tasks()) == ["acme-sentiment"]


def test_plugins_are_listed_with_what_they_bring(site):
    def polyhead_register_backbones():
        return [backbone("tiny")]

    site.install("acme-nlp", "2.1", models=site.plugin(polyhead_register_backbones))
    site.install("beta-nlp", "1.0", a_task=site.task_plugin("情感", "topics"))

    listed = [
        (info.name, info.distribution, info.version, info.status, info.tasks, info.backbones, info.hooks)
        for info in site.load().plugins()
    ]

    assert listed == [
        ("a_task", "beta-nlp", "1.0", "ok", ("情感", "topics"), (), ("polyhead_register_tasks",)),
        ("models", "acme-nlp", "2.1", "ok", (), ("tiny",), ("polyhead_register_backbones",)),
    ]


def test_a_plugin_s_listing_holds_all_that_it_adds(site):
    def polyhead_register_heads():
        return [NamedHead("crf", "topics", "chains", {})]

    def polyhead_register_metrics(task):
        return [Metric("fairness", lambda predictions, examples, setup: None)] if task == "topics" else []

    def polyhead_register_readers():
        return [Reader("xlsx", "sheets", lambda path, encoding: iter(()))]

    hooks = (polyhead_register_heads, polyhead_register_metrics, polyhead_register_readers)
    site.install("acme-nlp", "2.1", more=site.plugin(*hooks, polyhead_api_version=1))
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    more, topics = site.load().plugins()

    assert more.adds() == {"heads": ("topics:crf",), "metrics": ("topics:fairness",), "readers": ("xlsx",)}
    assert topics.adds() == {"tasks": ("topics",)}
    assert (more.api_version, topics.api_version) == (1, None)
    assert 0 <= more.seconds < 1


def test_a_hook_that_fails_in_a_listing_is_said_of_its_plugin_alone(site):
    def polyhead_register_metrics(task):
        raise KeyError(task)

    site.install("acme-nlp", "2.1", more=site.plugin(polyhead_register_metrics))
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    more, topics = site.load().plugins()

    assert (more.status, topics.problems) == ("ok", ())
    assert more.problems == ("plugin 'more' of acme-nlp 2.1: polyhead_register_metrics failed: KeyError: 'topics'",)


def test_built_in_plugins_come_first_and_need_no_entry_point(site):
    built_in = site.task_plugin("sentiment", __name__="polyhead.somewhere.zebra")
    site.install("acme-nlp", "2.1", antelope=site.task_plugin("topics"))

    registry = site.load(built_in)

    assert [(info.name, info.distribution) for info in registry.plugins()] == [
        ("zebra", "polyhead"),
        ("antelope", "acme-nlp"),
    ]
    assert list(registry.tasks()) == ["sentiment", "topics"]


def test_a_built_in_plugin_that_does_not_work_is_our_error(site):
    with pytest.raises(PluginError, match="there is no hook 'polyhead_register_task'"):
        site.load(site.plugin(function_named("polyhead_register_task")))


# ── broken plugins ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (
            "import a_module_that_is_not_there",
            "ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
        ),
        ("from os import nothing_of_this_name", "ImportError: cannot import name 'nothing_of_this_name'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError('两行\\n错误')", "ValueError: 两行 错误"),
        ("def broken(:", "SyntaxError: invalid syntax"),
        ("raise KeyError", "KeyError;"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_reported_and_skipped(site, source, error):
    site.install("acme-nlp", "2.1", feelings=source)
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    registry = site.load()

    report = only_broken(registry)
    assert report.startswith(f"plugin 'feelings' of acme-nlp 2.1: {error}")
    assert "acme-nlp" in registry.broken()[0].remedy
    assert "\n" not in report
    assert list(registry.tasks()) == ["topics"]
    assert [(info.name, info.status) for info in registry.plugins()] == [
        ("feelings", "broken"),
        ("topics", "ok"),
    ]
    assert error.rstrip(";") in registry.plugins()[0].problems[0]


def test_a_missing_module_names_the_command_that_installs_it(site):
    site.install("acme-nlp", "2.1", feelings="import a_module_that_is_not_there")

    assert site.load().broken()[0].remedy == "install what it needs: pip install --upgrade acme-nlp"


def test_an_entry_point_without_its_module_is_reported(site):
    site.write_metadata("acme-nlp", "2.1", "[polyhead]\nfeelings = acme_is_gone.plugin")

    assert "No module named 'acme_is_gone'" in only_broken(site.load())


def test_damaged_metadata_does_not_stop_the_others(site):
    site.install("acme-nlp", "2.1", feelings="raise ValueError('no')")
    (site.folder / "acme_nlp-2.1.dist-info" / "METADATA").unlink()
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    registry = site.load()

    assert only_broken(registry).startswith("plugin 'feelings' of an unnamed distribution: ValueError: no")
    assert list(registry.tasks()) == ["topics"]


def test_a_misspelt_hook_is_reported_and_only_its_plugin_left_out(site):
    guilty = site.task_plugin("sentiment")
    guilty.polyhead_register_backbone = hookimpl(function_named("polyhead_register_backbone"))
    site.install("acme-nlp", "2.1", feelings=guilty)
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    registry = site.load()

    assert "there is no hook 'polyhead_register_backbone'. Did you mean 'polyhead_register_backbones'?" in only_broken(
        registry
    )
    assert list(registry.tasks()) == ["topics"]


def test_a_wrong_argument_of_a_hook_is_reported(site):
    def polyhead_register_metrics(tsk):
        return None

    site.install("acme-nlp", "2.1", metrics=site.plugin(polyhead_register_metrics))
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    registry = site.load()

    expected = "polyhead_register_metrics takes (task), not 'tsk'. Did you mean 'task'?"
    assert expected in only_broken(registry)
    assert list(registry.tasks()) == ["topics"]


@pytest.mark.parametrize("hook", ["polyhead_register_backbone", "polyhead_end_run"])
def test_the_plugin_manager_s_own_check_stands_behind_ours(site, monkeypatch, hook):
    monkeypatch.setattr(discovery, "_find_problem", lambda plugin: None)
    guilty = site.task_plugin("sentiment")
    setattr(guilty, hook, hookimpl(lambda surprise: []))
    site.install("acme-nlp", "2.1", feelings=guilty)
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    registry = site.load()

    assert hook in only_broken(registry)
    assert list(registry.tasks()) == ["topics"]
    assert [info.status for info in registry.plugins()] == ["broken", "ok"]


def test_a_hook_that_is_not_marked_is_reported(site):
    plugin = site.plugin()
    plugin.polyhead_register_tasks = function_named("polyhead_register_tasks")
    site.install("acme-nlp", "2.1", feelings=plugin)

    assert "polyhead_register_tasks is never called: mark it with polyhead.registry.hookimpl" in only_broken(
        site.load()
    )


def test_a_plugin_without_hooks_is_reported(site):
    site.install("acme-nlp", "2.1", feelings="answer = 42")

    assert "implements no hook" in only_broken(site.load())


def test_a_wrapper_is_reported(site):
    def polyhead_register_tasks():
        return (yield)

    plugin = site.plugin()
    plugin.polyhead_register_tasks = hookimpl(wrapper=True)(polyhead_register_tasks)
    site.install("acme-nlp", "2.1", feelings=plugin)

    assert "polyhead_register_tasks: hooks cannot be wrapped" in only_broken(site.load())


def test_a_plugin_for_a_newer_api_is_refused(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment", polyhead_api_version=2))

    assert only_broken(site.load()) == (
        "plugin 'feelings' of acme-nlp 2.1: was written for plugin API 2, this polyhead offers 1; "
        "upgrade polyhead or install an older acme-nlp"
    )


@pytest.mark.parametrize("version", ["1", 1.0, True, 0, None])
def test_an_api_version_that_is_no_whole_number_is_refused(site, version):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment", polyhead_api_version=version))

    assert f"polyhead_api_version is {version!r}; it must be a whole number" in only_broken(site.load())


def test_the_present_api_version_is_welcome(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment", polyhead_api_version=1))

    assert list(site.load().tasks()) == ["sentiment"]


def test_one_module_under_two_names_is_loaded_once(site):
    plugin = site.task_plugin("sentiment")
    site.install("acme-nlp", "2.1", feelings=plugin, moods=plugin)

    registry = site.load()

    assert "plugin 'moods' of acme-nlp 2.1: is already registered as 'acme-nlp:feelings'" in only_broken(registry)
    assert list(registry.tasks()) == ["sentiment"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ValueError("no corpus"), "polyhead_register_tasks failed: ValueError: no corpus"),
        (SystemExit(1), "polyhead_register_tasks failed: SystemExit: 1"),
        ("sentiment", "polyhead_register_tasks returned a str where a list of Task belongs"),
        (["sentiment"], "polyhead_register_tasks returned a str where a Task belongs"),
    ],
)
def test_a_register_hook_that_fails_breaks_its_plugin_alone(site, answer, error):
    def polyhead_register_tasks():
        if isinstance(answer, BaseException):
            raise answer
        return answer

    site.install("acme-nlp", "2.1", feelings=site.plugin(polyhead_register_tasks))
    site.install("beta-nlp", "1.0", topics=site.task_plugin("topics"))

    registry = site.load()

    assert only_broken(registry).startswith(f"plugin 'feelings' of acme-nlp 2.1: {error}; ")
    assert list(registry.tasks()) == ["topics"]


def test_a_broken_plugin_is_never_called_again(site):
    told = []

    def polyhead_register_tasks():
        raise ValueError

    def polyhead_end_run(run):
        told.append(run)

    site.install("acme-nlp", "2.1", feelings=site.plugin(polyhead_register_tasks, polyhead_end_run))

    site.load().notify("polyhead_end_run", run=None)

    assert told == []


def test_one_plugin_with_one_task_twice_is_broken(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment", "sentiment"))

    assert "polyhead_register_tasks returned 'sentiment' 2 times" in only_broken(site.load())


def test_a_task_without_a_name_is_broken(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin(""))

    assert "polyhead_register_tasks returned a Task whose name is ''" in only_broken(site.load())


# ── the limit ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_limit_chooses_plugins_by_name(site):
    site.install("acme-nlp", "2.1", a=site.task_plugin("one"), b=site.task_plugin("two"), c="raise ValueError")

    registry = site.load(POLYHEAD_LOAD_PLUGINS="b, a")

    assert list(registry.tasks()) == ["one", "two"]
    assert registry.broken() == ()
    assert [(info.name, info.status) for info in registry.plugins()] == [
        ("a", "ok"),
        ("b", "ok"),
        ("c", "skipped"),
    ]


def test_an_empty_limit_loads_built_in_plugins_only(site):
    site.install("acme-nlp", "2.1", a="raise ValueError")

    registry = site.load(site.task_plugin("own"), POLYHEAD_LOAD_PLUGINS="")

    assert list(registry.tasks()) == ["own"]
    assert [info.status for info in registry.plugins()] == ["ok", "skipped"]


def test_a_wrong_name_in_the_limit_is_an_error(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"), topics=site.task_plugin("topics"))

    with pytest.raises(UnknownNameError) as raised:
        site.load(POLYHEAD_LOAD_PLUGINS="feeling,topics")

    assert str(raised.value) == (
        "POLYHEAD_LOAD_PLUGINS=feeling,topics: unknown plugin 'feeling'. Did you mean 'feelings'? "
        "Available: feelings, topics."
    )


def test_the_limit_tells_two_plugins_of_one_name_apart(site):
    site.install("acme-nlp", "2.1", sentiment=site.task_plugin("sentiment"))
    site.install("beta-nlp", "1.0", sentiment=site.task_plugin("sentiment"))

    registry = site.load(POLYHEAD_LOAD_PLUGINS="beta-nlp:sentiment")

    assert registry.tasks()["sentiment"].distribution == "beta-nlp"


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_that_two_distributions_claim_is_listed_as_a_clash_and_refused_when_asked_for(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"), topics=site.task_plugin("topics"))
    site.install("beta-nlp", "1.0", moods=site.task_plugin("sentiment"))

    registry = site.load()

    assert list(registry.tasks()) == ["topics"]
    message = (
        "task 'sentiment' is registered by plugin 'feelings' of acme-nlp 2.1 and by plugin 'moods' of "
        "beta-nlp 1.0; choose by --plugin acme-nlp:sentiment or --plugin beta-nlp:sentiment, or uninstall one of them"
    )
    assert [str(clash) for clash in registry.clashes()] == [message]
    assert [(info.name, info.status, info.problems) for info in registry.plugins()] == [
        ("feelings", "ok", (message,)),
        ("moods", "ok", (message,)),
        ("topics", "ok", ()),
    ]
    with pytest.raises(PluginError) as raised:
        registry.task("sentiment")
    assert str(raised.value) == message


def test_the_way_out_of_a_clash_works(site):
    site.install("acme-nlp", "2.1", sentiment=site.task_plugin("sentiment"))
    site.install("beta-nlp", "1.0", sentiment=site.task_plugin("sentiment"))
    registry = site.load()
    choice = registry.clashes()[0].remedy.rpartition("--plugin ")[2].partition(",")[0]

    registry.choose(choice)

    assert choice == "beta-nlp:sentiment"
    assert registry.tasks()["sentiment"].distribution == "beta-nlp"
    assert registry.clashes()[0].remedy == "that of beta-nlp is taken, unless you say --plugin acme-nlp:sentiment"


def test_polyhead_keeps_its_own_names_until_another_is_chosen(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"), topics=site.task_plugin("topics"))
    registry = site.load(site.task_plugin("sentiment"))

    assert registry.tasks()["sentiment"].distribution == "polyhead"
    assert registry.clashes()[0].remedy == "that of polyhead is taken, unless you say --plugin acme-nlp:sentiment"
    registry.choose("acme-nlp:sentiment")
    assert registry.tasks()["sentiment"].distribution == "acme-nlp"


def test_two_plugins_of_one_distribution_are_told_apart_by_the_limit(site):
    site.install("acme-nlp", "2.1", a=site.task_plugin("sentiment"), b=site.task_plugin("sentiment"))
    registry = site.load()

    assert registry.clashes()[0].remedy == "leave one of them out by POLYHEAD_LOAD_PLUGINS, or upgrade acme-nlp"
    registry.choose("acme-nlp:sentiment")
    assert registry.tasks() == {}


@pytest.mark.parametrize(
    ("choice", "near"),
    [("acme-nlp:sentimnt", " Did you mean 'acme-nlp:sentiment'?"), ("sentiment", " Did you mean"), ("other:x", "")],
)
def test_a_choice_that_nothing_answers_to_is_an_error(site, choice, near):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))

    with pytest.raises(UnknownNameError) as raised:
        site.load().choose(choice)
    assert str(raised.value).startswith(f"nothing is called '{choice}'; expected DISTRIBUTION:NAME.{near}")


def test_an_unknown_task_is_answered_with_the_nearest_and_the_list(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"), 情感=site.task_plugin("情感分类"))

    with pytest.raises(UnknownNameError) as raised:
        site.load().task("sentimnt")
    assert str(raised.value) == ("unknown task 'sentimnt'. Did you mean 'sentiment'? Available: sentiment, 情感分类.")
    with pytest.raises(UnknownNameError, match="Did you mean '情感分类'"):
        site.load().task("情感")


def test_an_unknown_task_whose_plugin_is_broken_says_so(site):
    site.install("acme-nlp", "2.1", qa="raise ValueError('no corpus')")

    with pytest.raises(UnknownNameError) as raised:
        site.load().task("qa")

    assert str(raised.value) == (
        "unknown task 'qa'. None is available. It may come with plugin 'qa' of acme-nlp 2.1: ValueError: no "
        "corpus; upgrade acme-nlp, or uninstall it, or leave it out by POLYHEAD_LOAD_PLUGINS."
    )


def test_an_unknown_task_whose_plugin_is_left_out_says_so(site):
    site.install("acme-nlp", "2.1", qa=site.task_plugin("qa"))

    with pytest.raises(UnknownNameError, match=r"plugin 'qa' of acme-nlp 2.1 is left out by POLYHEAD_LOAD_PLUGINS"):
        site.load(POLYHEAD_LOAD_PLUGINS="").task("qa")


def test_a_task_is_found_by_name(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))
    registry = site.load()

    assert registry.task("sentiment") is registry.tasks()["sentiment"].task


def test_backbones_are_found_by_name(site):
    minilm, tiny = backbone("minilm"), backbone("tiny")

    def polyhead_register_backbones():
        return [tiny, minilm]

    site.install("acme-nlp", "2.1", models=site.plugin(polyhead_register_backbones))
    registry = site.load()

    assert registry.backbones() == {"minilm": minilm, "tiny": tiny}
    assert registry.backbone("tiny") is tiny
    with pytest.raises(UnknownNameError, match=r"unknown backbone 'minlm'. Did you mean 'minilm'\?"):
        registry.backbone("minlm")


def test_a_backbone_that_two_plugins_claim_is_refused_when_asked_for(site):
    def polyhead_register_backbones():
        return [backbone("minilm")]

    site.install("acme-nlp", "2.1", models=site.plugin(polyhead_register_backbones))
    site.install("beta-nlp", "1.0", more=site.plugin(polyhead_register_backbones))
    registry = site.load()

    assert registry.backbones() == {}
    with pytest.raises(
        PluginError, match=r"backbone 'minilm' is registered by plugin 'models' of acme-nlp 2.1 and by plugin 'more'"
    ):
        registry.backbone("minilm")


def test_commands_are_found_by_name(site):
    export = Command("export", "write another format", len)

    def polyhead_register_commands():
        return [export]

    site.install("acme-nlp", "2.1", exporter=site.plugin(polyhead_register_commands))
    registry = site.load()

    assert registry.commands() == {"export": export}
    assert registry.command("export").run(["a", "b"]) == 2
    with pytest.raises(UnknownNameError, match=r"unknown command 'exprt'. Did you mean 'export'\?"):
        registry.command("exprt")


def test_a_command_that_two_plugins_claim_is_a_clash(site):
    def polyhead_register_commands():
        return [Command("export", "write another format", len)]

    site.install("acme-nlp", "2.1", one=site.plugin(polyhead_register_commands))
    site.install("beta-nlp", "1.0", two=site.plugin(polyhead_register_commands))

    (clash,) = site.load().clashes()
    assert (clash.kind, clash.name) == ("command", "export")
    assert clash.remedy == "leave one of them out by POLYHEAD_LOAD_PLUGINS, or uninstall it"


# ── heads ───────────────────────────────────────────────────────────────────────────────────────────────


def own_head(setup):
    return "the task's own"


def other_head(setup):
    return "another"


def test_the_default_head_is_the_task_s_own(site):
    def polyhead_register_tasks():
        return [site.task("sentiment", heads={"encoder": own_head})]

    site.install("acme-nlp", "2.1", feelings=site.plugin(polyhead_register_tasks))

    assert site.load().head_factory("sentiment", "encoder") is own_head


def heads_of(*heads: NamedHead):
    def polyhead_register_heads():
        return list(heads)

    return polyhead_register_heads


def test_a_head_by_its_name(site):
    attention = NamedHead("attention", "sentiment", "looks at some tokens more", {"decoder": other_head})
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment", "topics"))
    site.install("beta-nlp", "1.0", heads=site.plugin(heads_of(attention)))
    registry = site.load()

    assert registry.head_factory("sentiment", "decoder", "attention") is other_head
    assert registry.heads("sentiment") == {"attention": attention}
    assert registry.heads("topics") == {}


def test_a_head_called_default_is_refused(site):
    site.install("acme-nlp", "2.1", feelings=site.task_plugin("sentiment"))
    site.install("beta-nlp", "1.0", heads=site.plugin(heads_of(NamedHead("default", "sentiment", "mine", {}))))

    assert "returned a head called 'default': that name is the task's own" in only_broken(site.load())


def test_one_head_twice_for_a_task_is_refused_but_not_for_two_tasks(site):
    first, second = (NamedHead("crf", task, "chains", {}) for task in ("ner", "topics"))
    site.install("acme-nlp", "2.1", good=site.plugin(heads_of(first, second)))
    site.install("beta-nlp", "1.0", bad=site.plugin(heads_of(first, first)))

    assert "returned 'crf' for task 'ner' 2 times" in only_broken(site.load())


def test_a_head_that_two_plugins_bring_is_refused_until_one_is_chosen(site):
    site.install("acme-nlp", "2.1", tags=site.task_plugin("ner"))
    site.install("beta-nlp", "1.0", a=site.plugin(heads_of(NamedHead("crf", "ner", "a", {"encoder": own_head}))))
    site.install("core-nlp", "1.0", b=site.plugin(heads_of(NamedHead("crf", "ner", "b", {"encoder": other_head}))))
    registry = site.load()

    with pytest.raises(PluginError, match=r"^ner head 'crf' is registered by plugin 'a' of beta-nlp 1.0 and"):
        registry.head_factory("ner", "encoder", "crf")
    registry.choose("core-nlp:crf")
    assert registry.head_factory("ner", "encoder", "crf") is other_head


@pytest.mark.parametrize(
    ("family", "head", "problem"),
    [
        ("decoder", "default", "head 'default' of task 'sentiment' supports no decoder; families that it supports: "),
        ("decoder", "attention", "head 'attention' of task 'sentiment' supports no decoder; families that it supports"),
        (
            "encoder",
            "atention",
            "task 'sentiment' has no head 'atention'. Did you mean 'attention'?",
        ),
    ],
)
def test_a_head_that_nobody_has_is_a_clear_error(site, family, head, problem):
    def polyhead_register_tasks():
        return [site.task("sentiment", heads={"encoder-decoder": own_head, "encoder": own_head})]

    attention = NamedHead("attention", "sentiment", "looks", {"encoder": other_head})
    site.install("acme-nlp", "2.1", feelings=site.plugin(polyhead_register_tasks))
    site.install("beta-nlp", "1.0", heads=site.plugin(heads_of(attention)))

    with pytest.raises(BackboneError) as raised:
        site.load().head_factory("sentiment", family, head)
    assert str(raised.value).startswith(problem)


def test_a_head_for_an_unknown_task_is_an_unknown_name(site):
    with pytest.raises(UnknownNameError, match="unknown task 'sentiment'"):
        site.load().head_factory("sentiment", "encoder")
