"""`polyhead.registry` exports everything a plugin needs, and loads in an instant."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

import polyhead.registry
from polyhead.registry import contracts, errors, examples

HEAVY = ["torch", "transformers", "deepspeed", "numpy", "evaluate", "datasets", "sklearn"]


@pytest.mark.parametrize("module", [contracts, errors, examples], ids=lambda module: module.__name__)
def test_every_public_class_is_exported(module):
    defined = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }

    assert defined - set(polyhead.registry.__all__) == set()


def test_nothing_heavy_is_loaded():
    code = f"import json, sys, polyhead.registry; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout) == []
