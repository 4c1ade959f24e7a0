"""Find the plugins that are installed, load each on its own, and say of a broken one what is wrong."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import pluggy

from polyhead.registry import hookspecs
from polyhead.registry.contracts import API_VERSION
from polyhead.registry.errors import UnknownNameError
from polyhead.registry.names import did_you_mean, unknown_name
from polyhead.registry.tracing import traced

OURS = "polyhead"
"""The distribution that is polyhead itself."""
GROUP = "polyhead"
"""The entry-point group by which a distribution declares its plugins."""
LIMIT = "POLYHEAD_LOAD_PLUGINS"
"""The environment variable that names the plugins to load, separated by commas; empty: none."""


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from."""

    plugin: str
    """The name of its entry point, or of its module where it is built in."""
    distribution: str
    version: str
    """Empty where the plugin is built in or its distribution does not say."""

    def __str__(self) -> str:
        return f"plugin '{self.plugin}' of {self.source}"

    @property
    def source(self) -> str:
        """Return distribution and version, as far as there is one."""
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def key(self) -> str:
        """Return the name that stays unique when two distributions call a plugin the same."""
        return f"{self.distribution}:{self.plugin}"


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that was left out because it does not work; everything else goes on without it."""

    name: str
    distribution: str
    version: str
    error: str
    """One line."""
    remedy: str
    """What the user can do about it."""

    @property
    def origin(self) -> Origin:
        """Return where it comes from."""
        return Origin(self.name, self.distribution, self.version)

    def __str__(self) -> str:
        return f"{self.origin}: {self.error}; {self.remedy}"


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin object, usually a module, and where it comes from."""

    origin: Origin
    plugin: object
    seconds: float = 0.0
    """How long the import took."""


def describe(error: BaseException) -> str:
    """Return the kind of an error and its message, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def broken(origin: Origin, error: str, remedy: str | None = None) -> BrokenPlugin:
    """Return the report on a plugin that does not work; the usual remedy is to upgrade or remove it."""
    advice = remedy or f"upgrade {origin.distribution}, or uninstall it, or leave it out by {LIMIT}"
    return BrokenPlugin(origin.plugin, origin.distribution, origin.version, error, advice)


def origin_of(entry_point: EntryPoint) -> Origin:
    """Return where an entry point comes from, also where the metadata of its distribution is damaged."""
    distribution = entry_point.dist
    if distribution is None:
        return Origin(entry_point.name, "an unnamed distribution", "")
    facts = distribution.metadata  # not its `json`: that takes apart every field of it, for every plugin
    name, version = (facts[key] if key in facts else "" for key in ("Name", "Version"))  # noqa: SIM401 - no `get`: 3.11
    return Origin(entry_point.name, name or "an unnamed distribution", version)


def builtin_origin(plugin: object) -> Origin:
    """Return the origin of a plugin that is part of polyhead itself."""
    name = str(getattr(plugin, "__name__", type(plugin).__name__))
    return Origin(name.rpartition(".")[2], OURS, "")


def select(
    entry_points: Iterable[EntryPoint], limit: str | None
) -> tuple[list[tuple[Origin, EntryPoint]], list[Origin]]:
    """Split entry points into those to load and those that ``limit`` leaves out, both sorted by name.

    ``limit`` holds names separated by commas; ``distribution:name`` tells two of one name apart. None loads
    everything. Raises `UnknownNameError` for a name that no entry point has.
    """
    found = sorted(
        ((origin_of(entry_point), entry_point) for entry_point in entry_points),
        key=lambda pair: (pair[0].plugin, pair[0].distribution),
    )
    if limit is None:
        return found, []
    wanted = {name.strip() for name in limit.split(",") if name.strip()}
    known = {name for origin, _ in found for name in (origin.plugin, origin.key)}
    for name in sorted(wanted - known):
        error = unknown_name("plugin", name, {origin.plugin for origin, _ in found})
        raise UnknownNameError(f"{LIMIT}={limit}: {error}")
    chosen = [pair for pair in found if wanted & {pair[0].plugin, pair[0].key}]
    return chosen, [origin for origin, _ in found if not wanted & {origin.plugin, origin.key}]


def load(origin: Origin, entry_point: EntryPoint) -> LoadedPlugin | BrokenPlugin:
    """Import one plugin; whatever it raises becomes the report."""
    started = time.perf_counter()
    try:
        with traced(origin.key, f"import {entry_point.value}") as trace:
            plugin = trace.answer = entry_point.load()
        return LoadedPlugin(origin, plugin, time.perf_counter() - started)
    except ModuleNotFoundError as error:
        reinstall = f"install what it needs: pip install --upgrade {origin.distribution}"
        return broken(origin, describe(error), reinstall)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - one broken plugin must not stop the others
        return broken(origin, describe(error))


def accept(manager: pluggy.PluginManager, loaded: LoadedPlugin) -> BrokenPlugin | None:
    """Register a plugin, or return what is wrong with it and leave the manager as it was."""
    origin = loaded.origin
    refused = _refuse_version(loaded)
    if refused is not None:
        return refused
    problem = _find_problem(loaded.plugin)
    if problem is not None:
        return broken(origin, problem)
    try:
        manager.register(loaded.plugin, name=origin.key)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        if manager.has_plugin(origin.key):  # false where it was refused before it was registered
            manager.unregister(name=origin.key)
        return broken(origin, describe(error))
    except ValueError:  # pluggy's answer to a second registration
        other = manager.get_name(loaded.plugin) or origin.key
        return broken(origin, f"is already registered as '{other}'")
    return None


def implemented_hooks(manager: pluggy.PluginManager, plugin: object) -> tuple[str, ...]:
    """Return the names of the hooks that a registered plugin implements, sorted."""
    return tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))


def _refuse_version(loaded: LoadedPlugin) -> BrokenPlugin | None:
    origin = loaded.origin
    version = inspect.getattr_static(loaded.plugin, "polyhead_api_version", API_VERSION)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return broken(origin, f"polyhead_api_version is {version!r}; it must be a whole number from 1")
    if version > API_VERSION:
        return broken(
            origin,
            f"was written for plugin API {version}, this polyhead offers {API_VERSION}",
            f"upgrade polyhead or install an older {origin.distribution}",
        )
    return None


def _find_problem(plugin: object) -> str | None:
    """Say what keeps a plugin's hooks from working, in clearer words than the plugin manager's own."""
    marked = 0
    for name in dir(plugin):
        function = inspect.getattr_static(plugin, name, None)
        marks = getattr(function, f"{hookspecs.PROJECT}_impl", None)
        if isinstance(marks, dict):
            marked += 1
            problem = _check_hook(marks.get("specname") or name, getattr(plugin, name), marks)
        else:
            problem = _check_unmarked(name, function)
        if problem is not None:
            return problem
    return None if marked else "implements no hook (mark its functions with polyhead.registry.hookimpl)"


def _check_hook(name: str, function: Callable[..., object], marks: dict[str, object]) -> str | None:
    specification: Any = getattr(hookspecs, name, None)
    if not hasattr(specification, f"{hookspecs.PROJECT}_spec"):
        known = [hook for hook in dir(hookspecs) if hook.startswith("polyhead_")]
        return None if marks.get("optionalhook") else f"there is no hook '{name}'.{did_you_mean(name, known)}"
    if marks.get("wrapper") or marks.get("hookwrapper"):
        return f"{name}: hooks cannot be wrapped; implement the hook itself"
    allowed, given = _parameters(specification), _parameters(function)
    unknown = [parameter for parameter in given if parameter not in allowed]
    if unknown:
        return f"{name} takes ({', '.join(allowed)}), not '{unknown[0]}'.{did_you_mean(unknown[0], allowed)}"
    return None


def _check_unmarked(name: str, function: object) -> str | None:
    specification = getattr(hookspecs, name, None)
    if not name.startswith("polyhead_") or function is specification or not inspect.isfunction(function):
        return None
    if not hasattr(specification, f"{hookspecs.PROJECT}_spec"):
        return None
    return f"{name} is never called: mark it with polyhead.registry.hookimpl"


def _parameters(function: Callable[..., object]) -> list[str]:
    """Return the names of the parameters that a hook call fills: those without a default."""
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]
