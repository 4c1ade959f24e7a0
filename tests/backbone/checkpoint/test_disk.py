"""A folder or file is there whole or not at all, and what a kill leaves is put in order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from polyhead.backbone.checkpoint import disk
from polyhead.backbone.checkpoint.disk import delete_folder, publish, put_in_order, start_draft, write_text


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it runs."""


def write(folder: Path, content: str) -> None:
    draft = start_draft(folder)
    (draft / "inner").mkdir()
    (draft / "inner" / "file").write_text(content, encoding="utf-8")
    publish(folder)


def content(folder: Path) -> str:
    return (folder / "inner" / "file").read_text(encoding="utf-8")


def killed_at(call: int, action: Callable[[], None]) -> bool:
    """Run an action until its Nth change of the disk, which does not happen; return whether it came so far."""
    left = call

    def guard(patch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        real = getattr(owner, name)

        def guarded(*arguments: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*arguments, **named)

        patch.setattr(owner, name, guarded)

    changes = [(Path, name) for name in ("rename", "mkdir", "write_text", "replace")]
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (*changes, (disk.shutil, "rmtree"), (disk, "flush")):
            guard(patch, owner, name)
        try:
            action()
        except Killed:
            return True
        return False


@pytest.mark.parametrize("action", ["replace", "delete"])
def test_a_kill_at_any_point_leaves_the_old_or_the_new(action: str, tmp_path: Path) -> None:
    points = 0
    for call in range(1, 100):
        parent = tmp_path / str(call)
        folder = parent / "model"
        write(folder, "old")
        doing = partial(write, folder, "new") if action == "replace" else partial(delete_folder, folder)
        if not killed_at(call, doing):
            break
        points += 1
        put_in_order(parent)
        found = [path.name for path in parent.iterdir()]
        if action == "replace":
            assert found == ["model"], call
            assert content(folder) in {"old", "new"}
        else:
            assert found in ([], ["model"]), call
            assert not found or content(folder) == "old"
    assert points >= 4
    assert folder.exists() == (action == "replace")


def test_files_are_flushed_before_the_folder_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        done.append(f"{self.name} becomes {target.name}")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(disk, "flush", lambda path: done.append(path.name))
    write(tmp_path / "model", "new")
    assert done == ["file", "inner", ".writing-model", ".writing-model becomes model", tmp_path.name]


def test_a_text_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")
    for call in range(1, 10):
        if not killed_at(call, lambda: write_text(path, "new")):
            break
        assert path.read_text(encoding="utf-8") in {"old", "new"}
        put_in_order(tmp_path)
        assert [found.name for found in tmp_path.iterdir()] == ["metrics.json"]
    assert path.read_text(encoding="utf-8") == "new"


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".hidden").write_text("mine", encoding="utf-8")
    write(tmp_path / "model", "new")
    put_in_order(tmp_path)
    put_in_order(tmp_path / "gone")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "model"]
