"""``polyhead doctor``: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata

import typer

from polyhead.cli.screen import AsJson, load_plugins, print_json, print_table

NEEDED = (
    "torch",
    "transformers",
    "deepspeed",
    "accelerate",
    "datasets",
    "evaluate",
    "scikit-learn",
    "safetensors",
)
OPTIONAL = {"tensorboard": "curves for training.log_to=tensorboard"}


def doctor(as_json: AsJson = False) -> None:
    """Check this installation: versions, accelerator, launchers, plugins; exit code 1 where something is missing."""
    checks = [_python(), *_packages(), *_accelerator(), *_launchers(), *_plugins(), *_backbones()]
    if as_json:
        print_json(checks)
    else:
        marks = {"ok": "ok", "missing": "MISSING", "note": "note"}
        print_table(
            "",
            ("check", "state", "found", "mend"),
            [(c["check"], marks[c["state"]], c["found"], c["mend"]) for c in checks],
        )
    raise typer.Exit(1 if any(check["state"] == "missing" for check in checks) else 0)


def _check(name: str, state: str, found: str, mend: str = "") -> dict[str, str]:
    return {"check": name, "state": state, "found": found, "mend": mend}


def _python() -> dict[str, str]:
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    cores = os.cpu_count() or 1
    found = f"{platform.python_version()}, {cores} cores, {platform.system()} {platform.machine()}"
    return _check("python", "ok" if good else "missing", found, "" if good else "use Python 3.11, 3.12 or 3.13")


def _packages() -> list[dict[str, str]]:
    checks = []
    for name in NEEDED:
        version = _version(name)
        mend = "" if version else f"pip install {name}"
        checks.append(_check(name, "ok" if version else "missing", version or "not installed", mend))
    for name, purpose in OPTIONAL.items():
        version = _version(name)
        checks.append(
            _check(
                name,
                "ok" if version else "note",
                version or f"not installed: {purpose}",
                "" if version else f"pip install {name}",
            )
        )
    return checks


def _accelerator() -> list[dict[str, str]]:
    if _version("torch") is None:
        return []
    import torch  # this command is about the heavy packages: it may load one

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return [_check("accelerator", "ok", f"CUDA {torch.version.cuda}: {names}")]
    if shutil.which("nvidia-smi"):
        return [
            _check(
                "accelerator",
                "missing",
                "there is a GPU, but this torch cannot use it",
                "pip install --force-reinstall torch",
            )
        ]
    bf16 = torch.backends.cpu.get_cpu_capability()
    return [_check("accelerator", "ok", f"none; the CPU computes ({bf16})")]


def _launchers() -> list[dict[str, str]]:
    checks = []
    for name in ("deepspeed", "torchrun"):
        beside = shutil.which(name, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))  # noqa: PTH120
        mend = "" if beside else f"pip install {'deepspeed' if name == 'deepspeed' else 'torch'}"
        checks.append(
            _check(
                f"launcher {name}",
                "ok" if beside else "note",
                beside or "not on the path; --processes works without",
                mend,
            )
        )
    return checks


def _plugins() -> list[dict[str, str]]:
    checks = []
    for plugin in load_plugins().plugins():
        found = plugin.origin.source
        if plugin.status == "broken":
            checks.append(_check(f"plugin {plugin.name}", "missing", found, "; ".join(plugin.problems)))
        else:
            state = "note" if plugin.problems else "ok"
            checks.append(_check(f"plugin {plugin.name}", state, found, "; ".join(plugin.problems)))
    return checks


def _backbones() -> list[dict[str, str]]:
    from polyhead.registry import BackboneError

    checks = []
    for name, backbone in sorted(load_plugins().backbones().items()):
        try:
            checks.append(_check(f"backbone {name}", "ok", str(backbone.locate())))
        except BackboneError as error:
            checks.append(_check(f"backbone {name}", "note", "not installed", str(error)))
    return checks


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
