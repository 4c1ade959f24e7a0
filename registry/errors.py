"""What can go wrong in a way a user can mend: the error tree.

::

    PolyheadError             a user's mistake: printed as one line, exit code 2
    ├── UnknownNameError      a name that nobody registered (did you mean ...)
    ├── DataError             a file that cannot be read or holds no usable row
    │   └── RowError          one row that is wrong: column, problem, what is allowed
    ├── BackboneError         a backbone that cannot be found, read or given this head
    ├── PluginError           a plugin that broke, clashes, or speaks a newer API
    └── RunError              a run that cannot start, go on or be resumed
        └── LostProcessError  another process of the run is gone
"""

from __future__ import annotations


class PolyheadError(Exception):
    """Report a user's mistake: what is wrong, where, and what is allowed."""


class UnknownNameError(PolyheadError):
    """Report a name that is not registered, with the nearest names and the whole list."""


class DataError(PolyheadError):
    """Report a file that cannot be read, or that holds no usable row."""


class RowError(DataError):
    """Report what is wrong with one row.

    The plugin knows column and problem; the engine adds file and line before a user sees it.
    """

    def __init__(self, problem: str, *, column: str | None = None) -> None:
        super().__init__(problem if column is None else f"column '{column}': {problem}")
        self.column = column
        self.problem = problem


class BackboneError(PolyheadError):
    """Report a backbone that cannot be found, read, or given the wanted head."""


class PluginError(PolyheadError):
    """Report a plugin that broke, clashes with another, or needs a newer polyhead."""


class RunError(PolyheadError):
    """Report a run that cannot start, go on, or be resumed."""


class LostProcessError(RunError):
    """Report that another process of the run is gone; each process that is left says so for itself."""
