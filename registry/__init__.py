"""The public plugin API: what a plugin is made of, and the registry that finds and calls plugins.

Importing it loads no torch; a plugin that only uses what stands here can be listed in an instant.
"""

from __future__ import annotations

from polyhead.registry.catalogue import Clash
from polyhead.registry.contracts import (
    API_VERSION,
    Column,
    Command,
    EncodeSettings,
    EvaluationEnd,
    Example,
    Family,
    Feature,
    HeadFactory,
    HeadSpec,
    LabelField,
    LossSum,
    Metric,
    NamedBackbone,
    Output,
    Perturbation,
    Row,
    RunEnd,
    RunStart,
    RunStatus,
    Scores,
    SourceRow,
    StepEnd,
    Table,
    Task,
    TaskSetup,
    Window,
)
from polyhead.registry.discovery import BrokenPlugin, Origin
from polyhead.registry.errors import (
    BackboneError,
    DataError,
    LostProcessError,
    PluginError,
    PolyheadError,
    RowError,
    RunError,
    UnknownNameError,
)
from polyhead.registry.examples import TextExample
from polyhead.registry.hook_reference import HookInfo, hooks
from polyhead.registry.hookspecs import hookimpl
from polyhead.registry.manager import PluginInfo, RegisteredTask, Registry
from polyhead.registry.names import available, did_you_mean, unknown_name

__all__ = [
    "API_VERSION",
    "BackboneError",
    "BrokenPlugin",
    "Clash",
    "Column",
    "Command",
    "DataError",
    "EncodeSettings",
    "EvaluationEnd",
    "Example",
    "Family",
    "Feature",
    "HeadFactory",
    "HeadSpec",
    "HookInfo",
    "LabelField",
    "LossSum",
    "LostProcessError",
    "Metric",
    "NamedBackbone",
    "Origin",
    "Output",
    "Perturbation",
    "PluginError",
    "PluginInfo",
    "PolyheadError",
    "RegisteredTask",
    "Registry",
    "Row",
    "RowError",
    "RunEnd",
    "RunError",
    "RunStart",
    "RunStatus",
    "Scores",
    "SourceRow",
    "StepEnd",
    "Table",
    "Task",
    "TaskSetup",
    "TextExample",
    "UnknownNameError",
    "Window",
    "available",
    "did_you_mean",
    "hookimpl",
    "hooks",
    "unknown_name",
]
