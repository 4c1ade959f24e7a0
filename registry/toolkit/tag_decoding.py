"""The best sequence of tags: constrained by which tag may follow which, or each for itself.

Shapes: N positions, L tags.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from polyhead.registry.toolkit.tag_schemes import OUTSIDE, Tag, TagSet

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

_FORBIDDEN = -1e6
"""What a forbidden step costs: finite, so that a label set in which nothing is allowed still gets an answer."""


def log_softmax(logits_NL: Array) -> Array:
    """Return log-probabilities."""
    import numpy as np  # heavy: kept out of plugin discovery

    shifted_NL = logits_NL - logits_NL.max(1, keepdims=True)
    result_NL: Array = shifted_NL - np.log(np.exp(shifted_NL).sum(1, keepdims=True))
    return result_NL


def best_tags(scores_NL: Array, tags: TagSet, *, constrained: bool) -> list[int]:
    """Return the tag of each position: the allowed sequence with the highest sum of scores (Viterbi).

    Args:
        scores_NL: Log-probabilities.
        tags: The tags, and which may follow which.
        constrained: False takes the best tag of each position whatever stands beside it.

    """
    import numpy as np  # heavy: kept out of plugin discovery

    if not constrained or not len(scores_NL):
        return [int(tag) for tag in scores_NL.argmax(1)]
    step_LL, start_L, end_L = _penalties(tags)
    best_L = scores_NL[0] + start_L
    origins: list[Any] = []
    for row_L in scores_NL[1:]:
        through_LL = best_L[:, None] + step_LL
        origin_L = through_LL.argmax(0)
        best_L = through_LL[origin_L, np.arange(len(origin_L))] + row_L
        origins.append(origin_L)
    path = [int((best_L + end_L).argmax())]
    for origin_L in reversed(origins):
        path.append(int(origin_L[path[-1]]))
    return path[::-1]


@lru_cache(maxsize=64)
def _penalties(tags: TagSet) -> tuple[Array, Array, Array]:
    import numpy as np  # heavy: kept out of plugin discovery

    border = Tag(OUTSIDE)
    step_LL = np.array([[tags.may_follow(left, right) for right in tags.tags] for left in tags.tags])
    start_L = np.array([tags.may_follow(border, tag) for tag in tags.tags])
    end_L = np.array([tags.may_follow(tag, border) for tag in tags.tags])
    return np.where(step_LL, 0.0, _FORBIDDEN), np.where(start_L, 0.0, _FORBIDDEN), np.where(end_L, 0.0, _FORBIDDEN)
