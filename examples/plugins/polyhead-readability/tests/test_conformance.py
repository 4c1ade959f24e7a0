"""What ``polyhead plugins check polyhead-readability:readability`` checks."""

from __future__ import annotations

from polyhead.registry.testing import check_task


def test_the_plugin_is_sound() -> None:
    check_task("polyhead-readability:readability")
