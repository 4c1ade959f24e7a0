"""What plugins brought, by name; a name that two of them claim is kept apart until somebody asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from polyhead.registry.discovery import LIMIT, Origin
from polyhead.registry.errors import PluginError, UnknownNameError
from polyhead.registry.names import unknown_name


class Named(Protocol):
    """What a plugin registers under a name of its own."""

    @property
    def name(self) -> str:
        """Return the name users write."""
        ...


T = TypeVar("T", bound=Named)


@dataclass(frozen=True)
class Clash:
    """One name that two or more plugins claim; none of them gets it."""

    kind: str
    """``task``, ``backbone`` or ``command``."""
    name: str
    origins: tuple[Origin, ...]
    remedy: str

    def __str__(self) -> str:
        claims = " and by ".join(str(origin) for origin in self.origins)
        return f"{self.kind} '{self.name}' is registered by {claims}; {self.remedy}"


class Catalogue(Generic[T]):
    """All entries of one kind, each with the plugin that brought it."""

    def __init__(self, kind: str, entries: Iterable[tuple[Origin, T]], selectable: Sequence[Origin]) -> None:
        self._kind = kind
        self._selectable = selectable
        self._entries: dict[str, list[tuple[Origin, T]]] = {}
        for origin, entry in sorted(entries, key=lambda claim: claim[0].key):
            self._entries.setdefault(entry.name, []).append((origin, entry))

    def unique(self) -> dict[str, tuple[Origin, T]]:
        """Return the entries that one plugin alone claims, in order of their names."""
        return {name: claims[0] for name, claims in sorted(self._entries.items()) if len(claims) == 1}

    def clashes(self) -> tuple[Clash, ...]:
        """Return the names that several plugins claim."""
        claimants = {name: [origin for origin, _ in claims] for name, claims in sorted(self._entries.items())}
        return tuple(
            Clash(self._kind, name, tuple(origins), self._choose(origins))
            for name, origins in claimants.items()
            if len(origins) > 1
        )

    def get(self, name: str, *, hint: str = "") -> T:
        """Return the entry of this name.

        Raises `UnknownNameError`, with ``hint`` at its end, or `PluginError` where several plugins claim it.
        """
        if name not in self._entries:
            raise UnknownNameError(f"{unknown_name(self._kind, name, self._entries)}{hint}")
        for clash in self.clashes():
            if clash.name == name:
                raise PluginError(str(clash))
        return self._entries[name][0][1]

    def _choose(self, claimants: Sequence[Origin]) -> str:
        """Say which setting of the environment keeps one of the claimants and leaves out the others."""
        kept = next((origin for origin in claimants if origin not in self._selectable), claimants[0])
        loaded = [origin for origin in self._selectable if origin == kept or origin not in claimants]
        names = [origin.plugin for origin in self._selectable]
        wanted = [origin.plugin if names.count(origin.plugin) == 1 else origin.key for origin in loaded]
        return (
            f"choose by {LIMIT}, as in {LIMIT}={','.join(wanted)} for that of {kept.distribution}, "
            "or uninstall one of them"
        )
