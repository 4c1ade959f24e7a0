"""Which of two labels is the positive one: told by name or by the user, never guessed."""

from __future__ import annotations

import pytest

from polyhead.registry import DataError
from polyhead.registry.toolkit.binary_labels import known_positive, negative_and_positive


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (["0", "1"], "1"),
        (["true", "false"], "true"),
        (["paraphrase", "not_paraphrase"], "paraphrase"),
        (["不是", "是"], "是"),
        (["Duplicate", "other"], "Duplicate"),
    ],
)
def test_names_that_say_yes(labels, positive):
    assert known_positive(labels) == positive
    assert negative_and_positive(labels * 2, None)[1] == positive


def test_the_user_has_the_last_word():
    assert negative_and_positive(["0", "1"], "0") == ("1", "0")
    assert negative_and_positive(["甲", "乙"], "乙") == ("甲", "乙")


@pytest.mark.parametrize(
    ("labels", "wanted", "message"),
    [
        (["a", "b"], None, "which of 'a' and 'b' is the positive one"),
        (["1", "true"], None, "which of '1' and 'true'"),
        (["1", "1"], None, "found 1"),
        (["0", "1", "2"], None, "found 3"),
        (["same", "other"], "sane", "did you mean 'same'|Did you mean 'same'"),
    ],
)
def test_what_is_not_clear_is_asked(labels, wanted, message):
    with pytest.raises(DataError, match=message):
        negative_and_positive(labels, wanted)
