"""What operators say when they do not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from linvit_dsl import ops
from linvit_dsl.errors import Source, Span, diagnose
from linvit_dsl.graph.ir import Initializer, TensorType
from linvit_dsl.graph.size import Size
from linvit_dsl.ops import OPS, OpProblem
from linvit_dsl.ops.attributes import attribute_problem
from linvit_dsl.ops.conv2d import Conv2d
from linvit_dsl.ops.op import BATCH

SPAN = Span(Source("m.vit", "op"), 0, 2)
B = BATCH
X = (B, 64, 192)

MISFITS = [
    ("add", {}, [X, (B, 32, 192)], "E0323", [(0, 1), (1, 1)],
     "cannot add [B, 64, 192] and [B, 32, 192]: 64 and 32 do not combine"),
    ("sub", {}, [(8, 8), (B, 64, 8)], "E0323", [(0, 0), (1, 1)],
     "cannot subtract [8, 8] and [B, 64, 8]: 8 and 64 do not combine"),
    ("mul", {}, [X, (64, 64, 192)], "E0323", [(0, 0), (1, 0)],
     "cannot multiply [B, 64, 192] and [64, 64, 192]: B and 64 do not combine"),
    ("concat", {"axis": -1}, [X, (B, 32, 192)], "E0324", [(0, 1), (1, 1)],
     "cannot concat [B, 64, 192] and [B, 32, 192] on the last axis: axis 1 differs"),
    ("concat", {"axis": 1}, [X, X, (B, 64, 96)], "E0324", [(0, 2), (2, 2)],
     "cannot concat [B, 64, 192] and [B, 64, 96] on axis 1: axis 2 differs"),
    ("concat", {"axis": 0}, [X, (64, 192)], "E0324", [],
     "cannot concat [B, 64, 192] and [64, 192] on axis 0: they have 3 axes and 2"),
    ("stack", {"axis": 0}, [X, (B, 64, 96)], "E0324", [(0, 2), (1, 2)],
     "cannot stack [B, 64, 192] and [B, 64, 96] on a new axis 0: axis 2 differs"),
    ("matmul", {}, [X, X], "E0325", [(0, 2), (1, 1)],
     "cannot multiply [B, 64, 192] by [B, 64, 192]: 192 columns meet 64 rows"),
    ("matmul", {}, [(B, 6, 8, 4), (B, 3, 4, 8)], "E0325", [(0, 1), (1, 1)],
     "cannot multiply [B, 6, 8, 4] by [B, 3, 4, 8]: axis 1 differs"),
    ("attend", {}, [X, (B, 16, 96), (B, 16, 96)], "E0326", [(0, 2), (1, 2)],
     "a query has 192 channels, a key 96"),
    ("attend", {}, [X, X, (B, 16, 192)], "E0326", [(1, 1), (2, 1)],
     "there are 64 keys and 16 values"),
    ("attend", {}, [X, (64, 192), X], "E0326", [],
     "their numbers of axes differ"),
    ("attend", {}, [(B, 6, 8, 4), (B, 3, 8, 4), (B, 6, 8, 4)], "E0326", [(0, 1), (1, 1)],
     "axis 1 differs"),
    ("attend", {"given": ("keep",)}, [X, X, X, (B, 32, 64)], "E0326", [(3, 1)],
     "the mask [B, 32, 64] does not stretch to [B, 64, 64]"),
    ("attend", {"given": ("keep",)}, [(B, 1, 4), (B, 9, 4), (B, 9, 4), (B, 3, 9)], "E0326", [],
     "the mask [B, 3, 9] does not stretch to [B, 1, 9]"),
    ("attend", {"given": ("keep",)}, [X, X, X, (1, 1, 64, 64)], "E0326", [],
     "the mask [1, 1, 64, 64] does not stretch to [B, 64, 64]"),
    ("attend", {"given": ("keep", "bias")}, [X, X, X, (64, 64), (2, 64)], "E0326", [(4, 0)],
     "the bias [2, 64] does not stretch to [B, 64, 64]"),
    ("einsum", {"pattern": "b n d, b n e -> b d e"}, [X, (B, 32, 8)], "E0327", [(0, 1), (1, 1)],
     "axis `n` of `b n d, b n e -> b d e` is 64 and 32"),
    ("split", {"axis": -1, "sizes": (96, 64)}, [X], "E0328", [(0, 2)],
     "cannot split axis 2 of [B, 64, 192]: 96 + 64 = 160, not 192"),
    ("slice", {"axis": 1, "start": 60, "size": 8}, [X], "E0328", [(0, 1)],
     "cannot slice axis 1 of [B, 64, 192]: entries 60 to 67 of 64"),
    ("select", {"axis": 1, "index": 64}, [X], "E0328", [(0, 1)],
     "cannot select axis 1 of [B, 64, 192]: there is no entry 64 among 64"),
    ("conv2d", {"out": 8, "kernel": 5}, [(B, 3, 4, 9)], "E0330", [(0, 2)],
     "a kernel of 5x5 does not fit [B, 3, 4, 9]"),
    ("conv2d", {"out": 8, "groups": 3}, [(B, 16, 8, 8)], "E0331", [(0, 1)],
     "16 channels cannot be split into 3 groups"),
    ("conv2d", {"out": 8, "groups": 3}, [(B, 3, 8, 8)], "E0331", [],
     "8 channels cannot be split into 3 groups"),
    ("conv2d", {"out": 8}, [X], "E0332", [],
     "`conv2d` needs a tensor of 4 axes [B, channels, rows, columns]; [B, 64, 192] has 3 axes"),
    ("unfold", {"kernel": 3}, [(192,)], "E0332", [],
     "`unfold` needs a tensor of 4 axes [B, channels, rows, columns]; [192] has 1 axis"),
    ("batchnorm", {}, [X], "E0332", [],
     "`batchnorm` needs a tensor of 4 axes [B, channels, rows, columns]; [B, 64, 192] has 3 axes"),
    ("adaptive_pool", {"size": 7}, [X], "E0332", [],
     "`adaptive_pool` needs a tensor of 4 axes [B, channels, rows, columns]; [B, 64, 192] has 3"),
    ("softmax", {"axis": 3}, [X], "E0333", [],
     "`softmax` works on axis 3, but [B, 64, 192] has 3 axes"),
    ("transpose", {"a": -4, "b": 0}, [X], "E0333", [],
     "`transpose` works on axis -4, but [B, 64, 192] has 3 axes"),
    ("stack", {"axis": 4}, [X], "E0333", [],
     "`stack` works on axis 4, but [B, 64, 192] has 3 axes"),
    ("matmul", {}, [X, (192,)], "E0333", [],
     "`matmul` works on axis -2, but [192] has 1 axis"),
    ("linear", {"out": 8}, [(64, B)], "E0334", [(0, 1)],
     "`linear` needs a fixed size on axis 1 of [64, B]"),
    ("split", {"axis": 0, "sizes": (1, 1)}, [(2 * B, 8)], "E0334", [(0, 0)],
     "`split` needs a fixed size on axis 0 of [2*B, 8]"),
    ("linear", {"out": 8, "init": Initializer("normal", (0.0,))}, [X], "E0336", [],
     "`normal` needs a standard deviation above 0, not 0"),
    ("gelu", {}, [(B, 0, 192)], "E0337", [(0, 1)],
     "axis 1 of [B, 0, 192] is empty, and `gelu` cannot take that"),
    ("rearrange", {"pattern": "b n d"}, [X], "E0340", [],
     "it needs one `->` between the axes before and after"),
    ("rearrange", {"pattern": "b (n (d)) -> b n d"}, [X], "E0340", [],
     "`(` has no place there"),
    ("rearrange", {"pattern": "b n) d -> b n d"}, [X], "E0340", [],
     "`)` has no place there"),
    ("rearrange", {"pattern": "b (n d -> b n d"}, [X], "E0340", [],
     "a parenthesis is not closed"),
    ("rearrange", {"pattern": "b n n -> b n"}, [X], "E0340", [],
     "`n` stands twice on one side"),
    ("rearrange", {"pattern": "b n 2 -> b n"}, [X], "E0340", [],
     "`2` has no place there"),
    ("rearrange", {"pattern": "b n, d -> b n d"}, [X], "E0340", [],
     "nothing is separated by commas"),
    ("rearrange", {"pattern": "b n d -> ..."}, [X], "E0340", [],
     "`...` stands only on the right"),
    ("rearrange", {"pattern": "b (n ...) -> b n ..."}, [X], "E0340", [],
     "`...` cannot stand in parentheses"),
    ("rearrange", {"pattern": "b n; d -> b n"}, [X], "E0340", [],
     "`;` has no place there"),
    ("einsum", {"pattern": "b n, b n, b n -> b"}, [(B, 3)] * 3, "E0340", [],
     "`einsum` multiplies at most two tensors"),
    ("einsum", {"pattern": "b (n d), b n -> b"}, [(B, 3)] * 2, "E0340", [],
     "`einsum` has neither parentheses nor 1"),
    ("reduce", {"pattern": "b n d -> b d", "how": "mean"}, [(B, 192, 8, 8)], "E0341", [],
     "the pattern `b n d -> b d` names 3 axes, but [B, 192, 8, 8] has 4 axes"),
    ("rearrange", {"pattern": "... n d e f -> ... n d e f"}, [X], "E0341", [],
     "names 4 axes, but [B, 64, 192] has 3 axes"),
    ("rearrange", {"pattern": "b (h w) d -> b d h w", "axes": (("h", 8), ("w", 7))},
     [X], "E0342", [(0, 1)],
     "axis 1 of [B, 64, 192] is 64, but `(h w)` in `b (h w) d -> b d h w` is 56"),
    ("rearrange", {"pattern": "b 1 d -> b d"}, [X], "E0342", [(0, 1)],
     "axis 1 of [B, 64, 192] is 64, but `1` in `b 1 d -> b d` is 1"),
    ("rearrange", {"pattern": "b n d -> b d"}, [X], "E0343", [],
     "in the pattern `b n d -> b d`, `n` stands only on the left"),
    ("rearrange", {"pattern": "... d -> d"}, [X], "E0343", [], "`...` stands only on the left"),
    ("rearrange", {"pattern": "b n d -> b n d e"}, [X], "E0343", [],
     "`e` stands only on the right"),
    ("rearrange", {"pattern": "b n d -> b d n", "axes": (("m", 8),)}, [X], "E0343", [],
     "`m` does not occur"),
    ("expand", {"pattern": "n -> m n"}, [(8,)], "E0343", [],
     "`m` stands only on the right and has no size"),
    ("expand", {"pattern": "n -> m n", "axes": (("m", B + 1),)}, [(8,)], "E0343", [],
     "`m` is B + 1, which is no multiple of the batch"),
    ("einsum", {"pattern": "b n -> b m"}, [(B, 3)], "E0343", [],
     "`m` stands only on the right"),
    ("rearrange", {"pattern": "b n (h c) -> b h n c", "axes": (("h", 7),)}, [X], "E0344", [(0, 2)],
     "axis 2 of [B, 64, 192] does not split into `(h c)`: 192 is not divisible by 7"),
    ("rearrange", {"pattern": "(b g) n -> b g n", "axes": (("g", 4),)},
     [(2 * B, 8)], "E0344", [(0, 0)],
     "2*B is not divisible by 4"),
    ("rearrange", {"pattern": "b n (h c) -> b h n c"}, [X], "E0346", [(0, 2)],
     "the sizes in `(h c)` do not follow from axis 2 of [B, 64, 192]"),
    ("einsum", {"pattern": "b n, b n -> b"}, [(B, 3)], "E0317", [],
     "`einsum` takes 2 arguments, 1 given"),
    ("concat", {"axis": 0}, [], "E0317", [],
     "`concat` takes 1 or more arguments, 0 given"),
    ("add", {"left": 1.0, "right": 2.0}, [X], "E0317", [],
     "`add` takes 1 or 2 arguments, 1 given"),
    ("gelu", {}, [X, X], "E0317", [],
     "`gelu` takes 1 argument, 2 given"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "statics", "shapes", "code", "axes", "words"), MISFITS)
def test_a_misfit_says_what_and_where(
    name: str,
    statics: dict[str, object],
    shapes: list[tuple[Size, ...]],
    code: str,
    axes: list[tuple[int, int]],
    words: str,
) -> None:
    op = OPS[name]
    with pytest.raises(OpProblem) as raised:
        op.types(op.Attributes(**statics), tuple(TensorType.of(*shape) for shape in shapes))
    problem = raised.value
    assert problem.code == code
    slots: dict[str, Any] = problem.slots
    assert words in diagnose(code, SPAN, **slots).message
    assert list(problem.axes) == axes


def test_every_code_that_operators_use_is_tried_here() -> None:
    texts = [path.read_text() for path in Path(ops.__file__).parent.glob("*.py")]
    used = {code for text in texts for code in re.findall(r'"(E\d{4})"', text)}
    assert used <= {code for _, _, _, code, _, _ in MISFITS}


STATICS = [
    ("dropout", {}, "p", "`p` has no value"),
    ("dropout", {"p": 1}, "p", "`p` must be below 1, not 1"),
    ("dropout", {"p": -0.5}, "p", "`p` must be at least 0, not -0.5"),
    ("dropout", {"p": "half"}, "p", '`p` must be a number, not "half"'),
    ("dropout", {"p": True}, "p", "`p` must be a number, not true"),
    ("linear", {"out": 0}, "out", "`out` must be at least 1, not 0"),
    ("linear", {"out": 2**20 + 1}, "out", "`out` must be at most 1,048,576, not 1048577"),
    ("linear", {"out": 1.5}, "out", "`out` must be a whole number, not 1.5"),
    ("linear", {"out": True}, "out", "`out` must be a whole number, not true"),
    ("linear", {"out": 8, "bias": 1}, "bias", "`bias` must be true or false, not 1"),
    ("linear", {"out": 8, "init": "zeros"}, "init",
     '`init` must be an initialisation such as `normal[0.02]`, not "zeros"'),
    ("linear", {"out": 8, "size": 3}, "size",
     "it has no static argument `size`, but `out`, `bias`, `init`"),
    ("neg", {"size": 3}, "size", "it has no static argument `size`, but none"),
    ("conv2d", {"out": 8, "kernel": (3, 0)}, "kernel", "`kernel` must be at least 1, not 0"),
    ("conv2d", {"out": 8, "kernel": (3, 3, 3)}, "kernel",
     "`kernel` must be a number, or a pair for rows and columns, not [3, 3, 3]"),
    ("gelu", {"approximate": "relu"}, "approximate",
     '`approximate` must be "none" or "tanh", not "relu"'),
    ("unfold", {"kernel": 4}, "kernel",
     "`kernel` must be an odd number, so that it has a centre, not 4"),
    ("split", {"axis": 0, "sizes": ()}, "sizes", "`sizes` must be a list of at least 1, not []"),
    ("split", {"axis": 0, "sizes": 3}, "sizes", "`sizes` must be a list, not 3"),
    ("softmax", {"axis": 9}, "axis", "`axis` must be at most 7, not 9"),
    ("layernorm", {"eps": float("inf")}, "eps", "`eps` must be a finite number, not inf"),
    ("layernorm", {"eps": 0}, "eps", "`eps` must be above 0, not 0"),
    ("rearrange", {"pattern": "b -> b", "axes": (("h", 0),)}, "h",
     "`h` must be a whole number from 1 to 1,048,576, not 0"),
    ("rearrange", {"pattern": 3}, "pattern", "`pattern` must be a text, not 3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "statics", "field", "message"), STATICS)
def test_a_bad_static_argument_is_named_in_our_words(
    name: str, statics: dict[str, object], field: str, message: str
) -> None:
    op = OPS[name]
    with pytest.raises(ValidationError) as raised:
        op.Attributes(**statics)
    assert attribute_problem(op, raised.value) == (field, message)


def test_a_number_stands_for_rows_and_columns() -> None:
    conv = Conv2d.Attributes
    assert conv.model_validate({"out": 8, "kernel": 3, "pad": 1}) == conv(
        out=8, kernel=(3, 3), pad=(1, 1)
    )
    assert hash(conv.model_validate({"out": 8, "kernel": 3})) == hash(conv(out=8, kernel=(3, 3)))
