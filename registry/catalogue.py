"""What plugins brought, by name, and whose it is where several of them claim it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from polyhead.registry.discovery import LIMIT, OURS, Origin
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
    """One name that two or more plugins claim."""

    kind: str
    """``task``, ``ner head``, ``reader``, ``backbone`` or ``command``."""
    name: str
    origins: tuple[Origin, ...]
    winner: Origin | None
    """Who has it: the one that was chosen, else polyhead itself; None: nobody, until one is chosen."""

    def __str__(self) -> str:
        claims = " and by ".join(str(origin) for origin in self.origins)
        return f"{self.kind} '{self.name}' is registered by {claims}; {self.remedy}"

    @property
    def remedy(self) -> str:
        """Say how one of them is chosen."""
        others = {origin.distribution: None for origin in self.origins if origin != self.winner}
        if len({origin.distribution for origin in self.origins}) == 1:
            return f"leave one of them out by {LIMIT}, or upgrade {self.origins[0].distribution}"
        if self.kind == "command" or self.kind.endswith("perturbation"):  # nothing of a run's settings
            taken = "" if self.winner is None else f"that of {self.winner.distribution} is taken; "
            return f"{taken}leave one of them out by {LIMIT}, or uninstall it"
        choice = " or ".join(f"--plugin {distribution}:{self.name}" for distribution in others)
        if self.winner is not None:
            return f"that of {self.winner.distribution} is taken, unless you say {choice}"
        return f"choose by {choice}, or uninstall one of them"


class Catalogue(Generic[T]):
    """All entries of one kind, each with the plugin that brought it.

    A name that several plugins claim belongs to the one that the user chose; else to polyhead itself, so that no
    installed package changes what a name of polyhead's means; else to nobody.
    """

    def __init__(self, kind: str, entries: Iterable[tuple[Origin, T]]) -> None:
        self._kind = kind
        self._chosen: dict[str, str] = {}
        self._entries: dict[str, list[tuple[Origin, T]]] = {}
        for origin, entry in sorted(entries, key=lambda claim: claim[0].key):
            self._entries.setdefault(entry.name, []).append((origin, entry))

    def choose(self, distribution: str, name: str) -> bool:
        """Give a name to one distribution's entry; return whether it has one of this name."""
        found = any(origin.distribution == distribution for origin, _ in self._entries.get(name, ()))
        if found:
            self._chosen[name] = distribution
        return found

    def names(self) -> tuple[str, ...]:
        """Return every name that is claimed, sorted."""
        return tuple(sorted(self._entries))

    def claims(self, name: str) -> tuple[Origin, ...]:
        """Return who claims a name."""
        return tuple(origin for origin, _ in self._entries.get(name, ()))

    def usable(self) -> dict[str, tuple[Origin, T]]:
        """Return the entries whose name belongs to somebody, in order of their names."""
        found = {name: self._winner(name) for name in self.names()}
        return {name: claim for name, claim in found.items() if claim is not None}

    def clashes(self) -> tuple[Clash, ...]:
        """Return the names that several plugins claim."""
        return tuple(self._clash(name) for name in self.names() if len(self._entries[name]) > 1)

    def get(self, name: str, *, hint: str = "") -> T:
        """Return the entry of this name.

        Raises `UnknownNameError`, with ``hint`` at its end, or `PluginError` where several plugins claim it and none
        has it.
        """
        return self.find(name, hint=hint)[1]

    def find(self, name: str, *, hint: str = "") -> tuple[Origin, T]:
        """Return the entry of this name with the plugin that brought it; raises as `get` does."""
        if name not in self._entries:
            raise UnknownNameError(f"{unknown_name(self._kind, name, self._entries)}{hint}")
        claim = self._winner(name)
        if claim is None:
            raise PluginError(str(self._clash(name)))
        return claim

    def _winner(self, name: str) -> tuple[Origin, T] | None:
        claims = self._entries[name]
        if len(claims) == 1:
            return claims[0]
        wanted = self._chosen.get(name, OURS)
        theirs = [claim for claim in claims if claim[0].distribution == wanted]
        return theirs[0] if len(theirs) == 1 else None

    def _clash(self, name: str) -> Clash:
        winner = self._winner(name)
        return Clash(self._kind, name, self.claims(name), None if winner is None else winner[0])
