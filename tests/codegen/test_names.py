"""Names of the language become Python identifiers: legal, distinct, reversible."""

import builtins
import keyword
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from linvit_codegen.names import (
    BUILTINS,
    MODULE_ATTRIBUTES,
    VARIABLE_RESERVED,
    Names,
    class_name,
    function_name,
    is_numbered,
    legalise,
    numbered,
)

LETTERS = st.characters(min_codepoint=0x370, max_codepoint=0x3FF) | st.sampled_from("abcxyzABC_")
words = st.builds(
    "{}{}{}".format,
    LETTERS,
    st.text(LETTERS | st.sampled_from("0123456789"), max_size=6),
    st.sampled_from(["", "'", "''"]),
) | st.sampled_from(
    ["map", "d'", "d_p", "φ", "phi", "self", "lambda", "train", "F", "_", "__init__"]
)


@pytest.mark.parametrize(
    ("word", "python"),
    [
        ("x", "x"),
        ("d'", "d_p"),
        ("φ", "phi"),
        ("Ω", "Omega"),
        ("λ", "lambda_"),
        ("map", "map_"),
        ("torch", "torch_"),
        ("l", "l_"),
        ("_x", "v_x"),
        ("__class__", "v__class__"),
    ],
)
def test_a_name_stays_close_to_itself(word: str, python: str) -> None:
    assert legalise(word) == python


@given(st.lists(words, max_size=30))
def test_names_are_identifiers_and_map_back(found: list[str]) -> None:
    names = Names(found, VARIABLE_RESERVED)
    pythons = [names[word] for word in dict.fromkeys(found)]
    assert len(set(pythons)) == len(pythons)
    for python in pythons:
        assert python.isidentifier()
        assert python.isascii()
        assert not keyword.iskeyword(python)
        assert not python.startswith("_")
        assert python not in VARIABLE_RESERVED
    assert {names.changed.get(names[word], names[word]) for word in found} == set(found)


def test_a_plain_name_keeps_itself_whatever_comes_first() -> None:
    names = Names(["d'", "d_p", "φ", "phi"], VARIABLE_RESERVED)
    assert [names[word] for word in ("d_p", "phi")] == ["d_p", "phi"]
    assert [names[word] for word in ("d'", "φ")] == ["d_p_2", "phi_2"]


def test_a_number_takes_the_place_of_the_underscore() -> None:
    assert list(islice(numbered("map_"), 3)) == ["map_", "map_2", "map_3"]
    assert all(is_numbered(name, "map_") for name in ("map_", "map_2"))
    assert not any(is_numbered(name, "map_") for name in ("map", "map__2", "map_x"))


def test_the_frozen_lists_cover_this_torch_and_this_python() -> None:
    public = {name for name in dir(nn.Module()) if not name.startswith("_")}
    assert public <= MODULE_ATTRIBUTES
    assert {name for name in dir(builtins) if name[0].islower()} <= BUILTINS


def test_blocks_get_numbers_when_their_names_are_taken() -> None:
    assert class_name("RipplePool", {"RipplePool"}) == "RipplePool2"
    assert class_name("linear_state", ()) == "LinearState"
    assert class_name("linear_state", {"LinearState"}) == "LinearState2"
    assert class_name("Block'", ()) == "BlockP"
    assert class_name("Tensor", ()) == "Tensor2"
    assert [class_name(word, ()) for word in ("None", "True", "O")] == ["None2", "True2", "O2"]
    assert function_name("O", {"o"}) == "o_2"
    assert function_name("SplitHeads", ()) == "split_heads"
    assert function_name("QKV", {"qkv"}) == "qkv_2"
    assert function_name("ToMap2D", ()) == "to_map2_d"
