"""The public plugin API: what a plugin is made of, and the registry that finds and calls plugins.

Importing it loads no torch; a plugin that only uses what stands here can be listed in an instant.
"""

from __future__ import annotations

from polyhead.registry.additions import Command, NamedBackbone, NamedHead, Reader
from polyhead.registry.catalogue import Clash
from polyhead.registry.contracts import (
    API_VERSION,
    Column,
    EncodeSettings,
    Example,
    Family,
    Feature,
    Generated,
    GenerationSettings,
    HeadFactory,
    HeadSpec,
    LabelField,
    LossSum,
    Metric,
    ModelFacts,
    Output,
    Perturbation,
    Reduction,
    Row,
    Scores,
    SourceRow,
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
from polyhead.registry.life_cycle import EvaluationEnd, RunEnd, RunStart, RunStatus, StepEnd
from polyhead.registry.manager import Registry
from polyhead.registry.names import available, did_you_mean, unknown_name
from polyhead.registry.plugin_info import PluginInfo, RegisteredTask, Used

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
    "Generated",
    "GenerationSettings",
    "HeadFactory",
    "HeadSpec",
    "HookInfo",
    "LabelField",
    "LossSum",
    "LostProcessError",
    "Metric",
    "ModelFacts",
    "NamedBackbone",
    "NamedHead",
    "Origin",
    "Output",
    "Perturbation",
    "PluginError",
    "PluginInfo",
    "PolyheadError",
    "Reader",
    "Reduction",
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
    "Used",
    "Window",
    "available",
    "did_you_mean",
    "hookimpl",
    "hooks",
    "unknown_name",
]
