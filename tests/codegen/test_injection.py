"""Nothing in a spec becomes code: names and texts change identifiers and comments, no more."""

import ast
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linvit_codegen import generate
from linvit_codegen.verify import verify
from linvit_dsl.errors import InternalError
from tests.codegen.samples import named

LETTERS = "abcdefgABCDEFG_" + "".join(map(chr, range(0x391, 0x3CA)))
identifiers = st.builds(
    "{}{}{}".format,
    st.sampled_from(LETTERS),
    st.text(LETTERS + "0123456789", max_size=8),
    st.sampled_from(["", "'", "'''"]),
) | st.sampled_from(
    ["self", "torch", "__class__", "forward", "super", "F", "print", "exec", "B", "zip", "layers"]
)
hostile = st.text(max_size=60) | st.sampled_from(
    ['"""', '\\"""', "\\", "\n", '"""\nimport os\nos.system("x")\n"""', "\r\n#", "\u2028", "\x00"]
)


def kinds(text: str) -> Counter[str]:
    return Counter(type(node).__name__ for node in ast.walk(ast.parse(text)))


PLAIN = kinds(generate(named(("u", "v", "w"), ("p", "q", "r"), "Plain", "A test.")).text)


@given(
    st.lists(identifiers, min_size=3, max_size=3, unique=True),
    st.lists(identifiers, min_size=3, max_size=3, unique=True),
    hostile,
)
def test_names_and_texts_never_change_the_kinds_of_code(
    values: list[str], slots: list[str], doc: str
) -> None:
    text = generate(named(tuple(values), tuple(slots), "Plain", doc or "-")).text
    assert kinds(text) == PLAIN
    assert not any(char in text for char in "\r\x00\x0c\x1b\u2028\u202e")


HEAD = "import torch\nfrom linvit_runtime import trace\nfrom torch import Tensor, nn\n"
CLASS = "class M(nn.Module):\n    def forward(self, x: Tensor) -> Tensor:\n        return {}\n"
TAIL = "trace.locate_errors(M, __file__)\n"


def test_an_ordinary_module_passes() -> None:
    verify(HEAD + CLASS.format("torch.relu(x)") + TAIL, "M", ("M",))


@pytest.mark.parametrize(
    "text",
    [
        "import os\n" + HEAD + CLASS.format("x") + TAIL,
        HEAD + CLASS.format("x.__class__") + TAIL,
        HEAD + CLASS.format("torch.load(x)") + TAIL,
        HEAD + CLASS.format("torch.ops.x") + TAIL,
        HEAD + CLASS.format("eval(x)") + TAIL,
        HEAD + CLASS.format("open(x)") + TAIL,
        HEAD + CLASS.format("x(x)") + TAIL,
        HEAD + CLASS.format("os") + TAIL,
        HEAD + CLASS.format("(lambda: x)()") + TAIL,
        HEAD + CLASS.format("[y for y in x]") + TAIL,
        HEAD + CLASS.format("f'{x}'") + TAIL,
        HEAD + CLASS.format("x").replace("return", "torch =") + TAIL,
        HEAD + CLASS.format("x").replace("nn.Module", "dict") + TAIL,
        HEAD + "@torch.no_grad\n" + CLASS.format("x") + TAIL,
        HEAD + CLASS.format("x").replace("forward", "__del__") + TAIL,
        HEAD + CLASS.format("x") + TAIL + "M()\n",
        HEAD + CLASS.format("x") + "class N(nn.Module):\n    x: Tensor\n" + TAIL,
        HEAD + CLASS.format("x") + "x = 1\n" + TAIL,
        HEAD + CLASS.format("x +") + TAIL,
    ],
)
def test_anything_else_is_an_internal_error(text: str) -> None:
    with pytest.raises(InternalError):
        verify(text, "M", ("M",))
