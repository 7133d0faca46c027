"""The primitive operators, one file each."""

from linvit_dsl.ops.abs import Abs
from linvit_dsl.ops.adaptive_pool import AdaptivePool
from linvit_dsl.ops.add import Add
from linvit_dsl.ops.attend import Attend
from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.batchnorm import BatchNorm
from linvit_dsl.ops.concat import Concat
from linvit_dsl.ops.conv2d import Conv2d
from linvit_dsl.ops.cos import Cos
from linvit_dsl.ops.detach import Detach
from linvit_dsl.ops.div import Div
from linvit_dsl.ops.dropout import Dropout
from linvit_dsl.ops.droppath import DropPath
from linvit_dsl.ops.einsum import Einsum
from linvit_dsl.ops.elu import Elu
from linvit_dsl.ops.exp import Exp
from linvit_dsl.ops.expand import Expand
from linvit_dsl.ops.eye import Eye
from linvit_dsl.ops.gelu import Gelu
from linvit_dsl.ops.hardswish import Hardswish
from linvit_dsl.ops.interpolate import Interpolate
from linvit_dsl.ops.iota import Iota
from linvit_dsl.ops.layernorm import LayerNorm
from linvit_dsl.ops.linear import Linear
from linvit_dsl.ops.matmul import Matmul
from linvit_dsl.ops.mul import Mul
from linvit_dsl.ops.neg import Neg
from linvit_dsl.ops.ones import Ones
from linvit_dsl.ops.op import Example, Op, OpProblem, Saved
from linvit_dsl.ops.pad import Pad
from linvit_dsl.ops.pow import Pow
from linvit_dsl.ops.rearrange import Rearrange
from linvit_dsl.ops.reduce import Reduce
from linvit_dsl.ops.relu import Relu
from linvit_dsl.ops.rmsnorm import RmsNorm
from linvit_dsl.ops.select import Select
from linvit_dsl.ops.sigmoid import Sigmoid
from linvit_dsl.ops.silu import Silu
from linvit_dsl.ops.sin import Sin
from linvit_dsl.ops.slice import Slice
from linvit_dsl.ops.softmax import Softmax
from linvit_dsl.ops.split import Split
from linvit_dsl.ops.stack import Stack
from linvit_dsl.ops.sub import Sub
from linvit_dsl.ops.tanh import Tanh
from linvit_dsl.ops.transpose import Transpose
from linvit_dsl.ops.unfold import Unfold

ALL_OPS: tuple[type[Op], ...] = (
    Linear,
    Conv2d,
    LayerNorm,
    RmsNorm,
    BatchNorm,
    Softmax,
    Matmul,
    Einsum,
    Attend,
    Gelu,
    Relu,
    Elu,
    Silu,
    Hardswish,
    Sigmoid,
    Tanh,
    Exp,
    Sin,
    Cos,
    Abs,
    Dropout,
    DropPath,
    Add,
    Sub,
    Mul,
    Div,
    Neg,
    Pow,
    Rearrange,
    Reduce,
    Expand,
    Concat,
    Stack,
    Split,
    Select,
    Slice,
    Pad,
    Transpose,
    Unfold,
    Interpolate,
    AdaptivePool,
    Ones,
    Eye,
    Iota,
    Detach,
)
"""Every operator. A new one is a file in this folder and its name in this list."""

OPS: dict[str, type[Op]] = {op.name: op for op in ALL_OPS}
"""By the word of the language."""

__all__ = ["ALL_OPS", "OPS", "Attributes", "Example", "Op", "OpProblem", "Saved"]
