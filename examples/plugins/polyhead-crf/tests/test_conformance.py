"""What ``polyhead plugins check polyhead-crf:crf`` checks."""

from __future__ import annotations

from polyhead.registry.testing import check_task


def test_the_plugin_is_sound() -> None:
    check_task("polyhead-crf:crf")
