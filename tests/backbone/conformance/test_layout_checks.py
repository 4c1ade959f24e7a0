"""A head that works in one process and breaks when the model is cut is found, with its plugin's name and the remedy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polyhead.backbone.builtin import load_registry
from polyhead.backbone.conformance import layout_checks
from polyhead.backbone.conformance.checks import CheckError
from polyhead.backbone.conformance.layout_checks import LAYOUT_CHECKS
from polyhead.backbone.conformance.subject import TaskSubject
from polyhead.backbone.conformance.tiny_models import make_tiny_models

PLUGIN = '''
"""A task whose head adds the word embeddings, which it takes from where the first block finds them."""

import dataclasses

from polyhead.registry import HeadSpec, hookimpl
from polyhead.registry.toolkit.single_label import single_label_task


def build(config, spec):
    import torch

    class Head(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.score = torch.nn.Linear(config.hidden_size, spec.size)
            self.seen = []
            torch.nn.modules.module.register_module_forward_hook(self.keep)

        def keep(self, module, inputs, output):
            if isinstance(module, torch.nn.Embedding) and module.num_embeddings == config.vocab_size:
                self.seen[:] = [output]

        def forward(self, hidden, mask):
            return (self.score(hidden[:, 0] + self.seen[0][:, 1]),)

    return Head()


def head(setup):
    return HeadSpec(len(setup.labels), setup.labels, build=build)


@hookimpl
def polyhead_register_tasks():
    task = single_label_task("peeking", "Whether a film is good.")
    return [dataclasses.replace(task, heads={"encoder": head, "decoder": head})]
'''
ROWS = [
    {"text": f"{word} film, {number} stars", "label": label}
    for number, (word, label) in enumerate([("a good", "yes"), ("a bad", "no"), ("no", "no"), ("some", "yes")] * 6)
]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the plugin for this process and for those that it starts."""
    site = tmp_path / "site"
    information = site / "acme_peeking-0.1.dist-info"
    information.mkdir(parents=True)
    (site / "peeking_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-peeking\nVersion: 0.1\n")
    (information / "entry_points.txt").write_text("[polyhead]\npeeking = peeking_plugin\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_a_head_that_fails_in_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_checks, "LAYOUTS", ("pipe2+zero1",))  # ZeRO 3 costs more time, and it works there
    registry, folder = load_registry(), tmp_path / "checks"
    folder.mkdir()
    task = registry.task("peeking")
    models = make_tiny_models(folder, task.heads, registry, ROWS)
    subject = TaskSubject(registry, task, "acme-peeking:peeking", ROWS, models, folder)
    with pytest.raises(CheckError) as found:
        LAYOUT_CHECKS[0].run(subject)
    assert (
        found.value.message
        == "acme-peeking:peeking on encoder: pipe2+zero1: rank 1: IndexError: list index out of range"
    )
    assert found.value.remedy.startswith("pipe2+zero1: let the head read nothing but the hidden states")
