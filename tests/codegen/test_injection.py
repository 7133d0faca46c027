"""Nothing in a spec becomes code: names and texts change identifiers and comments, no more."""

import ast
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linvit_codegen import NotGenerated, expect_generated, generate
from linvit_codegen.verify import verify
from linvit_dsl.errors import InternalError
from tests.codegen.samples import SAMPLES, named

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
HEAD += "__all__ = ['M']\n"
CLASS = "class M(nn.Module):\n    def forward(self, x: Tensor) -> Tensor:\n        return {}\n"
LOOP = "def loop(x: Tensor) -> Tensor:\n    for eval in x:\n        x = eval\n    return x\n"
TAIL = "trace.locate_errors(M, __file__)\n"


def marked(method: str, *decorators: str) -> str:
    """The class with decorators on its method."""
    text = CLASS.format("x").replace("forward", method)
    return text.replace("    def", "".join(f"    @{word}\n" for word in decorators) + "    def")


def test_an_ordinary_module_passes() -> None:
    verify(HEAD + CLASS.format("torch.tanh(x)") + TAIL, "M", ("M",))
    verify(HEAD + marked("forward", "layers.float32") + TAIL, "M", ("M",))


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
        HEAD + marked("forward", "layers.attend") + TAIL,
        HEAD + marked("forward", "torch.no_grad") + TAIL,
        HEAD + marked("forward", "layers.float32", "layers.float32") + TAIL,
        HEAD + marked("__init__", "layers.float32") + TAIL,
        HEAD + CLASS.format("x") + TAIL + "M()\n",
        HEAD + CLASS.format("x") + "x = 1\n" + TAIL,
        HEAD + CLASS.format("x +") + TAIL,
        HEAD + CLASS.format("torch.os.system('x')") + TAIL,
        HEAD + CLASS.format("x.numpy().tofile('x')") + TAIL,
        HEAD + CLASS.format("x").replace("x: Tensor)", "x: Tensor = torch.ones(1))") + TAIL,
        HEAD + CLASS.format("eval('x')").replace("x: Tensor", "eval: Tensor") + LOOP + TAIL,
        HEAD + "class M(nn.Module):\n    x: eval('x')\n" + LOOP + TAIL,
        HEAD + CLASS.format("x").replace("return", "import os\n        return") + TAIL,
        HEAD
        + CLASS.format("x").replace("return", "class N:\n            x = 1\n        return")
        + TAIL,
        HEAD.replace("from linvit", "from .linvit") + CLASS.format("x") + TAIL,
    ],
)
def test_anything_else_is_an_internal_error(text: str) -> None:
    with pytest.raises(InternalError):
        verify(text, "M", ("M", "loop"))
    with pytest.raises(NotGenerated):
        expect_generated(text)


def test_a_class_that_nobody_meant_is_an_internal_error() -> None:
    with pytest.raises(InternalError, match="class N in line 8 of the module of M"):
        verify(
            HEAD + CLASS.format("x") + "class N(nn.Module):\n    x: Tensor\n" + TAIL, "M", ("M",)
        )


def test_a_module_of_unknown_origin_is_told_apart() -> None:
    for build in SAMPLES.values():
        expect_generated(generate(build()).text)
    module = HEAD + CLASS.format("x") + TAIL
    expect_generated(module)
    for line, text in {
        4: module.replace("['M']", "['M']; __all__ += ['N']"),
        3: module.replace("import Tensor", "import load, Tensor"),
        1: module.replace("__all__ =", "__all__ +="),
        5: module.replace("class M", "class eval(nn.Module):\n    x: Tensor\nclass M"),
        9: module + "print(1)\n",
    }.items():
        with pytest.raises(NotGenerated, match=f"line {line} .*generated modules never do"):
            expect_generated(text)
    for text in ("[" * 100_000, "x" + ".y" * 100_000, "\0", ""):
        with pytest.raises(NotGenerated):
            expect_generated(text)
