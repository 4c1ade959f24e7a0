"""How a file or folder gets onto the disk whole or not at all, whenever the process is killed.

A folder ``NAME`` is written as ``.writing-NAME`` beside it, and everything in it flushed. Then the one that stands
there becomes ``.old-NAME``, the draft ``NAME``, and the old one goes. A killed process leaves one of these behind;
`put_in_order` clears up after it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_WRITING, _OLD, _DELETED = ".writing-", ".old-", ".deleted-"


def draft_of(target: Path) -> Path:
    """Return where a file or folder is written before it gets its name."""
    return target.with_name(f"{_WRITING}{target.name}")


def is_draft(path: Path) -> bool:
    """Whether a file or folder was not written to its end."""
    return path.name.startswith(_WRITING)


def start_draft(folder: Path) -> Path:
    """Make an empty draft of a folder and return it; one that a killed process left goes."""
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def publish(folder: Path) -> None:
    """Give the draft of a folder its name; what stands there goes only when the draft is in its place."""
    draft, old = draft_of(folder), folder.with_name(f"{_OLD}{folder.name}")
    _flush_tree(draft)
    if old.exists():
        delete_folder(old)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    flush(folder.parent)
    if old.exists():
        delete_folder(old)


def delete_folder(folder: Path) -> None:
    """Delete a folder so that nobody ever finds half of it under its name."""
    doomed = folder.with_name(f"{_DELETED}{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    flush(folder.parent)
    shutil.rmtree(doomed)


def put_in_order(folder: Path) -> None:
    """Clear up what a killed process left among the entries of a folder.

    What was to be replaced and has no successor gets its name back; drafts and what was to be deleted go.
    """
    for old in sorted(folder.glob(f"{_OLD}*")):
        target = folder / old.name.removeprefix(_OLD)
        if not target.exists():
            old.rename(target)
            flush(folder)
    for kind in (_OLD, _WRITING, _DELETED):
        for rest in sorted(folder.glob(f"{kind}*")):
            if rest.is_dir():
                shutil.rmtree(rest)
            else:
                rest.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; one that stands there is replaced."""
    draft = draft_of(path)
    draft.write_text(text, encoding="utf-8")
    flush(draft)
    draft.replace(path)
    flush(path.parent)


def _flush_tree(folder: Path) -> None:
    """Wait until all files below a folder, and the entries of all folders, are on disk."""
    for path in sorted(folder.rglob("*"), reverse=True):  # what is in a folder before the folder
        flush(path)
    flush(folder)


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
