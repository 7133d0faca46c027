"""Did you mean: typing errors find their word, other words find nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linvit_dsl.errors.suggest import distance, nearest

OPERATORS = ("linear", "layernorm", "gelu", "relu", "conv2d", "repeat", "heads")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("liner", "linear"),
        ("linaer", "linear"),
        ("repaet", "repeat"),
        ("Layernorm", "layernorm"),
        ("conv3d", "conv2d"),
        ("heasd", "heads"),
        ("selu", "gelu"),
    ],
)
def test_a_typing_error_finds_its_word(word: str, meant: str) -> None:
    assert nearest(word, OPERATORS) == meant


@pytest.mark.parametrize("word", ["attention", "q", "", "xyz", "softmax", "ear"])
def test_another_word_finds_nothing(word: str) -> None:
    assert nearest(word, OPERATORS) is None


def test_one_letter_is_not_mistaken_for_another() -> None:
    assert nearest("q", ("k", "v")) is None
    assert nearest("K", ("v", "k")) == "k"


def test_no_candidates() -> None:
    assert nearest("linear", ()) is None
    assert nearest("linear", iter(["liner"])) == "liner"


def slow_distance(left: str, right: str) -> int:
    """Optimal string alignment by its recursive definition."""
    if not left or not right:
        return len(left) + len(right)
    best = min(
        slow_distance(left[:-1], right) + 1,
        slow_distance(left, right[:-1]) + 1,
        slow_distance(left[:-1], right[:-1]) + (left[-1] != right[-1]),
    )
    if len(left) > 1 and len(right) > 1 and left[-2:] == right[-1] + right[-2]:
        best = min(best, slow_distance(left[:-2], right[:-2]) + 1)
    return best


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_the_distance_is_that_of_its_definition(left: str, right: str) -> None:
    assert distance(left, right) == slow_distance(left, right)
